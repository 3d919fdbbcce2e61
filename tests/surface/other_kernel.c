/* other_kernel.c: a preload, to be named before the allocator's, that makes this kernel look like another one to it:
 *
 *   OTHER_KERNEL_PAGE=65536    pages are that large: addresses must be multiples of it, lengths are rounded up to it
 *   OTHER_KERNEL_NO_PROC=1     there is no /proc
 *   OTHER_KERNEL_NO_RANDOM=1   a sandbox forbids getrandom
 *   OTHER_KERNEL_SECURE=1      the program runs with raised privileges (AT_SECURE)
 *   OTHER_KERNEL_REFUSES=mseal=ENOSYS,guard=EINVAL    the calls that it lacks or forbids, with the error of each (the
 *   table below has the names)
 *
 * It is exact where the allocator could see a difference: it refuses what a kernel with 64 KiB pages refuses, and it
 * touches the memory beyond a requested length that such a kernel would touch. It does not see libc's own calls. */
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
#include <sys/uio.h>
#include <unistd.h>

/* The words that the kernel left above the first frame: argc, argv, the environment, the auxiliary vector. They are
 * read there, because the allocator starts before libc has set environ. */
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

/* The real system call, for this file: the allocator gets `syscall` below. */
static long ask_kernel(long number, long a, long b, long c, long d, long e, long f) {
#if defined(__x86_64__)
    long answer;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(answer)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = number;
    register long answer __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc 0"
                     : "+r"(answer)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
#else
#error "how this machine asks its kernel is not known here"
#endif
    if (answer > -4096 && answer < 0) {
        errno = (int)-answer;
        return -1;
    }
    return answer;
}
#define KERNEL_SIX(number, a, b, c, d, e, f, ...)                                                            \
    ask_kernel(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define KERNEL(...) KERNEL_SIX(__VA_ARGS__, 0, 0, 0, 0, 0, 0)

/* A call that may be refused: a system call, one advice of madvise, or mremap with one flag. */
enum {
    ANY = -1,
    SYS_MSEAL = 462,
    GUARD_INSTALL = 102,
    GUARD_REMOVE = 103,
    POPULATE_WRITE = 23,
    DONT_UNMAP = 4
};
static const struct refusal {
    const char *name;
    long number, detail;
} refusals[] = {
    {"mseal", SYS_MSEAL, ANY},
    {"mremap", SYS_mremap, ANY},
    {"dontunmap", SYS_mremap, DONT_UNMAP},
    {"guard", SYS_madvise, GUARD_INSTALL},
    {"guard", SYS_madvise, GUARD_REMOVE},
    {"populate", SYS_madvise, POPULATE_WRITE},
    {"free", SYS_madvise, MADV_FREE},
    {"dontneed", SYS_madvise, MADV_DONTNEED},
    {"huge", SYS_madvise, MADV_HUGEPAGE},
    {"dontdump", SYS_madvise, MADV_DONTDUMP},
    {"mincore", SYS_mincore, ANY},
    {"process_vm_readv", SYS_process_vm_readv, ANY},
    {"getrandom", SYS_getrandom, ANY},
};
static const struct {
    const char *name;
    int value;
} errors[] = {{"ENOSYS", ENOSYS}, {"EINVAL", EINVAL}, {"EPERM", EPERM}, {"ENOMEM", ENOMEM}};

/* The error that follows `name=` in the list; 0: not in it. */
static int error_in(const char *list, const char *name) {
    size_t length = strlen(name);
    for (const char *at = list; at != NULL; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, name, length) != 0 || at[length] != '=')
            continue;
        for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
            if (strncmp(at + length + 1, errors[i].name, strlen(errors[i].name)) == 0)
                return errors[i].value;
    }
    return 0;
}

/* True, and errno set, when this kernel lacks the call. `detail`: the advice of madvise, the flags of mremap. */
static bool lacks(long number, long detail) {
    const char *list = setting("OTHER_KERNEL_REFUSES");
    for (size_t i = 0; list != NULL && i < sizeof refusals / sizeof refusals[0]; i++) {
        const struct refusal *one = &refusals[i];
        bool meant = one->detail == ANY ||
                     (number == SYS_mremap ? (detail & one->detail) != 0 : detail == one->detail);
        int error = one->number == number && meant ? error_in(list, one->name) : 0;
        if (error != 0) {
            errno = error;
            return true;
        }
    }
    return false;
}

static bool hides(const char *path) {
    bool hidden = setting("OTHER_KERNEL_NO_PROC") != NULL && strncmp(path, "/proc", 5) == 0;
    if (hidden)
        errno = ENOENT;
    return hidden;
}

ssize_t getrandom(void *out, size_t size, unsigned flags) {
    if (lacks(SYS_getrandom, 0))
        return -1;
    if (setting("OTHER_KERNEL_NO_RANDOM") == NULL)
        return KERNEL(SYS_getrandom, out, size, flags);
    errno = EPERM;
    return -1;
}

