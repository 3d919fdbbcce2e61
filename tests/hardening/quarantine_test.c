/* quarantine_test.c: how soon memory is reused, and in which order it is handed out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "allocator/life/idle.h"
#include "allocator/os/os.h"
#include "allocator/policy.h"
#include "hardening/common.h"
#include "hardening/keep.h"
#include "hardening/ring.h"
#include "include/hakmem.h"
#include "tests/hardening/again.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* The bound: at most 1 % of freed 64-byte slots come back within 4,096 rounds, at most 10 % within 65,536. */
static void small_slots_rest(void **state) {
    (void)state;
    enum { ROUNDS = 65536, WATCHED = 64 };
    void *watched[WATCHED];
    for (int i = 0; i < WATCHED; i++)
        watched[i] = hak_malloc(64);
    for (int i = 0; i < WATCHED; i++)
        hak_free(watched[i]);
    unsigned early = 0, late = 0;
    for (int round = 0; round < ROUNDS; round++) {
        void *obj = hak_malloc(64);
        for (int i = 0; i < WATCHED; i++)
            if (obj == watched[i]) {
                late++;
                early += round < 4096;
                watched[i] = NULL;
            }
        hak_free(obj);
    }
    assert_int_equal(early, 0);
    assert_true(late * 10 <= WATCHED);
}

static void *frees_first(void *obj) {
    hak_free(obj);
    static void *next[64];
    for (int i = 0; i < 64; i++) {
        next[i] = hak_malloc(i < 16 ? 400 : 56); /* the first objects of a call site are sampled */
        if (next[i] == obj)
            return obj;
    }
    for (int i = 0; i < 64; i++)
        hak_free(next[i]);
    return NULL;
}

static void first_call_is_free(void **state) {
    (void)state;
    static void *objs[1000];
    for (int i = 0; i < 1000; i++)
        objs[i] = hak_malloc(56);
    for (int i = 100; i < 108; i++) {
        pthread_t thread;
        void *back = NULL;
        assert_int_equal(pthread_create(&thread, NULL, frees_first, objs[i]), 0);
        pthread_join(thread, &back);
        assert_null(back);
        objs[i] = NULL;
    }
    for (int i = 0; i < 1000; i++)
        hak_free(objs[i]);
}

static void large_objects_rest(void **state) {
    (void)state;
    void *first = hak_malloc(3 << 20);
    hak_free(first);
    void *more[8];
    for (int i = 0; i < 8; i++) {
        more[i] = hak_malloc(3 << 20);
        assert_ptr_not_equal(more[i], first);
    }
    for (int i = 0; i < 8; i++)
        hak_free(more[i]);
}

/* Returns the entropy of the distance between neighbours in time, from many of them. */
static void check_order(size_t size) {
    enum { COUNT = 20000, BINS = 1 << 18 /* 4 MiB: no distance inside a superslab is folded onto another */ };
    static void *objs[COUNT];
    static unsigned bins[BINS];
    memset(bins, 0, sizeof bins);
    for (int i = 0; i < COUNT; i++)
        assert_non_null(objs[i] = hak_malloc(size));
    for (int i = 1; i < COUNT; i++)
        bins[((uintptr_t)objs[i] - (uintptr_t)objs[i - 1]) / 16 % BINS]++;
    double shannon = 0, most = 0;
    for (int i = 0; i < BINS; i++) {
        double share = (double)bins[i] / (COUNT - 1);
        shannon -= share > 0 ? share * log2(share) : 0;
        most = share > most ? share : most;
    }
    for (int i = 0; i < COUNT; i++)
        hak_free(objs[i]);
    assert_true(shannon >= 6.8);
    assert_true(-log2(most) >= 5); /* one in 32: docs/decisions/032 */
}

static void order_is_random(void **state) {
    (void)state;
    check_order(64);
    check_order(1024);
    check_order(4096);
}

/* One object is made and freed again and again. Measures how many rounds ago each slot that comes was freed: with a
 * swap of 16 places the distance is drawn, without one it is always the same. */
