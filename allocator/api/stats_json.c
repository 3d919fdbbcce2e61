/* stats_json.c: statistics for programs to read: as JSON (docs/stats.schema.json), on demand and at exit, and
 * as a page that other processes read (docs/STATS.md). Layer 5. */
#include "allocator/api/stats_json.h"

#include "allocator/api/usage.h"
#include "allocator/cache/cache.h"
#include "allocator/heap/large.h"
#include "allocator/life/init.h"
#include "allocator/os/os.h"
#include "allocator/os/os_process.h"
#include "allocator/os/outlet.h"
#include "allocator/os/report.h"
#include "allocator/pages/release.h"
#include "allocator/policy.h"
#include "include/hakmem.h"

#include <stddef.h>
#include <string.h>

/* Writes the text that fits, and counts all of it. */
typedef struct writer {
    char *out;
    size_t size, used;
} writer;

static void put(writer *to, const char *text) {
    for (; *text != '\0'; text++, to->used++)
        if (to->used + 1 < to->size)
            to->out[to->used] = *text;
}

static void put_number(writer *to, uint64_t n) {
    char room[HAK_DIGITS_MAX];
    put(to, hak_digits(room, n, 10));
}

/* Writes `before`, which is all text up to the number, and the number. */
static void put_field(writer *to, const char *before, uint64_t n) {
    put(to, before);
    put_number(to, n);
}

static void put_part(writer *to, const char *before, hak_usage_part part) {
    put_field(to, before, part.count);
    put_field(to, ",\"bytes\":", part.bytes);
    put(to, "}");
}

static void put_usage(writer *to, const hak_usage *now) {
    put_part(to, ",\"small\":{\"count\":", now->used);
    put_part(to, ",\"large\":{\"count\":", now->large);
    put_part(to, ",\"set_aside\":{\"count\":", now->set_aside);
    put_part(to, ",\"free\":{\"count\":", now->rest);
    put_part(to, ",\"large_most\":{\"count\":", now->large_max);
    put_field(to, ",\"arena_bytes\":", now->arena);
    put_field(to, ",\"arena_most_bytes\":", now->arena_max);
    put_field(to, ",\"releasable_bytes\":", now->releasable);
}

static void put_totals(writer *to, const hak_stats *now) {
    put_field(to, ",\"mapped_bytes\":", now->mapped_bytes);
    put_field(to, ",\"committed_bytes\":", now->committed_bytes);
    put_field(to, ",\"metadata_bytes\":", now->metadata_bytes);
    put_field(to, ",\"slab_bytes\":", now->live_slab_bytes);
    put_field(to, ",\"free_dirty_bytes\":", now->free_dirty_bytes);
    put_field(to, ",\"superslabs\":", now->superslabs);
    put_field(to, ",\"caches\":", now->caches);
    put_field(to, ",\"operations\":", now->operations);
    put_field(to, ",\"os\":{\"mmap\":", now->os_mmap);
    put_field(to, ",\"munmap\":", now->os_munmap);
    put_field(to, ",\"madvise\":", now->os_madvise);
    put_field(to, ",\"mprotect\":", now->os_mprotect);
    put(to, "}");
}

/* Writes the classes that have live objects or free slots. */
static void put_classes(writer *to, const hak_usage *now) {
    const char *between = "";
    put(to, ",\"classes\":[");
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        if (now->used_of[cls] + now->free_of[cls] == 0)
            continue;
        put(to, between);
        put_field(to, "{\"size\":", hak_classes[cls].size);
        put_field(to, ",\"live\":", now->used_of[cls]);
        put_field(to, ",\"free\":", now->free_of[cls]);
        put(to, "}");
        between = ",";
    }
    put(to, "]");
}

