/* rest_test.c: how many objects of its size a thread makes and frees until a freed slot has a new owner: never fewer
 * than the floor of its class, whatever else happens. Counted, so the same each time. */
#include "tests/hardening/rest.h"

#include "allocator/policy.h"
#include "hardening/common.h"
#include "hardening/ring.h"
#include "hardening/sweep.h"

#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BUSY = 5, LIVE = 200, MOST = 4000 };

static void alone(void **state) {
    (void)state;
    for (unsigned kind = 0; kind < REST_KINDS; kind++) {
        rest_warm(rest_kinds[kind].size);
        for (int again = 0; again < 3; again++) /* also when the ring is as long as it gets */
            rest_expect(rest_victim(rest_kinds[kind].size), kind);
    }
}

/* It does come back, or the floor would say nothing; of wide slots a slab has few free ones to draw from by then. */
static void comes_back(void **state) {
    (void)state;
    for (unsigned kind = 0; kind < REST_KINDS; kind++)
        if (rest_kinds[kind].size > HAK_RING_DEEP && rest_kinds[kind].size <= 4096) {
            rest_warm(rest_kinds[kind].size);
            void *stale = rest_victim(rest_kinds[kind].size);
            if (rest_pairs_until(stale, rest_kinds[kind].size, MOST) == MOST)
                fail_msg("%zu bytes: never", rest_kinds[kind].size);
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
                objs[i] = rest_make(size);
            for (size_t i = 0; i < count; i++)
                hak_free(objs[i]);
        }
    }
}

static void after_other_classes(void **state) {
    (void)state;
    for (unsigned kind = 0; kind < REST_KINDS; kind += 3) {
        rest_warm(rest_kinds[kind].size);
        (void)rest_pairs_until(NULL, rest_kinds[kind].size, 2000);
        void *stale = rest_victim(rest_kinds[kind].size);
        drain(rest_kinds[kind].size);
        rest_expect(stale, kind);
        rest_expect(rest_victim(rest_kinds[kind].size), kind);
    }
}

/* A long ring gives places to another class: the oldest slots leave, not those that were freed just now. */
static void after_a_long_ring_grows(void **state) {
    (void)state;
    for (long before = 20000; before < 26000; before += 731) {
        (void)rest_pairs_until(NULL, 80, before);
        void *stale = rest_victim(80);
        (void)rest_pairs_until(NULL, 24, 100000);
        rest_expect(stale, 2);
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
        objs[i] = rest_make(sizes[i]);
    }
    for (int i = 0; i < LIVE; i++)
        hak_free(objs[i]);
    return NULL;
}

static void beside_busy_threads(void **state) {
    (void)state;
    pthread_t threads[BUSY];
    rest_warm(1); /* regions are born before the threads */
    atomic_store(&stop, false);
    for (uintptr_t i = 0; i < BUSY; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, busy, (void *)(i + 1)), 0);
    usleep(100000);
    long pairs[REST_KINDS];
    for (unsigned kind = 0; kind < REST_KINDS; kind++) {
        rest_warm(rest_kinds[kind].size);
        void *stale = rest_victim(rest_kinds[kind].size);
        atomic_long *others = &freed[hak_class_of(rest_kinds[kind].size + HAK_CANARY_BYTES)];
        long before = atomic_load(others);
        pairs[kind] = rest_pairs_until(stale, rest_kinds[kind].size, rest_kinds[kind].least);
        pairs[kind] += atomic_load(others) - before;
    }
    atomic_store(&stop, true);
    for (int i = 0; i < BUSY; i++)
        pthread_join(threads[i], NULL);
    for (unsigned kind = 0; kind < REST_KINDS; kind++)
        if (pairs[kind] < rest_kinds[kind].least)
            fail_msg("%zu bytes have a new owner after %ld frees of all threads", rest_kinds[kind].size,
                     pairs[kind]);
}

