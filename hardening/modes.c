/* modes.c: see modes.h. */
#include "hardening/modes.h"

#include "allocator/base/bits.h"
#include "allocator/options.h"
#include "allocator/os/report.h"

#include <string.h>

HAK_HIDDEN hak_hardening_sealed hak_hardening_data __attribute__((aligned(HAK_SEALED_BYTES)));

hak_lock hak_hardening_lock = HAK_LOCK_INIT(HAK_RANK_POLICY);

static const char *const names[HAK_CHECKS] = {
    [HAK_CHECK_FREE] = "free",     [HAK_CHECK_FAMILY] = "family",
    [HAK_CHECK_SIZE] = "size",     [HAK_CHECK_ALIGNMENT] = "alignment",
    [HAK_CHECK_CANARY] = "canary", [HAK_CHECK_NEIGHBOURS] = "neighbours",
    [HAK_CHECK_SWEEP] = "sweep",   [HAK_CHECK_ZERO] = "zero",
    [HAK_CHECK_WRITE] = "write",   [HAK_CHECK_QUARANTINE] = "quarantine",
    [HAK_CHECK_RANDOM] = "random", [HAK_CHECK_GUARD] = "guard",
    [HAK_CHECK_SAMPLE] = "sample", [HAK_CHECK_SEAL] = "seal",
};
static const char *const modes[] = {"abort", "report", "once", "off"};
enum { MODES = sizeof modes / sizeof modes[0] };

static const char ACCEPTED[] =
    "a list of NAME:MODE; names: all, free, family, size, alignment, canary, neighbours, sweep, zero, "
    "write, quarantine, random, guard, sample, seal; modes: abort, report, once, off; or preset:light, "
    "preset:standard, preset:max";

enum {
    SAMPLE_PERIOD_MAX = 1 << 30,
    /* Partitions of programs whose calls have types; one in four is for data. docs/decisions/037 has the cost
     * of more, and the odds that two types share one. */
    PARTITIONS = 8,
    QUARANTINE_KIB_MIN = 64,
    QUARANTINE_KIB_MAX = 64 * 1024,
};

typedef struct preset {
    uint32_t off; /* bit i: check i is off */
    uint32_t sample_period, quarantine_kib;
    bool ends; /* wrong claims end the process, too */
} preset;

/* light: what each call checks anyway, and placement; no pass over the bytes of an object. The remaining cost
 * is that of the records. standard: one allocation in 5,000 lies between guards; 5 us each make 1 ns for every
 * allocation. Its quarantine is that of 65,536 places for slots of up to 80 bytes. max: for users who accept a
 * higher cost. */
enum { LIGHT, STANDARD, MAX, PRESETS };
static const char *const preset_names[PRESETS] = {"light", "standard", "max"};
static const preset presets[PRESETS] = {
    [LIGHT] = {1u << HAK_CHECK_ZERO | 1u << HAK_CHECK_WRITE | 1u << HAK_CHECK_SWEEP, 5000, 256, false},
    [STANDARD] = {0, 5000, 5504, false},
    [MAX] = {0, 500, 22016, true},
};

const char *hak_check_name(hak_check check) {
    return names[check];
}

/* The index of the word of `length` bytes in `words`; `count` when it is not there. */
static unsigned find_word(const char *text, size_t length, const char *const *words, unsigned count) {
    for (unsigned i = 0; i < count; i++)
        if (strlen(words[i]) == length && memcmp(words[i], text, length) == 0)
            return i;
    return count;
}

static hak_mode mode_of_preset(const preset *its, hak_check check) {
    bool is_claim = check == HAK_CHECK_FAMILY || check == HAK_CHECK_SIZE || check == HAK_CHECK_ALIGNMENT;
    if (its->off >> check & 1)
        return HAK_MODE_OFF;
    return is_claim && !its->ends && !HAK_DEBUG_BUILD ? HAK_MODE_ONCE : HAK_MODE_ABORT;
}

static const preset *choose(unsigned number) {
    for (unsigned i = 0; i < HAK_CHECKS; i++)
        hak_hardening.mode[i] = (uint8_t)mode_of_preset(&presets[number], (hak_check)i);
    return &presets[number];
}

/* One NAME:MODE, or a preset, which is stored; false when it is not understood. */
static bool apply(const char *item, size_t length, const preset **its) {
    const char *colon = memchr(item, ':', length);
    if (colon == NULL)
        return false;
    size_t name_length = (size_t)(colon - item);
    if (name_length == strlen("preset") && memcmp(item, "preset", name_length) == 0) {
        unsigned number = find_word(colon + 1, length - name_length - 1, preset_names, PRESETS);
        if (number < PRESETS)
            *its = choose(number);
        return number < PRESETS;
    }
    unsigned mode = find_word(colon + 1, length - name_length - 1, modes, MODES);
    unsigned check = find_word(item, name_length, names, HAK_CHECKS);
    if (mode == MODES)
        return false;
    if (check < HAK_CHECKS)
        hak_hardening.mode[check] = (uint8_t)mode;
    else if (name_length == 3 && memcmp(item, "all", 3) == 0)
        memset(hak_hardening.mode, (int)mode, HAK_CHECKS);
    else
        return false;
    return true;
}

