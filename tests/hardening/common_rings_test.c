/* common_rings_test.c: the rings that all threads share: which slots come there, what they keep, and what they cost. */
#include "tests/hardening/rest.h"

#include "allocator/pages/release.h"
#include "allocator/pages/superslab.h"
#include "allocator/policy.h"
#include "hardening/common.h"
#include "hardening/inherit.h"
#include "hardening/ring_own.h"
#include "hardening/sweep.h"
#include "hardening/tally.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* What an ended thread held goes on to the common ring: it is not handed out at once. */
static void *leaves(void *stale) {
    hak_free(rest_make(1)); /* the thread has a state when it frees the slot */
    hak_free(stale);
    return NULL;
}
static void after_a_thread_has_ended(void **state) {
    (void)state;
    for (unsigned kind = 0; kind < REST_KINDS; kind++) {
        rest_warm(rest_kinds[kind].size);
        void *stale = rest_make_slot(rest_kinds[kind].size);
        assert_true(rest_in_a_thread(leaves, stale));
        unsigned cls = hak_class_of(rest_kinds[kind].size + HAK_CANARY_BYTES);
        size_t before = hak_common_count(cls);
        hak_quarantine_idle(UINT64_MAX);
        if (hak_common_count(cls) != before + 1)
            fail_msg("%zu bytes: %zu, %zu", rest_kinds[kind].size, before, hak_common_count(cls));
        rest_expect(stale, kind);
    }
}

/* The slots of threads that ended before do not drive out those of the thread that ended last. */
enum { AMONG = 200, FILLERS = 2 };
static const void *newest;
static bool newest_left;
static void notes_newest(void *obj, unsigned cls) {
    newest_left |= obj == newest;
    hak_hardening.give(obj, cls);
}
static void *fills_and_ends(void *others) {
    hak_free(rest_make(1));
    if (others != NULL)
        (void)rest_in_a_thread(fills_and_ends, (void *)((uintptr_t)others - 1));
    (void)rest_pairs_until(NULL, AMONG, 2000);
    return NULL;
}
static void *leaves_last(void *stale) {
    hak_free(rest_make(1));
    (void)rest_in_a_thread(fills_and_ends, (void *)(uintptr_t)(FILLERS - 1));
    hak_free(stale);
    return NULL;
}
static void after_several_threads_have_ended(void **state) {
    (void)state;
    hak_quarantine_flush();
    void *stale = rest_make_slot(AMONG);
    newest = stale;
    hak_quarantine_home = notes_newest;
    assert_true(rest_in_a_thread(leaves_last, stale));
    hak_quarantine_rest_ended();
    hak_quarantine_home = NULL;
    assert_false(newest_left);
    assert_int_equal(hak_common_count(hak_class_of(AMONG + HAK_CANARY_BYTES)),
                     hak_ring_floor(hak_class_of(AMONG + HAK_CANARY_BYTES)) + HAK_SWAP_PLACES);
}

/* Threads that have freed many slots before the first one frees its own; all of them end after it. Then the rings of
 * threads are full, so that all goes on to the common ones. */