/* All rings together hold what they may, in threads that wait. */
static pthread_barrier_t full, over;
static void *fills(void *unused) {
    (void)rest_pairs_until(NULL, 64, 100000);
    for (unsigned kind = 0; kind < REST_KINDS; kind++)
        (void)rest_pairs_until(NULL, rest_kinds[kind].size, 1200);
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
    for (unsigned kind = 0; kind < REST_KINDS; kind++) {
        rest_warm(rest_kinds[kind].size);
        for (int again = 0; again < 3; again++)
            rest_expect(rest_victim(rest_kinds[kind].size), kind);
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
    its_pairs = rest_pairs_until(stale, rest_kinds[its_kind].size, rest_kinds[its_kind].least);
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
    rest_warm(rest_kinds[its_kind].size);
    pthread_setspecific(key, stale);
    return NULL;
}

static void in_a_thread(void *(*body)(void *)) {
    static void *objs[100];
    for (its_kind = 0; its_kind < REST_KINDS; its_kind++) {
        size_t size = rest_kinds[its_kind].size;
        rest_warm(size);
        for (int i = 0; i < 100; i++)
            objs[i] = rest_make_slot(size);
        its_pairs = -1;
        assert_true(rest_in_a_thread(body, objs[50]));
        if (its_pairs < rest_kinds[its_kind].least)
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
    hak_free(rest_make(1)); /* the allocator's key comes first */
    assert_int_equal(pthread_key_create(&key, frees_last), 0);
    in_a_thread(ends);
    pthread_key_delete(key);
}

static void in_a_child(void **state) {
    (void)state;
    for (unsigned kind = 0; kind < REST_KINDS; kind++) {
        int status;
        rest_warm(rest_kinds[kind].size);
        void *stale = rest_victim(rest_kinds[kind].size);
        pid_t child = fork();
        if (child == 0)
            _exit(rest_pairs_until(stale, rest_kinds[kind].size, rest_kinds[kind].least) <
                  rest_kinds[kind].least);
        assert_true(waitpid(child, &status, 0) == child);
        assert_int_equal(status, 0);
        rest_expect(stale, kind);
    }
}

/* While memory is sparse what a class holds stays, as long as all of it pins little. */
static void while_memory_is_sparse(void **state) {
    (void)state;
    hak_quarantine_flush();
    for (unsigned kind = 0; kind < REST_KINDS; kind++) {
        rest_warm(rest_kinds[kind].size);
        void *stale = rest_victim(rest_kinds[kind].size);
        for (int age = 0; age < 3; age++) {
            usleep(3000);
            hak_quarantine_age(true);
        }
        unsigned cls = hak_class_of(rest_kinds[kind].size + HAK_CANARY_BYTES);
        assert_int_not_equal(hak_guarded_mine->rings[cls].limit, 0); /* it rests in the thread's own ring */
        rest_expect(stale, kind);
        hak_quarantine_flush();
    }
}

/* A long ring counts a page for each slot, so all rings keep too many: what the thread does not use goes on to the
 * common rings, and rests there as long. */
static void while_rings_keep_too_many_pages(void **state) {
    (void)state;
    for (unsigned kind = 3; kind < REST_KINDS; kind += 2) {
        unsigned cls = hak_class_of(rest_kinds[kind].size + HAK_CANARY_BYTES);
        hak_quarantine_flush();
        rest_warm(rest_kinds[kind].size);
        void *stale = rest_victim(rest_kinds[kind].size);
        (void)rest_pairs_until(NULL, 24, 150000);
        hak_quarantine_age(true);
        (void)rest_pairs_until(NULL, 24, 200);
        hak_quarantine_age(true);
        assert_int_equal(hak_guarded_mine->rings[cls].limit, 0);
        assert_int_not_equal(hak_common_count(cls), 0);
        rest_expect(stale, kind);
    }
}

/* Pages that are locked do not go, so slots with such pages rest for a few frees of their kind, in the thread's ring as
 * in the common one, and take nothing from the others. */
static void where_memory_is_locked(void **state) {
    (void)state;
    enum { WIDE = 60000, FEW = 4, LOCKED = 10 };
    void *objs[LOCKED];
    unsigned cls = hak_class_of(WIDE + HAK_CANARY_BYTES);
    hak_quarantine_flush();
    for (int i = 0; i < LOCKED; i++) {
        objs[i] = rest_make_slot(WIDE);
        assert_int_equal(syscall(SYS_mlock, objs[i], WIDE), 0);
    }
    void *stale = rest_victim(WIDE);
    for (int i = 0; i < LOCKED; i++)
        hak_free(objs[i]);
    uint32_t in = (uint32_t)(hak_guarded_mine->rings[cls].in - hak_guarded_mine->rings[cls].slots);
    assert_int_equal(in, REST_VICTIMS);
    hak_held held = {.large = {0}};
    hak_policy_held(&held);
    assert_int_equal(held.slots[cls], REST_VICTIMS + FEW);
    rest_expect(stale, REST_KINDS - 2);
    rest_expect(rest_victim(WIDE), REST_KINDS - 2);
    void *last = rest_make_slot(WIDE);
    size_t before = hak_common_count(cls);
    hak_ring_stayed = last; /* as if it had been zeroed */
    assert_ptr_equal(hak_ring_common(last, cls, false), last);
    assert_int_equal(hak_common_count(cls), before);
    assert_null(hak_ring_common(last, cls, false));
    assert_int_equal(hak_common_count(cls), before + 1);
    for (int i = 0; i < LOCKED; i++)
        assert_int_equal(syscall(SYS_munlock, objs[i], WIDE), 0);
    hak_quarantine_flush();
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
        rest_expect(rest_victim(SMALL), 1);
        assert_in_range(hak_guarded_mine->rings[cls].limit, 0, rooms[i]);
        assert_int_not_equal(hak_common_count(cls), 0);
    }
    hak_guarded_mine->most[cls] = most;
    (void)alarm(0);
}

/* The long ring of one size has all that rings may hold. */
static void floors_come_before_long_rings(void **state) {
    (void)state;
    enum { MUCH = 30000 };
    hak_quarantine_flush();
    (void)rest_pairs_until(NULL, 80, MUCH);
    unsigned large = hak_class_of(80 + HAK_CANARY_BYTES), cls = hak_class_of(200 + HAK_CANARY_BYTES);
    uint32_t before = hak_guarded_mine->rings[large].limit;
    assert_true(before > MUCH / 2);
    size_t held = atomic_exchange(&hak_quarantine_held, 24 * HAK_MIB);
    (void)rest_pairs_until(NULL, 200, 2 * (long)hak_ring_floor(cls));
    atomic_fetch_add(&hak_quarantine_held, held - 24 * HAK_MIB);
    assert_int_equal(hak_guarded_mine->rings[cls].limit, hak_ring_floor(cls));
    assert_true(hak_guarded_mine->rings[large].limit < before);
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
        CASE("while memory is sparse", while_memory_is_sparse),
        CASE("while the rings keep too many pages", while_rings_keep_too_many_pages),
        CASE("floors come before long rings", floors_come_before_long_rings),
        CASE("a ring without address space for its floor is the front of the common one",
             without_address_space),
        CASE("where pages cannot be given back wide slots rest for a few frees", where_memory_is_locked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
