/* dump_test.c: the memory that a report shows contains no canary, so nobody can use a report to forge canaries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hardening/canary.h"
#include "hardening/dump.h"
#include "hardening/ledger.h"
#include "include/hakmem.h"

#include <string.h>

enum { SIZE = 200 };

/* An object that is not sampled. */
static char *object(void) {
    char *obj;
    hak_place place;
    do
        obj = hak_malloc(SIZE);
    while (!hak_ledger_find(obj, &place));
    memset(obj, 'x', SIZE);
    return obj;
}

static bool is_hidden(const hak_dump *dump, const char *at) {
    size_t i = (uintptr_t)at - dump->from;
    assert_true(i < dump->got);
    return (dump->hidden >> i & 1) != 0;
}

/* Wherever the shown piece begins or ends. */
static void own_canary(void **state) {
    (void)state;
    char *obj = object();
    for (int around = SIZE - 30; around < SIZE + 20; around++) {
        hak_dump dump;
        hak_dump_read(&dump, (uintptr_t)obj + around);
        for (size_t i = 0; i < dump.got; i++)
            if (dump.from + i - (uintptr_t)obj < SIZE)
                assert_false(is_hidden(&dump, (char *)dump.from + i));
            else if (dump.from + i - (uintptr_t)obj < SIZE + HAK_CANARY_BYTES)
                assert_true(is_hidden(&dump, (char *)dump.from + i));
    }
    hak_free(obj);
}

/* A canary stays where the object ended before it grew, or another object's canary was copied together with its
 * place. */
static void former_canary(void **state) {
    (void)state;
    char *obj = object();
    for (size_t end = 64; end + HAK_CANARY_BYTES <= 96; end++) {
        uint64_t canary = hak_canary_at(obj + end);
        memcpy(obj + end, &canary, sizeof canary);
        for (int around = 40; around < 110; around++) {
            hak_dump dump;
            hak_dump_read(&dump, (uintptr_t)obj + around);
            for (size_t i = 0; i < dump.got; i++) {
                size_t at = dump.from + i - (uintptr_t)obj;
                if (at < SIZE)
                    assert_int_equal(is_hidden(&dump, obj + at), at - end < HAK_CANARY_BYTES);
            }
        }
        memset(obj + end, 'x', sizeof canary);
    }
    hak_free(obj);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        {"the canary behind an object is not shown, and all of the object is", own_canary, NULL, NULL, NULL},
        {"a canary inside an object is not shown", former_canary, NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
