/* rest_test.c: how many objects of its size a thread makes and frees until a freed slot has a new owner: never fewer
 * than the floor of its class, whatever else happens. Counted, so the same each time. */
#include "tests/unit/unit.h"

#include "allocator/pages/release.h"
#include "allocator/pages/superslab.h"
#include "allocator/policy.h"
#include "hardening/canary.h"
#include "hardening/common.h"
#include "hardening/inherit.h"
#include "hardening/ring.h"
#include "hardening/sweep.h"
#include "include/hakmem.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { VICTIMS = 8, BUSY = 5, LIVE = 200, MOST = 4000 };

/* Objects of up to so many bytes, and how many pairs of malloc and free they rest at least. */
static const struct {
    size_t size;
    long least;
} kinds[] = {{1, 1000},  {24, 1000},  {80, 1000},  {100, 1000},  {200, 1000},   {256, 1000},
             {300, 400}, {512, 400},  {700, 400},  {1024, 400},  {2000, 100},   {4096, 100},
             {6000, 32}, {12000, 32}, {30000, 32}, {40000, 600}, {100000, 600}, {250000, 600}};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

/* One call site for all: its first objects are sampled. */
static HAK_NOINLINE void *make(size_t size) {
    void *obj = hak_malloc(size);
    assert_non_null(obj);
    return obj;
}

/* The same, but not a sampled object. */
static void *make_slot(size_t size) {
    hak_place place;
    void *obj = make(size);
    while (!hak_ledger_find(obj, &place)) {
        hak_free(obj);
        obj = make(size);
    }
    return obj;
}

/* Pairs until the address has a new owner; `most` if it has none by then. */
static long pairs_until(const void *stale, size_t size, long most) {
    for (long pairs = 0; pairs < most; pairs++) {
        void *obj = make(size);
        if (obj == stale)
            return pairs;
        hak_free(obj);
    }
    return most;
}

static void warm(size_t size) {
    for (int i = 0; i < 16; i++)
        hak_free(make(size));
}

/* A slot that was just freed, with some others. */
static void *victim(size_t size) {
    void *objs[VICTIMS];
    for (int i = 0; i < VICTIMS; i++)
        objs[i] = make_slot(size);
    for (int i = 0; i < VICTIMS; i++)
        hak_free(objs[i]);
    return objs[VICTIMS / 2];
}

static void expect_rest(const void *stale, unsigned kind) {
    long pairs = pairs_until(stale, kinds[kind].size, kinds[kind].least);
    if (pairs < kinds[kind].least)
        fail_msg("%zu bytes have a new owner after %ld pairs", kinds[kind].size, pairs);
}

static void alone(void **state) {
    (void)state;
    for (unsigned kind = 0; kind < KINDS; kind++) {
        warm(kinds[kind].size);
        for (int again = 0; again < 3; again++) /* also when the ring is as long as it gets */
            expect_rest(victim(kinds[kind].size), kind);
    }
}

/* It does come back, or the floor would say nothing; of wide slots a slab has few free ones to draw from by then. */
static void comes_back(void **state) {
    (void)state;
    for (unsigned kind = 0; kind < KINDS; kind++)
        if (kinds[kind].size > HAK_RING_DEEP && kinds[kind].size <= 4096) {
            warm(kinds[kind].size);
            void *stale = victim(kinds[kind].size);
            if (pairs_until(stale, kinds[kind].size, MOST) == MOST)
                fail_msg("%zu bytes: never", kinds[kind].size);
        }
}

/* Objects of all other classes are made and freed, in numbers; less than makes memory sparse (cache.h). */
static void drain(size_t but) {
    static void *objs[4000];
    for (size_t size = 8; size < 30000; size += size < 240 ? 16 : size / 9) {
        if (size > but * 3 / 4 && size < but * 5 / 4 + 16)
            continue;
        size_t count = 60000 / size + 12;
        count = count < 4000 ? count : 4000;
        for (int round = 0; round < 3; round++) {
            for (size_t i = 0; i < count; i++)
                objs[i] = make(size);
            for (size_t i = 0; i < count; i++)
                hak_free(objs[i]);
        }
    }
}

