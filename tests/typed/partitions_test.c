/* partitions_test.c: a place that one partition has used never goes to another one, whatever threads do; and objects
 * of partitions are checked like all others. */
#include "tests/unit/unit.h"

#include "allocator/alloc.h"
#include "allocator/heap/large.h"
#include "allocator/life/reclaim.h"
#include "hardening/guard.h"
#include "include/hakmem.h"

#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    THREADS = 4,
    ROUNDS = 3, /* each thread's states and caches go to another thread after each round */
    STEPS = 12000,
    SHARED = 4096, /* objects that any thread may end or resize */
    TOKENS = 24,
    PAGES = 1 << 20, /* entries of the table */
    PAGE = 4096,
};

/* The first partition of each page: the page's number, then 7 bits for the partition + 1. */
static _Atomic uint64_t table[PAGES];

static void forget_pages(void) {
    for (size_t i = 0; i < PAGES; i++)
        atomic_store_explicit(&table[i], 0, memory_order_relaxed);
}

static void note_page(uintptr_t page, unsigned partition) {
    uint64_t word = (uint64_t)page << 7 | (partition + 1);
    size_t at = page * 0x9e3779b97f4a7c15ull >> 44;
    for (size_t tries = 0; tries < PAGES; tries++, at = (at + 1) % PAGES) {
        uint64_t was = 0;
        if (atomic_compare_exchange_strong(&table[at], &was, word) || was == word)
            return;
        if (was >> 7 == page)
            assert_int_equal((was & 127) - 1, partition);
    }
    fail_msg("the table is full");
}

/* Notes every sixteenth page of a long object, and the last: slots and spans begin no nearer to each other. */
static void note(void *obj, size_t size) {
    unsigned partition = hak_typed_partition_of(obj);
    uintptr_t first = (uintptr_t)obj / PAGE, last = ((uintptr_t)obj + (size != 0 ? size - 1 : 0)) / PAGE;
    for (uintptr_t page = first; page < last; page += 16)
        note_page(page, partition);
    note_page(last, partition);
}

/* Returns no token, a token for data, one for pointers, or one of a program that limits its tokens. */
static size_t token_of(uint64_t number) {
    number %= TOKENS;
    uint64_t seed = number + 1;
    return number == 0 ? 0 : number % 8 == 7 ? number : unit_random(&seed);
}

static size_t size_of(uint64_t *seed) {
    switch (unit_random(seed) % 64) {
    case 0:
        return unit_random(seed) % (3 * HAK_MIB);
    case 1:
    case 2:
    case 3:
        return unit_random(seed) % (64 * HAK_KIB);
    default:
        return unit_random(seed) % 600;
    }
}

static void *make(uint64_t *seed) {
    size_t size = size_of(seed), token = token_of(unit_random(seed));
    uint64_t how = unit_random(seed) % 8;
    void *obj = how == 0   ? hak_calloc_token(1, size, token)
                : how == 1 ? hak_aligned_alloc_token((size_t)16 << unit_random(seed) % 10, size, token)
                           : hak_malloc_token(size, token);
    assert_non_null(obj);
    assert_int_equal(hak_typed_partition_of(obj), hak_typed_partition(token));
    note(obj, size);
    return obj;
}

static void *resize(void *obj, uint64_t *seed) {
    size_t size = 1 + size_of(seed), token = token_of(unit_random(seed));
    unsigned before = hak_typed_partition_of(obj);
    bool plain = unit_random(seed) % 2 == 0;
    void *moved = plain ? hak_realloc(obj, size) : hak_realloc_token(obj, size, token);
    assert_non_null(moved);
    if (plain || moved == obj || hak_typed_partition(token) == 0)
        assert_int_equal(hak_typed_partition_of(moved), before);
    else
        assert_int_equal(hak_typed_partition_of(moved), hak_typed_partition(token));
    note(moved, size);
    return moved;
}

static _Atomic(void *) shared[SHARED];

static void *work(void *argument) {
    uint64_t seed = (uint64_t)(uintptr_t)argument;
    for (int i = 0; i < STEPS; i++) {
        _Atomic(void *) *place = &shared[unit_random(&seed) % SHARED];
        void *obj = atomic_exchange(place, NULL);
        if (obj != NULL && unit_random(&seed) % 4 == 0)
            obj = resize(obj, &seed);
        else {
            hak_free(obj);
            obj = make(&seed);
        }
        hak_free(atomic_exchange(place, obj));
        if (i % 4000 == 3999)
            (void)hak_trim(0);
    }
    hak_cache_check();
    return NULL;
}

static void free_shared(void) {
    for (int i = 0; i < SHARED; i++)
        hak_free(atomic_exchange(&shared[i], NULL));
}