static void leaves_by_chance(void **state) {
    (void)state;
    enum { SLOTS = 1 << 16, ROUNDS = 60000, MOST = 4096 };
    static uintptr_t slots[SLOTS];
    static unsigned freed_at[SLOTS], distances[MOST];
    unsigned counted = 0;
    for (unsigned round = 1; round <= ROUNDS; round++) {
        void *obj = hak_malloc(1000);
        size_t i = (uintptr_t)obj >> 4;
        for (i = i * 0x9e3779b97f4a7c15u >> 48; slots[i] != 0 && slots[i] != (uintptr_t)obj;)
            i = (i + 1) % SLOTS;
        slots[i] = (uintptr_t)obj;
        if (freed_at[i] != 0 && round - freed_at[i] < MOST && round > ROUNDS / 4) {
            distances[round - freed_at[i]]++;
            counted++;
        }
        freed_at[i] = round;
        hak_free(obj);
    }
    double shannon = 0;
    for (unsigned i = 0; i < MOST; i++) {
        double share = (double)distances[i] / counted;
        shannon -= share > 0 ? share * log2(share) : 0;
    }
    assert_true(counted > ROUNDS / 2);
    assert_true(shannon >= 3);
}

/* Many threads each hold more than their part of 24 MiB. Together they hold no more than 24 MiB, and the small part
 * that each may always hold. */
enum { MANY = 64, ROUNDS_EACH = 150000, LEAST = 64 * HAK_KIB };
static pthread_barrier_t all_full, all_read;
static void *holds(void *unused) {
    for (int i = 0; i < ROUNDS_EACH; i++)
        hak_free(hak_malloc(64));
    pthread_barrier_wait(&all_full);
    pthread_barrier_wait(&all_read);
    return unused;
}
static void *holds_more(void *unused) {
    for (int i = 0; i < 2 * ROUNDS_EACH; i++)
        hak_free(hak_malloc(80));
    pthread_barrier_wait(&all_full);
    pthread_barrier_wait(&all_read);
    return unused;
}
static void total_is_bounded(void **state) {
    (void)state;
    pthread_t threads[MANY];
    pthread_barrier_init(&all_full, NULL, MANY + 1);
    pthread_barrier_init(&all_read, NULL, MANY + 1);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, holds, NULL), 0);
    pthread_barrier_wait(&all_full);
    size_t held = atomic_load(&hak_quarantine_held);
    pthread_barrier_wait(&all_read);
    for (int i = 0; i < MANY; i++)
        pthread_join(threads[i], NULL);
    assert_in_range(held, 16 * HAK_MIB, 24 * HAK_MIB + MANY * LEAST);
}

static HAK_NOINLINE void round_of_2000(void) { /* one call site: its first objects are sampled */
    hak_free(hak_malloc(2000));
}

/* A class that frees nothing any more goes home after ten seconds; a class in use stays. */
static void classes_go_home(void **state) {
    (void)state;
    enum { LITTLE = 16 * HAK_KIB };
    hak_place place;
    void *obj;
    do
        obj = hak_malloc(2000);
    while (!hak_ledger_find(obj, &place));
    unsigned cls = hak_granule_find((uintptr_t)obj)->cls;
    hak_free(obj);
    hak_ring *ring = &hak_guarded_mine->rings[cls];
    for (int i = 0; i < 1000; i++)
        round_of_2000();
    assert_true(ring->limit * (size_t)2000 > LITTLE);
    hak_quarantine_age(false);
    hak_guarded_mine->used_at[cls] -= 9000; /* as if so much time had passed */
    hak_quarantine_age(false);
    assert_int_not_equal(ring->limit, 0);
    round_of_2000();
    hak_guarded_mine->used_at[cls] -= 2000;
    hak_quarantine_age(false); /* the class was used */
    assert_int_not_equal(ring->limit, 0);
    hak_guarded_mine->used_at[cls] -= 11000;
    hak_quarantine_age(false);
    assert_int_equal(ring->limit, 0);
}

/* Returns the object's place in the order of frees; -1: it is none of these objects. */
static int nth(void *const *objs, int count, const void *obj) {
    for (int i = 0; i < count; i++)
        if (objs[i] == obj)
            return i;
    return -1;
}

