/* order_test.c: the order in which free changes a slot and its record. The slot's memory is made read-only, so that
 * free stops at its first store to the bytes. The state of the record at that moment is what a sweep of another
 * thread would see. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hardening/ledger.h"

#include "include/hakmem.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>

enum { SIZE = 30000, PAGE = 4096 }; /* of a wider slot the kernel takes whole pages */

static uintptr_t shut; /* a page inside the slot */
static hak_record *record;
static volatile int seen; /* states at the fault, one digit each */

static void on_store(int number, siginfo_t *info, void *context) {
    (void)context;
    if ((uintptr_t)info->si_addr - shut >= PAGE) {
        signal(number, SIG_DFL);
        return;
    }
    seen = seen * 10 + 1 + (int)hak_record_state(hak_record_load(record));
    (void)mprotect((void *)shut, PAGE, PROT_READ | PROT_WRITE);
}

static char *unsampled(void) {
    char *obj;
    hak_place place;
    do
        obj = hak_malloc(SIZE);
    while (!hak_ledger_find(obj, &place));
    record = place.record;
    return obj;
}

/* Replaces cmocka's handler, which is set in each test. */
static void listen(void) {
    struct sigaction action = {.sa_sigaction = on_store, .sa_flags = SA_SIGINFO};
    assert_int_equal(sigaction(SIGSEGV, &action, NULL), 0);
}

static void held_before_bytes(void **state) {
    (void)state;
    listen();
    static const size_t at[] = {PAGE, SIZE / 2, SIZE - 2 * PAGE};
    for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
        char *obj = unsampled();
        memset(obj, 'x', SIZE);
        shut = ((uintptr_t)obj + at[i]) & ~(uintptr_t)(PAGE - 1);
        seen = 0;
        assert_int_equal(mprotect((void *)shut, PAGE, PROT_READ), 0);
        hak_free(obj);
        assert_int_equal(seen, 1 + HAK_SLOT_HELD);
        assert_int_equal(hak_record_state(hak_record_load(record)), HAK_SLOT_FREED);
    }
}

/* realloc in place: the old canary lies in the page that is shut. */
static void held_while_resized(void **state) {
    (void)state;
    listen();
    char *obj = unsampled();
    shut = ((uintptr_t)obj + SIZE) & ~(uintptr_t)(PAGE - 1);
    seen = 0;
    assert_int_equal(mprotect((void *)shut, PAGE, PROT_READ), 0);
    assert_ptr_equal(hak_realloc(obj, SIZE - 1), obj);
    assert_int_equal(seen, 1 + HAK_SLOT_HELD);
    assert_int_equal(hak_record_state(hak_record_load(record)), HAK_SLOT_LIVE);
    hak_free(obj);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        {"a record says held before free changes a byte, and freed after the last", held_before_bytes, NULL,
         NULL, NULL},
        {"a record says held while realloc moves the end", held_while_resized, NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
