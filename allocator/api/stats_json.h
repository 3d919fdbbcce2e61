/* stats_json.h: statistics for programs to read. Layer 5. hak_stats_json is in include/hakmem.h. */
#ifndef HAK_STATS_JSON_H
#define HAK_STATS_JSON_H

#include "allocator/base/base.h"

enum { HAK_STATS_COUNTERS = 18, HAK_STATS_PATH_MOST = 240 };

/* Writes the text of hak_stats_json to the new file PATH.<process id>. Called at exit, for HAKMEM_STATS=PATH. */
void hak_stats_save(const char *path);

/* A page that tells another process where this process's counters are, so that it can read them without this
 * process noticing; docs/STATS.md describes it. It lies in a mapping of the library's file that is read-only
 * after start. A reader looks for `magic` at addresses that are multiples of 16, and then checks that `self` is
 * the address found. */
typedef struct hak_stats_counter {
    char name[24];       /* ended by a 0 */
    const void *address; /* of the first value; unsigned, little-endian, each updated on its own */
    uint32_t width, count, stride, unused;
} hak_stats_counter;

typedef struct hak_stats_page {
    char magic[16];
    uint32_t schema, counters_count;
    const void *self;
    char version[16], variant[16];
    hak_stats_counter counters[HAK_STATS_COUNTERS];
} __attribute__((aligned(16))) hak_stats_page;

extern HAK_HIDDEN const hak_stats_page hak_stats_map;

#endif
