/* os_resident.c: which pages are resident or mapped, for os_process.h on Linux. Layer 1. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "allocator/base/bits.h"
#include "allocator/os/os.h"
#include "allocator/os/os_keep.h"
#include "allocator/os/os_process.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static int page_map = -1; /* a file, for a process that must not call mincore */
/* Most pages in one answer. */
enum { RESIDENT_MOST = 64, COUNTED_MOST = 512 };

/* ENOMEM: some page is not mapped, so it is not resident; then each page is asked for separately. */
static uint64_t resident_by_mincore(uintptr_t addr, unsigned pages) {
    unsigned char in[RESIDENT_MOST];
    if (mincore((void *)addr, pages * hak_os_page, in) != 0) {
        if (errno != ENOMEM || pages == 1)
            return 0;
        uint64_t found = 0;
        for (unsigned i = 0; i < pages; i++)
            found |= (resident_by_mincore(addr + i * hak_os_page, 1) & 1) << i;
        return found;
    }
    uint64_t bits = 0;
    for (unsigned i = 0; i < pages; i++)
        bits |= (uint64_t)(in[i] & 1) << i;
    return bits;
}

/* Uses only system calls with which the dynamic linker has loaded us. Source: proc(5), /proc/pid/pagemap. */
static uint64_t resident_by_map(uintptr_t addr, unsigned pages) {
    uint64_t entries[RESIDENT_MOST], bits = 0;
    long bytes = (long)(pages * sizeof entries[0]);
    off_t at = (off_t)(addr / hak_os_page * sizeof entries[0]);
    if (syscall(SYS_pread64, page_map, entries, (size_t)bytes, at) != bytes)
        return 0;
    for (unsigned i = 0; i < pages; i++)
        bits |= (entries[i] >> 63) << i;
    return bits;
}

/* False: the kernel or a sandbox without a visible filter refuses mincore. Asked once. */
static bool has_mincore(void) {
    enum { UNKNOWN, NO, YES };
    static _Atomic int known;
    static const char here;
    unsigned char in;
    if (atomic_load_explicit(&known, memory_order_relaxed) == UNKNOWN) {
        int saved = errno;
        bool has = mincore((void *)hak_align_down((uintptr_t)&here, hak_os_page), hak_os_page, &in) == 0;
        errno = saved;
        atomic_store_explicit(&known, has ? YES : NO, memory_order_relaxed);
    }
    return atomic_load_explicit(&known, memory_order_relaxed) == YES;
}

bool hak_os_resident_told(void) {
    if (HAK_DEBUG_BUILD && hak_os_keeps())
        return false; /* resident pages depend on earlier inputs */
    return hak_os_unfiltered() && has_mincore();
}

bool hak_os_resident_known(void) {
    if (hak_os_filter == HAK_FILTER_OWN)
        return false;
    if (hak_os_resident_told())
        return true;
    if (page_map < 0)
        page_map = hak_os_open("/proc/self/pagemap");
    return page_map >= 0;
}

uint64_t hak_os_resident(uintptr_t addr, unsigned pages) {
    int saved = errno;
    uint64_t bits = page_map >= 0 ? resident_by_map(addr, pages) : resident_by_mincore(addr, pages);
    errno = saved;
    return bits;
}

size_t hak_os_resident_count(uintptr_t addr, size_t size) {
    unsigned char in[COUNTED_MOST];
    int saved = errno;
    size_t pages = size / hak_os_page, count = 0;
    bool told = pages <= COUNTED_MOST && mincore((void *)addr, size, in) == 0;
    for (size_t i = 0; told && i < pages; i++)
        count += in[i] & 1;
    errno = saved;
    return count;
}

/* MADV_DOFORK changes nothing in a process whose mappings are all copied at a fork. madvise(2) returns ENOMEM
 * when part of the range is not mapped. The kernel walks mappings, not pages. */
bool hak_os_is_mapped(uintptr_t addr, size_t size) {
    int saved = errno;
    bool mapped = madvise((void *)addr, size, MADV_DOFORK) == 0 || errno != ENOMEM;
    errno = saved;
    return mapped;
}
