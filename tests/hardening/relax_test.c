/* relax_test.c: HAKMEM_HARDENING and the other variables of the hardened variant. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hardening/relax.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The page as it is after start with this environment. */
static void restart(const char *hardening) {
    memset(&hak_hardening_data, 0, sizeof hak_hardening_data);
    setenv("HAKMEM_HARDENING", hardening, 1);
    hak_relax_init();
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
    assert_true(hak_mode_ends(HAK_CHECK_FAMILY)); /* in a debug build, as this is one */
    restart("zero:off");
    assert_false(hak_hardening.verify); /* nothing is zero, so nothing can be checked */
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

static void every_name(void **state) {
    (void)state;
    for (int i = 0; i < HAK_CHECKS; i++) {
        char text[64];
        strcpy(text, hak_check_name((hak_check)i));
        strcat(text, ":off");
        restart(text);
        for (int other = 0; other < HAK_CHECKS; other++)
            assert_int_equal(hak_mode_of((hak_check)other) == HAK_MODE_OFF, other == i);
    }
}

/* What is tested stands on a page that is sealed after start: the program starts itself again, relaxed. */
int main(int argc, char **argv) {
    (void)argc;
    if (getenv("HAKMEM_HARDENING") == NULL && setenv("HAKMEM_HARDENING", "seal:off", 1) == 0)
        execv("/proc/self/exe", argv);
    const struct CMUnitTest tests[] = {
        {"each NAME:MODE sets one check, the last one wins, all sets every check", modes, NULL, NULL, NULL},
        {"a list with anything wrong in it relaxes nothing", wrong_values, NULL, NULL, NULL},
        {"every check can be switched off by its name alone", every_name, NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
