/* crash_report.c: see crash_report.h. */
#include "hardening/crash_report.h"

#include "allocator/os.h"
#include "allocator/os_process.h"
#include "allocator/report.h"
#include "hardening/locate.h"
#include "hardening/sample.h"

#include <errno.h>
#include <string.h>

enum {
    STACK_MAX = 16,
    HEX_BEFORE = 16, /* bytes shown around the wrong one */
    HEX_SHOWN = 48,
    STDERR = 2,
    HAK_PATH_MOST = 4096, /* PATH_MAX */
};

/* Where a report goes. */
typedef struct outlet {
    int file; /* -1: none */
} outlet;

static _Atomic unsigned reporter; /* the thread that reports */

static void send_bytes(const outlet *to, const char *text, size_t size) {
    hak_os_write(STDERR, text, size);
    if (to->file >= 0)
        hak_os_write(to->file, text, size);
}

static void send(const outlet *to, hak_line *line) {
    line->text[line->used++] = '\n';
    send_bytes(to, line->text, line->used);
}

static void begin(hak_line *line, const char *word) {
    hak_line_begin(line);
    hak_line_text(line, "  ");
    hak_line_text(line, word);
    hak_line_text(line, ": ");
}

static const char *state_name(uint32_t word) {
    static const char *const names[] = {"never given out", "live", "freed", "held back"};
    return names[word & HAK_RECORD_STATE];
}

static const char *family_name(uint32_t word) {
    static const char *const names[] = {"malloc", "new", "new[]", "?"};
    return names[word >> HAK_RECORD_FAMILY_SHIFT & 3];
}

static void line_first(hak_line *line, const hak_crime *crime) {
    hak_line_begin(line);
    hak_line_text(line, crime->name);
    hak_line_text(line, ": ");
    hak_line_text(line, crime->call);
    hak_line_text(line, "(");
    hak_line_hex(line, crime->addr);
    hak_line_text(line, "): ");
    hak_line_text(line, crime->what);
}

/* A distance with its sign. */
static void line_offset(hak_line *line, uintptr_t addr, uintptr_t obj) {
    hak_line_text(line, addr < obj ? "-" : "+");
    hak_line_number(line, addr < obj ? obj - addr : addr - obj);
}

static void line_object(hak_line *line, const hak_crime *crime, const hak_located *found) {
    static const char *const kinds[] = {"", "slot", "large object", "sampled object"};
    begin(line, "object");
    hak_line_hex(line, found->obj);
    hak_line_text(line, ", ");
    hak_line_text(line, kinds[found->where]);
    hak_line_text(line, ", requested ");
    hak_line_number(line, found->size);
    hak_line_text(line, " bytes, room for ");
    hak_line_number(line, found->room);
    if (found->where == HAK_WHERE_SLOT) {
        hak_line_text(line, ", class ");
        hak_line_number(line, found->cls);
    }
    hak_line_text(line, ", ");
    hak_line_text(line, state_name(found->word));
    if (hak_record_state(found->word) == HAK_SLOT_LIVE) {
        hak_line_text(line, ", made by ");
        hak_line_text(line, family_name(found->word));
        hak_line_text(line, ", aligned to ");
        hak_line_number(line, 1u << (found->word >> HAK_RECORD_ALIGN_SHIFT & 31));
    }
    hak_line_text(line, ", address is at ");
    line_offset(line, crime->addr, found->obj);
}

static void line_bad(hak_line *line, const hak_crime *crime, const hak_located *found) {
    begin(line, "byte");
    hak_line_hex(line, crime->bad);
    hak_line_text(line, ", at ");
    line_offset(line, crime->bad, found->obj);
    hak_line_text(line, " of the object");
}

static void line_hex(hak_line *line, uintptr_t around) {
    unsigned char bytes[HEX_SHOWN];
    uintptr_t from = around > HEX_BEFORE ? hak_align_down(around - HEX_BEFORE, 8) : 0;
    size_t got = hak_os_read(bytes, from, sizeof bytes);
    begin(line, "bytes");
    hak_line_hex(line, from);
    hak_line_text(line, got == 0 ? ": not readable" : ":");
    for (size_t i = 0; i < got; i++) {
        char text[4] = {from + i == around ? '>' : ' ', "0123456789abcdef"[bytes[i] >> 4],
                        "0123456789abcdef"[bytes[i] & 15], 0};
        hak_line_text(line, text);
    }
}