static pthread_barrier_t freed_many, may_end;
static void *frees_many_before(void *kind) {
    (void)rest_pairs_until(NULL, rest_kinds[(uintptr_t)kind].size, 1300);
    pthread_barrier_wait(&freed_many);
    pthread_barrier_wait(&may_end);
    return NULL;
}
static void *ends_by(void *stale) {
    hak_free(rest_make(1));
    hak_free(stale);
    return NULL;
}
static void *ends_by_exit(void *stale) {
    (void)ends_by(stale);
    pthread_exit(NULL);
}
static void *ends_by_cancel(void *stale) {
    (void)ends_by(stale);
    (void)pthread_cancel(pthread_self());
    for (;;)
        pthread_testcancel();
}
static void threads_end_after_the_slots_thread(void **state) {
    (void)state;
    enum { OTHERS = 4 };
    static void *(*const ends[])(void *) = {ends_by, ends_by_exit, ends_by_cancel};
    for (uintptr_t kind = 0; kind < REST_KINDS; kind++) {
        pthread_t threads[OTHERS];
        pthread_barrier_init(&freed_many, NULL, OTHERS + 1);
        pthread_barrier_init(&may_end, NULL, OTHERS + 1);
        hak_quarantine_flush();
        rest_warm(rest_kinds[kind].size);
        void *stale = rest_make_slot(rest_kinds[kind].size);
        for (int i = 0; i < OTHERS; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, frees_many_before, (void *)kind), 0);
        pthread_barrier_wait(&freed_many);
        assert_true(rest_in_a_thread(ends[kind % 3], stale));
        pthread_barrier_wait(&may_end);
        for (int i = 0; i < OTHERS; i++)
            pthread_join(threads[i], NULL);
        hak_quarantine_rest_ended();
        rest_expect(stale, (unsigned)kind);
    }
}

/* Many threads free a few slots, and end after the one that has freed a slot since. */
static void *frees_few_before(void *size) {
    for (int i = 0; i < 5; i++)
        hak_free(rest_make((uintptr_t)size));
    pthread_barrier_wait(&freed_many);
    pthread_barrier_wait(&may_end);
    return NULL;
}
static void many_threads_end_after_the_slots_thread(void **state) {
    (void)state;
    enum { OTHERS = 400, KIND = 10 };
    static pthread_t threads[OTHERS];
    pthread_barrier_init(&freed_many, NULL, OTHERS + 1);
    pthread_barrier_init(&may_end, NULL, OTHERS + 1);
    hak_quarantine_flush();
    const size_t size = rest_kinds[KIND].size;
    void *stale = rest_make_slot(size);
    for (int i = 0; i < OTHERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, frees_few_before, (void *)size), 0);
    pthread_barrier_wait(&freed_many);
    assert_true(rest_in_a_thread(ends_by, stale));
    pthread_barrier_wait(&may_end);
    for (int i = 0; i < OTHERS; i++)
        pthread_join(threads[i], NULL);
    hak_quarantine_rest_ended();
    rest_expect(stale, KIND);
}

/* How many slots of a class all threads have freed: within the bounds, and the bounds come together again. */
enum { COUNTED = 200 };
static uint32_t unsure(unsigned cls) {
    hak_ring_close(hak_guarded_mine, cls);
    return hak_tally_most(false, cls) - (uint32_t)atomic_load(&hak_tallies[false][cls].both);
}
static void ended_threads_have_no_open_block(void **state) {
    (void)state;
    unsigned cls = hak_class_of(COUNTED + HAK_CANARY_BYTES);
    uint32_t before = unsure(cls), freed = hak_tally_most(false, cls);
    assert_true(rest_in_a_thread(ends_by, rest_make_slot(COUNTED)));
    assert_int_equal(unsure(cls), before);
    assert_int_equal(hak_tally_most(false, cls), freed + 1);
}

static void many_threads_have_short_blocks(void **state) {
    (void)state;
    unsigned cls = hak_class_of(COUNTED + HAK_CANARY_BYTES);
    size_t states = atomic_exchange(&hak_quarantine_states, 4000);
    hak_ring_close(hak_guarded_mine, cls);
    hak_free(rest_make_slot(COUNTED));
    assert_int_equal(hak_guarded_mine->block[cls], 1);
    atomic_fetch_add(&hak_quarantine_states, states - 4000);
}

