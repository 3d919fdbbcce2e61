/* ring_bounds_test.c: what the rings of a thread and the common ones may keep, of whom the next slot is taken when that
 * is too much, and what malloc_trim leaves. */
#include "tests/hardening/rest.h"

#include "allocator/pages/release.h"
#include "allocator/policy.h"
#include "hardening/common.h"
#include "hardening/guard.h"
#include "hardening/keep.h"
#include "hardening/ring_own.h"
#include "hardening/sweep.h"
#include "hardening/tally.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SMALL = 200, OTHER = 700, WIDE = 20000, DRAWN = 16, FEW_STATES = 2000, TOKEN = 12345, MANY = 100000 };

static unsigned class_for(size_t size) {
    return hak_class_of(size + HAK_CANARY_BYTES);
}

/* Addresses that nothing reads: their number, and back. */
static void *numbered(size_t i) {
    return (void *)(((uintptr_t)1 << 48) + (i << 18));
}
static size_t number_of(const void *obj) {
    return ((uintptr_t)obj - ((uintptr_t)1 << 48)) >> 18;
}
static void rests_nowhere(void *obj, unsigned cls) {
    (void)obj, (void)cls;
}

static int fresh(void **state) {
    int result = unit_fresh(state);
    hak_quarantine_flush();
    return result;
}
static int no_home(void **state) {
    hak_quarantine_home = rests_nowhere;
    return fresh(state);
}
static int at_home(void **state) {
    (void)state;
    hak_common_flush();
    hak_quarantine_home = NULL;
    return 0;
}
#define NUMBERED_CASE(text, function) {text, function, no_home, at_home, NULL}
#define FRESH_CASE(text, function)    {text, function, fresh, NULL, NULL}

/* As if other threads had freed so many slots of the class. */
static void others_free(unsigned cls, uint32_t count) {
    (void)hak_tally_add(false, cls, count, (int32_t)count);
}

static void put(size_t from, size_t count, unsigned cls, bool typed) {
    uint32_t now = hak_tally_most(typed, cls);
    for (size_t i = 0; i < count; i++)
        (void)hak_common_rest(numbered(from + i), cls, typed, now);
}

/* A full common ring of which all slots have rested: each exchange takes one of the sixteen oldest, by chance. */
static void what_leaves_a_common_ring_is_drawn(void **state) {
    (void)state;
    enum { EXCHANGES = 400, BATCH = HAK_COMMON_BATCH };
    unsigned cls = class_for(SMALL), seen = 0;
    uint32_t floor = hak_ring_floor(cls), full = floor + DRAWN;
    put(0, full, cls, false);
    others_free(cls, 2 * floor);
    size_t least[DRAWN] = {0}; /* how often the slot that left was the oldest, the next one and so on */
    bool left[EXCHANGES + DRAWN] = {false};
    for (size_t i = 0; i < EXCHANGES; i += BATCH) {
        void *objs[BATCH];
        for (size_t k = 0; k < BATCH; k++)
            objs[k] = numbered(full + i + k);
        (void)hak_common_exchange(objs, BATCH, cls, false);
        for (size_t k = 0; k < BATCH; k++) {
            assert_non_null(objs[k]);
            size_t number = number_of(objs[k]), older = 0;
            assert_in_range(number, 0, EXCHANGES + DRAWN - 1);
            for (size_t n = 0; n < number; n++)
                older += !left[n];
            assert_in_range(older, 0, DRAWN - 1);
            left[number] = true;
            least[older]++;
        }
    }
    for (unsigned i = 0; i < DRAWN; i++)
        seen += least[i] != 0;
    assert_in_range(seen, DRAWN / 2, DRAWN);
    assert_in_range(least[0], 1, EXCHANGES / 3);
}

/* Only the oldest slot has rested: it leaves, whatever is drawn. */
static void what_has_not_rested_is_not_drawn(void **state) {
    (void)state;
    unsigned cls = class_for(SMALL);
    uint32_t floor = hak_ring_floor(cls), full = floor + DRAWN;
    for (int again = 0; again < 40; again++) {
        hak_common_flush();
        put(0, 1, cls, false);
        others_free(cls, floor);
        put(1, full - 1, cls, false);
        void *obj = numbered(full);
        (void)hak_common_exchange(&obj, 1, cls, false);
        assert_ptr_equal(obj, numbered(0));
    }
}