/* When a ring has to give places away, its oldest slots leave; recently freed ones stay, in their order. */
static void oldest_leave(void **state) {
    (void)state;
    enum { MOST = 110000 }; /* the ring wraps around after 68,812 */
    static void *objs[MOST];
    unsigned in_the_middle = 0, all = 0;
    for (int count = 6000; count <= MOST; count += 26000) {
        hak_place place;
        for (int i = 0; i < count; i++)
            do
                objs[i] = hak_malloc(64);
            while (!hak_ledger_find(objs[i], &place));
        const hak_ring *ring = &hak_guarded_mine->rings[hak_granule_find((uintptr_t)objs[0])->cls];
        hak_quarantine_flush();
        for (int i = 0; i < count; i++)
            hak_free(objs[i]);
        uint32_t before = ring->limit, filled = 0;
        in_the_middle += ring->in + before / 2 < ring->slots + before;
        all++;
        hak_quarantine_trim();
        assert_in_range(ring->limit, 64, before - 1);
        int last = -1, in = (int)(ring->in - ring->slots), places = (int)ring->limit;
        for (int i = 0; i < places; i++) {
            void *obj = ring->slots[(in + i) % places];
            if (obj == NULL)
                continue;
            int at = nth(objs, count, obj);
            assert_true(at > last);
            last = at;
            filled++;
        }
        assert_int_equal(last, count - 1);
        int first = nth(objs, count, ring->slots[in < places && ring->slots[in] != NULL ? in : 0]);
        assert_int_equal(first, count - (int)filled);
        for (uint32_t i = ring->limit; i < before; i++)
            assert_null(ring->slots[i]);
    }
    assert_in_range(in_the_middle, 1, all - 1); /* slots left in both ways */
}

/* The first call of a thread may be a free, which is recorded, too. */
static void *frees_and_looks(void *obj) {
    hak_place place;
    assert_true(hak_ledger_find(obj, &place));
    hak_free(obj);
    uint32_t word = hak_record_load(place.record);
    assert_int_equal(hak_record_state(word), HAK_SLOT_FREED);
    assert_int_equal(word >> HAK_RECORD_OWNER_SHIFT & (HAK_RECORD_OWNERS - 1), hak_guarded_mine->owner);
    return NULL;
}
static void freed_has_its_thread(void **state) {
    (void)state;
    for (int i = 0; i < 20; i++) {
        hak_place place;
        void *obj;
        do
            obj = hak_malloc(700);
        while (!hak_ledger_find(obj, &place));
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, frees_and_looks, obj), 0);
        pthread_join(thread, NULL);
    }
}

/* A child holds the slots of its own thread and of threads that had ended, but not those of lost threads. */
static void child_holds_its_own(void **state) {
    (void)state;
    pthread_t thread;
    hak_quarantine_flush();
    pthread_barrier_init(&all_full, NULL, 2);
    pthread_barrier_init(&all_read, NULL, 2);
    assert_int_equal(pthread_create(&thread, NULL, holds, NULL), 0);
    pthread_barrier_wait(&all_full);
    size_t held = atomic_load(&hak_quarantine_held),
           mine = hak_guarded_mine->held + hak_guarded_mine->swapped;
    assert_true(held > mine + 64 * HAK_KIB);
    pid_t child = fork();
    if (child == 0)
        _exit(atomic_load(&hak_quarantine_held) == mine ? 0 : 1);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    pthread_barrier_wait(&all_read);
    pthread_join(thread, NULL);
    assert_int_equal(status, 0);
}

/* The program prints this when it runs again: the number of different distances from a free to the next use of the
 * place. */