/* A child waits for no block of a thread that it does not have. */
static void a_child_has_its_own_blocks_only(void **state) {
    (void)state;
    enum { OTHERS = 20, MARGIN = HAK_TALLY_LINE };
    unsigned cls = hak_class_of(COUNTED + HAK_CANARY_BYTES);
    pthread_t threads[OTHERS];
    pthread_barrier_init(&freed_many, NULL, OTHERS + 1);
    pthread_barrier_init(&may_end, NULL, OTHERS + 1);
    for (int i = 0; i < OTHERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, frees_few_before, (void *)COUNTED), 0);
    pthread_barrier_wait(&freed_many);
    assert_true(unsure(cls) > MARGIN);
    pid_t child = fork();
    if (child == 0)
        _exit(unsure(cls) > MARGIN);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    pthread_barrier_wait(&may_end);
    for (int i = 0; i < OTHERS; i++)
        pthread_join(threads[i], NULL);
}

/* A stamp is never earlier than what was freed when its slot was, and not much later. Others free ten slots of the
 * class for each. */
static void expect_stamps(size_t idle) {
    enum { MINE = 3000, OTHERS = 10, LINE = HAK_TALLY_LINE };
    static uint32_t made[MINE];
    unsigned cls = hak_class_of(COUNTED + HAK_CANARY_BYTES);
    hak_quarantine_flush();
    hak_ring_close(hak_guarded_mine, cls);
    uint32_t all = (uint32_t)atomic_load(&hak_tallies[false][cls].both);
    void *obj = rest_make_slot(COUNTED);
    for (int i = 0; i < MINE; i++) {
        hak_free(obj);
        made[i] = ++all;
        all += OTHERS;
        (void)hak_tally_add(false, cls, OTHERS, OTHERS);
        obj = rest_make_slot(COUNTED);
    }
    hak_free(obj);
    (void)hak_tally_add(false, cls, (uint32_t)idle, (int32_t)idle); /* this thread does nothing for a while */
    hak_ring_close(hak_guarded_mine, cls);
    for (uint32_t later = 1; later < hak_ring_floor(cls); later++) {
        int32_t after = (int32_t)(hak_ring_stamp(hak_guarded_mine, cls, later) - made[MINE - later]);
        if (after < 0 || after > (OTHERS + 1) * LINE + LINE)
            fail_msg("%u before the last: %d", later, after);
    }
}
static void stamps_say_when_slots_were_freed(void **state) {
    (void)state;
    expect_stamps(0);
    size_t states = atomic_exchange(&hak_quarantine_states, 4000); /* blocks are one free long */
    expect_stamps(5000);
    atomic_fetch_add(&hak_quarantine_states, states - 4000);
}

/* Addresses that nothing reads. */
static void rests_nowhere(void *obj, unsigned cls) {
    (void)obj, (void)cls;
}
static void fill_common(bool typed) {
    enum { SPACING = 1 << 18, MORE = 16 };
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        for (uint32_t i = 0; i < hak_ring_floor(cls) + MORE; i++) {
            void *obj = (void *)(((uintptr_t)1 << 48) + i * (uintptr_t)SPACING);
            (void)hak_common_exchange(&obj, 1, cls, typed);
        }
}

static void expect_count(unsigned cls, size_t least) {
    if (hak_common_count(cls) < least)
        fail_msg("%u bytes: %zu", hak_classes[cls].size, hak_common_count(cls));
}

/* The common rings of each kind have memory for the floors of all classes, whatever threads hold in their own rings and
 * the other kind holds, and addresses for that of the widest class and a share for each of the others: the whole floor
 * of slots of up to 32 KiB. Time does not count. */
static void common_rings_keep_all_floors(void **state) {
    (void)state;
    hak_quarantine_flush();
    hak_quarantine_home = rests_nowhere;
    fill_common(false);
    size_t threads = atomic_exchange(&hak_ring_pinned, (size_t)1 << 30);
    usleep(100000);
    hak_quarantine_age(true);
    hak_common_age();
    for (unsigned cls = 1; hak_classes[cls].size < HAK_RING_PURGED; cls++)
        expect_count(cls, hak_ring_floor(cls));
    expect_count(HAK_CLASSES, hak_ring_floor(HAK_CLASSES));
    size_t before[HAK_TAGS], bytes = 0;
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        before[cls] = hak_common_count(cls);
        expect_count(cls, hak_classes[cls].size <= HAK_RING_BARE ? hak_ring_floor(cls) : 1);
        bytes += hak_classes[cls].size < HAK_RING_PURGED ? 0 : before[cls] * hak_classes[cls].size;
    }
    assert_in_range(bytes, 1, 256 * HAK_MIB);
    fill_common(true);
    hak_common_age();
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        assert_int_equal(hak_common_count(cls), 2 * before[cls]);
    hak_common_flush();
    hak_quarantine_home = NULL;
    atomic_store(&hak_ring_pinned, threads);
}

