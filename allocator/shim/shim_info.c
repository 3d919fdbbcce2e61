/* shim_info.c: libc's calls that report memory use. Layer 6. Sources: mallinfo(3), malloc_info(3),
 * malloc_stats(3); the output of the last two has glibc's form (malloc/malloc.c). usage.h says what each figure
 * means here. Cached and quarantined objects are counted like glibc's fast bin blocks, large objects like its
 * mapped blocks. */
#include "allocator/api/usage.h"
#include "include/hakmem.h"

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

#define EXPORT __attribute__((visibility("default")))

#if !defined(__GLIBC__) /* musl has none; programs built for glibc may call it */
struct mallinfo2 {
    size_t arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks, keepcost;
};
struct mallinfo {
    int arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks, keepcost;
};
#endif

EXPORT struct mallinfo2 mallinfo2(void) {
    hak_usage now;
    hak_usage_read(&now);
    return (struct mallinfo2){
        .arena = now.arena,
        .ordblks = now.rest.count,
        .smblks = now.set_aside.count,
        .hblks = now.large.count,
        .hblkhd = now.large.bytes,
        .usmblks = 0, /* unused, as in mallinfo(3) */
        .fsmblks = now.set_aside.bytes,
        .uordblks = now.used.bytes,
        .fordblks = now.set_aside.bytes + now.rest.bytes,
        .keepcost = now.releasable,
    };
}

static int clamp(size_t n) {
    return n < INT_MAX ? (int)n : INT_MAX;
}

/* The old call, whose fields end at INT_MAX. */
EXPORT struct mallinfo mallinfo(void) {
    struct mallinfo2 now = mallinfo2();
    return (struct mallinfo){
        .arena = clamp(now.arena),
        .ordblks = clamp(now.ordblks),
        .smblks = clamp(now.smblks),
        .hblks = clamp(now.hblks),
        .hblkhd = clamp(now.hblkhd),
        .usmblks = clamp(now.usmblks),
        .fsmblks = clamp(now.fsmblks),
        .uordblks = clamp(now.uordblks),
        .fordblks = clamp(now.fordblks),
        .keepcost = clamp(now.keepcost),
    };
}

/* Prints totals; they appear twice, for the only heap and for all heaps. */
static int print_totals(FILE *stream, const hak_usage *now, const hak_stats *stats, const char *mapped) {
    return fprintf(stream,
                   "<total type=\"fast\" count=\"%zu\" size=\"%zu\"/>\n"
                   "<total type=\"rest\" count=\"%zu\" size=\"%zu\"/>\n"
                   "%s"
                   "<system type=\"current\" size=\"%zu\"/>\n"
                   "<system type=\"max\" size=\"%zu\"/>\n"
                   "<aspace type=\"total\" size=\"%zu\"/>\n"
                   "<aspace type=\"mprotect\" size=\"%zu\"/>\n",
                   now->set_aside.count, now->set_aside.bytes, now->rest.count, now->rest.bytes, mapped,
                   now->arena, now->arena_max, (size_t)stats->mapped_bytes, (size_t)stats->committed_bytes);
}

/* Prints the free slots by class. */
static int print_sizes(FILE *stream, const hak_usage *now) {
    int written = fprintf(stream, "<sizes>\n");
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        size_t to = hak_classes[cls].size, from = cls == 1 ? 0 : hak_classes[cls - 1].size + 1;
        if (now->free_of[cls] != 0 && written >= 0)
            written = fprintf(stream, "  <size from=\"%zu\" to=\"%zu\" total=\"%zu\" count=\"%u\"/>\n", from,
                              to, now->free_of[cls] * to, now->free_of[cls]);
    }
    return written < 0 ? written : fprintf(stream, "</sizes>\n");
}

/* Prints figures for which glibc has no element. */
static int print_own(FILE *stream, const hak_usage *now, const hak_stats *stats) {
    return fprintf(stream,
                   "<objects count=\"%zu\" size=\"%zu\"/>\n"
                   "<slabs size=\"%zu\" superslabs=\"%u\"/>\n"
                   "<metadata size=\"%zu\"/>\n"
                   "<caches count=\"%u\"/>\n",
                   now->used.count + now->large.count, now->used.bytes + now->large.bytes,
                   (size_t)stats->live_slab_bytes, stats->superslabs, (size_t)stats->metadata_bytes,
                   stats->caches);
}

/* Reads all figures before it writes the first: writing may allocate. */
static bool print_info(FILE *stream) {
    hak_usage now;
    hak_stats stats;
    hak_usage_read(&now);
    hak_stats_read(&stats);
    char mapped[96];
    (void)snprintf(mapped, sizeof mapped, "<total type=\"mmap\" count=\"%zu\" size=\"%zu\"/>\n",
                   now.large.count, now.large.bytes);
    bool done =
        fprintf(stream, "<malloc version=\"1\" allocator=\"hakmem-%s\" variant=\"%s\">\n<heap nr=\"0\">\n",
                hak_version(), hak_variant()) >= 0;
    done = done && print_sizes(stream, &now) >= 0 && print_totals(stream, &now, &stats, "") >= 0;
    done = done && fprintf(stream, "</heap>\n") >= 0 && print_totals(stream, &now, &stats, mapped) >= 0;
    return done && print_own(stream, &now, &stats) >= 0 && fprintf(stream, "</malloc>\n") >= 0;
}

/* Prints the one arena, and then the total with large objects, which glibc's manual calls mapped. */
static bool print_stats(FILE *stream) {
    static const char form[] = "%s:\nsystem bytes     = %10zu\nin use bytes     = %10zu\n";
    hak_usage now;
    hak_usage_read(&now);
    flockfile(stream);
    (void)fprintf(stream, form, "Arena 0", now.arena, now.used.bytes);
    (void)fprintf(stream, form, "Total (incl. mmap)", now.arena + now.large.bytes,
                  now.used.bytes + now.large.bytes);
    (void)fprintf(stream, "max mmap regions = %10zu\nmax mmap bytes   = %10zu\n", now.large_max.count,
                  now.large_max.bytes);
    funlockfile(stream);
    return true;
}

/* Calls `print` without cancellation, because these functions are no cancellation points. */
static bool uncancelled(bool (*print)(FILE *stream), FILE *stream) {
    int before, unused;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    bool done = print(stream);
    (void)pthread_setcancelstate(before, &unused);
    return done;
}

EXPORT int malloc_info(int options, FILE *stream) {
    if (options != 0) {
        errno = EINVAL;
        return -1;
    }
    return uncancelled(print_info, stream) ? 0 : -1;
}

EXPORT void malloc_stats(void) {
    int saved = errno;
    (void)uncancelled(print_stats, stderr);
    errno = saved;
}
