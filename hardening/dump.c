/* dump.c: see dump.h. */
#include "hardening/dump.h"

#include "allocator/os/os_process.h"
#include "hardening/canary.h"
#include "hardening/locate.h"
#include "hardening/sample.h"

#include <string.h>

enum {
    EDGE = HAK_CANARY_BYTES - 1
}; /* a canary may begin before the first byte shown, and end after the last */

static void hide(hak_dump *dump, uintptr_t from, size_t count) {
    for (uintptr_t at = from; at < from + count; at++)
        if (at - dump->from < dump->got)
            dump->hidden |= (uint64_t)1 << (at - dump->from);
}

/* True for an intact byte in the place of a canary: behind the object that lies there, whatever its state. */
static bool is_marked(uintptr_t addr, unsigned char byte, const hak_located *found) {
    uintptr_t end = found->obj + found->size;
    if (found->where == HAK_WHERE_SAMPLED)
        return addr - found->obj >= found->size && byte == hak_sample_filler(found->sample);
    return addr - end < HAK_CANARY_BYTES &&
           byte == (unsigned char)(hak_canary_at((void *)end) >> (8 * (addr - end)));
}

static void hide_by_place(hak_dump *dump) {
    hak_located found = {.where = HAK_WHERE_NOWHERE};
    for (size_t i = 0; i < dump->got; i++) {
        uintptr_t addr = dump->from + i;
        bool inside = found.where != HAK_WHERE_NOWHERE && addr - found.obj < found.size;
        if (!inside && hak_locate(addr, &found) && is_marked(addr, dump->bytes[i], &found))
            dump->hidden |= (uint64_t)1 << i;
    }
}

/* Hides canaries by their value: those of objects that were longer or shorter before, or that another thread
 * frees now. */
static void hide_by_value(hak_dump *dump) {
    unsigned char text[EDGE + HAK_DUMP_BYTES + EDGE];
    size_t before = hak_os_read(text, dump->from - EDGE, EDGE) == EDGE ? EDGE : 0;
    memcpy(text + before, dump->bytes, dump->got);
    size_t all = before + dump->got;
    all += hak_os_read(text + all, dump->from + dump->got, EDGE);
    for (size_t i = 0; i + HAK_CANARY_BYTES <= all; i++) {
        uintptr_t addr = dump->from - before + i;
        if (*(const hak_unaligned64 *)(text + i) == hak_canary_at((void *)addr))
            hide(dump, addr, HAK_CANARY_BYTES);
    }
}

void hak_dump_read(hak_dump *out, uintptr_t around) {
    out->from = around > HAK_DUMP_BEFORE + EDGE ? hak_align_down(around - HAK_DUMP_BEFORE, 8) : EDGE + 1;
    out->got = hak_os_read(out->bytes, out->from, sizeof out->bytes);
    out->hidden = 0;
    hide_by_place(out);
    hide_by_value(out);
}