/* A ring becomes longer while its oldest slots have not rested; then these go home in their order. */
enum { NUMBERED_MOST = 8000 };
static void *went_home[NUMBERED_MOST];
static size_t went_count;
static void notes_home(void *obj, unsigned cls) {
    (void)cls;
    went_home[went_count++] = obj;
}
static void *numbered(size_t i) {
    return (void *)(((uintptr_t)1 << 48) + (i << 18));
}
static size_t put_numbered(size_t from, size_t count, unsigned cls, uint32_t stamp) {
    size_t left = 0;
    for (size_t i = 0; i < count; i++)
        left += hak_common_rest(numbered(from + i), cls, false, stamp) != NULL;
    return left;
}
static void a_full_ring_becomes_longer(void **state) {
    (void)state;
    enum { DRAWN = 16, SOME = 100, MORE = 500, EARLIER = 7500 };
    unsigned cls = hak_class_of(COUNTED + HAK_CANARY_BYTES);
    uint32_t floor = hak_ring_floor(cls), full = floor + DRAWN, most = 3 * floor + DRAWN;
    hak_quarantine_flush();
    hak_ring_close(hak_guarded_mine, cls);
    hak_quarantine_home = notes_home;
    went_count = 0;
    uint32_t now = hak_tally_most(false, cls);
    assert_int_equal(put_numbered(0, full, cls, now), 0);
    now = hak_tally_add(false, cls, floor, (int32_t)floor) + floor;
    for (size_t i = 0; i < SOME; i++) { /* so that the oldest one is not in the first place */
        void *obj = numbered(full + i);
        (void)hak_common_exchange(&obj, 1, cls, false);
        assert_non_null(obj);
    }
    assert_int_equal(put_numbered(full + SOME, full - SOME, cls, now), full - SOME);
    assert_int_equal(put_numbered(2 * full, MORE, cls, now), 0); /* the oldest one has not rested now */
    assert_int_equal(put_numbered(EARLIER, 1, cls, now - 1), 0); /* it comes later, but was freed before */
    assert_int_equal(hak_common_count(cls), full + MORE + 1);
    hak_common_idle();
    assert_int_equal(went_count, 0);
    now = hak_tally_add(false, cls, floor, (int32_t)floor) + floor;
    hak_common_idle();
    assert_int_equal(went_count, MORE + 1);
    assert_ptr_equal(went_home[0], numbered(EARLIER));
    for (size_t i = 0; i < MORE; i++)
        assert_ptr_equal(went_home[i + 1], numbered(full + i));
    /* what has rested already drives nothing out */
    assert_ptr_equal(hak_common_rest(numbered(7000), cls, false, now - floor), numbered(7000));
    assert_int_equal(put_numbered(2 * full + MORE, full, cls, now), full);
    assert_int_equal(put_numbered(3 * full + MORE, most - full, cls, now), 0);
    assert_int_equal(put_numbered(7001, 1, cls, now), 1); /* there is no room for more */
    assert_int_equal(hak_common_count(cls), most);
    hak_common_flush();
    hak_quarantine_home = NULL;
}