static void after_other_classes(void **state) {
    (void)state;
    for (unsigned kind = 0; kind < KINDS; kind += 3) {
        warm(kinds[kind].size);
        (void)pairs_until(NULL, kinds[kind].size, 2000);
        void *stale = victim(kinds[kind].size);
        drain(kinds[kind].size);
        expect_rest(stale, kind);
        expect_rest(victim(kinds[kind].size), kind);
    }
}

/* A long ring gives places to another class: the oldest slots leave, not those that were freed just now. */
static void after_a_long_ring_grows(void **state) {
    (void)state;
    for (long before = 20000; before < 26000; before += 731) {
        (void)pairs_until(NULL, 80, before);
        void *stale = victim(80);
        (void)pairs_until(NULL, 24, 100000);
        expect_rest(stale, 2);
    }
}

/* Of sizes that do not make memory sparse. Counts what is freed of each class: in a common ring the frees of all
 * threads make a floor. */
static atomic_bool stop;
static atomic_long freed[HAK_TAGS];
static void *busy(void *seed) {
    uint64_t random = (uintptr_t)seed;
    void *objs[LIVE] = {NULL};
    size_t sizes[LIVE] = {0};
    while (!atomic_load(&stop)) {
        uint64_t number = unit_random(&random);
        size_t i = number % LIVE;
        if (objs[i] != NULL)
            atomic_fetch_add(&freed[hak_class_of(sizes[i] + HAK_CANARY_BYTES)], 1);
        hak_free(objs[i]);
        sizes[i] = number >> 20 & 0x3ff;
        objs[i] = make(sizes[i]);
    }
    for (int i = 0; i < LIVE; i++)
        hak_free(objs[i]);
    return NULL;
}

static void beside_busy_threads(void **state) {
    (void)state;
    pthread_t threads[BUSY];
    warm(1); /* regions are born before the threads */
    atomic_store(&stop, false);
    for (uintptr_t i = 0; i < BUSY; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, busy, (void *)(i + 1)), 0);
    usleep(100000);
    long pairs[KINDS];
    for (unsigned kind = 0; kind < KINDS; kind++) {
        warm(kinds[kind].size);
        void *stale = victim(kinds[kind].size);
        atomic_long *others = &freed[hak_class_of(kinds[kind].size + HAK_CANARY_BYTES)];
        long before = atomic_load(others);
        pairs[kind] = pairs_until(stale, kinds[kind].size, kinds[kind].least);
        pairs[kind] += atomic_load(others) - before;
    }
    atomic_store(&stop, true);
    for (int i = 0; i < BUSY; i++)
        pthread_join(threads[i], NULL);
    for (unsigned kind = 0; kind < KINDS; kind++)
        if (pairs[kind] < kinds[kind].least)
            fail_msg("%zu bytes have a new owner after %ld frees of all threads", kinds[kind].size,
                     pairs[kind]);
}

/* All rings together hold what they may, in threads that wait. */
static pthread_barrier_t full, over;
static void *fills(void *unused) {
    (void)pairs_until(NULL, 64, 100000);
    for (unsigned kind = 0; kind < KINDS; kind++)
        (void)pairs_until(NULL, kinds[kind].size, 1200);
    pthread_barrier_wait(&full);
    pthread_barrier_wait(&over);
    return unused;
}

static void when_others_hold_all(void **state) {
    enum { FILLERS = 12 };
    (void)state;
    pthread_t threads[FILLERS];
    pthread_barrier_init(&full, NULL, FILLERS + 1);
    pthread_barrier_init(&over, NULL, FILLERS + 1);
    for (int i = 0; i < FILLERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, fills, NULL), 0);
    pthread_barrier_wait(&full);
    for (unsigned kind = 0; kind < KINDS; kind++) {
        warm(kinds[kind].size);
        for (int again = 0; again < 3; again++)
            expect_rest(victim(kinds[kind].size), kind);
    }
    assert_in_range(atomic_load(&hak_quarantine_held), 1, 24 * HAK_MIB + (FILLERS + 1) * HAK_MIB);
    hak_sweep_all(); /* what came back from a common ring is no double free */
    pthread_barrier_wait(&over);
    for (int i = 0; i < FILLERS; i++)
        pthread_join(threads[i], NULL);
}

