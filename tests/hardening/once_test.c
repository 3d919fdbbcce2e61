/* once_test.c: errors that are reported once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hardening/once.h"
#include "tests/hardening/step.h"

#include <pthread.h>
#include <signal.h>

enum { SITES = 40, THREADS = 4 };

static void first_of_each(void **state) {
    (void)state;
    for (uintptr_t site = 0x1000; site < 0x1000 + SITES; site++) {
        assert_false(hak_once_seen(HAK_CHECK_SIZE, site));
        assert_true(hak_once_first(HAK_CHECK_SIZE, site));
        assert_true(hak_once_seen(HAK_CHECK_SIZE, site));
        assert_false(hak_once_seen(HAK_CHECK_FAMILY, site));
    }
    for (uintptr_t site = 0x1000; site < 0x1000 + SITES; site++)
        assert_false(hak_once_first(HAK_CHECK_SIZE, site));
    assert_true(hak_once_first(HAK_CHECK_SIZE, 0)); /* an unknown call site is a call site, too */
    assert_false(hak_once_first(HAK_CHECK_SIZE, 0));
}

static _Atomic unsigned firsts;
static void *ask(void *unused) {
    for (uintptr_t site = 0x7f0000000000; site < 0x7f0000000000 + SITES; site++)
        firsts += hak_once_first(HAK_CHECK_FAMILY, site);
    return unused;
}

static void among_threads(void **state) {
    (void)state;
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(firsts, SITES);
}

/* The same in steps: behind each instruction of the question, in turn, another thread asks the same. */
#if HAK_STEPS
enum { STEPS = 60 };
static unsigned step, at_step;
static bool other_was_first;
static void ask_in_between(int signal) {
    (void)signal;
    if (++step == at_step)
        other_was_first = hak_once_first(HAK_CHECK_FREE, 0x200000 + at_step);
}

static void one_of_two(void **state) {
    (void)state;
    struct sigaction action = {.sa_handler = ask_in_between}, before;
    assert_int_equal(sigaction(SIGTRAP, &action, &before), 0);
    for (at_step = 1; at_step <= STEPS; at_step++) {
        step = 0;
        other_was_first = false;
        step_begin();
        bool first = hak_once_first(HAK_CHECK_FREE, 0x200000 + at_step);
        step_end();
        assert_int_equal(first + other_was_first, 1);
    }
    assert_int_equal(sigaction(SIGTRAP, &before, NULL), 0);
}
#else
static void one_of_two(void **state) {
    (void)state;
    skip();
}
#endif

/* The last test: it leaves the table full. */
static void an_end(void **state) {
    (void)state;
    unsigned more = 0;
    for (uintptr_t site = 0x500000; site < 0x500000 + 100000; site++)
        more += hak_once_first(HAK_CHECK_ALIGNMENT, site);
    assert_true(more > 0 && more < 1000);
    assert_true(hak_once_seen(HAK_CHECK_ALIGNMENT, 0x500000 + 99999));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        {"the first finding at a place is the first, for each check", first_of_each, NULL, NULL, NULL},
        {"of threads that find the same at once one is the first", among_threads, NULL, NULL, NULL},
        {"also when the other asks between any two instructions", one_of_two, NULL, NULL, NULL},
        {"reports have an end", an_end, NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