static void line_stack(hak_line *line, const char *word, const uintptr_t *stack, unsigned count) {
    begin(line, word);
    for (unsigned i = 0; i < count && stack[i] != 0; i++) {
        hak_line_text(line, i == 0 ? "" : " ");
        hak_line_hex(line, stack[i]);
    }
}

static void line_thread(hak_line *line) {
    begin(line, "thread");
    hak_line_number(line, hak_os_tid());
    hak_line_text(line, " of process ");
    hak_line_number(line, hak_os_pid());
}

/* Some of the stack, read at once: a system call for each frame would be most of what a sampled object costs. */
typedef struct window {
    uintptr_t from, words[128];
    size_t size;
} window;

/* The frame record at `frame`: the caller's frame and the return address. False: not readable. */
static bool frame_read(window *seen, uintptr_t frame, uintptr_t record[2]) {
    const size_t bytes = 2 * sizeof(uintptr_t);
    if (seen->size < bytes || frame < seen->from || frame - seen->from > seen->size - bytes) {
        seen->from = frame;
        seen->size = hak_os_read(seen->words, frame, sizeof seen->words);
        if (seen->size < bytes)
            return false;
    }
    memcpy(record, (const char *)seen->words + (frame - seen->from), bytes);
    return true;
}

unsigned hak_stack_walk(uintptr_t frame, uintptr_t *out, unsigned most) {
    unsigned count = 0;
    window seen;
    seen.size = 0;
    for (uintptr_t record[2]; count < most && frame != 0 && frame % sizeof(void *) == 0; frame = record[0]) {
        if (!frame_read(&seen, frame, record) || record[1] < 4096)
            break;
        out[count++] = record[1];
        if (record[0] <= frame ||
            record[0] - frame > HAK_MIB) /* the stack grows down; this is no frame pointer */
            break;
    }
    return count;
}

/* True when one of the addresses lies in the line's mapping, which looks like `7f00-7f80 r-xp 00001000 ... name`. */
HAK_UNSEEN static bool maps_one_of(const char *text, const uintptr_t *stack, unsigned count) {
    uintptr_t bounds[2] = {0, 0};
    for (int i = 0; i < 2; i++, text++)
        for (; (*text >= '0' && *text <= '9') || (*text >= 'a' && *text <= 'f'); text++)
            bounds[i] = bounds[i] * 16 + (uintptr_t)(*text <= '9' ? *text - '0' : *text - 'a' + 10);
    for (unsigned i = 0; i < count; i++)
        if (stack[i] - bounds[0] < bounds[1] - bounds[0])
            return true;
    return false;
}

/* Paths may be longer than a line has room for, and a path that is cut off names no file. */
static void send_map(const outlet *to, const char *text) {
    hak_line line;
    begin(&line, "map");
    send_bytes(to, line.text, line.used);
    send_bytes(to, text, strlen(text));
    send_bytes(to, "\n", 1);
}

/* The lines of the process's map that the stacks lead to: what tools/explain needs to name functions. */
static void send_maps(const outlet *to, const uintptr_t *stack, unsigned count) {
    int file = hak_os_filter == HAK_FILTER_OWN ? -1 : hak_os_open("/proc/self/maps");
    char text[HAK_PATH_MOST + 128];
    size_t have = 0, more;
    while (file >= 0 && (more = hak_os_load(file, text + have, sizeof text - have)) != 0) {
        have += more;
        for (char *end; (end = memchr(text, '\n', have)) != NULL;) {
            *end = 0;
            if (maps_one_of(text, stack, count))
                send_map(to, text);
            have -= (size_t)(end + 1 - text);
            memmove(text, end + 1, have);
        }
        if (have == sizeof text)
            have = 0; /* no line is that long */
    }
    if (file >= 0)
        hak_os_close(file);
}

