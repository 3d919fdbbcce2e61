/* modes_test.c: HAKMEM_HARDENING and the other variables of the hardened variant. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hardening/modes.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The page as it is after a start with this environment. */
static void restart(const char *hardening) {
    memset(&hak_hardening_data, 0, sizeof hak_hardening_data);
    setenv("HAKMEM_HARDENING", hardening, 1);
    hak_modes_init();
}

static void modes(void **state) {
    (void)state;
    restart("zero:off,family:report,all:abort,size:off");
    for (int i = 0; i < HAK_CHECKS; i++)
        assert_int_equal(hak_mode_of((hak_check)i), i == HAK_CHECK_SIZE ? HAK_MODE_OFF : HAK_MODE_ABORT);
    restart("zero:off,family:report");
    assert_int_equal(hak_mode_of(HAK_CHECK_ZERO), HAK_MODE_OFF);
    assert_int_equal(hak_mode_of(HAK_CHECK_FAMILY), HAK_MODE_REPORT);
    restart("size:once,alignment:report");
    assert_int_equal(hak_mode_of(HAK_CHECK_SIZE), HAK_MODE_ONCE);
    assert_false(hak_mode_ends(HAK_CHECK_SIZE) || hak_mode_ends(HAK_CHECK_ALIGNMENT));
    assert_true(hak_mode_ends(HAK_CHECK_FAMILY)); /* in a debug build, such as this one */
    restart("zero:off");
    assert_false(hak_hardening.verify); /* no memory is zeroed, so none can be checked for zero */
}

static void wrong_values(void **state) {
    (void)state;
    static const char *const rows[] = {"zero",       "zero:",      ":off",     "nothing:off",
                                       "zero:maybe", "zero:off,,", "ZERO:off", "zero:off;family:off"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        restart(rows[i]);
        for (int check = 0; check < HAK_CHECKS; check++)
            assert_int_equal(hak_mode_of((hak_check)check), HAK_MODE_ABORT);
    }
}

/* The names as in README.md and the man page. */
static const struct {
    const char *name;
    hak_check check;
} named[] = {
    {"free", HAK_CHECK_FREE},     {"family", HAK_CHECK_FAMILY},
    {"size", HAK_CHECK_SIZE},     {"alignment", HAK_CHECK_ALIGNMENT},
    {"canary", HAK_CHECK_CANARY}, {"neighbours", HAK_CHECK_NEIGHBOURS},
    {"sweep", HAK_CHECK_SWEEP},   {"zero", HAK_CHECK_ZERO},
    {"write", HAK_CHECK_WRITE},   {"quarantine", HAK_CHECK_QUARANTINE},
    {"random", HAK_CHECK_RANDOM}, {"guard", HAK_CHECK_GUARD},
    {"sample", HAK_CHECK_SAMPLE}, {"seal", HAK_CHECK_SEAL},
};

static const char *const mode_names[] = {[HAK_MODE_ABORT] = ":abort",
                                         [HAK_MODE_REPORT] = ":report",
                                         [HAK_MODE_ONCE] = ":once",
                                         [HAK_MODE_OFF] = ":off"};

static void every_name(void **state) {
    (void)state;
    assert_int_equal(sizeof named / sizeof named[0], HAK_CHECKS);
    for (int i = 0; i < HAK_CHECKS; i++)
        for (hak_mode mode = HAK_MODE_REPORT; mode <= HAK_MODE_OFF; mode++) {
            char text[64];
            strcpy(text, named[i].name);
            strcat(text, mode_names[mode]);
            restart(text);
            for (int other = 0; other < HAK_CHECKS; other++)
                assert_int_equal(hak_mode_of((hak_check)other),
                                 (hak_check)other == named[i].check ? mode : HAK_MODE_ABORT);
            assert_string_equal(hak_check_name(named[i].check), named[i].name);
        }
}

