/* options.c: see options.h. */
#include "allocator/options.h"

#include "allocator/base/bits.h"
#include "allocator/heap/profile.h"
#include "allocator/os/config.h"
#include "allocator/os/os.h"
#include "allocator/os/report.h"

#include <string.h>

enum {
    TARGET_MB_MAX = 1 << 20,
    PREWARM_MAX = 64,
    PATH_MOST = 240, /* the final 0 included */
    RTMIN_MOST = 29, /* the last signal that every libc leaves: musl keeps three for itself, glibc two */
    /* A larger heap is dense enough for huge pages: a touched byte brings in at most 2 MiB per size class and
     * shard. To measure again: workloads c and h2, and peak RSS, of `grow` above all. */
    HUGE_AUTO_FROM = 12 * HAK_MIB,
};

/* The one table from a profile's name to its settings. Prewarm is 4 superslabs: 8 MiB cover the working set of
 * every small workload, and the 30 MB that the described system kept resident at start brought no speed here. */
static const struct {
    const char *name, *old_name;
    bool lean;
    hak_decommit decommit;
    unsigned target_mb, prewarm;
} presets[] = {
    {"speed", "MIXED_TINYV3_C7_SAFE", false, HAK_DECOMMIT_OFF, 10, 4},
    {"balanced", "MIXED_TINYV3_C7_BALANCED", true, HAK_DECOMMIT_OFF, 10, 0},
};
enum { SPEED, BALANCED, PRESETS };

static const char *const decommit_names[] = {"OFF", "FREE", "DONTNEED"};

static const char *const huge_names[] = {"OFF", "AUTO", "ALWAYS"};
enum { HUGE_OFF, HUGE_AUTO, HUGE_ALWAYS };

hak_options hak_option;

static const char *environment_text(const char *name) {
    char **environment = hak_os_environment();
    if (environment == NULL || hak_os_secure())
        return NULL;
    size_t length = strlen(name);
    for (; *environment != NULL; environment++)
        if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=')
            return *environment + length + 1;
    return NULL;
}

const char *hak_options_text(const char *name) {
    const char *text = environment_text(name);
    return text != NULL ? text : hak_config_text(name);
}

bool hak_options_by_user(const char *name) {
    return environment_text(name) != NULL;
}

void hak_options_complain(const char *name, const char *value, const char *accepted, const char *used) {
    hak_line line;
    hak_line_begin(&line);
    hak_line_text(&line, name);
    hak_line_text(&line, "=");
    hak_line_text(&line, value);
    hak_line_text(&line, ": not understood; accepted: ");
    hak_line_text(&line, accepted);
    hak_line_text(&line, "; using ");
    hak_line_text(&line, used);
    hak_line_end(&line);
}

/* Stores the number in *out and returns true when the variable is set and valid. */
static bool read_number(const char *name, unsigned most, const char *accepted, const char *used,
                        unsigned *out) {
    const char *text = hak_options_text(name);
    if (text == NULL)
        return false;
    unsigned long n = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9' && n <= most; at++)
        n = n * 10 + (unsigned long)(*at - '0');
    if (at == text || *at != 0 || n > most) {
        hak_options_complain(name, text, accepted, used);
        return false;
    }
    *out = (unsigned)n;
    return true;
}

/* Stores the index of the variable's value in `names` in *out. Returns false when it is unset or invalid. */
static bool read_word(const char *name, const char *const *names, unsigned count, const char *accepted,
                      const char *used, unsigned *out) {
    const char *text = hak_options_text(name);
    for (unsigned i = 0; text != NULL && i < count; i++)
        if (strcmp(text, names[i]) == 0)
            return *out = i, true;
    if (text != NULL)
        hak_options_complain(name, text, accepted, used);
    return false;
}

static unsigned read_profile(void) {
    const char *names[2 * PRESETS];
    for (unsigned i = 0; i < PRESETS; i++) {
        names[i] = presets[i].name;
        names[PRESETS + i] = presets[i].old_name;
    }
    unsigned found = BALANCED;
    (void)read_word("HAKMEM_PROFILE", names, 2 * PRESETS,
                    "speed, balanced (old names: MIXED_TINYV3_C7_SAFE, MIXED_TINYV3_C7_BALANCED)", "balanced",
                    &found);
    return found % PRESETS;
}

static size_t read_huge(hak_decommit decommit) {
    unsigned huge = HUGE_AUTO;
    (void)read_word("HAKMEM_SS_HUGE", huge_names, 3, "OFF, AUTO, ALWAYS", "AUTO", &huge);
    if (huge == HUGE_ALWAYS)
        return 0;
    return huge == HUGE_AUTO && decommit == HAK_DECOMMIT_OFF ? HUGE_AUTO_FROM : SIZE_MAX;
}

static const char *read_digits(const char *text, uint64_t *out) {
    for (*out = 0; *text >= '0' && *text <= '9'; text++)
        *out = *out * 10 + (uint64_t)(*text - '0');
    return text;
}