static void never_of_another(void **state) {
    (void)state;
    forget_pages();
    /* The first region exists before the first thread, as in every process (docs/REVIEW.md). */
    hak_free(hak_malloc(1));
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t threads[THREADS];
        for (int i = 0; i < THREADS; i++)
            assert_int_equal(
                pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)(round * THREADS + i + 1)), 0);
        for (int i = 0; i < THREADS; i++)
            assert_int_equal(pthread_join(threads[i], NULL), 0);
        if (round == 1)
            free_shared(); /* the next step finds empty slabs */
    }
    (void)work((void *)77);
    free_shared();
    hak_superslab_check();
    hak_depot_check();
    hak_large_check();
}

static void data_and_pointers_apart(void **state) {
    (void)state;
    unsigned data = hak_hardening.partitions_of_data, all = hak_hardening.partitions, seen = 0;
    uint64_t seed = 1;
    assert_true(data >= 1 && all > data);
    for (int i = 0; i < 1000; i++) {
        uint64_t token = unit_random(&seed), lower = token >> 1 | (uint64_t)1 << 40,
                 upper = token | (uint64_t)1 << 63;
        assert_in_range(hak_typed_partition(lower), 1, data);
        assert_in_range(hak_typed_partition(upper), data + 1, all);
        assert_in_range(hak_typed_partition(1 + token % 1000), data + 1, all);
        seen |= 1u << hak_typed_partition(upper);
    }
    /* Each partition has some types. */
    assert_int_equal(seen, ((1u << (all + 1)) - 1) & ~((1u << (data + 1)) - 1));
    assert_int_equal(hak_typed_partition(0), 0);
}

/* An empty slab of a partition whose pages are gone waits for that partition. */
static void empty_slabs_stay(void **state) {
    enum { OBJECTS = 20000 };
    static void *objs[OBJECTS];
    (void)state;
    forget_pages();
    for (int round = 0; round < 6; round++) {
        for (int i = 0; i < OBJECTS; i++) {
            objs[i] = hak_malloc_token(200, token_of((uint64_t)round + 1));
            assert_non_null(objs[i]);
            note(objs[i], 200);
        }
        for (int i = 0; i < OBJECTS; i++)
            hak_free(objs[i]);
        (void)hak_reclaim_memory(1, HAK_RECLAIM_QUARANTINE);
        (void)hak_reclaim_memory(1, HAK_RECLAIM_IDLE);
    }
}

/* Objects of 0 bytes have their own places, which are reused after some ten thousand. */
static void places_of_nothing(void **state) {
    (void)state;
    forget_pages();
    uint64_t seed = 5;
    for (int i = 0; i < 100000; i++) {
        void *obj = hak_malloc_token(0, token_of(unit_random(&seed) % 4));
        assert_non_null(obj);
        note(obj, 0);
        hak_free(obj);
    }
}

/* Runs in a process that has not used a type yet; true when it called the OS `k` times or more. */
static bool first_of_partitions(uint64_t k) {
    void *objs[4];
    (void)hak_os_fail_at(k);
    for (int i = 0; i < 4; i++)
        objs[i] = hak_malloc_token(i % 2 == 0 ? 100 : HAK_MIB, token_of((uint64_t)(7 - i)));
    uint64_t seen = hak_os_fail_at(0);
    for (int i = 0; i < 4; i++) {
        if (objs[i] == NULL)
            objs[i] = hak_malloc_token(i % 2 == 0 ? 100 : HAK_MIB, token_of((uint64_t)(7 - i)));
        assert_non_null(objs[i]);
        assert_int_equal(hak_typed_partition_of(objs[i]), hak_typed_partition(token_of((uint64_t)(7 - i))));
        memset(objs[i], 1, 100);
    }
    for (int i = 0; i < 4; i++)
        hak_free(objs[i]);
    hak_superslab_check();
    hak_depot_check();
    hak_large_check();
    return seen >= k;
}

/* Lets each call of the OS fail in turn: the tables of partitions are mapped with their first object. */
static void tables_refused(void **state) {
    (void)state;
    enum { MORE = 7, DONE };
    hak_free(hak_malloc(100));
    int status = MORE << 8;
    uint64_t k = 1;
    for (; status == MORE << 8; k++) {
        pid_t child = fork();
        if (child == 0)
            _exit(first_of_partitions(k) ? MORE : DONE);
        assert_int_equal(waitpid(child, &status, 0), child);
    }
    assert_int_equal(status, DONE << 8);
    assert_true(k > 4);
}

static void *first_call_is_free(void *obj) {
    hak_free(obj);
    return NULL;
}

static void first_free_of_a_thread(void **state) {
    (void)state;
    forget_pages();
    for (int i = 0; i < 200; i++) {
        void *obj = hak_malloc_token(48, token_of(3));
        note(obj, 48);
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, first_call_is_free, obj), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        void *other = hak_malloc_token(48, token_of(5));
        note(other, 48);
        void *plain = hak_malloc(48);
        note(plain, 48);
        hak_free(other), hak_free(plain);
    }
}

/* A freed large object of a partition that keeps its memory, because there is no time for guards, goes to no other
 * owner. */