static long distances(void) {
    enum { COUNT = 20000, PLACES = 1 << 22 }; /* 64 MiB: no two slots have one place */
    static int freed_at[PLACES];
    static bool seen[COUNT];
    long different = 0;
    for (int i = 1; i < COUNT; i++) {
        void *obj = hak_malloc(1000);
        int *at = &freed_at[(uintptr_t)obj / 16 % PLACES], distance = i - *at;
        if (*at != 0 && i > COUNT / 2 && !seen[distance]) {
            seen[distance] = true;
            different++;
        }
        *at = i;
        hak_free(obj);
    }
    return different;
}
static long total_kib(void) {
    enum { FULL = 4 };
    pthread_t threads[FULL];
    pthread_barrier_init(&all_full, NULL, FULL + 1);
    pthread_barrier_init(&all_read, NULL, FULL + 1);
    for (int i = 0; i < FULL; i++)
        if (pthread_create(&threads[i], NULL, holds_more, NULL) != 0)
            return 0;
    pthread_barrier_wait(&all_full);
    return (long)(atomic_load(&hak_quarantine_held) / HAK_KIB);
}

/* A thread frees objects after ended threads have filled the whole quarantine. Measures what this thread holds. */
static long mine_kib(void) {
    enum { SOME = MANY }; /* more than all threads together may hold */
    pthread_t threads[SOME];
    pthread_barrier_init(&all_full, NULL, SOME);
    pthread_barrier_init(&all_read, NULL, SOME);
    for (int i = 0; i < SOME; i++)
        if (pthread_create(&threads[i], NULL, holds, NULL) != 0)
            return 0;
    for (int i = 0; i < SOME; i++)
        pthread_join(threads[i], NULL);
    if (atomic_load(&hak_quarantine_held) < 15 * HAK_MIB) /* 16 are for more than floors */
        return 0;
    for (int i = 0; i < ROUNDS_EACH; i++)
        hak_free(hak_malloc(80));
    return (long)(hak_guarded_mine->held / HAK_KIB);
}

static void ended_threads_are_no_burden(void **state) {
    (void)state;
    assert_in_range(again_number("mine", NULL, "0"), 1280, 5504);
}

static void drawn_or_not(void **state) {
    (void)state;
    assert_in_range(again_number("distances", NULL, "0"), 4, 20000);
    assert_int_equal(again_number("distances", "random:off", "0"), 1);
}

static void more_for_each(void **state) {
    (void)state;
    enum { ALWAYS = 300 }; /* KiB of small slots that each thread may always hold: ALWAYS_KEPT */
    assert_in_range(again_number("total", "preset:max", "0"), 32 * 1024, 2 * 22016 + ALWAYS);
}

/* The thread has the quarantine to itself when it ends: its slots stay for a second, and then go home. */
static void ended_threads_hold(void **state) {
    (void)state;
    enum { LITTLE = 64 * HAK_KIB, A_SECOND = 1000 };
    pthread_barrier_init(&all_full, NULL, 1);
    pthread_barrier_init(&all_read, NULL, 1);
    for (int by_passes = 0; by_passes < 2; by_passes++) {
        hak_quarantine_flush();
        size_t before = atomic_load(&hak_quarantine_held);
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, holds, NULL), 0);
        pthread_join(thread, NULL);
        uint64_t now = hak_os_milliseconds();
        size_t held = atomic_load(&hak_quarantine_held);
        assert_true(held > before + LITTLE);
        hak_quarantine_idle(now);
        assert_int_equal(atomic_load(&hak_quarantine_held), held);
        for (uint64_t later = 0; by_passes == 1 && later < 60000; later += A_SECOND)
            hak_idle_pass(now + later);
        if (by_passes == 0)
            hak_quarantine_idle(hak_os_milliseconds() + A_SECOND);
        assert_in_range(atomic_load(&hak_quarantine_held), 0, before);
    }
}

static size_t states(void) {
    size_t count = 0;
    for (const hak_guarded *one = atomic_load(&hak_guarded_all); one != NULL; one = one->next)
        count++;
    return count;
}

/* Threads that are there at the same time, and have filled a ring each when they end. */
static pthread_barrier_t all_begun;
static void *fills_a_ring(void *unused) {
    static _Thread_local void *objs[100];
    (void)unused;
    for (int i = 0; i < 100; i++)
        objs[i] = hak_malloc(56);
    for (int i = 0; i < 100; i++)
        hak_free(objs[i]);
    pthread_barrier_wait(&all_begun);
    return NULL;
}
static void end_filled(unsigned count) {
    pthread_t threads[8];
    pthread_barrier_init(&all_begun, NULL, count);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, fills_a_ring, NULL), 0);
    for (unsigned i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&all_begun);
}