/* Reads `device:inode`, as systemd sets it for the services that it starts. Ignores any other form. */
static void read_journal(void) {
    const char *text = hak_options_text("JOURNAL_STREAM");
    if (text == NULL)
        return;
    text = read_digits(text, &hak_option.journal_device);
    if (*text == ':')
        (void)read_digits(text + 1, &hak_option.journal_inode);
}

/* Copies the path, because servers overwrite their environment with their process title. */
static const char *read_path(const char *name, char copy[PATH_MOST]) {
    const char *path = hak_options_text(name);
    if (path == NULL || *path == '\0')
        return NULL;
    if (strlen(path) < PATH_MOST)
        return strcpy(copy, path);
    hak_options_complain(name, path, "a path of at most 239 bytes", "none");
    return NULL;
}

/* Accepts the signals that programs leave to their users. */
static hak_os_signal read_signal(const char *path) {
    static const char accepted[] = "USR1, USR2, RTMIN+0 to RTMIN+29";
    const char *text = hak_options_text("HAKMEM_STATS_SIGNAL");
    if (text == NULL || *text == '\0')
        return HAK_OS_SIGNAL_NONE;
    const char *name = strncmp(text, "SIG", 3) == 0 ? text + 3 : text;
    const char *digits = strncmp(name, "RTMIN+", 6) == 0 ? name + 6 : "";
    uint64_t n = 0;
    hak_os_signal signal = HAK_OS_SIGNAL_NONE;
    if (strcmp(name, "USR1") == 0)
        signal = HAK_OS_SIGNAL_USR1;
    else if (strcmp(name, "USR2") == 0)
        signal = HAK_OS_SIGNAL_USR2;
    else if (*digits != '\0' && strlen(digits) <= 2 && *read_digits(digits, &n) == '\0' && n <= RTMIN_MOST)
        signal = HAK_OS_SIGNAL_RTMIN + (hak_os_signal)n;
    if (signal == HAK_OS_SIGNAL_NONE)
        hak_options_complain("HAKMEM_STATS_SIGNAL", text, accepted, "none");
    if (signal == HAK_OS_SIGNAL_NONE || path != NULL)
        return signal;
    hak_options_complain("HAKMEM_STATS_SIGNAL", text, "with HAKMEM_STATS=PATH, which says where to", "none");
    return HAK_OS_SIGNAL_NONE;
}

/* Each of the two outputs of the heap profile turns the profile on. */
static void read_heap(void) {
    static char path[PATH_MOST];
    unsigned rate = HAK_PROFILE_RATE, leaks = 0;
    (void)read_number("HAKMEM_HEAP_LEAKS", 1, "0, 1", "0", &leaks);
    hak_option.heap_path = read_path("HAKMEM_HEAP_PROFILE", path);
    hak_option.heap_leaks = leaks != 0;
    if (hak_option.heap_path == NULL && !hak_option.heap_leaks)
        return;
    if (read_number("HAKMEM_HEAP_PROFILE_RATE", HAK_PROFILE_RATE_MOST, "1 to 1073741824", "524288", &rate) &&
        rate == 0)
        hak_options_complain("HAKMEM_HEAP_PROFILE_RATE", "0", "1 to 1073741824", "524288");
    hak_option.heap_rate = rate != 0 ? rate : HAK_PROFILE_RATE;
}

/* A gate that the user sets decides prewarm and decommit. Without it, a decommit policy opens the gate. */
void hak_options_read(void) {
    static char stats_path[PATH_MOST];
    unsigned preset = read_profile();
    unsigned lean = presets[preset].lean, decommit = presets[preset].decommit;
    unsigned target_mb = presets[preset].target_mb, prewarm = presets[preset].prewarm, os_stats = 0;
    unsigned background = 0;
    if (read_word("HAKMEM_SS_MEM_LEAN_DECOMMIT", decommit_names, 3, "OFF, FREE, DONTNEED",
                  decommit_names[decommit], &decommit) &&
        decommit != HAK_DECOMMIT_OFF)
        lean = true;
    if (read_number("HAKMEM_SS_MEM_LEAN", 1, "0, 1", lean ? "1" : "0", &lean))
        prewarm = lean ? 0 : presets[SPEED].prewarm;
    (void)read_number("HAKMEM_SS_MEM_LEAN_TARGET_MB", TARGET_MB_MAX, "0 to 1048576", "10", &target_mb);
    (void)read_number("HAKMEM_SS_PREWARM", PREWARM_MAX, "0 to 64", "the profile's", &prewarm);
    (void)read_number("HAKMEM_SS_BACKGROUND", 1, "0, 1", "0", &background);
    (void)read_number("HAKMEM_SS_OS_STATS", 1, "0, 1", "0", &os_stats);
    hak_option = (hak_options){.lean = lean,
                               .decommit = (hak_decommit)decommit,
                               .target = (size_t)target_mb * HAK_MIB,
                               .prewarm = prewarm,
                               .huge_from = read_huge(lean ? (hak_decommit)decommit : HAK_DECOMMIT_OFF),
                               .background = background,
                               .os_stats = os_stats,
                               .stats_path = read_path("HAKMEM_STATS", stats_path),
                               .profile = presets[preset].name};
    hak_option.stats_signal = read_signal(hak_option.stats_path);
    read_heap();
    read_journal();
}