/* Two threads have freed a slot at once, and the first one's ring has given it to the common one. */
static void freed_twice_at_once(void **state) {
    (void)state;
    enum { ANOTHER = 77 };
    hak_place place;
    void *obj = rest_make_slot(200);
    assert_true(hak_ledger_find(obj, &place));
    hak_free(obj);
    hak_ring_empty(hak_guarded_mine, hak_ring_rest);
    assert_int_not_equal(hak_common_count(hak_class_of(200 + HAK_CANARY_BYTES)), 0);
    hak_sweep_all();
    hak_record_store(place.record, hak_record_freed(ANOTHER, hak_record_load(place.record)));
    pid_t child = fork();
    if (child == 0) {
        hak_forks = 0; /* a child looks at less */
        close(STDERR_FILENO);
        hak_sweep_all();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    hak_record_store(place.record, hak_record_freed(0, hak_record_load(place.record)));
}

/* fork.c takes the policy's locks, of which these are some. */
static void a_fork_takes_all_locks(void **state) {
    (void)state;
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        const hak_common_place place = {.cls = cls};
        const hak_lock *lock = hak_common_place_lock(&place), *taken;
        for (unsigned i = 0; (taken = hak_policy_lock(i)) != lock; i++)
            assert_non_null(taken);
    }
}

/* Holds the lock of a class's common ring until the other thread waits for it. */
enum { WAITED_FOR = 2 }; /* lock.h */
static atomic_bool held;
static void *holds_lock(void *cls) {
    const hak_common_place place = {.cls = (unsigned)(uintptr_t)cls};
    hak_lock *lock = hak_common_place_lock(&place);
    hak_lock_take(lock);
    atomic_store(&held, true);
    while (atomic_load(&lock->word) != WAITED_FOR)
        usleep(100);
    hak_lock_give(lock);
    return NULL;
}

/* While all rings together hold what they may. */
static void fronts_grow_where_threads_meet(void **state) {
    (void)state;
    enum { SMALL = 100, FIRST = 4, MOST_PLACES = 16 };
    unsigned cls = hak_class_of(SMALL + HAK_CANARY_BYTES);
    const hak_ring *ring = &hak_guarded_mine->rings[cls];
    hak_quarantine_flush();
    atomic_fetch_add(&hak_quarantine_held, 1024 * HAK_MIB);
    (void)rest_pairs_until(NULL, SMALL, 100);
    assert_int_equal(ring->limit, FIRST);
    for (uint32_t places = 2 * FIRST; places <= MOST_PLACES; places *= 2) {
        pthread_t thread;
        atomic_store(&held, false);
        assert_int_equal(pthread_create(&thread, NULL, holds_lock, (void *)(uintptr_t)cls), 0);
        while (!atomic_load(&held))
            usleep(100);
        (void)rest_pairs_until(NULL, SMALL, places);
        pthread_join(thread, NULL);
        assert_int_equal(ring->limit, places);
    }
    rest_expect(rest_victim(SMALL), 3);
    atomic_fetch_sub(&hak_quarantine_held, 1024 * HAK_MIB);
}

/* Takes a random one of the first `count`, and puts it last. */
static void *take_one(void **objs, int count) {
    static uint64_t random;
    int at = (int)(unit_random(&random) % (unsigned)count);
    void *obj = objs[at];
    objs[at] = objs[count - 1];
    objs[count - 1] = obj;
    return obj;
}

static bool is_resident(const void *obj) {
    unsigned char in = 0;
    uintptr_t page = (uintptr_t)obj & ~(hak_os_page - 1);
    return mincore((void *)page, 1, &in) == 0 && (in & 1) != 0; /* an error: it is not even mapped */
}

/* A class of small slots, of which the thread holds the floor of many, leaves its ring because all rings keep too many
 * pages. The pages around the slots go back all the same. */