/* Does something when the first slot goes home, while the states of ended threads are emptied. */
static void (*meanwhile)(void);
static void home_and_more(void *obj, unsigned cls) {
    void (*does)(void) = meanwhile;
    meanwhile = NULL;
    if (does != NULL)
        does();
    hak_hardening.give(obj, cls);
}
static void flush_and(void (*does)(void)) {
    meanwhile = does;
    hak_quarantine_home = home_and_more;
    hak_quarantine_flush();
    hak_quarantine_home = NULL;
    assert_null(meanwhile);
}

static void begins(void) {
    end_filled(1);
}
static void new_threads_find_empty_states(void **state) {
    (void)state;
    hak_quarantine_flush();
    end_filled(3);
    hak_quarantine_flush();
    end_filled(1);
    size_t before = states();
    flush_and(begins); /* one is filled, two are not */
    assert_int_equal(states(), before);
}

static void forks(void) {
    int status;
    pid_t child = fork();
    if (child == 0)
        _exit(atomic_load(&hak_quarantine_held) == hak_guarded_mine->held + hak_guarded_mine->swapped ? 0
                                                                                                      : 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}
static void child_loses_what_is_emptied(void **state) {
    (void)state;
    hak_quarantine_flush();
    end_filled(3);
    flush_and(forks);
}

/* So many threads hold more than they may in any case. */
static void many_states_take_few_mappings(void **state) {
    (void)state;
    enum { MANY = 1200, SMALL = 56, WIDE = 40000 };
    hak_guarded *mine = hak_guarded_mine;
    size_t held = atomic_load(&hak_quarantine_states), apart = 0;
    for (int i = 0; i < MANY; i++) {
        hak_guarded_mine = mine;
        hak_quarantine_begin(false);
        assert_ptr_not_equal(hak_guarded_mine, mine);
        apart += hak_guarded_mine->apart.start != 0;
    }
    assert_int_equal(apart, hak_min(apart, 1024));
    assert_int_equal(hak_guarded_mine->apart.start, 0);
    const size_t sizes[] = {SMALL, WIDE};
    for (size_t i = 0; i < 2; i++) { /* its slots go on to the common rings */
        unsigned cls = hak_class_of(sizes[i] + HAK_CANARY_BYTES);
        size_t before = hak_common_count(cls);
        for (int round = 0; round < 400; round++)
            hak_free(hak_malloc(sizes[i]));
        assert_in_range(hak_guarded_mine->rings[cls].limit, 1, HAK_COMMON_BATCH);
        assert_in_range(hak_common_count(cls), before + 300, before + 400);
    }
    while (hak_guarded_mine != mine) { /* they end */
        hak_quarantine_end();
        hak_guarded *next = NULL;
        for (hak_guarded *one = atomic_load(&hak_guarded_all); one != NULL && next == NULL; one = one->next)
            next = one != mine && atomic_load(&one->uses) % 2 != 0 ? one : NULL;
        hak_guarded_mine = next != NULL ? next : mine;
    }
    assert_int_equal(atomic_load(&hak_quarantine_states), held);
    hak_quarantine_flush();
}

/* Without a quarantine a slot comes back at once. Returns how many bytes of it are not zero. */
enum { STAINED = 200, TRIES = 1000 };
static long stains_left(void) {
    unsigned char *obj = hak_malloc(STAINED), *again = NULL;
    long left = 0;
    hak_free(obj);
    ((volatile unsigned char *)obj)[STAINED / 2] = 1;
    for (int i = 0; again != obj; i++) {
        if (i == TRIES)
            return -1;
        again = hak_malloc(STAINED);
    }
    for (int i = 0; i < STAINED; i++)
        left += again[i] != 0;
    return left;
}
static void stains_go(void **state) {
    (void)state;
    assert_int_equal(again_number("stains", "write:report,quarantine:off", "0"), 0);
}

/* The number of kept large objects after the free of ten. */
static long large_kept(void) {
    for (int i = 0; i < 10; i++)
        hak_free(hak_malloc(300000));
    return (long)hak_keep_objects;
}
static void off_for_large_ones(void **state) {
    (void)state;
    assert_int_equal(again_number("large", NULL, "0"), 10);
    assert_int_equal(again_number("large", "quarantine:off", "0"), 0);
}

/* The floors of three sizes, as one number. */
static long some_floors(void) {
    hak_free(hak_malloc(1));
    return hak_ring_floor(hak_class_of(100)) * 100000000l + hak_ring_floor(hak_class_of(4000)) * 10000l +
           hak_ring_floor(hak_class_of(200000));
}
static void floors_in_proportion(void **state) {
    (void)state;
    static const struct {
        const char *kib;
        long floors;
    } rows[] = {{"5504", 104001120616}, {"65536", 104001120616}, {"2752", 52000560308}, {"64", 1200020007}};
    assert_int_equal(again_number("floors", NULL, "0"), 104001120616);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        setenv("HAKMEM_QUARANTINE_KB", rows[i].kib, 1);
        long floors = again_number("floors", NULL, "0");
        unsetenv("HAKMEM_QUARANTINE_KB");
        assert_int_equal(floors, rows[i].floors);
    }
}

