/* siblings_test.c: forked children of one parent get objects that cannot be told from one another; and a child
 * checks nothing of threads that it does not have. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hardening/quarantine.h"
#include "hardening/sample.h"
#include "hardening/sweep.h"
#include "include/hakmem.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILDREN = 12, DRAWS = 2000, SMALL = 64, WIDE = 1000, NEXT = 16, TOKEN = 12345, PLACES = 4096 };

typedef struct drawn {
    uintptr_t small[DRAWS];      /* one after the other, all live */
    uintptr_t large[NEXT / 4];   /* of 1 MiB */
    uintptr_t sampled[2];        /* the first of call sites */
    uintptr_t nothings[1];       /* of objects of 0 bytes */
    void *swap[HAK_SWAP_PLACES]; /* the content of the wide slots' swap after its first exchange */
    void *swap_typed[HAK_SWAP_PLACES];
    void *left; /* what that exchange gives out */
    uint64_t random, place;
} drawn;

/* Objects that the children free. */
typedef struct last_ones {
    void *plain, *typed;
} last_ones;

static HAK_NOINLINE uintptr_t site_a(void) {
    return (uintptr_t)hak_malloc(200);
}
static HAK_NOINLINE uintptr_t site_b(void) {
    return (uintptr_t)hak_malloc(200);
}

/* Not a sampled object. */
static void *wide_slot(size_t token) {
    void *obj;
    do
        obj = hak_malloc_token(WIDE, token);
    while (hak_granule_find((uintptr_t)obj) == NULL);
    return obj;
}

/* In a child: takes all of it at once. When an exchange gives out objects of a class, they first go to their bin. */
static void draw(drawn *out, const last_ones *last) {
    out->place = hak_random_slot(PLACES); /* the parent has left some bits for it */
    out->sampled[0] = site_a();
    out->sampled[1] = site_b();
    out->nothings[0] = (uintptr_t)hak_malloc(0);
    unsigned cls = hak_granule_find((uintptr_t)last->plain)->cls;
    out->left = hak_guarded_mine->swaps[cls][hak_guarded_mine->rings[cls].drawn];
    hak_free(last->plain); /* one exchange */
    memcpy(out->swap, hak_guarded_mine->swaps[cls], sizeof out->swap);
    hak_free(last->typed);
    memcpy(out->swap_typed, hak_guarded_mine->other->swaps[cls], sizeof out->swap_typed);
    for (int i = 0; i < DRAWS; i++)
        out->small[i] = (uintptr_t)hak_malloc(SMALL);
    for (int i = 0; i < NEXT / 4; i++)
        out->large[i] = (uintptr_t)hak_malloc(1 << 20);
    out->random = hak_random_next();
}

static void in_child(drawn *out, const last_ones *last) {
    static drawn mine;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        draw(&mine, last);
        bool sent = true;
        for (size_t at = 0; sent && at < sizeof mine; at += 512)
            sent = write(ends[1], (char *)&mine + at, sizeof mine - at < 512 ? sizeof mine - at : 512) > 0;
        _exit(sent ? 0 : 1);
    }
    close(ends[1]);
    size_t have = 0;
    for (ssize_t got; (got = read(ends[0], (char *)out + have, sizeof *out - have)) > 0;)
        have += (size_t)got;
    close(ends[0]);
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(have, sizeof *out);
}

static drawn of[CHILDREN];

/* The parent uses all it has for a while: the rings go round. No object comes from a sample. */
static int fork_children(void **state) {
    (void)state;
    for (int i = 0; i < 20000; i++) {
        hak_free(hak_malloc(SMALL));
        hak_free(hak_malloc(WIDE)); /* whose ring is short */
        hak_free(hak_malloc_token(WIDE, TOKEN));
    }
    const last_ones last = {wide_slot(0), wide_slot(TOKEN)};
    while (hak_guarded_mine->draws_left == 0)
        (void)hak_random_slot(PLACES);
    for (int i = 0; i < CHILDREN; i++)
        in_child(&of[i], &last);
    return 0;
}

/* The number of pairs of children that drew the same. */
static unsigned equal_pairs(size_t from, size_t size) {
    unsigned equal = 0;
    for (int i = 0; i < CHILDREN; i++)
        for (int k = 0; k < i; k++)
            equal += memcmp((char *)&of[i] + from, (char *)&of[k] + from, size) == 0;
    return equal;
}

