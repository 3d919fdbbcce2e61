/* crash_report.c: see crash_report.h. */
#include "hardening/crash_report.h"

#include "allocator/base/probe.h"
#include "allocator/os/death.h"
#include "allocator/os/os.h"
#include "allocator/os/os_process.h"
#include "allocator/os/outlet.h"
#include "allocator/os/report.h"
#include "allocator/os/stack_walk.h"
#include "hardening/advice.h"
#include "hardening/dump.h"
#include "hardening/locate.h"
#include "hardening/mte.h"
#include "hardening/sample.h"

#include <errno.h>
#include <string.h>

enum {
    STACK_MAX = 16,
    HAK_PATH_MOST = 4096, /* PATH_MAX */
};

/* All of this belongs to the thread that has the turn (death.h). */
static hak_line line;
static hak_outlet to;
static uintptr_t addresses[3 * STACK_MAX + 1]; /* all return addresses of a report's stacks */
static hak_located found;
static uintptr_t walk_from; /* a frame */

static void send(void) {
    line.text[line.used++] = '\n';
    hak_outlet_send(&to, line.text, line.used);
}

static void begin(const char *word) {
    hak_line_begin(&line);
    hak_line_text(&line, "  ");
    hak_line_text(&line, word);
    hak_line_text(&line, ": ");
}

static const char *state_name(uint32_t word) {
    static const char *const names[] = {"never given out", "live", "freed", "held back"};
    return names[word & HAK_RECORD_STATE];
}

static const char *family_name(unsigned family) {
    static const char *const names[] = {"malloc", "new", "new[]", "?"};
    return names[family & 3];
}

/* Adds the distance with its sign. */
static void line_offset(uintptr_t addr, uintptr_t obj) {
    hak_line_text(&line, addr < obj ? "-" : "+");
    hak_line_number(&line, addr < obj ? obj - addr : addr - obj);
}

static void send_object(const hak_error *error) {
    static const char *const kinds[] = {"", "slot", "large object", "sampled object"};
    begin("object");
    hak_line_hex(&line, found.obj);
    hak_line_text(&line, ", ");
    hak_line_text(&line, kinds[found.where]);
    hak_line_text(&line, ", requested ");
    hak_line_number(&line, found.size);
    hak_line_text(&line, " bytes, room for ");
    hak_line_number(&line, found.room);
    if (found.where == HAK_WHERE_SLOT) {
        hak_line_text(&line, ", class ");
        hak_line_number(&line, found.cls);
    }
    hak_line_text(&line, ", ");
    hak_line_text(&line, state_name(found.word));
    if (hak_record_state(found.word) == HAK_SLOT_LIVE) {
        hak_line_text(&line, ", made by ");
        hak_line_text(&line, family_name(found.word >> HAK_RECORD_FAMILY_SHIFT));
        hak_line_text(&line, ", aligned to ");
        hak_line_number(&line, (uint64_t)1 << (found.word >> HAK_RECORD_ALIGN_SHIFT & HAK_RECORD_ALIGN_MASK));
    }
    hak_line_text(&line, ", address is at ");
    line_offset(error->addr, found.obj);
    send();
}

/* Writes the claim, with its size and alignment if it has any. */
static void send_claim(const hak_claim *claim) {
    begin("claimed");
    hak_line_text(&line, "made by ");
    hak_line_text(&line, family_name(claim->family));
    if (claim->size != HAK_CLAIM_NO_SIZE) {
        hak_line_text(&line, ", ");
        hak_line_number(&line, claim->size);
        hak_line_text(&line, " bytes");
    }
    hak_line_text(&line, ", aligned to ");
    if (claim->align_log2 < 64)
        hak_line_number(&line, (uint64_t)1 << claim->align_log2);
    else if (claim->align_log2 == HAK_CLAIM_ANY &&
             (claim->size != HAK_CLAIM_NO_SIZE || claim->family != HAK_FAMILY_MALLOC))
        hak_line_number(&line, HAK_MIN_ALIGN);
    else
        hak_line_text(&line, claim->align_log2 == HAK_CLAIM_WRONG ? "what is no power of two" : "anything");
    send();
}

