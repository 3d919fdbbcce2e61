/* other_kernel.c: a preload, to be named before the allocator's, that makes this kernel look like another one to it:
 *
 *   OTHER_KERNEL_PAGE=65536    pages are that large: addresses must be multiples of it, lengths are rounded up to it
 *   OTHER_KERNEL_NO_PROC=1     there is no /proc
 *   OTHER_KERNEL_NO_RANDOM=1   a sandbox forbids getrandom
 *   OTHER_KERNEL_SECURE=1      the program runs with raised privileges (AT_SECURE)
 *
 * Exact where the allocator could tell: what a kernel with 64 KiB pages refuses is refused, and what it would touch beyond the
 * length that it was asked for is touched. Calls that libc makes inside itself are not seen. */
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SMALL_PAGE = 4096 };

/* What the kernel left above the first frame: argc, argv, the environment, the auxiliary vector. Read there, because the allocator
 * starts before libc has set environ. */
extern void *__libc_stack_end;

static char **environment(void) {
    char **argv = (char **)__libc_stack_end + 1;
    return argv + *(long *)__libc_stack_end + 1;
}

static const char *setting(const char *name) {
    size_t length = strlen(name);
    for (char **entry = environment(); *entry != NULL; entry++)
        if (strncmp(*entry, name, length) == 0 && (*entry)[length] == '=')
            return *entry + length + 1;
    return NULL;
}

ssize_t getrandom(void *out, size_t size, unsigned flags) {
    if (setting("OTHER_KERNEL_NO_RANDOM") == NULL)
        return syscall(SYS_getrandom, out, size, flags);
    errno = EPERM;
    return -1;
}

static size_t page(void) {
    static size_t bytes;
    if (bytes == 0) {
        const char *text = setting("OTHER_KERNEL_PAGE");
        bytes = text != NULL ? (size_t)strtoul(text, NULL, 10) : SMALL_PAGE;
    }
    return bytes;
}
static size_t round_up(size_t size) {
    return (size + page() - 1) & ~(page() - 1);
}

unsigned long getauxval(unsigned long type) {
    if (type == AT_PAGESZ)
        return page();
    if (type == AT_SECURE && setting("OTHER_KERNEL_SECURE") != NULL)
        return 1;
    char **end = environment();
    while (*end != NULL)
        end++;
    for (const ElfW(auxv_t) *entry = (const ElfW(auxv_t) *)(end + 1); entry->a_type != AT_NULL; entry++)
        if (entry->a_type == type)
            return entry->a_un.a_val;
    return 0;
}

int getpagesize(void) {
    return (int)page();
}

static bool refused(uintptr_t addr) {
    if ((addr & (page() - 1)) == 0)
        return false;
    errno = EINVAL;
    return true;
}

/* Anonymous memory at a multiple of the page: a larger piece, and its ends given back. */
static void *map_anywhere(size_t size, int protection, int flags) {
    size_t padded = size + page();
    long got = syscall(SYS_mmap, NULL, padded, protection, flags, -1, 0);
    if (got == -1)
        return MAP_FAILED;
    uintptr_t start = (uintptr_t)got, first = round_up(start);
    if (first != start)
        (void)syscall(SYS_munmap, start, first - start);
    if (first + size != start + padded)
        (void)syscall(SYS_munmap, first + size, start + padded - (first + size));
    return (void *)first;
}

void *mmap(void *addr, size_t size, int protection, int flags, int file, off_t offset) {
    bool exact = (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) != 0;
    if (exact && refused((uintptr_t)addr))
        return MAP_FAILED;
    if (file != -1)
        return (void *)syscall(SYS_mmap, addr, size, protection, flags, file, offset);
    size = round_up(size);
    if (!exact && ((uintptr_t)addr & (page() - 1)) != 0)
        addr = NULL; /* a hint may be rounded */
    void *got = (void *)syscall(SYS_mmap, addr, size, protection, flags, file, offset);
    if (got == MAP_FAILED || ((uintptr_t)got & (page() - 1)) == 0)
        return got;
    (void)syscall(SYS_munmap, got, size);
    return map_anywhere(size, protection, flags);
}

int munmap(void *addr, size_t size) {
    return refused((uintptr_t)addr) ? -1 : (int)syscall(SYS_munmap, addr, round_up(size));
}
int mprotect(void *addr, size_t size, int protection) {
    return refused((uintptr_t)addr) ? -1 : (int)syscall(SYS_mprotect, addr, round_up(size), protection);
}
int madvise(void *addr, size_t size, int advice) {
    return refused((uintptr_t)addr) ? -1 : (int)syscall(SYS_madvise, addr, round_up(size), advice);
}

void *mremap(void *addr, size_t size, size_t new_size, int flags, ...) {
    va_list more;
    va_start(more, flags);
    void *to = flags & MREMAP_FIXED ? va_arg(more, void *) : NULL;
    va_end(more);
    if (refused((uintptr_t)addr) || refused((uintptr_t)to))
        return MAP_FAILED;
    return (void *)syscall(SYS_mremap, addr, round_up(size), round_up(new_size), flags, to);
}

/* A large page is resident when any part of it is. */
int mincore(void *addr, size_t size, unsigned char *resident) {
    if (refused((uintptr_t)addr))
        return -1;
    for (size_t at = 0; at < size; at += page(), resident++) {
        unsigned char parts[65536 / SMALL_PAGE] = {0}, any = 0;
        if (syscall(SYS_mincore, (uintptr_t)addr + at, page(), parts) != 0)
            return -1;
        for (size_t i = 0; i < page() / SMALL_PAGE; i++)
            any |= parts[i] & 1;
        *resident = any;
    }
    return 0;
}

int open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
    va_end(more);
    if (setting("OTHER_KERNEL_NO_PROC") != NULL && strncmp(path, "/proc", 5) == 0) {
        errno = ENOENT;
        return -1;
    }
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}