/* What to do next. What a sampled object would tell is there already when the object was one. */
static const char *advice(const char *crime, bool sampled) {
    static const struct {
        const char *crime, *text, *sampled;
    } table[] = {
        {HAK_CRIME_DOUBLE_FREE,
         "two owners end one object; find who freed it first: HAKMEM_SAMPLE_RATE=1 adds both stacks",
         "two owners end one object: `freed` is the first to do so, `stack` the second"},
        {HAK_CRIME_INVALID_FREE, "the pointer never came from malloc; look at where it was last assigned",
         NULL},
        {HAK_CRIME_INTERIOR_FREE,
         "the pointer was moved since malloc returned it; free the one that malloc returned", NULL},
        {HAK_CRIME_MISALIGNED_FREE,
         "the pointer was moved since malloc returned it; free the one that malloc returned", NULL},
        {HAK_CRIME_REALLOC,
         "the pointer is not that of a live object; HAKMEM_SAMPLE_RATE=1 adds who made and who freed it",
         "the pointer is not that of a live object: see `allocated` and `freed`"},
        {HAK_CRIME_USABLE,
         "the pointer is not that of a live object; HAKMEM_SAMPLE_RATE=1 adds who made and who freed it",
         "the pointer is not that of a live object: see `allocated` and `freed`"},
        {HAK_CRIME_FAMILY,
         "use the function that belongs to the one that made the object; "
         "HAKMEM_HARDENING=family:off tolerates it",
         NULL},
        {HAK_CRIME_SIZE,
         "the size is not what was asked for; with delete: a wrong static type; "
         "HAKMEM_HARDENING=size:off tolerates it",
         NULL},
        {HAK_CRIME_ALIGNMENT,
         "use the delete with the same alignment; HAKMEM_HARDENING=alignment:off tolerates it", NULL},
        {HAK_CRIME_OVERFLOW, "HAKMEM_SAMPLE_RATE=1 stops at the very instruction that writes",
         "the write did not reach the guard; look at what writes to the object that `allocated` made"},
        {HAK_CRIME_UNDERFLOW, "HAKMEM_SAMPLE_RATE=1 stops at the very instruction that writes",
         "the write did not reach the guard; look at what writes to the object that `allocated` made"},
        {HAK_CRIME_WRITE,
         "HAKMEM_SAMPLE_RATE=1 stops at the very instruction that writes, and says who freed the object",
         NULL},
        {HAK_CRIME_BOUNDS,
         "`stack` begins with the very instruction; HAKMEM_SAMPLE_RATE=1 adds who made the object",
         "`stack` begins with the very instruction, `allocated` says who made the object"},
        {HAK_CRIME_USE,
         "`stack` begins with the very instruction; HAKMEM_SAMPLE_RATE=1 adds who freed the object",
         "`stack` begins with the very instruction, `freed` says who ended the object before"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strcmp(table[i].crime, crime) == 0)
            return sampled && table[i].sampled != NULL ? table[i].sampled : table[i].text;
    return "tools/explain turns this report into names of functions";
}

/* One line, every field a number or one of our own literals: nothing needs an escape. */
static void send_json(const outlet *to, const hak_crime *crime, const hak_located *found) {
    hak_line line = {.used = 0};
    const struct {
        const char *key;
        uint64_t value;
    } fields[] = {{"address", crime->addr},  {"object", found->obj},   {"requested", found->size},
                  {"room", found->room},     {"class", found->cls},    {"bad_byte", crime->bad},
                  {"caller", crime->caller}, {"thread", hak_os_tid()}, {"process", hak_os_pid()}};
    hak_line_text(&line, "{\"hakmem\":\"crime\",\"crime\":\"");
    hak_line_text(&line, crime->name);
    hak_line_text(&line, "\",\"call\":\"");
    hak_line_text(&line, crime->call);
    hak_line_text(&line, "\",\"what\":\"");
    hak_line_text(&line, crime->what);
    hak_line_text(&line, "\",\"state\":\"");
    hak_line_text(&line, found->where == HAK_WHERE_NOWHERE ? "not on the heap" : state_name(found->word));
    hak_line_text(&line, "\"");
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        hak_line_text(&line, ",\"");
        hak_line_text(&line, fields[i].key);
        hak_line_text(&line, "\":");
        hak_line_number(&line, fields[i].value);
    }
    hak_line_text(&line, "}");
    send(to, &line);
}