static void small_ones(void **state) {
    (void)state;
    assert_int_equal(equal_pairs(offsetof(drawn, small), sizeof of[0].small), 0);
}
/* The sizes are spread by gaps of 1 to 4 granules, and the start of the region is random: 2 bits each at least. */
static void large_ones(void **state) {
    (void)state;
    assert_true(equal_pairs(offsetof(drawn, large), sizeof of[0].large) <= 8);
}
/* Of 66 pairs one in 4,096 begins with the same place: more than four occur less often than once in 1e11. */
static void sampled_ones(void **state) {
    (void)state;
    assert_true(equal_pairs(offsetof(drawn, sampled), sizeof of[0].sampled[0]) <= 4);
}
/* Of 66 pairs one in 16,384 has the same place. */
static void objects_of_no_bytes(void **state) {
    (void)state;
    assert_true(equal_pairs(offsetof(drawn, nothings), sizeof of[0].nothings) <= 2);
}
/* One of 16 leaves, one place of 4,096 is the next one in a slab: of 66 pairs 4.1 and 0.02 are the same. */
static void next_ones(void **state) {
    (void)state;
    assert_true(equal_pairs(offsetof(drawn, left), sizeof of[0].left) <= 40);
    assert_true(equal_pairs(offsetof(drawn, place), sizeof of[0].place) <= 3);
}
/* The same 16 objects in another order: one of 15! orders is the same. */
static void swaps(void **state) {
    (void)state;
    assert_int_equal(equal_pairs(offsetof(drawn, swap), sizeof of[0].swap), 0);
    assert_int_equal(equal_pairs(offsetof(drawn, swap_typed), sizeof of[0].swap_typed), 0);
    for (int i = 1; i < CHILDREN; i++) {
        unsigned same_place = 0;
        for (int k = 0; k < HAK_SWAP_PLACES; k++)
            same_place += of[i].swap[k] == of[0].swap[k];
        assert_in_range(same_place, 0, HAK_SWAP_PLACES - 4);
    }
}
static void numbers(void **state) {
    (void)state;
    assert_int_equal(equal_pairs(offsetof(drawn, random), sizeof of[0].random), 0);
}

/* Objects that another thread has freed lie in its quarantine. A copy of one moment shows them there, together with
 * the record of another moment, in which they have an owner again. */
static pthread_barrier_t freed, looked;
static void *frees(void *obj) {
    hak_free(hak_malloc(1));
    hak_free(obj);
    pthread_barrier_wait(&freed);
    pthread_barrier_wait(&looked);
    return NULL;
}

static int status_of_sweep(void) {
    pid_t child = fork();
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        hak_sweep_all();
        _exit(0);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void of_lost_threads(void **state) {
    (void)state;
    if (HAK_TSAN) { /* a child of a process with several threads cannot go on there */
        skip();
    }
    pthread_t thread;
    hak_place place;
    void *obj;
    do
        obj = hak_malloc(WIDE);
    while (!hak_ledger_find(obj, &place));
    uint32_t live = hak_record_load(place.record);
    pthread_barrier_init(&freed, NULL, 2);
    pthread_barrier_init(&looked, NULL, 2);
    assert_int_equal(pthread_create(&thread, NULL, frees, obj), 0);
    pthread_barrier_wait(&freed);
    uint32_t word = hak_record_load(place.record);
    assert_int_equal(hak_record_state(word), HAK_SLOT_FREED);
    hak_record_store(place.record, live);
    assert_int_equal(status_of_sweep(), 0);
    hak_record_store(place.record, word);
    assert_int_equal(status_of_sweep(), 0);
    pthread_barrier_wait(&looked);
    pthread_join(thread, NULL);
}

/* These objects come first: the parent's own quarantine, once it has gone round, uses up the child's number of
 * checks. */
/* A thread that has ended its own state draws from one state for all. */
static uint64_t drawn_in_child(void) {
    uint64_t number = 0;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        number = hak_random_next();
        _exit(write(ends[1], &number, sizeof number) != sizeof number);
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], &number, sizeof number), sizeof number);
    close(ends[0]);
    assert_int_equal(waitpid(child, NULL, 0), child);
    return number;
}

static void *without_a_state(void *unused) {
    uint64_t numbers[CHILDREN + 1];
    hak_free(hak_malloc(SMALL));
    hak_quarantine_end();
    (void)hak_random_next();
    for (int i = 0; i <= CHILDREN; i++) {
        numbers[i] = i < CHILDREN ? drawn_in_child() : hak_random_next();
        for (int k = 0; k < i; k++)
            assert_true(numbers[i] != numbers[k]);
    }
    return unused;
}

static void threads_without_a_state(void **state) {
    (void)state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, without_a_state, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

int main(void) {
    const struct CMUnitTest lost[] = {
        {"a child finds nothing wrong with what threads had that it does not have", of_lost_threads, NULL,
         NULL, NULL},
    };
    const struct CMUnitTest tests[] = {
        {"nor what threads without a state draw", threads_without_a_state, NULL, NULL, NULL},
        {"no two children are handed out the same small objects", small_ones, NULL, NULL, NULL},
        {"nor the same large ones", large_ones, NULL, NULL, NULL},
        {"nor the same places for sampled ones", sampled_ones, NULL, NULL, NULL},
        {"nor for objects of no bytes", objects_of_no_bytes, NULL, NULL, NULL},
        {"nor is what leaves a swap, or the place in a slab, the parent's choice", next_ones, NULL, NULL,
         NULL},
        {"the swaps of a child are shuffled when its first exchange ends", swaps, NULL, NULL, NULL},
        {"no two children have the same random numbers", numbers, NULL, NULL, NULL},
    };
    int failed = cmocka_run_group_tests_name("threads that are lost", lost, NULL, NULL);
    return failed + cmocka_run_group_tests_name("children", tests, fork_children, NULL);
}
