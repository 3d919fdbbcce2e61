/* os_linux.c: os.h on Linux. Layer 1. The only file of the core that maps memory. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "allocator/os/os.h"

#include "allocator/base/bits.h"
#include "allocator/base/check.h"
#include "allocator/base/probe.h"
#include "allocator/os/os_keep.h"

#include <errno.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102 /* Linux 6.13 */
#define MADV_GUARD_REMOVE  103
#endif
#ifndef SYS_mseal
#define SYS_mseal 462 /* Linux 6.10; one number for all machines */
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000 /* Linux 4.17 */
#endif

hak_os_counters hak_os_counts;
size_t hak_os_page = 4096;

static _Atomic uint64_t fail_at, calls_seen;

static void count(_Atomic uint64_t *counter) {
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* HAK_OS_FAIL_LATE: the next system call of this thread fails after it has changed as much as a failing kernel
 * may have. */
static _Thread_local bool late;

/* True when a test wants this call to fail. */
static bool injected_failure(void) {
    if (!HAK_DEBUG_BUILD)
        return false;
    uint64_t set = atomic_load_explicit(&fail_at, memory_order_relaxed),
             flags = HAK_OS_FAIL_ON | HAK_OS_FAIL_LATE;
    uint64_t k = set & ~flags, seen = atomic_fetch_add_explicit(&calls_seen, 1, memory_order_relaxed) + 1;
    bool fails = set & HAK_OS_FAIL_ON ? seen >= k : seen == k;
    late = fails && (set & HAK_OS_FAIL_LATE) != 0;
    return fails && !late;
}

static bool fails_late(void) {
    if (!HAK_DEBUG_BUILD || !late)
        return false;
    late = false;
    return true;
}

/* Bytes of a range that the kernel has changed before it failed. */
static size_t part_of(size_t size) {
    return hak_align_down(size / 2, hak_os_page);
}

uint64_t hak_os_fail_at(uint64_t k) {
    uint64_t seen = atomic_exchange(&calls_seen, 0);
    atomic_store(&fail_at, k);
    return seen;
}

/* mprotect changes the mappings of a range one by one and does not undo it: the mappings before the refused one
 * have changed. ENOMEM: a mapping must be split and none is left, or the kernel may not promise so much
 * writable memory. Source: mm/mprotect.c, do_mprotect_pkey and mprotect_fixup, 5.10 to 6.18. */
static HAK_UNSEEN bool kernel_protect(uintptr_t addr, size_t size, int protection) {
    if (!fails_late())
        return mprotect((void *)addr, size, protection) == 0;
    if (part_of(size) != 0)
        (void)mprotect((void *)addr, part_of(size), protection);
    return false;
}

/* madvise also changes mapping by mapping. It skips holes and then returns ENOMEM at the end. MADV_DONTNEED and
 * MADV_FREE refuse locked and special mappings (EINVAL), but have purged the mappings before them. The guards
 * of 6.13 and later refuse the same mappings. When there is no memory for page tables, the guards that were set
 * stay. Source: mm/madvise.c, madvise_walk_vmas, madvise_dontneed_free and madvise_guard_install, 5.10 to 6.18. */
static HAK_UNSEEN bool kernel_advise(uintptr_t addr, size_t size, int advice) {
    if (!fails_late())
        return madvise((void *)addr, size, advice) == 0;
    if (part_of(size) != 0)
        (void)madvise((void *)addr, part_of(size), advice);
    return false;
}

void hak_os_init(void) {
    size_t page = getauxval(AT_PAGESZ);
    if (page == 0)
        page = (size_t)sysconf(_SC_PAGESIZE);
    HAK_CHECK(hak_is_pow2(page) && page <= HAK_GRANULE,
              "page size of the kernel is no power of two up to 64 KiB");
    hak_os_page = page;
}

/* Without MAP_FIXED a failed mmap has changed nothing: the kernel undoes its work (mm/mmap.c, mmap_region and
 * __mmap_region, 5.10 to 6.18). */
static uintptr_t map(uintptr_t hint, size_t size, int protection) {
    if (injected_failure() || fails_late())
        return 0;
    int saved = errno;
    count(&hak_os_counts.mmap);
    void *addr = mmap((void *)hint, size, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    errno = saved;
    return addr == MAP_FAILED ? 0 : (uintptr_t)addr;
}

HAK_UNSEEN void hak_os_unmap(uintptr_t addr, size_t size) {
    if (size == 0)
        return;
    int saved = errno;
    count(&hak_os_counts.munmap);
    if (HAK_DEBUG_BUILD)
        hak_os_keep_note(addr, size, false);
    HAK_CHECK(munmap((void *)addr, size) == 0 || errno != EINVAL, "munmap refused");
    errno = saved;
}

/* munmap splits mappings before it unmaps, and returns ENOMEM only from a split: mm/mmap.c, do_munmap and
 * do_vmi_align_munmap, 5.10 to 6.18. */
HAK_UNSEEN bool hak_os_unmap_part(uintptr_t addr, size_t size) {
    if (injected_failure() || fails_late())
        return false;
    int saved = errno;
    count(&hak_os_counts.munmap);
    if (HAK_DEBUG_BUILD && hak_os_keep_hollow(addr, size))
        return true;
    bool done = munmap((void *)addr, size) == 0;
    errno = saved;
    if (HAK_DEBUG_BUILD && done)
        hak_os_keep_note(addr, size, false);
    return done;
}

uintptr_t hak_os_reserve(size_t size, size_t align, uintptr_t hint) {
    uintptr_t addr = map(hint, size, PROT_NONE);
    if (addr == 0 || (addr & (align - 1)) == 0)
        return addr;
    /* The address is not aligned: reserve enough to contain an aligned range, and unmap both ends. */
    hak_os_unmap(addr, size);
    size_t padded;
    if (!hak_add_checked(size, align, &padded))
        return 0;
    addr = map(0, padded, PROT_NONE);
    if (addr == 0)
        return 0;
    uintptr_t aligned = hak_align_up(addr, align);
    hak_os_unmap(addr, aligned - addr);
    hak_os_unmap(aligned + size, addr + padded - (aligned + size));
    return aligned;
}

/* Pages that mprotect has shut are mappings of their own, of which a process may have 65,530; threads need two of these
 * for each such range. So only the first ranges get them; the others get guards, which need none, and where the kernel
 * has no guards (before Linux 6.13) or refuses them, nothing. */
enum { SHUT_MOST = 4096 };
static _Atomic unsigned between;

static HAK_UNSEEN uintptr_t map_guarded(size_t size) {
    uintptr_t addr = map(0, size + 2 * hak_os_page, PROT_READ | PROT_WRITE);
    if (addr == 0)
        return 0;
    (void)hak_os_guard(addr, hak_os_page);
    (void)hak_os_guard(addr + hak_os_page + size, hak_os_page);
    return addr + hak_os_page;
}

static HAK_UNSEEN uintptr_t map_shut(size_t size) {
    uintptr_t addr = hak_os_reserve(size + 2 * hak_os_page, hak_os_page, 0);
    if (addr == 0)
        return 0;
    if (hak_os_commit(addr + hak_os_page, size))
        return addr + hak_os_page;
    hak_os_unmap(addr, size + 2 * hak_os_page);
    return 0;
}

uintptr_t hak_os_map_between(size_t size) {
    bool few = atomic_fetch_add_explicit(&between, 1, memory_order_relaxed) < SHUT_MOST;
    uintptr_t addr = few ? map_shut(size) : map_guarded(size);
    if (addr == 0)
        atomic_fetch_sub_explicit(&between, 1, memory_order_relaxed);
    return addr;
}

HAK_UNSEEN void hak_os_unmap_between(uintptr_t addr, size_t size) {
    atomic_fetch_sub_explicit(&between, 1, memory_order_relaxed);
    hak_os_unmap(addr - hak_os_page, size + 2 * hak_os_page);
}

uintptr_t hak_os_reserve_zeros(size_t size) {
    uintptr_t addr = map(0, size, PROT_READ);
    int saved = errno;
    if (addr != 0) {
        count(&hak_os_counts.madvise);
        (void)madvise((void *)addr, size, MADV_DONTDUMP); /* else a core file has the whole empty table */
    }
    errno = saved;
    return addr;
}

/* Before Linux 4.17 MAP_FIXED_NOREPLACE was only a hint: some kernels return another address when this one
 * cannot be used. The kernel returns EEXIST before it changes anything. It returns ENOMEM, or EAGAIN (limit of
 * locked memory), before it adds the mapping: mm/mmap.c, do_mmap and mmap_region, 5.10 to 6.18. */
static HAK_UNSEEN hak_map_result map_at(uintptr_t addr, size_t size, int protection) {
    int saved = errno;
    count(&hak_os_counts.mmap);
    void *got =
        mmap((void *)addr, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    bool refused = got == MAP_FAILED && (errno == ENOMEM || errno == EAGAIN);
    errno = saved;
    if (got != MAP_FAILED && (uintptr_t)got != addr)
        hak_os_unmap((uintptr_t)got, size);
    return (uintptr_t)got == addr ? HAK_MAP_DONE : refused ? HAK_MAP_REFUSED : HAK_MAP_TAKEN;
}

hak_map_result hak_os_reserve_zeros_at(uintptr_t addr, size_t size) {
    return injected_failure() || fails_late() ? HAK_MAP_REFUSED : map_at(addr, size, PROT_READ);
}

/* Maps page by page: some of a range that is partly kept may be mapped already. */
static HAK_UNSEEN hak_map_result map_missing(uintptr_t addr, size_t size) {
    hak_map_result result = HAK_MAP_DONE;
    for (size_t at = 0; at < size && result != HAK_MAP_REFUSED; at += hak_os_page)
        result = map_at(addr + at, hak_os_page, PROT_READ | PROT_WRITE);
    return result == HAK_MAP_REFUSED ? result : HAK_MAP_DONE;
}

HAK_UNSEEN hak_map_result hak_os_map_at(uintptr_t addr, size_t size) {
    if (injected_failure() || fails_late() || (HAK_DEBUG_BUILD && hak_os_keep_refuses(size)))
        return HAK_MAP_REFUSED;
    if (HAK_DEBUG_BUILD && hak_os_keep_protect(addr, size, true)) {
        count(&hak_os_counts.mmap);
        return HAK_MAP_DONE;
    }
    hak_map_result result = map_at(addr, size, PROT_READ | PROT_WRITE);
    if (HAK_DEBUG_BUILD && result == HAK_MAP_TAKEN && hak_os_keep_some(addr, size))
        result = map_missing(addr, size);
    if (HAK_DEBUG_BUILD && result == HAK_MAP_DONE)
        hak_os_keep_note(addr, size, true);
    return result;
}

/* MAP_FIXED unmaps the range before it asks for the memory of the new mapping, and does not restore it on
 * failure: mm/mmap.c, mmap_region, 5.10 to 6.11. From 6.12 on the kernel restores it in nearly every case
 * (vms_abort_munmap_vmas). */
bool hak_os_renew(uintptr_t addr, size_t size) {
    if (injected_failure())
        return false;
    int saved = errno;
    count(&hak_os_counts.mmap);
    if (fails_late()) {
        (void)munmap((void *)addr, size);
        errno = saved;
        return false;
    }
    void *got =
        mmap((void *)addr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    errno = saved;
    if (HAK_DEBUG_BUILD && got != MAP_FAILED)
        hak_os_keep_note(addr, size, true);
    return got != MAP_FAILED;
}

static HAK_UNSEEN bool set_protection(uintptr_t addr, size_t size, int protection) {
    int saved = errno;
    bool open = (protection & PROT_WRITE) != 0;
    count(&hak_os_counts.mprotect);
    if (HAK_DEBUG_BUILD && hak_os_keep_protect(addr, size, open))
        return true;
    bool done = kernel_protect(addr, size, protection);
    errno = saved;
    if (HAK_DEBUG_BUILD && done)
        hak_os_keep_note(addr, size, open);
    return done;
}

static bool protect(uintptr_t addr, size_t size, int protection) {
    return !injected_failure() && set_protection(addr, size, protection);
}
bool hak_os_commit(uintptr_t addr, size_t size) {
    return protect(addr, size, PROT_READ | PROT_WRITE);
}
/* Removes access to the whole range, or restores access to all of it: see kernel_protect. */
static HAK_UNSEEN bool shut_or_open(uintptr_t addr, size_t size) {
    if (set_protection(addr, size, PROT_NONE))
        return true;
    (void)set_protection(addr, size, PROT_READ | PROT_WRITE);
    return false;
}
HAK_UNSEEN bool hak_os_protect(uintptr_t addr, size_t size) {
    return !injected_failure() && shut_or_open(addr, size);
}
void hak_os_seal(uintptr_t addr, size_t size) {
    (void)protect(addr, size, PROT_READ);
}

bool hak_os_freeze(uintptr_t addr, size_t size) {
    if (hak_os_filter != HAK_FILTER_NONE)
        return false;
    int saved = errno;
    bool done = syscall(SYS_mseal, addr, size, 0) == 0;
    errno = saved;
    return done;
}

static bool advise(uintptr_t addr, size_t size, int advice) {
    int saved = errno;
    count(&hak_os_counts.madvise);
    bool done = kernel_advise(addr, size, advice);
    errno = saved;
    return done;
}

/* Does not map over the old mapping: MAP_FIXED unmaps it first. If the kernel then has no memory for the new
 * mapping, other code could get the address (mm/mmap.c, mmap_region, 5.10 to 6.18). MADV_DONTNEED refuses
 * locked memory before it changes anything. */
bool hak_os_shut(uintptr_t addr, size_t size) {
    if (injected_failure())
        return false;
    if (HAK_DEBUG_BUILD && hak_os_keep_hollow(addr, size))
        return true;
    if (!shut_or_open(addr, size))
        return false;
    if (advise(addr, size, MADV_DONTNEED)) {
        (void)advise(addr, size, MADV_GUARD_REMOVE); /* guards outlive MADV_DONTNEED: mm/madvise.c of 6.13 */
        return true;
    }
    (void)set_protection(addr, size, PROT_READ | PROT_WRITE);
    return false;
}

/* The kernel refuses guards in memory that the program has locked, but the mappings before it have theirs
 * already (mm/madvise.c of 6.13, madvise_walk_vmas). Guards can be removed from any mapping. */
bool hak_os_guard(uintptr_t addr, size_t size) {
    if (injected_failure())
        return false;
    if (HAK_DEBUG_BUILD && hak_os_keep_guard(addr, size)) {
        count(&hak_os_counts.madvise);
        return true;
    }
    if (advise(addr, size, MADV_GUARD_INSTALL))
        return true;
    (void)advise(addr, size, MADV_GUARD_REMOVE);
    return false;
}
/* Needs no memory, so it cannot fail for lack of memory. No failure is injected, as in hak_os_unmap. */
bool hak_os_unguard(uintptr_t addr, size_t size) {
    if (HAK_DEBUG_BUILD && hak_os_keep_unguard()) {
        count(&hak_os_counts.madvise);
        return true;
    }
    return advise(addr, size, MADV_GUARD_REMOVE);
}

HAK_UNSEEN bool hak_os_purge(uintptr_t addr, size_t size, hak_os_purge_how how) {
    if (injected_failure())
        return false;
    int saved = errno;
    count(&hak_os_counts.madvise);
    if (HAK_DEBUG_BUILD && hak_os_keep_purge(addr, size, how))
        return true;
    HAK_PROBE(release, addr, size);
    bool done = kernel_advise(addr, size, how == HAK_PURGE_LAZY ? MADV_FREE : MADV_DONTNEED);
    errno = saved;
    return done;
}

/* What a failed mremap may have changed (mm/mremap.c, 5.10 to 6.18): with MREMAP_FIXED the kernel unmaps the
 * new address before it looks at the old one. It does not restore the new address when it then fails: because
 * the old range lies across two mappings (EFAULT), at a limit (ENOMEM), for locked memory (EAGAIN) or when no
 * mapping is left (ENOMEM). So the new address must have only our own mapping. The kernel moves page tables
 * back if it fails halfway. From 6.17 on it can move a range across several mappings, and may leave it half
 * moved on failure. It does so only for two equal lengths, so never here; with different lengths it returns
 * EFAULT as before. */
static void *taken_away(uintptr_t to, size_t size) {
    (void)munmap((void *)to, size);
    return MAP_FAILED;
}
bool hak_os_move(uintptr_t from, size_t size, uintptr_t to, size_t new_size) {
    if (injected_failure() || (HAK_DEBUG_BUILD && hak_os_keeps()))
        return false;
    int saved = errno;
    /* A mapping without access holds the range, so that other code cannot map there: MREMAP_FIXED would unmap
     * it. */
    if (map_at(to, new_size, PROT_NONE) != HAK_MAP_DONE)
        return false;
    count(&hak_os_counts.mmap);
    void *got = fails_late()
                    ? taken_away(to, new_size)
                    : mremap((void *)from, size, new_size, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)to);
    if (got == MAP_FAILED)
        (void)munmap((void *)to, new_size); /* unless the kernel has done so already */
    errno = saved;
    if (HAK_DEBUG_BUILD && got != MAP_FAILED) {
        hak_os_keep_note(from, size, false);
        hak_os_keep_note(to, new_size, true);
    }
    return got != MAP_FAILED;
}

void hak_os_huge(uintptr_t addr, size_t size) {
    int saved = errno;
    count(&hak_os_counts.madvise);
    (void)madvise((void *)addr, size, MADV_HUGEPAGE);
    errno = saved;
}

void hak_os_not_huge(uintptr_t addr, size_t size) {
    int saved = errno;
    count(&hak_os_counts.madvise);
    (void)madvise((void *)addr, size, MADV_NOHUGEPAGE);
    errno = saved;
}

bool hak_os_collapse(uintptr_t addr, size_t size) {
    int saved = errno;
    count(&hak_os_counts.madvise);
    bool done = madvise((void *)addr, size, MADV_COLLAPSE) == 0;
    errno = saved;
    return done;
}

void hak_os_populate(uintptr_t addr, size_t size) {
    int saved = errno;
    count(&hak_os_counts.madvise);
    if (madvise((void *)addr, size, MADV_POPULATE_WRITE) != 0)
        for (size_t at = 0; at < size; at += hak_os_page)
            *(volatile char *)(addr + at) = 0; /* fresh pages are zero already */
    errno = saved;
}

bool hak_os_fault_in(uintptr_t addr, size_t size) {
    if (injected_failure())
        return false;
    int saved = errno;
    count(&hak_os_counts.madvise);
    bool done = kernel_advise(addr, size, MADV_POPULATE_WRITE);
    errno = saved;
    return done;
}