static void announce(void) {
    hak_line line;
    hak_line_begin(&line);
    hak_line_text(&line, "HAKMEM_HARDENING sets");
    bool any = false;
    for (unsigned i = 0; i < HAK_CHECKS; i++) {
        if (hak_hardening.mode[i] == HAK_MODE_ABORT ||
            hak_hardening.mode[i] == mode_of_preset(&presets[STANDARD], (hak_check)i))
            continue;
        any = true;
        hak_line_text(&line, " ");
        hak_line_text(&line, names[i]);
        hak_line_text(&line, ":");
        hak_line_text(&line, modes[hak_hardening.mode[i]]);
    }
    if (any)
        hak_line_end(&line);
}

static const preset *read_modes(void) {
    const char *text = hak_options_text("HAKMEM_HARDENING");
    const preset *its = choose(STANDARD);
    if (text == NULL)
        return its;
    for (const char *at = text; *at != 0;) {
        size_t length = strcspn(at, ",");
        if (!apply(at, length, &its)) {
            hak_options_complain("HAKMEM_HARDENING", text, ACCEPTED, "every check");
            return choose(STANDARD);
        }
        at += length + (at[length] == ',');
    }
    if (hak_options_by_user(
            "HAKMEM_HARDENING")) /* not for the configuration file: every process would write the line */
        announce();
    return its;
}

/* Stores the variable's number in *out and returns true when it is set and valid. */
static bool read_number(const char *name, uint64_t least, uint64_t most, const char *accepted,
                        const char *used, uint64_t *out) {
    const char *text = hak_options_text(name);
    if (text == NULL)
        return false;
    uint64_t n = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9' && n <= most; at++)
        n = n * 10 + (uint64_t)(*at - '0');
    if (at == text || *at != 0 || n < least || n > most) {
        hak_options_complain(name, text, accepted, used);
        return false;
    }
    *out = n;
    return true;
}

static void read_period(const preset *its) {
    uint64_t period = its->sample_period;
    hak_hardening.sample_period_set =
        read_number("HAKMEM_SAMPLE_RATE", 0, SAMPLE_PERIOD_MAX,
                    "0 (never) to 1073741824 (one allocation in so many)", "the preset's", &period);
    hak_hardening.sample_period = hak_mode_of(HAK_CHECK_SAMPLE) == HAK_MODE_OFF ? 0 : (uint32_t)period;
}

static void read_quarantine(const preset *its) {
    uint64_t kib = its->quarantine_kib;
    read_number("HAKMEM_QUARANTINE_KB", QUARANTINE_KIB_MIN, QUARANTINE_KIB_MAX,
                "64 to 65536 (KiB for each thread)", "the preset's", &kib);
    hak_hardening.quarantine_kib = (uint32_t)kib;
}

/* One partition is the same as none. */
static void read_partitions(void) {
    uint64_t count = PARTITIONS;
    bool set = read_number("HAKMEM_PARTITIONS", 0, HAK_PARTITIONS_MAX, "0 to 64",
                           "8, for programs that say types", &count);
    hak_hardening.partitions = count < 2 ? 0 : (uint8_t)count;
    hak_hardening.partitions_of_data = (uint8_t)hak_max(1, count / 4);
    hak_hardening.partitions_by_site = set && count >= 2;
}

static void read_report(void) {
    const char *path = hak_options_text("HAKMEM_REPORT_PATH");
    if (path != NULL && strlen(path) < sizeof hak_hardening.report_path - 16)
        strcpy(hak_hardening.report_path, path);
    else if (path != NULL)
        hak_options_complain("HAKMEM_REPORT_PATH", path, "a path of at most 239 bytes", "stderr only");
    const char *json = hak_options_text("HAKMEM_REPORT_JSON");
    if (json != NULL && strcmp(json, "0") != 0 && strcmp(json, "1") != 0)
        hak_options_complain("HAKMEM_REPORT_JSON", json, "0, 1", "0");
    hak_hardening.report_json = json != NULL && strcmp(json, "1") == 0;
}

void hak_modes_init(void) {
    const preset *its = read_modes();
    read_period(its);
    read_quarantine(its);
    read_partitions();
    read_report();
    hak_hardening.canary = hak_mode_of(HAK_CHECK_CANARY) != HAK_MODE_OFF;
    hak_hardening.neighbours = hak_mode_of(HAK_CHECK_NEIGHBOURS) != HAK_MODE_OFF && hak_hardening.canary;
    hak_hardening.zero = hak_mode_of(HAK_CHECK_ZERO) != HAK_MODE_OFF;
    hak_hardening.verify = hak_mode_of(HAK_CHECK_WRITE) != HAK_MODE_OFF && hak_hardening.zero;
    hak_hardening.quarantine = hak_mode_of(HAK_CHECK_QUARANTINE) != HAK_MODE_OFF;
    hak_hardening.guard = hak_mode_of(HAK_CHECK_GUARD) != HAK_MODE_OFF;
    hak_hardening.random = hak_mode_of(HAK_CHECK_RANDOM) != HAK_MODE_OFF;
}
