/* stats_json.h: figures for machines. Layer 5. hak_stats_json is in include/hakmem.h. */
#ifndef HAK_STATS_JSON_H
#define HAK_STATS_JSON_H

#include "allocator/base/base.h"

enum { HAK_STATS_COUNTERS = 18, HAK_STATS_PATH_MOST = 240 };

/* Writes hak_stats_json's text to the new file PATH.<process id>; at exit, what HAKMEM_STATS=PATH asks for. */
void hak_stats_save(const char *path);

/* Where the counters are that another process may read, while this one runs and knows nothing of it: docs/STATS.md
 * describes it. It lies in a mapping of the library's file, which is read-only after start. Whoever looks for it
 * looks for `magic` at addresses that are multiples of 16, and then whether `self` is where it was found. */
typedef struct hak_stats_counter {
    char name[24];       /* ends in a 0 */
    const void *address; /* of the first; unsigned, little-endian, in step with nothing */
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
