/* config_test.c: the lines of /etc/hakmem.conf. tests/surface/surface_config_test.py tests files that are not to be
 * trusted. */
#include "tests/unit/unit.h"

#include "allocator/os/config.h"

#include <stdio.h>
#include <string.h>

static void patterns(void **state) {
    (void)state;
    static const struct {
        const char *pattern, *path;
        bool matches;
    } rows[] = {
        {"/usr/bin/rustc", "/usr/bin/rustc", true},
        {"/usr/bin/rustc", "/usr/bin/rustc2", false},
        {"/usr/bin/rustc", "/usr/bin/rust", false},
        {"/usr/bin/*", "/usr/bin/a", true},
        {"/usr/bin/*", "/usr/bin/", true},
        {"/usr/bin/*", "/usr/bin", false},
        {"/usr/*/x", "/usr/a/b/x", true},
        {"/usr/*/x", "/usr/a/b/xy", false},
        {"*/rustc", "/usr/lib/rustc/bin/rustc", true},
        {"*", "/anything", true},
        {"*", "", true},
        {"", "", true},
        {"", "/a", false},
        {"/a?c", "/abc", true},
        {"/a?c", "/ac", false},
        {"/ab?", "/ab", false},
        {"/ab*?", "/ab", false},
        {"/*a*a*a*b", "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaac", false},
        {"**?", "/", true},
        {"/a*", "/a*", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(hak_config_matches(rows[i].pattern, rows[i].path), rows[i].matches);
}

/* The settings that the file gives /usr/bin/it; the text has to stay in place. */
static const char *given(const char *file, const char *name) {
    static char text[1024];
    strcpy(text, file);
    hak_config_parse(text, "/usr/bin/it");
    return hak_config_text(name);
}

static void settings(void **state) {
    (void)state;
    static const struct {
        const char *file, *name, *value;
    } rows[] = {
        {"/usr/bin/it family:off", "HAKMEM_HARDENING", "family:off"},
        {"\t/usr/bin/it \t family:off,size:once  \r\n", "HAKMEM_HARDENING", "family:off,size:once"},
        {"/usr/bin/it off", "HAKMEM_HARDENING", "all:off"},
        {"/usr/bin/it HAKMEM_SAMPLE_RATE=0 off", "HAKMEM_SAMPLE_RATE", "0"},
        {"/usr/bin/it HAKMEM_SAMPLE_RATE=0 off", "HAKMEM_HARDENING", "all:off"},
        {"/usr/bin/it HAKMEM_REPORT_PATH=/a:b=c", "HAKMEM_REPORT_PATH", "/a:b=c"},
        {"/usr/bin/it HAKMEM_PROFILE=", "HAKMEM_PROFILE", ""},
        {"* all:report\n/usr/bin/it family:off\n/usr/bin/other all:abort\n", "HAKMEM_HARDENING",
         "all:report,family:off"},
        {"/usr/bin/it family:off\n* off size:once", "HAKMEM_HARDENING", "family:off,all:off,size:once"},
        {"* HAKMEM_HARDENING=all:off\n/usr/bin/it size:off", "HAKMEM_HARDENING", "all:off,size:off"},
        {"* HAKMEM_SAMPLE_RATE=0\n* HAKMEM_SAMPLE_RATE=9", "HAKMEM_SAMPLE_RATE", "9"},
        {"# /usr/bin/it off\n  # x\n\n/usr/bin/it size:off # all:off", "HAKMEM_HARDENING", "size:off"},
        {"/usr/bin/other off", "HAKMEM_HARDENING", NULL},
        {"/usr/bin/it", "HAKMEM_HARDENING", NULL},
        {"/usr/bin/it nonsense LD_PRELOAD=x PATH=/a:b", "HAKMEM_HARDENING", NULL},
        {"/usr/bin/it LD_PRELOAD=x", "LD_PRELOAD", NULL},
        {"/usr/bin/it\noff", "HAKMEM_HARDENING", NULL},
        {"", "HAKMEM_HARDENING", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *value = given(rows[i].file, rows[i].name);
        if (rows[i].value == NULL)
            assert_null(value);
        else
            assert_string_equal(value, rows[i].value);
    }
}

static void too_many(void **state) {
    (void)state;
    static char text[HAK_CONFIG_MOST + 1];
    text[0] = '\0';
    for (int i = 0; i < 500; i++)
        strcat(text, "* HAKMEM_SAMPLE_RATE=7 off\n");
    strcat(text, "* HAKMEM_SAMPLE_RATE=8 HAKMEM_STATS=last");
    hak_config_parse(text, "/usr/bin/it");
    assert_string_equal(hak_config_text("HAKMEM_SAMPLE_RATE"), "8");
    assert_string_equal(hak_config_text("HAKMEM_STATS"), "last");
    assert_int_equal(strlen(hak_config_text("HAKMEM_HARDENING")), 500 * 8 - 1);
    memset(text, ' ', HAK_CONFIG_MOST);
    text[0] = '*';
    for (int at = 2; at + 4 <= HAK_CONFIG_MOST; at += 4)
        memcpy(text + at, "off", 3);
    hak_config_parse(text, "/usr/bin/it");
    assert_int_equal(strlen(hak_config_text("HAKMEM_HARDENING")), (HAK_CONFIG_MOST - 2) / 4 * 8 - 1);
    hak_config_parse(text + strlen(text), "/usr/bin/it");
    assert_null(hak_config_text("HAKMEM_SAMPLE_RATE"));
    text[0] = '\0'; /* more names than there are */
    for (int i = 0; i < 1000; i++)
        (void)sprintf(text + strlen(text), "* HAKMEM_N%d=%d\n", i, i);
    hak_config_parse(text, "/usr/bin/it");
    assert_string_equal(hak_config_text("HAKMEM_N0"), "0");
    assert_string_equal(hak_config_text("HAKMEM_N63"), "63");
    assert_null(hak_config_text("HAKMEM_N64"));
    assert_null(hak_config_text("HAKMEM_N999"));
    hak_config_parse(text + strlen(text), "/usr/bin/it");
    assert_null(hak_config_text("HAKMEM_SAMPLE_RATE"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("a pattern is a path in which * and ? stand for others", patterns),
        CASE("a line sets modes and variables for what matches, the last one wins, the rest is left alone",
             settings),
        CASE("what is too much is left out", too_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
