/* os_tags.c: see os_tags.h. Source: Documentation/arch/arm64/memory-tagging-extension.rst and tagged-address-abi.rst
 * of Linux. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "allocator/os/os_tags.h"

#if defined(__aarch64__)
#include "allocator/base/lock.h"
#include "allocator/os/os.h"

#include <errno.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The kernel's headers of Debian 12 have these names, older ones have not. */
enum {
    TAGS_HWCAP2 = 1 << 18, /* HWCAP2_MTE */
    TAGS_PROT = 0x20,      /* PROT_MTE */
    TAGS_SET = 55,         /* PR_SET_TAGGED_ADDR_CTRL */
    TAGS_ENABLE = 1 << 0,  /* PR_TAGGED_ADDR_ENABLE */
    TAGS_SYNC = 1 << 1,    /* PR_MTE_TCF_SYNC */
    TAGS_SHIFT = 3,        /* PR_MTE_TAG_SHIFT */
    TAGS_DRAWN = 0xfffe,   /* all but 0, the tag of all memory that has no owner */
};

/* libc knows of its own threads. The kernel counts all, but under qemu-user those of the emulator as well. */
static bool is_alone(void) {
    enum { LINKS_OF_ONE = 3 };
    struct stat tasks;
    return HAK_ALONE() || (stat("/proc/self/task", &tasks) == 0 && tasks.st_nlink == LINKS_OF_ONE);
}

/* Not libc's prctl: shim_libc.c wraps it. */
bool hak_os_tags_begin(void) {
    if ((getauxval(AT_HWCAP2) & TAGS_HWCAP2) == 0)
        return false;
    int saved = errno;
    bool done = is_alone() && syscall(SYS_prctl, TAGS_SET, TAGS_ENABLE | TAGS_SYNC | TAGS_DRAWN << TAGS_SHIFT,
                                      0, 0, 0) == 0;
    errno = saved;
    return done;
}

void hak_os_tags_allow(uintptr_t addr, size_t size) {
    int saved = errno;
    (void)mprotect((void *)addr, size, PROT_READ | PROT_WRITE | TAGS_PROT);
    errno = saved;
}
#endif