static void large_in_a_hurry(void **state) {
    (void)state;
    forget_pages();
    for (int tries = 0; tries < 200; tries++) {
        void *typed = hak_malloc_token(HAK_MIB, token_of(3)), *others[8];
        note(typed, HAK_MIB);
        for (int i = 0; i < 8; i++)
            others[i] = hak_malloc(300 * HAK_KIB);
        while (hak_guard_at_leisure())
            hak_free(hak_malloc(300 * HAK_KIB));
        hak_free(typed);
        for (int i = 0; i < 8; i++)
            hak_free(others[i]);
        void *plain = hak_malloc(HAK_MIB - 5000);
        assert_int_equal(hak_typed_partition_of(plain), 0);
        hak_free(plain);
    }
}

/* Threads without tokens start after a thread that has used many: they do not get its places. */
static pthread_barrier_t all_begun;
static void *says_tokens(void *unused) {
    for (int i = 0; i < 30000; i++)
        hak_free(hak_malloc_token(100, token_of(2)));
    return unused;
}
static void *says_none(void *unused) {
    hak_free(hak_malloc(100));
    pthread_barrier_wait(&all_begun);
    for (int i = 0; i < 60000; i++) {
        void *obj = hak_malloc(100);
        assert_int_equal(hak_typed_partition_of(obj), 0);
        hak_free(obj);
    }
    return unused;
}
static void plain_threads_after_it(void **state) {
    (void)state;
    pthread_t threads[THREADS];
    assert_int_equal(pthread_create(&threads[0], NULL, says_tokens, NULL), 0);
    assert_int_equal(pthread_join(threads[0], NULL), 0);
    assert_int_equal(pthread_barrier_init(&all_begun, NULL, THREADS), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, says_none, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
}

/* A child frees objects of its parent, and makes its own. */
static void a_forked_child(void **state) {
    (void)state;
    void *obj = hak_malloc_token(100, token_of(2));
    hak_free(hak_malloc_token(100, token_of(2)));
    pid_t child = fork();
    if (child == 0) {
        hak_free(obj);
        for (int i = 0; i < 3000; i++)
            hak_free(hak_malloc_token(100, token_of(2)));
        hak_cache_check();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    hak_free(obj);
}

static void free_twice(void *obj) {
    hak_free(obj);
    hak_free(obj);
}
static void overflow(void *obj) {
    ((volatile char *)obj)[100] = 1;
    hak_free(obj);
}
static void write_after_free(void *obj) {
    hak_free(obj);
    ((volatile char *)obj)[50] = 1;
    for (int i = 0; i < 300000; i++)
        hak_free(hak_malloc_token(100, token_of(2)));
}
static void resize_freed(void *obj) {
    hak_free(obj);
    (void)!hak_realloc_token(obj, 200, token_of(2));
}
static void wrong_size(void *obj) {
    hak_free_sized(obj, 99);
}

static void wrong_alignment(void *obj) {
    hak_free_aligned_sized(obj, 64, 100);
}

/* Returns an object that is not between guards, where the processor would find the error. */
static void *slot(void) {
    void *obj;
    do
        obj = hak_malloc_token(100, token_of(2));
    while (hak_sample_find(obj) != NULL);
    return obj;
}

static void errors_are_found(void **state) {
    (void)state;
    static const struct {
        void (*body)(void *obj);
        const char *message;
    } rows[] = {
        {free_twice, "double free: free("},     {overflow, "heap overflow: free("},
        {write_after_free, "write after free"}, {resize_freed, "invalid realloc"},
        {wrong_size, "size mismatch"},          {wrong_alignment, "alignment mismatch"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        unit_expect_death(rows[i].body, slot(), rows[i].message);
}

/* As objects of no partition do. */
static int by_address(const void *a, const void *b) {
    uintptr_t one = *(const uintptr_t *)a, other = *(const uintptr_t *)b;
    return (one > other) - (one < other);
}
static void freed_slots_rest(void **state) {
    (void)state;
    enum { SIZE = 64, FREES = 5000 };
    static uintptr_t freed[FREES];
    for (int i = 0; i < FREES; i++) {
        void *obj = hak_malloc_token(SIZE, token_of(2));
        freed[i] = (uintptr_t)obj;
        hak_free(obj);
    }
    qsort(freed, FREES, sizeof freed[0], by_address);
    for (int i = 1; i < FREES; i++)
        assert_int_not_equal(freed[i], freed[i - 1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("where the OS refuses a table of partitions nothing is lost",
             tables_refused), /* while there are no tables yet */
        CASE("a place of one partition is never of another, whatever threads do", never_of_another),
        CASE("types with pointers and those without never share a partition", data_and_pointers_apart),
        CASE("an empty slab waits for its partition", empty_slabs_stay),
        CASE("nor is a place of objects of no bytes", places_of_nothing),
        CASE("a thread whose first call frees an object of a partition", first_free_of_a_thread),
        CASE("nor a large object's that is freed in a hurry", large_in_a_hurry),
        CASE("threads that say no token, after one that has", plain_threads_after_it),
        CASE("a forked child goes on", a_forked_child),
        CASE("errors with objects of partitions are found", errors_are_found),
        CASE("a freed slot of a partition does not come back soon", freed_slots_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
