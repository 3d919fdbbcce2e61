/* kernel_probe.c: makes each call that some kernels lack, as the allocator does, and prints the answers: "ok", or
 * the error. The tests that refuse a call must change its answer, and the table of kernels shows the answers. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PAGE = 65536, SYS_MSEAL = 462, GUARD_INSTALL = 102, POPULATE_WRITE = 23, DONT_UNMAP = 4 };

static char *page(void) {
    char *made = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made == MAP_FAILED)
        _exit(2);
    *made = 1;
    return made;
}

static void say(const char *name, int done) {
    printf("%s=%s ", name, done ? "ok" : strerrorname_np(errno));
}

static int moves(int flags) {
    return mremap(page(), PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED | flags, page()) != MAP_FAILED;
}

int main(void) {
    char byte, from = 1;
    unsigned char resident[PAGE / 4096];
    struct iovec here = {&byte, 1}, there = {&from, 1};
    say("mremap", moves(0));
    say("dontunmap", moves(DONT_UNMAP));
    say("populate", madvise(page(), PAGE, POPULATE_WRITE) == 0);
    say("free", madvise(page(), PAGE, MADV_FREE) == 0);
    say("dontneed", madvise(page(), PAGE, MADV_DONTNEED) == 0);
    say("huge", madvise(page(), PAGE, MADV_HUGEPAGE) == 0);
    say("dontdump", madvise(page(), PAGE, MADV_DONTDUMP) == 0);
    say("guard", madvise(page(), PAGE, GUARD_INSTALL) == 0);
    say("mseal", syscall(SYS_MSEAL, page(), PAGE, 0) == 0);
    say("mincore", mincore(page(), PAGE, resident) == 0);
    say("process_vm_readv", process_vm_readv(getpid(), &here, 1, &there, 1, 0) == 1);
    say("getrandom", syscall(SYS_getrandom, &byte, 1, 0) == 1);
    printf("asked\n");
    return 0;
}
