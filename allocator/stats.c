/* stats.c: see stats.h. */
#include "allocator/stats.h"

#include "allocator/cache/cache.h"
#include "allocator/heap/large.h"
#include "allocator/os/os.h"
#include "allocator/os/report.h"
#include "allocator/pages/release.h"
#include "allocator/policy.h"
#include "include/hakmem.h"

static size_t load(const _Atomic size_t *counter) {
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void hak_stats_read(hak_stats *out) {
    *out = (hak_stats){
        .mapped_bytes = load(&hak_region_mapped),
        .committed_bytes = load(&hak_region_committed),
        .live_slab_bytes = load(&hak_superslab_live_bytes),
        .live_large_bytes = load(&hak_release_large_live),
        .free_dirty_bytes = load(&hak_superslab_free_dirty) + load(&hak_release_large_dirty),
        .metadata_bytes = load(&hak_region_metadata),
        .live_objects = hak_cache_objects() + load(&hak_large_count),
        .operations = load(&hak_cache_operations) + load(&hak_large_operations),
        .os_mmap = load(&hak_os_counts.mmap),
        .os_munmap = load(&hak_os_counts.munmap),
        .os_madvise = load(&hak_os_counts.madvise),
        .os_mprotect = load(&hak_os_counts.mprotect),
        .caches = (uint32_t)load(&hak_caches_live),
        .superslabs = (uint32_t)load(&hak_superslabs_live),
    };
}

static void line_count(hak_line *line, const char *before, uint64_t n) {
    hak_line_text(line, before);
    hak_line_number(line, n);
}

/* n / d in the form 1.25e-7. */
static void line_ratio(hak_line *line, uint64_t n, uint64_t d) {
    unsigned exponent = 0;
    while (n != 0 && n < d && exponent < 18) { /* n stays below 2^64, because it counts system calls */
        n *= 10;
        exponent++;
    }
    uint64_t hundredths = d == 0 ? 0 : n * 100 / d;
    hak_line_number(line, hundredths / 100);
    hak_line_text(line, hundredths % 100 < 10 ? ".0" : ".");
    hak_line_number(line, hundredths % 100);
    hak_line_text(line, exponent == 0 ? "e-0" : "e-");
    if (exponent != 0)
        hak_line_number(line, exponent);
}

void hak_stats_report_os(void) {
    hak_stats now;
    hak_stats_read(&now);
    uint64_t calls = now.os_mmap + now.os_munmap + now.os_madvise + now.os_mprotect;
    hak_line line;
    hak_line_begin(&line);
    hak_line_text(&line, "OS statistics: ");
    line_count(&line, "mmap ", now.os_mmap);
    line_count(&line, ", munmap ", now.os_munmap);
    line_count(&line, ", madvise ", now.os_madvise);
    line_count(&line, ", mprotect ", now.os_mprotect);
    line_count(&line, ", total ", calls);
    line_count(&line, ", operations (counted at refill, flush and large calls) ", now.operations);
    hak_line_text(&line, ", system calls per operation ");
    line_ratio(&line, calls, now.operations);
    hak_line_end(&line);
}