int main(int argc, char **argv) {
    if (argc > 1)
        return printf("%ld\n", strcmp(argv[1], "total") == 0    ? total_kib()
                               : strcmp(argv[1], "stains") == 0 ? stains_left()
                               : strcmp(argv[1], "large") == 0  ? large_kept()
                               : strcmp(argv[1], "floors") == 0 ? some_floors()
                               : strcmp(argv[1], "mine") == 0   ? mine_kib()
                                                                : distances()) < 0;
    const struct CMUnitTest tests[] = {
        {"a freed 64-byte slot does not come back soon", small_slots_rest, NULL, NULL, NULL},
        {"what a thread frees by its first call does not come back to it at once", first_call_is_free, NULL,
         NULL, NULL},
        {"a freed large object's address does not come back at once", large_objects_rest, NULL, NULL, NULL},
        {"without the quarantine large objects are not kept", off_for_large_ones, NULL, NULL, NULL},
        {"floors are lower by HAKMEM_QUARANTINE_KB below 5504, and never higher", floors_in_proportion, NULL,
         NULL, NULL},
        {"slots of 64 B to 4 KiB are handed out in an order of 6.8 bits", order_is_random, NULL, NULL, NULL},
        {"what leaves the quarantine is drawn: 3 bits at least", leaves_by_chance, NULL, NULL, NULL},
        {"what ended threads hold is no burden for those that live", ended_threads_are_no_burden, NULL, NULL,
         NULL},
        {"where a ring becomes shorter the oldest leave", oldest_leave, NULL, NULL, NULL},
        {"a class that is not in use any more goes home after ten seconds", classes_go_home, NULL, NULL,
         NULL},
        {"what is freed has its thread, also by the first call", freed_has_its_thread, NULL, NULL, NULL},
        {"a child holds what it can use", child_holds_its_own, NULL, NULL, NULL},
        {"a thread that begins while ended ones are emptied needs no new state",
         new_threads_find_empty_states, NULL, NULL, NULL},
        {"a child does not count what another thread was emptying", child_loses_what_is_emptied, NULL, NULL,
         NULL},
        {"more than a thousand states take few mappings, and their slots rest in common rings",
         many_states_take_few_mappings, NULL, NULL, NULL},
        {"without random places what was freed first comes back first", drawn_or_not, NULL, NULL, NULL},
        {"where a thread may hold more, all of them may", more_for_each, NULL, NULL, NULL},
        {"what an ended thread held goes home after a second, in passes, too", ended_threads_hold, NULL, NULL,
         NULL},
        {"where the process goes on, what was written after free is gone when the slot is handed out",
         stains_go, NULL, NULL, NULL},
        {"all threads together hold no more than 24 MiB", total_is_bounded, NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