/* HAKMEM_REPORT_PATH.<process id> */
static int open_copy(void) {
    if (hak_hardening.report_path[0] == 0 || hak_os_filter == HAK_FILTER_OWN)
        return -1;
    hak_line line = {.used = 0};
    hak_line_text(&line, hak_hardening.report_path);
    hak_line_text(&line, ".");
    hak_line_number(&line, hak_os_pid());
    line.text[line.used] = 0;
    return hak_os_create(line.text);
}

static void send_stacks(const outlet *to, const hak_crime *crime, const hak_located *found) {
    uintptr_t all[3 * STACK_MAX + 1] = {crime->caller};
    unsigned count = crime->caller != 0;
    uintptr_t frame = crime->frame != 0 ? crime->frame : (uintptr_t)__builtin_frame_address(0);
    count += hak_stack_walk(frame, all + count, STACK_MAX);
    hak_line line;
    line_stack(&line, "stack", all, count);
    send(to, &line);
    if (found->sample != NULL) {
        unsigned made = 0, freed = 0;
        for (; made < HAK_SAMPLE_STACK && found->sample->made[made] != 0; made++)
            all[count++] = found->sample->made[made];
        line_stack(&line, "allocated", found->sample->made, made);
        send(to, &line);
        for (; freed < HAK_SAMPLE_STACK && found->sample->freed[freed] != 0; freed++)
            all[count++] = found->sample->freed[freed];
        line_stack(&line, "freed", found->sample->freed, freed);
        if (freed != 0)
            send(to, &line);
    }
    send_maps(to, all, count);
}

static void send_details(const outlet *to, const hak_crime *crime) {
    hak_located found = {HAK_WHERE_NOWHERE, 0, 0, 0, 0, 0, NULL};
    hak_line line;
    if (hak_locate(crime->addr, &found)) {
        if (crime->was_live)
            found.word = (found.word & ~(uint32_t)HAK_RECORD_STATE) | HAK_SLOT_LIVE;
        line_object(&line, crime, &found);
        send(to, &line);
    }
    if (crime->bad != 0) {
        line_bad(&line, crime, &found);
        send(to, &line);
    }
    line_hex(&line, crime->bad != 0 ? crime->bad : crime->addr);
    send(to, &line);
    line_thread(&line);
    send(to, &line);
    send_stacks(to, crime, &found);
    begin(&line, "next");
    hak_line_text(&line, advice(crime->name, found.sample != NULL));
    send(to, &line);
    if (hak_hardening.report_json)
        send_json(to, crime, &found);
}

/* One thread reports at a time. In a process that dies the others wait for that; a second report of one thread, from
 * a fault while it reports, ends at once. */
static void take_turn(void) {
    unsigned self = hak_os_tid(), expected = 0;
    while (!atomic_compare_exchange_strong(&reporter, &expected, self)) {
        if (expected == self)
            hak_os_abort();
        expected = 0;
        hak_os_sleep(1);
    }
}

void hak_crash_report_reset(void) {
    atomic_store(&reporter, 0);
}

void hak_crime_report(const hak_crime *crime) {
    int saved = errno;
    take_turn();
    outlet to = {open_copy()};
    hak_line line;
    line_first(&line, crime);
    send(&to, &line);
    send_details(&to, crime);
    if (to.file >= 0)
        hak_os_close(to.file);
    /* The handler that a fuzzer had before ours would end its run: fuzz/verdict.c waits for the abort. */
    bool ends_here = !crime->is_fault || HAK_DEBUG_BUILD;
    if (hak_mode_of(crime->check) != HAK_MODE_REPORT && ends_here)
        hak_os_abort();
    atomic_store(&reporter, 0);
    errno = saved;
}