static unsigned its_kind;
static long its_pairs;
static void count(void *stale) {
    its_pairs = pairs_until(stale, kinds[its_kind].size, kinds[its_kind].least);
}
static void *frees_first(void *stale) {
    hak_free(stale);
    count(stale);
    return NULL;
}

/* Runs in the last round of destructors, after the allocator's own. */
static pthread_key_t key;
static void frees_last(void *stale) {
    static _Thread_local int round;
    if (++round < 4) {
        pthread_setspecific(key, stale);
        return;
    }
    hak_free(stale);
    count(stale);
}
static void *ends(void *stale) {
    warm(kinds[its_kind].size);
    pthread_setspecific(key, stale);
    return NULL;
}

static void in_a_thread(void *(*body)(void *)) {
    static void *objs[100];
    for (its_kind = 0; its_kind < KINDS; its_kind++) {
        pthread_t thread;
        size_t size = kinds[its_kind].size;
        warm(size);
        for (int i = 0; i < 100; i++)
            objs[i] = make_slot(size);
        its_pairs = -1;
        assert_int_equal(pthread_create(&thread, NULL, body, objs[50]), 0);
        pthread_join(thread, NULL);
        if (its_pairs < kinds[its_kind].least)
            fail_msg("%zu bytes have a new owner after %ld pairs", size, its_pairs);
        for (int i = 0; i < 100; i++)
            if (i != 50)
                hak_free(objs[i]);
    }
}

static void first_free(void **state) {
    (void)state;
    in_a_thread(frees_first);
}

static void last_free(void **state) {
    (void)state;
    if (HAK_TSAN) { /* has ended its part of the thread before the last round */
        skip();
    }
    hak_free(make(1)); /* the allocator's key comes first */
    assert_int_equal(pthread_key_create(&key, frees_last), 0);
    in_a_thread(ends);
    pthread_key_delete(key);
}

static void in_a_child(void **state) {
    (void)state;
    for (unsigned kind = 0; kind < KINDS; kind++) {
        int status;
        warm(kinds[kind].size);
        void *stale = victim(kinds[kind].size);
        pid_t child = fork();
        if (child == 0)
            _exit(pairs_until(stale, kinds[kind].size, kinds[kind].least) < kinds[kind].least);
        assert_true(waitpid(child, &status, 0) == child);
        assert_int_equal(status, 0);
        expect_rest(stale, kind);
    }
}

/* What an ended thread held goes on to the common ring: it is not handed out at once. */
static void *leaves(void *stale) {
    hak_free(make(1)); /* the thread has a state when it frees the slot */
    hak_free(stale);
    return NULL;
}
static void after_a_thread_has_ended(void **state) {
    (void)state;
    for (unsigned kind = 0; kind < KINDS; kind++) {
        pthread_t thread;
        warm(kinds[kind].size);
        void *stale = make_slot(kinds[kind].size);
        assert_int_equal(pthread_create(&thread, NULL, leaves, stale), 0);
        pthread_join(thread, NULL);
        unsigned cls = hak_class_of(kinds[kind].size + HAK_CANARY_BYTES);
        size_t before = hak_common_count(cls);
        hak_quarantine_idle(UINT64_MAX);
        if (hak_common_count(cls) != before + 1)
            fail_msg("%zu bytes: %zu, %zu", kinds[kind].size, before, hak_common_count(cls));
        expect_rest(stale, kind);
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
static void run_in_a_thread(void *(*body)(void *), void *what) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, body, what) == 0)
        pthread_join(thread, NULL);
}
static void *fills_and_ends(void *others) {
    hak_free(make(1));
    if (others != NULL)
        run_in_a_thread(fills_and_ends, (void *)((uintptr_t)others - 1));
    (void)pairs_until(NULL, AMONG, 2000);
    return NULL;
}
static void *leaves_last(void *stale) {
    hak_free(make(1));
    run_in_a_thread(fills_and_ends, (void *)(uintptr_t)(FILLERS - 1));
    hak_free(stale);
    return NULL;
}
static void after_several_threads_have_ended(void **state) {
    (void)state;
    hak_quarantine_flush();
    void *stale = make_slot(AMONG);
    newest = stale;
    hak_quarantine_home = notes_newest;
    run_in_a_thread(leaves_last, stale);
    hak_quarantine_rest_ended();
    hak_quarantine_home = NULL;
    assert_false(newest_left);
    assert_int_equal(hak_common_count(hak_class_of(AMONG + HAK_CANARY_BYTES)),
                     hak_ring_floor(hak_class_of(AMONG + HAK_CANARY_BYTES)) + HAK_SWAP_PLACES);
}

