/* stats_signal.c: see stats_signal.h. The handler and all that it calls are async-signal-safe. They keep only a
 * number between signals, and take no lock. So several threads may be here at the same time, a fork may come
 * between, and the interrupted thread may hold any lock. The stack may be small, so the text is written in
 * pieces. */
#include "allocator/api/stats_signal.h"

#include "allocator/api/stats_json.h"
#include "allocator/options.h"
#include "allocator/os/os.h"
#include "allocator/os/os_process.h"
#include "allocator/os/outlet.h"
#include "allocator/os/report.h"

#include <stdatomic.h>
#include <string.h>

enum { PIECE = HAK_STATS_PATH_MOST + 40 }; /* must also hold the path with two numbers */

static void put_number(hak_pieces *to, uint64_t n) {
    char room[HAK_DIGITS_MAX];
    hak_pieces_text(to, hak_digits(room, n, 10));
}

static void put_field(hak_pieces *to, const char *name, uint64_t n) {
    hak_pieces_text(to, ",\"");
    hak_pieces_text(to, name);
    hak_pieces_text(to, "\":");
    put_number(to, n);
}

static uint64_t value_of(const hak_stats_counter *counter, uint32_t i) {
    const char *at = (const char *)counter->address + (size_t)i * counter->stride;
    return counter->width == sizeof(uint64_t)
               ? atomic_load_explicit((const _Atomic uint64_t *)(const void *)at, memory_order_relaxed)
               : atomic_load_explicit((const _Atomic uint32_t *)(const void *)at, memory_order_relaxed);
}

/* Writes the classes that have objects in caches or in the program. */
static void put_classes(hak_pieces *to, const hak_stats_counter *size, const hak_stats_counter *out) {
    const char *between = "{\"size\":";
    hak_pieces_text(to, ",\"classes\":[");
    for (uint32_t i = 0; i < size->count && i < out->count; i++) {
        if (value_of(size, i) == 0 || value_of(out, i) == 0)
            continue;
        hak_pieces_text(to, between);
        put_number(to, value_of(size, i));
        put_field(to, "out", value_of(out, i));
        hak_pieces_text(to, "}");
        between = ",{\"size\":";
    }
    hak_pieces_text(to, "]");
}

static void put_page(hak_pieces *to, const hak_stats_page *page) {
    const hak_stats_counter *size = NULL, *out = NULL;
    hak_pieces_text(to, "{\"hakmem\":\"stat\",\"schema\":1,\"version\":\"");
    hak_pieces_text(to, page->version);
    hak_pieces_text(to, "\",\"variant\":\"");
    hak_pieces_text(to, page->variant);
    hak_pieces_text(to, "\"");
    put_field(to, "process", hak_os_pid());
    for (uint32_t i = 0; i < page->counters_count; i++) {
        const hak_stats_counter *counter = &page->counters[i];
        if (strcmp(counter->name, "class_size") == 0)
            size = counter;
        else if (strcmp(counter->name, "class_out") == 0)
            out = counter;
        else
            put_field(to, counter->name, value_of(counter, 0));
    }
    if (size != NULL && out != NULL)
        put_classes(to, size, out);
    hak_pieces_text(to, "}\n");
}

/* Does nothing in a process that filters its own system calls: the kernel might kill it for opening a file. */
static void handler(void) {
    static _Atomic unsigned number;
    char piece[PIECE];
    hak_pieces to = {.text = piece, .size = sizeof piece};
    if (hak_os_filter == HAK_FILTER_OWN)
        return;
    hak_pieces_text(&to, hak_option.stats_path);
    hak_pieces_text(&to, ".");
    put_number(&to, hak_os_pid());
    hak_pieces_text(&to, ".");
    put_number(&to, atomic_fetch_add_explicit(&number, 1, memory_order_relaxed) + 1);
    piece[to.used] = '\0';
    hak_outlet_create(&to.file, piece);
    to.used = 0;
    put_page(&to, &hak_stats_map);
    hak_pieces_flush(&to);
    hak_outlet_close(&to.file);
}

void hak_stats_signal_begin(void) {
    if (hak_option.stats_signal == 0)
        return;
    const char *name = hak_options_text("HAKMEM_STATS_SIGNAL");
    if (!hak_os_on_signal(hak_option.stats_signal, handler))
        hak_options_complain("HAKMEM_STATS_SIGNAL", name != NULL ? name : "",
                             "a signal that the process neither handles nor ignores", "none");
}