/* The settings that the two fast paths read, each switched off by its own name, or by the name of one that it needs. */
static void what_is_asked(void **state) {
    (void)state;
    static const struct {
        const char *setting;
        bool canary, neighbours, zero, verify, quarantine, random, guard;
    } rows[] = {{"free:off", true, true, true, true, true, true, true},
                {"canary:off", false, false, true, true, true, true, true},
                {"neighbours:off", true, false, true, true, true, true, true},
                {"zero:off", true, true, false, false, true, true, true},
                {"write:off", true, true, true, false, true, true, true},
                {"quarantine:off", true, true, true, true, false, true, true},
                {"random:off", true, true, true, true, true, false, true},
                {"guard:off", true, true, true, true, true, true, false},
                {"all:report", true, true, true, true, true, true, true},
                {"all:off", false, false, false, false, false, false, false}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        restart(rows[i].setting);
        assert_int_equal(hak_hardening.canary, rows[i].canary);
        assert_int_equal(hak_hardening.neighbours, rows[i].neighbours);
        assert_int_equal(hak_hardening.zero, rows[i].zero);
        assert_int_equal(hak_hardening.verify, rows[i].verify);
        assert_int_equal(hak_hardening.quarantine, rows[i].quarantine);
        assert_int_equal(hak_hardening.random, rows[i].random);
        assert_int_equal(hak_hardening.guard, rows[i].guard);
    }
}

static void presets(void **state) {
    (void)state;
    static const struct {
        const char *setting;
        uint32_t off, period, kib;
    } rows[] = {
        {"preset:light", 1u << HAK_CHECK_ZERO | 1u << HAK_CHECK_WRITE | 1u << HAK_CHECK_SWEEP, 5000, 256},
        {"preset:standard", 0, 5000, 5504},
        {"free:abort", 0, 5000, 5504},
        {"preset:max", 0, 500, 22016},
        {"preset:light,zero:abort", 1u << HAK_CHECK_WRITE | 1u << HAK_CHECK_SWEEP, 5000, 256},
        {"canary:off,preset:max", 0, 500, 22016},
        {"preset:max,canary:off", 1u << HAK_CHECK_CANARY, 500, 22016},
        {"preset:light,preset:max", 0, 500, 22016},
        {"preset:large", 0, 5000, 5504},
        {"preset:max,preset:", 0, 5000, 5504},
        {"presets:max", 0, 5000, 5504},
        {"preset", 0, 5000, 5504},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        restart(rows[i].setting);
        for (unsigned check = 0; check < HAK_CHECKS; check++)
            assert_int_equal(hak_mode_of((hak_check)check),
                             rows[i].off >> check & 1 ? HAK_MODE_OFF : HAK_MODE_ABORT);
        assert_int_equal(hak_hardening.sample_period, rows[i].period);
        assert_int_equal(hak_hardening.quarantine_kib, rows[i].kib);
    }
    setenv("HAKMEM_SAMPLE_RATE", "7", 1);
    restart("preset:max");
    assert_int_equal(hak_hardening.sample_period, 7); /* its own variable wins */
    unsetenv("HAKMEM_SAMPLE_RATE");
}

static void all_of_them(void **state) {
    (void)state;
    for (hak_mode mode = HAK_MODE_ABORT; mode <= HAK_MODE_OFF; mode++) {
        char text[64] = "all";
        restart(strcat(text, mode_names[mode]));
        for (int check = 0; check < HAK_CHECKS; check++)
            assert_int_equal(hak_mode_of((hak_check)check), mode);
    }
}

static void partitions(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint8_t all, of_data;
        bool by_site;
    } rows[] = {{NULL, 8, 2, false}, {"0", 0, 1, false},   {"1", 0, 1, false},   {"2", 2, 1, true},
                {"8", 8, 2, true},   {"63", 63, 15, true}, {"64", 64, 16, true}, {"65", 8, 2, false},
                {"", 8, 2, false},   {"x", 8, 2, false},   {"-1", 8, 2, false}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].text != NULL)
            setenv("HAKMEM_PARTITIONS", rows[i].text, 1);
        restart("free:abort");
        assert_int_equal(hak_hardening.partitions, rows[i].all);
        assert_int_equal(hak_hardening.partitions_of_data, rows[i].of_data);
        assert_int_equal(hak_hardening.partitions_by_site, rows[i].by_site);
    }
    unsetenv("HAKMEM_PARTITIONS");
}