static void pages_around_slots_go(void **state) {
    (void)state;
    enum { COUNT = 200000, SOME = 1000, SIZE = 48 };
    static void *objs[COUNT], *some[SOME];
    unsigned cls = hak_class_of(SIZE + HAK_CANARY_BYTES);
    hak_quarantine_flush();
    for (int i = 0; i < COUNT; i++)
        objs[i] = rest_make(SIZE);
    for (int i = 0; i < COUNT; i++) /* at random: so that all slabs keep some slots */
        hak_free(take_one(objs, COUNT - i));
    for (int i = 0; i < SOME; i++)
        some[i] = objs[i * (COUNT / SOME)];
    size_t threads = atomic_exchange(&hak_ring_pinned, 1024 * HAK_MIB);
    size_t places = hak_guarded_mine->rings[cls].limit;
    assert_true(places * hak_os_page > 160 * HAK_MIB); /* more than one thread's rings may pin */
    hak_quarantine_age(true);
    hak_quarantine_age(true);
    assert_int_equal(hak_guarded_mine->rings[cls].limit, 0);
    assert_int_not_equal(hak_common_count(cls), 0);
    usleep(20000);
    hak_quarantine_age(true);
    atomic_fetch_add(&hak_ring_pinned, threads - 1024 * HAK_MIB);
    unsigned resident = 0;
    for (int i = 0; i < SOME; i++)
        resident += is_resident(some[i]);
    if (resident > SOME / 2) /* a floor of 1,040 slots in some 3,100 pages */
        fail_msg("%u of %u pages stay", resident, SOME);
}

/* In common rings slots of 8 KiB and more rest without memory. Here they come through a front. */
static void wide_slots_rest_without_memory(void **state) {
    (void)state;
    enum { WIDE = 20000, COUNT = 8 };
    void *objs[COUNT];
    unsigned resident = 0;
    hak_quarantine_flush();
    for (int i = 0; i < COUNT; i++) {
        objs[i] = rest_make_slot(WIDE);
        memset(objs[i], 1, WIDE);
    }
    size_t live = hak_release_slabs_live(), kept = atomic_load(&hak_superslab_live_bytes);
    atomic_fetch_add(&hak_quarantine_held, 1024 * HAK_MIB);
    for (int i = 0; i < COUNT; i++)
        hak_free(objs[i]);
    atomic_fetch_sub(&hak_quarantine_held, 1024 * HAK_MIB);
    for (int i = 0; i < COUNT; i++)
        resident += is_resident((char *)objs[i] + WIDE / 2);
    assert_true(resident < COUNT / 2);
    /* nor do they count as live memory, of which a part may stay as free memory */
    live -= hak_release_slabs_live();
    kept -= atomic_load(&hak_superslab_live_bytes);
    assert_true(live - kept >= COUNT / 2 * (size_t)WIDE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("after the thread that freed it has ended", after_a_thread_has_ended),
        CASE("what threads held that ended before it does not count", after_several_threads_have_ended),
        CASE("slots of threads that had freed others before, and end later",
             threads_end_after_the_slots_thread),
        CASE("400 threads that had freed a few slots before end later",
             many_threads_end_after_the_slots_thread),
        CASE("what an ended thread has freed is counted", ended_threads_have_no_open_block),
        CASE("the more threads there are the fewer frees count at once", many_threads_have_short_blocks),
        CASE("a forked child waits for no thread that it does not have", a_child_has_its_own_blocks_only),
        CASE("a slot's stamp says when it was freed", stamps_say_when_slots_were_freed),
        CASE("a full ring becomes longer until its oldest slots have rested", a_full_ring_becomes_longer),
        CASE("common rings of each kind keep all floors, and of wide slots a share at least",
             common_rings_keep_all_floors),
        CASE("a slot that two threads have freed is found in the common ring", freed_twice_at_once),
        CASE("the pages around slots of a class that has left its ring go back", pages_around_slots_go),
        CASE("in common rings wide slots rest without memory, which does not count as live",
             wide_slots_rest_without_memory),
        CASE("a fork takes the lock of each class", a_fork_takes_all_locks),
        CASE("a front becomes longer where another thread is in the way", fronts_grow_where_threads_meet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