static void send_bad(const hak_error *error) {
    begin("byte");
    hak_line_hex(&line, error->bad);
    hak_line_text(&line, ", at ");
    line_offset(error->bad, found.obj);
    hak_line_text(&line, " of the object");
    send();
}

static void send_bytes_around(uintptr_t around) {
    static hak_dump dump;
    hak_dump_read(&dump, around);
    begin("bytes");
    hak_line_hex(&line, dump.from);
    hak_line_text(&line, dump.got == 0 ? ": not readable" : ":");
    for (size_t i = 0; i < dump.got; i++) {
        const char *digits = "0123456789abcdef";
        bool hidden = (dump.hidden >> i & 1) != 0;
        char text[4] = {dump.from + i == around ? '>' : ' ', hidden ? '-' : digits[dump.bytes[i] >> 4],
                        hidden ? '-' : digits[dump.bytes[i] & 15], 0};
        hak_line_text(&line, text);
    }
    send();
}

static void send_stack(const char *word, const uintptr_t *stack, unsigned count) {
    begin(word);
    for (unsigned i = 0; i < count && stack[i] != 0; i++) {
        hak_line_text(&line, i == 0 ? "" : " ");
        hak_line_hex(&line, stack[i]);
    }
    send();
}

static void send_thread(void) {
    begin("thread");
    hak_line_number(&line, hak_os_tid());
    hak_line_text(&line, " of process ");
    hak_line_number(&line, hak_os_pid());
    send();
}

/* True when one of the addresses lies in the mapping of this line, which looks like `7f00-7f80 r-xp 00001000
 * ... name`. */
HAK_UNSEEN static bool maps_one_of(const char *text, unsigned count) {
    uintptr_t bounds[2] = {0, 0};
    for (int i = 0; i < 2; i++, text++)
        for (; (*text >= '0' && *text <= '9') || (*text >= 'a' && *text <= 'f'); text++)
            bounds[i] = bounds[i] * 16 + (uintptr_t)(*text <= '9' ? *text - '0' : *text - 'a' + 10);
    for (unsigned i = 0; i < count; i++)
        if (addresses[i] - bounds[0] < bounds[1] - bounds[0])
            return true;
    return false;
}

/* Writes the line directly: a path may be longer than a line of ours, and a cut path names no file. */
static void send_map(const char *text, size_t size) {
    begin("map");
    hak_outlet_send(&to, line.text, line.used);
    hak_outlet_send(&to, text, size);
}

/* Writes the mappings that contain return addresses; tools/explain needs them to name functions. How many mappings
 * there are depends on earlier inputs of a fuzzer. */
HAK_UNSEEN static void send_maps(unsigned count) {
    static char text[HAK_PATH_MOST + 128];
    int file = hak_os_filter == HAK_FILTER_OWN ? -1 : hak_os_open("/proc/self/maps");
    size_t have = 0, more;
    while (file >= 0 && (more = hak_os_load(file, text + have, sizeof text - have)) != 0) {
        have += more;
        for (char *end; (end = memchr(text, '\n', have)) != NULL;) {
            size_t size = (size_t)(end + 1 - text);
            if (maps_one_of(text, count))
                send_map(text, size);
            have -= size;
            memmove(text, end + 1, have);
        }
        if (have == sizeof text)
            have = 0; /* no line is that long */
    }
    if (file >= 0)
        hak_os_close(file);
}

static void json_text(const char *before, const char *text) {
    hak_line_text(&line, before);
    hak_line_text(&line, text);
}

static void json_number(const char *key, uint64_t value) {
    json_text(",\"", key);
    hak_line_text(&line, "\":");
    hak_line_number(&line, value);
}