/* The calls that the allocator makes by number. */
long syscall(long number, ...) {
    long args[6];
    va_list more;
    va_start(more, number);
    for (int i = 0; i < 6; i++)
        args[i] = va_arg(more, long);
    va_end(more);
    if (number == SYS_getrandom)
        return getrandom((void *)args[0], (size_t)args[1], (unsigned)args[2]);
    if (lacks(number, number == SYS_madvise ? args[2] : args[3]))
        return -1;
    if ((number == SYS_openat || number == SYS_faccessat) && hides((const char *)args[1]))
        return -1;
#ifdef SYS_access /* arm64 has none */
    if (number == SYS_access && hides((const char *)args[0]))
        return -1;
#endif
    return ask_kernel(number, args[0], args[1], args[2], args[3], args[4], args[5]);
}

/* What the kernel says of itself; 0: nothing. */
static unsigned long auxiliary(unsigned long type) {
    char **end = environment();
    while (*end != NULL)
        end++;
    for (const ElfW(auxv_t) *entry = (const ElfW(auxv_t) *)(end + 1); entry->a_type != AT_NULL; entry++)
        if (entry->a_type == type)
            return entry->a_un.a_val;
    return 0;
}

static size_t page(void) {
    static size_t bytes;
    if (bytes == 0) {
        const char *text = setting("OTHER_KERNEL_PAGE");
        bytes = text != NULL ? (size_t)strtoul(text, NULL, 10) : auxiliary(AT_PAGESZ);
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
    return auxiliary(type);
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

/* Anonymous memory at a multiple of the page: takes a larger piece and gives its ends back. */
static void *map_anywhere(size_t size, int protection, int flags) {
    size_t padded = size + page();
    long got = KERNEL(SYS_mmap, NULL, padded, protection, flags, -1, 0);
    if (got == -1)
        return MAP_FAILED;
    uintptr_t start = (uintptr_t)got, first = round_up(start);
    if (first != start)
        (void)KERNEL(SYS_munmap, start, first - start);
    if (first + size != start + padded)
        (void)KERNEL(SYS_munmap, first + size, start + padded - (first + size));
    return (void *)first;
}

void *mmap(void *addr, size_t size, int protection, int flags, int file, off_t offset) {
    bool exact = (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) != 0;
    if (exact && refused((uintptr_t)addr))
        return MAP_FAILED;
    if (file != -1)
        return (void *)KERNEL(SYS_mmap, addr, size, protection, flags, file, offset);
    size = round_up(size);
    if (!exact && ((uintptr_t)addr & (page() - 1)) != 0)
        addr = NULL; /* a hint may be rounded */
    void *got = (void *)KERNEL(SYS_mmap, addr, size, protection, flags, file, offset);
    if (got == MAP_FAILED || ((uintptr_t)got & (page() - 1)) == 0)
        return got;
    (void)KERNEL(SYS_munmap, got, size);
    return map_anywhere(size, protection, flags);
}

int munmap(void *addr, size_t size) {
    return refused((uintptr_t)addr) ? -1 : (int)KERNEL(SYS_munmap, addr, round_up(size));
}
int mprotect(void *addr, size_t size, int protection) {
    return refused((uintptr_t)addr) ? -1 : (int)KERNEL(SYS_mprotect, addr, round_up(size), protection);
}
int madvise(void *addr, size_t size, int advice) {
    return lacks(SYS_madvise, advice) || refused((uintptr_t)addr)
               ? -1
               : (int)KERNEL(SYS_madvise, addr, round_up(size), advice);
}

void *mremap(void *addr, size_t size, size_t new_size, int flags, ...) {
    va_list more;
    va_start(more, flags);
    void *to = flags & MREMAP_FIXED ? va_arg(more, void *) : NULL;
    va_end(more);
    if (lacks(SYS_mremap, flags) || refused((uintptr_t)addr) || refused((uintptr_t)to))
        return MAP_FAILED;
    return (void *)KERNEL(SYS_mremap, addr, round_up(size), round_up(new_size), flags, to);
}

/* A large page is resident when any part of it is. */
int mincore(void *addr, size_t size, unsigned char *resident) {
    if (lacks(SYS_mincore, 0) || refused((uintptr_t)addr))
        return -1;
    size_t small_page = auxiliary(AT_PAGESZ);
    for (size_t at = 0; at < size; at += page(), resident++) {
        unsigned char parts[65536 / 4096] = {0}, any = 0;
        if (KERNEL(SYS_mincore, (uintptr_t)addr + at, page(), parts) != 0)
            return -1;
        for (size_t i = 0; i < page() / small_page; i++)
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
    if (hides(path))
        return -1;
    return (int)KERNEL(SYS_openat, AT_FDCWD, path, flags, mode);
}

ssize_t process_vm_readv(pid_t process, const struct iovec *to, unsigned long tos, const struct iovec *from,
                         unsigned long froms, unsigned long flags) {
    return lacks(SYS_process_vm_readv, 0)
               ? -1
               : KERNEL(SYS_process_vm_readv, process, to, tos, from, froms, flags);
}