/* While memory is sparse what a class holds stays, as long as all of it pins little. */
static void while_memory_is_sparse(void **state) {
    (void)state;
    hak_quarantine_flush();
    for (unsigned kind = 0; kind < KINDS; kind++) {
        warm(kinds[kind].size);
        void *stale = victim(kinds[kind].size);
        for (int age = 0; age < 3; age++) {
            usleep(3000);
            hak_quarantine_age(true);
        }
        unsigned cls = hak_class_of(kinds[kind].size + HAK_CANARY_BYTES);
        assert_int_not_equal(hak_guarded_mine->rings[cls].limit, 0); /* it rests in the thread's own ring */
        expect_rest(stale, kind);
        hak_quarantine_flush();
    }
}

/* A long ring counts a page for each slot, so all rings keep too many: what the thread does not use goes on to the
 * common rings, and rests there as long. */
static void while_rings_keep_too_many_pages(void **state) {
    (void)state;
    for (unsigned kind = 3; kind < KINDS; kind += 2) {
        unsigned cls = hak_class_of(kinds[kind].size + HAK_CANARY_BYTES);
        hak_quarantine_flush();
        warm(kinds[kind].size);
        void *stale = victim(kinds[kind].size);
        (void)pairs_until(NULL, 24, 150000);
        hak_quarantine_age(true);
        (void)pairs_until(NULL, 24, 200);
        hak_quarantine_age(true);
        assert_int_equal(hak_guarded_mine->rings[cls].limit, 0);
        assert_int_not_equal(hak_common_count(cls), 0);
        expect_rest(stale, kind);
    }
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

/* The common rings have memory for the floors of all classes, whatever threads hold in their own rings, and addresses
 * for that of the widest class. Beyond that the class leaves that was not used for the most exchanges; time does not
 * count. */
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
    fill_common(true);
    hak_common_age();
    unsigned narrow = hak_class_of(HAK_RING_PURGED - 1) - 1;
    expect_count(narrow, 2 * (size_t)hak_ring_floor(narrow));
    size_t first = hak_common_count(1), wide = hak_common_count(hak_class_of(HAK_RING_BARE + 1));
    hak_common_flush();
    hak_quarantine_home = NULL;
    atomic_store(&hak_ring_pinned, threads);
    assert_int_equal(wide, 0);
    assert_true(first < 2 * hak_ring_floor(1));
}