/* What the common rings hold is counted as it comes and goes. */
static void expect_counted(void) {
    size_t bytes = 0;
    for (unsigned cls = 1; hak_classes[cls].size < HAK_RING_PURGED; cls++)
        bytes += hak_common_count(cls) * hak_classes[cls].size;
    assert_int_equal(atomic_load(&hak_common_held), bytes);
}
static void what_comes_and_goes_is_counted(void **state) {
    (void)state;
    unsigned cls = class_for(SMALL);
    uint32_t floor = hak_ring_floor(cls), more = floor / 2;
    assert_int_equal(atomic_load(&hak_common_held), 0);
    put(0, floor + DRAWN + more, cls, false); /* so that it becomes longer */
    expect_counted();
    others_free(cls, floor);
    hak_common_idle();
    assert_int_equal(hak_common_count(cls), floor + DRAWN);
    expect_counted();
    void *obj = numbered(MANY);
    (void)hak_common_exchange(&obj, 1, cls, false);
    expect_counted();
    hak_common_flush();
    assert_int_equal(atomic_load(&hak_common_held), 0);
}

static size_t common_pins(void) {
    size_t bytes = 0;
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        bytes += hak_common_count(cls) * hak_ring_pins(cls, hak_classes[cls].size >= HAK_RING_PURGED);
    return bytes;
}

/* While memory is sparse, the common rings of each kind keep no more than they may. */
static void common_rings_have_a_bound(void **state) {
    (void)state;
    const size_t most = 192 * HAK_MIB;
    for (int typed = 0; typed < 2; typed++) {
        for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
            put(0, 3 * (size_t)hak_ring_floor(cls), cls, typed);
        assert_true(common_pins() > most);
        hak_common_age();
        assert_in_range(common_pins(), most / 2, most);
        hak_common_flush();
    }
}

