/* profile_save.c: see profile_save.h. docs/PROFILE.md describes the file: text, one stack per line, then the
 * process's mappings. Writing takes no lock: stacks are only ever added, and their counts are read atomically.
 * Layer 5. */
#include "allocator/api/profile_save.h"

#include "allocator/heap/profile.h"
#include "allocator/life/init.h"
#include "allocator/options.h"
#include "allocator/os/os.h"
#include "allocator/os/os_process.h"
#include "allocator/os/outlet.h"
#include "allocator/os/report.h"
#include "allocator/policy.h"
#include "include/hakmem.h"

#include <string.h>

enum {
    ROOM = 2048, /* bytes on the stack, which is small in some programs */
    PLACES = 8,  /* call sites in a leak report */
    FRAMES = 16, /* return addresses per call site */
    PATH_MOST = 240 + 16,
};

static void put_number(hak_pieces *to, const char *before, uint64_t n, unsigned base) {
    char room[HAK_DIGITS_MAX];
    hak_pieces_text(to, before);
    hak_pieces_text(to, hak_digits(room, n, base));
}

/* Rounds a count in units of 2^-16 to whole objects. */
static uint64_t whole(uint64_t objects) {
    return (objects + (1 << 15)) >> 16;
}

static void put_stack(hak_pieces *to, const hak_profile_stack *stack) {
    put_number(to, "stack: ", whole(HAK_GLANCE(stack->live_objects)), 10);
    put_number(to, " ", HAK_GLANCE(stack->live_bytes), 10);
    put_number(to, " ", whole(HAK_GLANCE(stack->made_objects)), 10);
    put_number(to, " ", HAK_GLANCE(stack->made_bytes), 10);
    put_number(to, " ", HAK_GLANCE(stack->live_samples), 10);
    put_number(to, " ", HAK_GLANCE(stack->samples), 10);
    for (unsigned i = 0; i < stack->depth; i++)
        put_number(to, " 0x", stack->frames[i], 16);
    hak_pieces_text(to, "\n");
}

static void put_maps(hak_pieces *to) {
    int file = hak_os_open("/proc/self/maps");
    char piece[512];
    hak_pieces_text(to, "maps:\n");
    for (size_t got; file >= 0 && (got = hak_os_load(file, piece, sizeof piece)) != 0;)
        hak_pieces_put(to, piece, got);
    if (file >= 0)
        hak_os_close(file);
}

/* Does nothing in a process that filters its own system calls: the kernel might kill it for opening a file. */
static void save(const char *path) {
    char text[ROOM];
    hak_pieces to = {.text = text, .size = sizeof text};
    if (hak_os_filter == HAK_FILTER_OWN)
        return;
    hak_outlet_create(&to.file, path);
    hak_pieces_text(&to,
                    "hakmem heap profile 1\nversion: " HAK_VERSION_STRING "\nvariant: " HAK_POLICY_NAME "\n");
    put_number(&to, "process: ", hak_os_pid(), 10);
    put_number(&to, "\nrate: ", hak_profile_rate, 10);
    put_number(&to, "\nlost: ", atomic_load_explicit(&hak_profile_lost, memory_order_relaxed), 10);
    hak_pieces_text(&to, "\n");
    for (const hak_profile_stack *stack = hak_profile_stacks(); stack != NULL; stack = stack->older)
        put_stack(&to, stack);
    put_maps(&to);
    hak_pieces_text(&to, "end\n");
    hak_pieces_flush(&to);
    hak_outlet_close(&to.file);
}

size_t hak_profile_save(const char *path) {
    if (!hak_init() || hak_profile_rate == 0)
        return 0;
    save(path);
    return hak_profile_rate;
}

static void say_place(const hak_profile_stack *stack) {
    hak_line line;
    hak_line_begin(&line);
    hak_line_text(&line, "  ");
    hak_line_number(&line, HAK_GLANCE(stack->live_bytes));
    hak_line_text(&line, " bytes in ");
    hak_line_number(&line, whole(HAK_GLANCE(stack->live_objects)));
    hak_line_text(&line, " objects, allocated at");
    for (unsigned i = 0; i < stack->depth && i < FRAMES; i++) {
        hak_line_text(&line, " ");
        hak_line_hex(&line, stack->frames[i]);
    }
    hak_line_end(&line);
}

/* The stack that follows `before` in the order of falling live bytes; among equals, newer stacks come first.
 * `before` NULL: the first. Returns NULL at the end. */
static const hak_profile_stack *next_place(const hak_profile_stack *before) {
    const hak_profile_stack *best = NULL;
    bool passed = false;
    for (const hak_profile_stack *one = hak_profile_stacks(); one != NULL; one = one->older) {
        uint64_t bytes = HAK_GLANCE(one->live_bytes);
        bool after = before == NULL || bytes < before->live_bytes || (bytes == before->live_bytes && passed);
        passed |= one == before;
        if (bytes != 0 && after && (best == NULL || bytes > best->live_bytes))
            best = one;
    }
    return best;
}

static void say_leaks(void) {
    uint64_t objects = 0, bytes = 0, places = 0, samples = 0;
    for (const hak_profile_stack *one = hak_profile_stacks(); one != NULL; one = one->older) {
        objects += one->live_objects;
        bytes += one->live_bytes;
        samples += one->live_samples;
        places += one->live_samples != 0;
    }
    hak_line line;
    hak_line_begin(&line);
    hak_line_text(&line, "live at exit: ");
    hak_line_number(&line, bytes);
    hak_line_text(&line, " bytes in ");
    hak_line_number(&line, whole(objects));
    hak_line_text(&line, " objects of ");
    hak_line_number(&line, places);
    hak_line_text(&line, " places, by ");
    hak_line_number(&line, samples);
    hak_line_text(&line, " samples");
    hak_line_end(&line);
    const hak_profile_stack *place = NULL;
    for (unsigned i = 0; i < PLACES && (place = next_place(place)) != NULL; i++)
        say_place(place);
}

/* Writes to PATH.PROCESS, like statistics and crash reports. */
void hak_profile_at_exit(void) {
    if (hak_option.heap_path != NULL) {
        char path[PATH_MOST], room[HAK_DIGITS_MAX];
        size_t length = strlen(hak_option.heap_path);
        memcpy(path, hak_option.heap_path, length);
        path[length] = '.';
        strcpy(path + length + 1, hak_digits(room, hak_os_pid(), 10));
        save(path);
    }
    if (hak_option.heap_leaks)
        say_leaks();
}
