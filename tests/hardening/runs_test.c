/* runs_test.c: the records of slots are unmapped and mapped with the memory of their slabs; records of other slabs
 * stay. */
#include "hardening/runs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "allocator/life/reclaim.h"
#include "allocator/life/reset.h"
#include "allocator/os/extent.h"
#include "allocator/os/os.h"
#include "allocator/os/os_process.h"
#include "include/hakmem.h"

enum { MANY = 400 * 1000, SOME = 2000 };

static void *objects[MANY];

static int fresh(void **state) {
    (void)state;
    hak_test_reset(HAK_RESET_FRESH);
    return 0;
}

static void give_all_back(size_t size) {
    for (int how = 0; how < HAK_RECLAIMS; how++)
        (void)hak_reclaim_memory(size, (hak_reclaim)how);
}

static bool can_hollow(void) {
    uintptr_t place = hak_extent_claim(HAK_MIB, HAK_MIB);
    if (place != 0)
        hak_extent_unclaim(place);
    return place != 0; /* otherwise a sanitizer has the address space */
}

static void go_and_come(void **state) {
    (void)state;
    if (!can_hollow())
        skip();
    size_t most = 0;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < MANY; i++)
            assert_non_null(objects[i] = hak_malloc(8));
        size_t live = hak_region_metadata;
        for (int i = 0; i < MANY; i++)
            hak_free(objects[i]);
        give_all_back(MANY * 16);
        size_t left = hak_region_metadata;
        assert_true(live - left >= MANY * sizeof(hak_record) * 9 / 10);
        assert_true(round == 0 || left <= most); /* the runs came back to their places */
        most = left;
    }
}

/* Counts resident pages with records. */
static size_t resident_records(void) {
    const hak_ledger_region *ledger = &hak_ledger[hak_region_find(hak_ledger_first.base)->index];
    size_t used = hak_align_up(ledger->runs_used, hak_os_page);
    assert_true(used <= 2 * HAK_MIB);
    return hak_os_resident_count(ledger->runs.start, used);
}

/* All slots here were freed. Counts those whose record no longer says so; the ledger's answer for them is the same. */
static size_t lost_records(void) {
    size_t lost = 0;
    for (int i = 0; i < MANY; i++) {
        hak_place place;
        if (!hak_ledger_find(objects[i], &place))
            continue; /* a sampled object */
        uint32_t word = hak_record_load(place.record);
        assert_int_equal(hak_record_state(hak_ledger_word((uintptr_t)objects[i], word)), HAK_SLOT_FREED);
        lost += hak_record_state(word) == HAK_SLOT_UNUSED;
    }
    return lost;
}

/* A free slab whose pages were purged keeps its addresses, and no record. */
static void go_with_pages(void **state) {
    (void)state;
    if (!hak_os_resident_told())
        skip();
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < MANY; i++)
            assert_non_null(objects[i] = hak_malloc(8));
        size_t live = resident_records();
        assert_true(live * hak_os_page >= MANY * sizeof(hak_record));
        for (int i = 0; i < MANY; i++)
            hak_free(objects[i]);
        (void)hak_trim(0);
        assert_true(resident_records() <= live / 4);
        assert_true(lost_records() > MANY / 2);
    }
}

static void trim(size_t size) {
    (void)size;
    (void)hak_trim(0);
}

/* Slabs of few slots have their records in one page. Every other one of them is given up in turn. */
static void others_stay_after(void (*give_up)(size_t size)) {
    if (!can_hollow())
        skip();
    for (int i = 0; i < SOME; i++) {
        objects[i] = hak_malloc(i % 2 == 0 ? 5000 : 7000);
        assert_non_null(objects[i]);
        memset(objects[i], 1, 5000);
    }
    for (int i = 0; i < SOME; i += 2)
        hak_free(objects[i]);
    give_up((size_t)SOME * 5000);
    for (int i = 1; i < SOME; i += 2) {
        assert_int_equal(hak_usable_size(objects[i]), 7000);
        hak_free(objects[i]);
    }
    for (int i = 0; i < SOME; i += 2) {
        objects[i] = hak_malloc(5000);
        assert_non_null(objects[i]);
    }
    for (int i = 0; i < SOME; i += 2)
        hak_free(objects[i]);
}

static void others_stay(void **state) {
    (void)state;
    others_stay_after(give_all_back);
}
static void others_stay_trimmed(void **state) {
    (void)state;
    others_stay_after(trim);
}

/* The records before and past the ends, which no caller asks for by number, are not shared either. */
static void nothing_is_shared(void **state) {
    (void)state;
    hak_free(hak_malloc(8));
    hak_ledger_region *ledger = &hak_ledger_first;
    uintptr_t end = 0;
    for (size_t records = 8; records < 600; records += 7) {
        hak_record *run = hak_run_take(ledger, records);
        assert_non_null(run);
        assert_true((uintptr_t)run >= end);
        end = (uintptr_t)(run + records);
    }
}

/* When runs cannot grow any more, because other code has mapped memory behind them, more runs begin elsewhere. While
 * the OS refuses that, at any call, the ledger keeps the runs that it knows, so that they go with their slabs. */
static void known_while_refused(void **state) {
    (void)state;
    void *obj; /* the first objects of a call site are sampled, and have no slots */
    do
        assert_non_null(obj = hak_malloc(5000));
    while (hak_granule_find((uintptr_t)obj) == NULL);
    hak_ledger_region *ledger = &hak_ledger[hak_region_find((uintptr_t)obj)->index];
    hak_extent runs = ledger->runs, pages = ledger->run_pages;
    ledger->runs.room = ledger->runs.mapped;
    size_t records = (ledger->runs.mapped - ledger->runs_used) / sizeof(hak_record) + 1;
    hak_record *run = NULL;
    int refused = 0;
    for (uint64_t call = 1; run == NULL; call++) {
        (void)hak_os_fail_at(call | HAK_OS_FAIL_ON);
        run = hak_run_take(ledger, records);
        (void)hak_os_fail_at(0);
        refused += run == NULL;
        if (run == NULL) {
            assert_int_equal(ledger->runs.start, runs.start);
            assert_int_equal(ledger->run_pages.start, pages.start);
        }
    }
    assert_true(refused > 1);
    assert_int_not_equal(ledger->runs.start, runs.start);
    hak_free(obj);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        {"records go with the memory of their slabs, and come back", go_and_come, fresh, NULL, NULL},
        {"two runs share no record", nothing_is_shared, fresh, NULL, NULL},
        {"records of other slabs in the same page stay", others_stay, fresh, NULL, NULL},
        {"and when the slabs keep their addresses", others_stay_trimmed, fresh, NULL, NULL},
        {"records go with the pages of slabs that keep their addresses", go_with_pages, fresh, NULL, NULL},
        {"runs stay known while the OS refuses a place for more", known_while_refused, fresh, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