/* Two threads have freed a slot at once, and the first one's ring has given it to the common one. */
static void freed_twice_at_once(void **state) {
    (void)state;
    enum { ANOTHER = 77 };
    hak_place place;
    void *obj = make_slot(200);
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

/* Pages that are locked do not go: slots that should rest without are few then. */
static void where_memory_is_locked(void **state) {
    (void)state;
    enum { WIDE = 60000, FEW = 4 };
    unsigned cls = hak_class_of(WIDE + HAK_CANARY_BYTES);
    hak_quarantine_flush();
    void *obj = make_slot(WIDE);
    assert_int_equal(syscall(SYS_mlock, obj, WIDE), 0);
    hak_free(obj);
    assert_true(atomic_load(&hak_ring_stays));
    (void)pairs_until(NULL, WIDE, 100);
    assert_in_range(hak_guarded_mine->rings[cls].limit, 1, FEW);
    assert_int_equal(hak_common_count(cls), 0);
    assert_int_equal(syscall(SYS_munlock, obj, WIDE), 0);
    atomic_store(&hak_ring_stays, false);
}

/* Other memory may lie where the ring would grow, or there was no address space at all when the thread began. */
static void without_address_space(void **state) {
    (void)state;
    enum { SMALL = 24, SECONDS = 60 };
    const uint32_t rooms[] = {0, 1, 64};
    unsigned cls = hak_class_of(SMALL + HAK_CANARY_BYTES);
    uint32_t most = hak_guarded_mine->most[cls];
    (void)alarm(SECONDS); /* such a free once never ended */
    for (unsigned i = 0; i < sizeof rooms / sizeof rooms[0]; i++) {
        hak_quarantine_flush();
        hak_guarded_mine->most[cls] = rooms[i];
        expect_rest(victim(SMALL), 1);
        assert_in_range(hak_guarded_mine->rings[cls].limit, 0, rooms[i]);
        assert_int_not_equal(hak_common_count(cls), 0);
    }
    hak_guarded_mine->most[cls] = most;
    (void)alarm(0);
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

/* Holds the lock of a class's common ring until the other thread is about to wait for it, or a while longer. */
static atomic_bool held;
static void *holds_lock(void *cls) {
    const hak_common_place place = {.cls = (unsigned)(uintptr_t)cls};
    hak_lock *lock = hak_common_place_lock(&place);
    hak_lock_take(lock);
    atomic_store(&held, true);
    usleep(20000);
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
    (void)pairs_until(NULL, SMALL, 100);
    assert_int_equal(ring->limit, FIRST);
    for (uint32_t places = 2 * FIRST; places <= MOST_PLACES; places *= 2) {
        pthread_t thread;
        atomic_store(&held, false);
        assert_int_equal(pthread_create(&thread, NULL, holds_lock, (void *)(uintptr_t)cls), 0);
        while (!atomic_load(&held))
            usleep(100);
        (void)pairs_until(NULL, SMALL, places);
        pthread_join(thread, NULL);
        assert_int_equal(ring->limit, places);
    }
    expect_rest(victim(SMALL), 3);
    atomic_fetch_sub(&hak_quarantine_held, 1024 * HAK_MIB);
}

/* The long ring of one size has all that rings may hold. */
static void floors_come_before_long_rings(void **state) {
    (void)state;
    enum { MUCH = 30000 };
    hak_quarantine_flush();
    (void)pairs_until(NULL, 80, MUCH);
    unsigned large = hak_class_of(80 + HAK_CANARY_BYTES), cls = hak_class_of(200 + HAK_CANARY_BYTES);
    uint32_t before = hak_guarded_mine->rings[large].limit;
    assert_true(before > MUCH / 2);
    size_t held = atomic_exchange(&hak_quarantine_held, 24 * HAK_MIB);
    (void)pairs_until(NULL, 200, 2 * (long)hak_ring_floor(cls));
    atomic_fetch_add(&hak_quarantine_held, held - 24 * HAK_MIB);
    assert_int_equal(hak_guarded_mine->rings[cls].limit, hak_ring_floor(cls));
    assert_true(hak_guarded_mine->rings[large].limit < before);
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
        objs[i] = make(SIZE);
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
        objs[i] = make_slot(WIDE);
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
        CASE("a freed slot rests as long as the floor of its class says", alone),
        CASE("it comes back some time", comes_back),
        CASE("other classes of the thread take no place of a class's floor", after_other_classes),
        CASE("when a long ring gets shorter its oldest slots leave", after_a_long_ring_grows),
        CASE("beside five busy threads", beside_busy_threads),
        CASE("when the rings of others hold all that rings may hold", when_others_hold_all),
        CASE("a thread's first free", first_free),
        CASE("a free after the thread's state has ended", last_free),
        CASE("in a forked child, and in its parent", in_a_child),
        CASE("after the thread that freed it has ended", after_a_thread_has_ended),
        CASE("what threads held that ended before it does not count", after_several_threads_have_ended),
        CASE("while memory is sparse", while_memory_is_sparse),
        CASE("while the rings keep too many pages", while_rings_keep_too_many_pages),
        CASE("common rings keep all floors; beyond them the class unused for the most exchanges leaves",
             common_rings_keep_all_floors),
        CASE("a slot that two threads have freed is found in the common ring", freed_twice_at_once),
        CASE("floors come before long rings", floors_come_before_long_rings),
        CASE("the pages around slots of a class that has left its ring go back", pages_around_slots_go),
        CASE("in common rings wide slots rest without memory, which does not count as live",
             wide_slots_rest_without_memory),
        CASE("a fork takes the lock of each class", a_fork_takes_all_locks),
        CASE("a front becomes longer where another thread is in the way", fronts_grow_where_threads_meet),
        CASE("a ring without address space for its floor is the front of the common one",
             without_address_space),
        CASE("where pages cannot be given back wide slots rest for a few frees", where_memory_is_locked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