size_t hak_stats_json(char *out, size_t size) {
    writer to = {out, size, 0};
    hak_usage usage = {.arena = 0};
    hak_stats stats = {.caches = 0};
    if (hak_init()) {
        hak_usage_read(&usage);
        hak_stats_read(&stats);
    }
    put(&to, "{\"hakmem\":\"stats\",\"schema\":1,\"version\":\"" HAK_VERSION_STRING
             "\",\"variant\":\"" HAK_POLICY_NAME "\"");
    put_field(&to, ",\"process\":", hak_os_pid());
    put_usage(&to, &usage);
    put_totals(&to, &stats);
    put_classes(&to, &usage);
    put(&to, "}");
    if (size != 0)
        out[to.used < size ? to.used : size - 1] = '\0';
    return to.used;
}

/* How long to wait for locks. A thread that runs gives them back within microseconds. */
enum { PATIENCE_MS = 1000 };

/* Writes to PATH.PROCESS, like crash reports. Does nothing in a process that filters its own system calls: the
 * kernel might kill it for opening a file. */
void hak_stats_save(const char *path) {
    if (hak_os_filter == HAK_FILTER_OWN || !hak_usage_readable(PATIENCE_MS))
        return;
    static char text[16 * HAK_KIB], name[HAK_STATS_PATH_MOST + 24]; /* static: called once, at exit */
    writer to = {name, sizeof name, 0};
    size_t length = hak_stats_json(text, sizeof text);
    hak_outlet file;
    put(&to, path);
    put_field(&to, ".", hak_os_pid());
    name[to.used] = '\0';
    if (length + 1 >= sizeof text)
        return;
    text[length] = '\n';
    hak_outlet_create(&file, name);
    hak_outlet_send(&file, text, length + 1);
    hak_outlet_close(&file);
}

/* The page. ------------------------------------------------------------------------------------------------ */

#define COUNTER(its_name, variable)                                                                          \
    {.name = (its_name),                                                                                     \
     .address = &(variable),                                                                                 \
     .width = sizeof(variable),                                                                              \
     .count = 1,                                                                                             \
     .stride = sizeof(variable)}
#define COUNTERS(its_name, array)                                                                            \
    {.name = (its_name),                                                                                     \
     .address = (array),                                                                                     \
     .width = sizeof((array)[0]),                                                                            \
     .count = sizeof(array) / sizeof((array)[0]),                                                            \
     .stride = sizeof((array)[0])}

__attribute__((used)) const hak_stats_page hak_stats_map = {
    .magic = {'h', 'a', 'k', 'm', 'e', 'm', ' ', 's', 't', 'a', 't', 's', ' ', 'm', 'a', 'p'},
    .schema = 1,
    .counters_count = HAK_STATS_COUNTERS,
    .self = &hak_stats_map,
    .version = HAK_VERSION_STRING,
    .variant = HAK_POLICY_NAME,
    .counters =
        {
            COUNTER("mapped_bytes", hak_region_mapped),
            COUNTER("committed_bytes", hak_region_committed),
            COUNTER("metadata_bytes", hak_region_metadata),
            COUNTER("slab_bytes", hak_superslab_live_bytes),
            COUNTER("slab_free_dirty_bytes", hak_superslab_free_dirty),
            COUNTER("superslabs", hak_superslabs_live),
            COUNTER("large_bytes", hak_release_large_live),
            COUNTER("large_free_dirty_bytes", hak_release_large_dirty),
            COUNTER("large_objects", hak_large_count),
            COUNTER("large_operations", hak_large_operations),
            COUNTER("caches", hak_caches_live),
            COUNTER("cache_operations", hak_cache_operations),
            COUNTER("os_mmap", hak_os_counts.mmap),
            COUNTER("os_munmap", hak_os_counts.munmap),
            COUNTER("os_madvise", hak_os_counts.madvise),
            COUNTER("os_mprotect", hak_os_counts.mprotect),
            COUNTERS("class_out", hak_cache_out),
            {.name = "class_size",
             .address = &hak_classes[0].size,
             .width = sizeof hak_classes[0].size,
             .count = HAK_TAGS,
             .stride = sizeof hak_classes[0]},
        },
};