static void quarantine_kib(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint32_t kib;
    } rows[] = {{"64", 64},       {"65536", 65536}, {"1000", 1000}, {"63", 22016}, {"0", 22016},
                {"65537", 22016}, {"", 22016},      {"1M", 22016},  {"-1", 22016}, {"4294967360", 22016}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        setenv("HAKMEM_QUARANTINE_KB", rows[i].text, 1);
        restart("preset:max");
        assert_int_equal(hak_hardening.quarantine_kib, rows[i].kib);
    }
    unsetenv("HAKMEM_QUARANTINE_KB");
}

static void sample_rate(void **state) {
    (void)state;
    static const struct {
        const char *rate, *hardening;
        uint32_t period;
        bool set;
    } rows[] = {{NULL, "free:abort", 5000, false},
                {"1", "free:abort", 1, true},
                {"0", "free:abort", 0, true},
                {"123", "free:abort", 123, true},
                {"1073741824", "free:abort", 1 << 30, true},
                {"1073741825", "free:abort", 5000, false},
                {"", "free:abort", 5000, false},
                {"5x", "free:abort", 5000, false},
                {"-1", "free:abort", 5000, false},
                {"7", "sample:off", 0, true}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].rate != NULL)
            setenv("HAKMEM_SAMPLE_RATE", rows[i].rate, 1);
        restart(rows[i].hardening);
        assert_int_equal(hak_hardening.sample_period, rows[i].period);
        assert_int_equal(hak_hardening.sample_period_set, rows[i].set);
        unsetenv("HAKMEM_SAMPLE_RATE");
    }
}

static void report_settings(void **state) {
    (void)state;
    char path[300];
    memset(path, 'p', sizeof path);
    for (size_t length = 1; length < sizeof path; length += 7) {
        path[length] = 0;
        setenv("HAKMEM_REPORT_PATH", path, 1);
        restart("free:abort");
        assert_string_equal(hak_hardening.report_path, length <= 239 ? path : "");
        path[length] = 'p';
    }
    path[239] = 0;
    setenv("HAKMEM_REPORT_PATH", path, 1);
    restart("free:abort");
    assert_string_equal(hak_hardening.report_path, path);
    unsetenv("HAKMEM_REPORT_PATH");
    static const char *const json[] = {"0", "1", "2", "yes", ""};
    for (size_t i = 0; i < sizeof json / sizeof json[0]; i++) {
        setenv("HAKMEM_REPORT_JSON", json[i], 1);
        restart("free:abort");
        assert_int_equal(hak_hardening.report_json, i == 1);
    }
    unsetenv("HAKMEM_REPORT_JSON");
}

/* The tested settings lie on a page that is sealed after start: so the program starts itself again, with checks
 * reduced. */
int main(int argc, char **argv) {
    (void)argc;
    if (getenv("HAKMEM_HARDENING") == NULL && setenv("HAKMEM_HARDENING", "seal:off", 1) == 0)
        execv("/proc/self/exe", argv);
    const struct CMUnitTest tests[] = {
        {"all sets every check", all_of_them, NULL, NULL, NULL},
        {"HAKMEM_PARTITIONS is a number of partitions, and 1 is none", partitions, NULL, NULL, NULL},
        {"each NAME:MODE sets one check, the last one wins, all sets every check", modes, NULL, NULL, NULL},
        {"a list with anything wrong in it reduces nothing", wrong_values, NULL, NULL, NULL},
        {"every check can be switched off by its name alone", every_name, NULL, NULL, NULL},
        {"what the fast paths ask follows the modes", what_is_asked, NULL, NULL, NULL},
        {"a preset sets every mode, the rate and the quarantine; what follows it wins", presets, NULL, NULL,
         NULL},
        {"HAKMEM_QUARANTINE_KB is 64 to 65,536, and the preset's where it is not understood", quarantine_kib,
         NULL, NULL, NULL},
        {"HAKMEM_SAMPLE_RATE is 0 to 2^30, and 5,000 where it is not set or not understood", sample_rate,
         NULL, NULL, NULL},
        {"HAKMEM_REPORT_PATH has up to 239 bytes, HAKMEM_REPORT_JSON is 0 or 1", report_settings, NULL, NULL,
         NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