/* Bytes of the process that are resident: the kernel counts page by page for this file. */
static size_t resident_kib(void) {
    char line[256];
    size_t all = 0, some;
    FILE *file = fopen("/proc/self/smaps", "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL)
        all += sscanf(line, "Rss: %zu kB", &some) == 1 ? some : 0;
    assert_int_equal(fclose(file), 0);
    return all;
}

/* The places of empty common rings have no memory any more. */
static void empty_common_rings_have_no_memory(void **state) {
    (void)state;
    unit_skip_where_reserved(); /* a sanitizer's own memory counts, too */
    (void)resident_kib();
    hak_common_flush();
    size_t before = resident_kib();
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        put(0, hak_ring_floor(cls), cls, true);
    size_t filled = resident_kib();
    assert_true(filled >= before + 200);
    hak_common_flush();
    assert_true(resident_kib() <= before + (filled - before) / 4);
}

/* A typed slot that two threads have freed, and that has come to a common ring, is found at exit. */
static void to_common(void) {
    hak_ring_empty(hak_guarded_mine, hak_ring_rest);
}
static void freed_twice(void *unused) {
    (void)unused;
    enum { ANOTHER = 77 };
    hak_place place;
    void *obj;
    do
        obj = hak_malloc_token(SMALL, TOKEN);
    while (!hak_ledger_find(obj, &place));
    hak_free(obj);
    hak_typed_swapped(to_common);
    if (hak_common_count(class_for(SMALL)) == 0)
        return;
    hak_record_store(place.record, hak_record_freed(ANOTHER, hak_record_load(place.record)));
    hak_sweep_all();
}
static void typed_ones_are_swept(void **state) {
    (void)state;
    unit_expect_death(freed_twice, NULL, "hakmem: double free: exit(");
}

/* In a process of one thread nothing is lost by a fork, so its child counts the same. */
static void a_child_counts_the_same(void **state) {
    (void)state;
    enum { COUNT = 8 };
    void *objs[COUNT];
    for (int i = 0; i < COUNT; i++)
        objs[i] = rest_make_slot(WIDE);
    atomic_fetch_add(&hak_quarantine_held, 1024 * HAK_MIB); /* so that they go to the common rings */
    for (int i = 0; i < COUNT; i++)
        hak_free(objs[i]);
    atomic_fetch_sub(&hak_quarantine_held, 1024 * HAK_MIB);
    assert_true(hak_common_count(class_for(WIDE)) >= COUNT / 2);
    size_t bare = atomic_load(&hak_release_slabs_bare), pinned = atomic_load(&hak_ring_pinned);
    assert_true(bare >= COUNT / 2 * (size_t)WIDE);
    pid_t child = fork();
    if (child == 0)
        _exit(atomic_load(&hak_release_slabs_bare) != bare || atomic_load(&hak_ring_pinned) != pinned);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* All blocks that may be open at once are half of a floor at most. */
static void open_blocks_are_a_part_of_a_floor(void **state) {
    (void)state;
    size_t own = atomic_load(&hak_quarantine_states);
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        for (size_t states = 1; states < FEW_STATES; states += 1 + states / 8) {
            atomic_store(&hak_quarantine_states, states);
            size_t block = hak_ring_block(hak_guarded_mine, cls);
            if (block == 0 || (block > 1 && block * states > hak_ring_floor(cls) / 2))
                fail_msg("%u bytes: blocks of %zu with %zu states", hak_classes[cls].size, block, states);
        }
    atomic_store(&hak_quarantine_states, own);
}

/* A handler that interrupts free between the two counts of a block's begin forks: in the child the block is open, and
 * its frees end like any others. */
static void a_block_that_a_fork_interrupts(void **state) {
    (void)state;
    unsigned cls = class_for(SMALL);
    hak_ring_close(hak_guarded_mine, cls);
    (void)hak_tally_add(false, cls, 0, HAK_TALLY_LINE); /* the state does not know it yet */
    pid_t child = fork();
    if (child == 0) {
        (void)hak_tally_add(false, cls, HAK_TALLY_LINE, 0);
        uint32_t least = (uint32_t)atomic_load(&hak_tallies[false][cls].both);
        _exit((int32_t)(hak_tally_most(false, cls) - least) < 0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    (void)hak_tally_add(false, cls, HAK_TALLY_LINE, 0);
}

/* Frees of one class, then of another one; each look finds one of them used. */
static void use_two_classes(void) {
    (void)rest_pairs_until(NULL, SMALL, 1200);
    hak_quarantine_age(false);
    (void)rest_pairs_until(NULL, OTHER, 600);
    hak_quarantine_age(false);
    hak_quarantine_age(false);
}

/* While memory is sparse and all rings together keep too many pages, a thread's part of that is that of one among all
 * threads; beyond that, what was not used for longest goes on first. */
static void beyond_its_part_the_unused_class_goes(void **state) {
    (void)state;
    const size_t all = 160 * HAK_MIB;
    unsigned first = class_for(SMALL), second = class_for(OTHER);
    const hak_ring *rings = hak_guarded_mine->rings;
    use_two_classes();
    size_t bare = 0, pinned = 0, own = atomic_load(&hak_quarantine_states);
    hak_ring_count(hak_guarded_mine, &bare, &pinned);
    size_t before = rings[second].limit, part = pinned - rings[first].limit * hak_os_page / 2;
    atomic_store(&hak_quarantine_states, all / part);
    size_t threads = atomic_exchange(&hak_ring_pinned, all - 1);
    hak_quarantine_age(true);
    assert_int_not_equal(rings[first].limit, 0); /* all rings keep what they may */
    assert_int_equal(rings[second].limit, before);
    atomic_store(&hak_ring_pinned, all + all / 2);
    hak_quarantine_age(true);
    assert_int_equal(rings[first].limit, 0);
    assert_int_equal(rings[second].limit, before);
    atomic_store(&hak_quarantine_states, own);
    atomic_store(&hak_ring_pinned, threads);
}

/* The last third of what all rings may hold is for floors alone. */
static void long_rings_leave_room_for_floors(void **state) {
    (void)state;
    unsigned cls = class_for(80), other = class_for(SMALL);
    size_t held = atomic_exchange(&hak_quarantine_held, 18 * HAK_MIB);
    (void)rest_pairs_until(NULL, 80, 5000);
    (void)rest_pairs_until(NULL, SMALL, 5000);
    assert_int_equal(hak_guarded_mine->rings[cls].limit, hak_ring_floor(cls));
    assert_int_equal(hak_guarded_mine->rings[other].limit, hak_ring_floor(other));
    atomic_fetch_add(&hak_quarantine_held, held - 18 * HAK_MIB);
    (void)rest_pairs_until(NULL, 80, 5000);
    assert_true(hak_guarded_mine->rings[cls].limit > 2 * hak_ring_floor(cls));
}

/* Frees slots of many sizes, of both kinds, some of which go to the common rings; and a large object. */
static void fill_all(void) {
    atomic_fetch_add(&hak_quarantine_held, 1024 * HAK_MIB);
    (void)rest_pairs_until(NULL, OTHER, 60);
    atomic_fetch_sub(&hak_quarantine_held, 1024 * HAK_MIB);
    for (size_t size = 24; size < HAK_SLAB_SIZE_MAX / 2; size += 8 + size / 7)
        for (int i = 0; i < 60; i++) {
            hak_free(hak_malloc_token(size, TOKEN));
            hak_free(rest_make(size));
        }
    hak_free(hak_malloc(HAK_MIB));
    assert_true(hak_guarded_mine->held > 256 * HAK_KIB && hak_guarded_mine->other->held > 256 * HAK_KIB);
    assert_int_not_equal(atomic_load(&hak_keep_objects), 0);
    assert_int_not_equal(atomic_load(&hak_common_held), 0);
}

/* malloc_trim leaves the calling thread no slot above 4 KiB, and little of the others. */
static void expect_trimmed(const hak_guarded *mine) {
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        if (hak_classes[cls].size > 4 * HAK_KIB && mine->rings[cls].limit != 0)
            fail_msg("%u bytes: %u places", hak_classes[cls].size, mine->rings[cls].limit);
    assert_in_range(mine->held + mine->swapped, 0, 256 * HAK_KIB);
}
static void what_trim_leaves(void **state) {
    (void)state;
    hak_free(hak_malloc_token(SMALL, TOKEN));
    for (int i = 0; i < 8; i++) { /* which are less than it leaves of others */
        hak_free(rest_make_slot(5000));
        hak_free(rest_make_slot(12000));
    }
    assert_int_not_equal(hak_guarded_mine->rings[class_for(5000)].limit, 0);
    (void)hak_trim(0);
    expect_trimmed(hak_guarded_mine);
    fill_all();
    (void)hak_trim(0);
    expect_trimmed(hak_guarded_mine);
    expect_trimmed(hak_guarded_mine->other);
}

/* When memory has run out, and when a limit comes, nothing stays. */
static void expect_nothing(void) {
    assert_int_equal(atomic_load(&hak_quarantine_held), 0);
    assert_int_equal(atomic_load(&hak_common_held), 0);
    assert_int_equal(atomic_load(&hak_keep_objects), 0);
}
static void what_want_of_memory_leaves(void **state) {
    (void)state;
    fill_all();
    assert_true(hak_policy_reclaim(1));
    expect_nothing();
    fill_all();
    hak_policy_limited();
    expect_nothing();
    hak_guard_reset();
}

/* What a thread has freed of partitions goes on as well, when it has freed none for ten seconds. */
static void typed_ones_age(void **state) {
    (void)state;
    unsigned cls = class_for(SMALL);
    for (int i = 0; i < 60; i++)
        hak_free(hak_malloc_token(SMALL, TOKEN));
    hak_guarded *typed = hak_guarded_mine->other;
    hak_policy_cache_age(false);
    assert_int_not_equal(typed->rings[cls].limit, 0);
    typed->used_at[cls] -= 11000; /* as if so much time had passed */
    hak_policy_cache_age(false);
    assert_int_equal(typed->rings[cls].limit, 0);
    assert_int_not_equal(hak_common_count(cls), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        NUMBERED_CASE("what leaves a common ring is drawn among the oldest",
                      what_leaves_a_common_ring_is_drawn),
        NUMBERED_CASE("but not what has not rested", what_has_not_rested_is_not_drawn),
        NUMBERED_CASE("what comes to the common rings and leaves them is counted",
                      what_comes_and_goes_is_counted),
        NUMBERED_CASE("while memory is sparse the common rings of each kind have a bound",
                      common_rings_have_a_bound),
        NUMBERED_CASE("empty common rings have no memory", empty_common_rings_have_no_memory),
        FRESH_CASE("a typed slot that was freed twice is found in the common ring", typed_ones_are_swept),
        FRESH_CASE("a forked child of one thread counts what rests as its parent does",
                   a_child_counts_the_same),
        FRESH_CASE("all open blocks are half of a floor at most", open_blocks_are_a_part_of_a_floor),
        FRESH_CASE("a child knows a block whose begin the fork interrupted", a_block_that_a_fork_interrupts),
        FRESH_CASE("rings that keep too many pages lose the class that was not used for longest",
                   beyond_its_part_the_unused_class_goes),
        FRESH_CASE("long rings leave room for floors", long_rings_leave_room_for_floors),
        FRESH_CASE("malloc_trim leaves no wide slots, and few others", what_trim_leaves),
        FRESH_CASE("what a thread has freed of partitions goes on after ten seconds", typed_ones_age),
        FRESH_CASE("want of memory and a new limit leave nothing", what_want_of_memory_leaves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