/* Writes one line. Every field is a number or one of our own literals, so nothing needs an escape. */
static void send_json(const hak_error *error) {
    line.used = 0;
    json_text("{\"hakmem\":\"error\",\"error\":\"", error->name);
    json_text("\",\"call\":\"", error->call);
    json_text("\",\"what\":\"", error->what);
    json_text("\",\"state\":\"",
              found.where == HAK_WHERE_NOWHERE ? "not on the heap" : state_name(found.word));
    hak_line_text(&line, "\"");
    json_number("address", error->addr);
    json_number("object", found.obj);
    json_number("requested", found.size);
    json_number("room", found.room);
    json_number("class", found.cls);
    json_number("bad_byte", error->bad);
    json_number("caller", error->caller);
    json_number("thread", hak_os_tid());
    json_number("process", hak_os_pid());
    hak_line_text(&line, "}");
    send();
}

/* Opens HAKMEM_REPORT_PATH.<process id>. False: no copy is wanted. */
static bool open_copy(void) {
    if (hak_hardening.report_path[0] == 0 || hak_os_filter == HAK_FILTER_OWN)
        return false;
    line.used = 0;
    hak_line_text(&line, hak_hardening.report_path);
    hak_line_text(&line, ".");
    hak_line_number(&line, hak_os_pid());
    line.text[line.used] = 0;
    hak_outlet_create(&to, line.text);
    return true;
}

/* Writes a stack of a sampled object and appends it to `addresses`. Returns the new number of addresses. */
static unsigned send_sampled(const char *word, const uintptr_t *stack, unsigned count) {
    unsigned own = 0;
    for (; own < HAK_SAMPLE_STACK && stack[own] != 0; own++)
        addresses[count + own] = stack[own];
    send_stack(word, stack, own);
    return count + own;
}

static void send_stacks(const hak_error *error) {
    unsigned count = error->caller != 0;
    addresses[0] = error->caller;
    count += hak_stack_walk(walk_from, addresses + count, STACK_MAX);
    send_stack("stack", addresses, count);
    if (found.sample != NULL)
        count = send_sampled("allocated", found.sample->made, count);
    if (found.sample != NULL && found.sample->freed[0] != 0)
        count = send_sampled("freed", found.sample->freed, count);
    send_maps(count);
}

static void send_details(const hak_error *error) {
    found = (hak_located){.where = HAK_WHERE_NOWHERE};
    if (hak_locate(error->addr, &found)) {
        if (error->was_live)
            found.word = (found.word & ~(uint32_t)HAK_RECORD_STATE) | HAK_SLOT_LIVE;
        send_object(error);
    }
    if (error->claim != NULL)
        send_claim(error->claim);
    if (error->bad != 0)
        send_bad(error);
    send_bytes_around(error->bad != 0 ? error->bad : error->addr);
    send_thread();
    send_stacks(error);
    begin("next");
    hak_line_text(&line, hak_advice(error->name, found.sample != NULL));
    send();
    if (hak_hardening.report_json)
        send_json(error);
}

static void send_report(const hak_error *error) {
    bool stranger = hak_outlet_stranger(&to);
    hak_line_error(&line, error->name, error->call, error->addr, stranger);
    hak_line_text(&line, error->what);
    send();
    if (!stranger)
        send_details(error);
    hak_outlet_close(&to);
}

/* Writes to stderr first, then to the file: whatever happens to the file, stderr has the whole report. */
static void send_both(const void *about) {
    const hak_error *error = about;
    hak_outlet_stderr(&to);
    send_report(error);
    if (open_copy())
        send_report(error);
}

void hak_error_report(const hak_error *error) {
    int saved = errno;
    uint64_t before = hak_mte_pause(); /* a report shows bytes, whoever has them */
    HAK_PROBE(report, error->name, error->addr);
    if (!error->is_fault)
        hak_lock_check_none();
    bool turn = hak_death_turn();
    if (turn) {
        walk_from = error->frame != 0 ? error->frame : (uintptr_t)__builtin_frame_address(0);
        hak_death_speak(send_both, error);
    } else
        hak_line_error_send(error->name, error->call, error->addr, error->what);
    /* In debug builds a fault ends here, because a fuzzer's own handler would end its run: fuzz/verdict.c waits
     * for the abort. */
    bool ends_here = !error->is_fault || HAK_DEBUG_BUILD;
    if (hak_mode_ends(error->check) && ends_here)
        hak_death_end(false);
    if (turn)
        hak_death_pass();
    hak_mte_resume(before);
    errno = saved;
}
