/* hurry_test.c: large objects while they come and go faster than they can be guarded, and what follows their end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "allocator/heap/large.h"
#include "allocator/os/os.h"
#include "allocator/os/os_process.h"
#include "allocator/policy.h"
#include "hardening/guard.h"
#include "hardening/keep.h"
#include "hardening/verify_large.h"
#include "include/hakmem.h"

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Before each: nothing is kept. */
static int none(void **state) {
    (void)state;
    hak_free(hak_malloc(1));
    hak_keep_reset();
    return 0;
}

/* Uses up the time for guards: in the next millisecond there is some again. */
static void hurry(void) {
    while (hak_guard_at_leisure())
        hak_free(hak_malloc(300 * HAK_KIB));
}

static const hak_large_record *record_of(const void *obj) {
    return hak_ledger_large((uintptr_t)obj);
}

/* An object in the place of one of 1 MiB, whose guard stayed where it was: at least a granule behind the new end, if
 * the gap that was drawn reaches that far. What went elsewhere stays there meanwhile, or it would go there again. */
enum { REUSED = HAK_MIB - HAK_GRANULE };
static char *reused(void) {
    enum { TRIES = 300 };
    static char *others[TRIES];
    char *obj = NULL;
    int tries = 0;
    for (; tries < TRIES && obj == NULL; tries++) {
        void *place = hak_malloc(HAK_MIB);
        hurry();
        hak_free(place);
        hak_keep_flush();
        others[tries] = hak_malloc(REUSED);
        if (record_of(others[tries])->slack != 0)
            obj = others[tries];
    }
    while (tries-- > 0)
        if (others[tries] != obj)
            hak_free(others[tries]);
    assert_non_null(obj);
    return obj;
}

/* The former objects' contents are not zero. */
static void zeroed_in_a_hurry(void **state) {
    (void)state;
    for (int tries = 0; tries < 30; tries++) {
        char *others[8];
        for (int i = 0; i < 8; i++)
            others[i] = memset(hak_malloc(HAK_MIB), 'x', HAK_MIB);
        hurry();
        for (int i = 0; i < 8; i++)
            hak_free(others[i]);
        if (tries % 2 == 0)
            hak_keep_flush();
        char *obj = hak_calloc(1, HAK_MIB - 100 * HAK_KIB);
        for (size_t i = 0; i < HAK_MIB - 100 * HAK_KIB; i++)
            if (obj[i] != 0)
                fail_msg("byte %zu is %d", i, obj[i]);
        hak_free(memset(obj, 'x', HAK_MIB - 100 * HAK_KIB));
    }
}

/* Also when time is short, and whatever other sizes come and go: no object has a new owner before 600 more of its size
 * were freed. */
static void rest_in_a_hurry(void **state) {
    (void)state;
    const size_t sizes[] = {300 * HAK_KIB, 700 * HAK_KIB, HAK_MIB, 3 * HAK_MIB};
    for (int i = 0; i < 4; i++) {
        hurry();
        uintptr_t stale = (uintptr_t)hak_malloc(sizes[i]);
        hak_free((void *)stale);
        for (int calls = 0; calls < 2400; calls++) {
            size_t size = sizes[(i + calls) % 4];
            uintptr_t obj = (uintptr_t)hak_malloc(size);
            if (obj < stale + sizes[i] && stale < obj + size)
                fail_msg("%zu bytes are back after %d calls", sizes[i], calls);
            hak_free((void *)obj);
        }
    }
}

/* Each bit of the canary and each byte from there to the end of the page. */
static void every_byte_behind(void **state) {
    (void)state;
    for (size_t past = 1; past < 4096; past += 819) {
        size_t size = 75 * 4096 - past;
        unsigned char *obj = hak_malloc(size);
        for (size_t at = size; at < 75 * 4096; at++)
            for (int bit = 0; bit < 8; bit++) {
                obj[at] ^= (unsigned char)(1 << bit);
                assert_ptr_equal(hak_verify_large_overflow(obj, record_of(obj)), obj + at);
                obj[at] ^= (unsigned char)(1 << bit);
            }
        assert_null(hak_verify_large_overflow(obj, record_of(obj)));
        hak_free(obj);
    }
}

static void in_a_hurry(void **state) {
    (void)state;
    const size_t size = REUSED;
    char *obj = reused();
    assert_int_equal(hak_large_capacity(obj), size);
    assert_in_range(record_of(obj)->slack * hak_os_page, HAK_GRANULE, REUSED / 4);
    assert_int_equal(record_of(obj)->size, size);
    hak_large_check();
    memset(obj, 1, size);
    assert_null(hak_verify_large_overflow(obj, record_of(obj)));
    obj[size] ^= 1;
    assert_ptr_equal(hak_verify_large_overflow(obj, record_of(obj)), obj + size);
    obj[size] ^= 1;
    hak_free(obj);
}

static void not_too_far(void **state) {
    (void)state;
    assert_true(hak_guard_near(HAK_MIB, HAK_MIB));
    assert_true(hak_guard_near(HAK_MIB, HAK_MIB + HAK_MIB / 4));
    assert_false(hak_guard_near(HAK_MIB, HAK_MIB + HAK_MIB / 4 + 1));
    assert_false(hak_guard_near(HAK_MIB, HAK_MIB - 1));
}

static void aligned(void **state) {
    (void)state;
    for (int tries = 0; tries < 100; tries++) {
        hurry();
        void *objs[8];
        for (int i = 0; i < 8; i++)
            objs[i] = hak_malloc(HAK_MIB);
        for (int i = 0; i < 8; i++)
            hak_free(objs[i]);
        void *obj = hak_aligned_alloc(HAK_MIB, HAK_MIB);
        assert_int_equal((uintptr_t)obj % HAK_MIB, 0);
        hak_free(obj);
    }
}

/* The millisecond at which the clock stands still; 0: it goes on. In the place of libc's, for the core as well. */
static uint64_t stands_at;
int clock_gettime(clockid_t clock, struct timespec *now) {
    if (stands_at == 0)
        return (int)syscall(SYS_clock_gettime, clock, now);
    *now = (struct timespec){(time_t)(stands_at / 1000), (long)(stands_at % 1000) * 1000000};
    return 0;
}

/* So many frees shut an object before the next millisecond. Here it is the same one each time: nobody looks at that. */
static unsigned shut_at_once(void *obj) {
    unsigned count = 0;
    while (count < 1000 && hak_guard_large_freed(obj))
        count++;
    return count;
}

static void a_burst_and_then_one_a_millisecond(void **state) {
    (void)state;
    static const unsigned rows[][2] = {{0, 0},     {1, 1},     {2, 2},     {10, 10},
                                       {255, 255}, {256, 256}, {257, 256}, {5000, 256}};
    size_t capacity;
    void *obj = hak_large_take(300 * HAK_KIB, HAK_MIN_ALIGN, NULL, &capacity);
    unsigned first, counts[sizeof rows / sizeof rows[0]];
    stands_at = hak_os_milliseconds();
    hak_guard_reset();
    first = shut_at_once(obj);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        stands_at += rows[i][0];
        counts[i] = shut_at_once(obj);
    }
    stands_at = 0; /* other cases wait for time */
    hak_guard_reset();
    assert_int_equal(first, 256);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(counts[i], rows[i][1]);
}

/* When there is time again, the guard returns to the object's end as the object is resized in place. */
static void at_leisure(void **state) {
    (void)state;
    char *obj = reused();
    while (!hak_guard_at_leisure())
        hak_os_sleep(1);
    assert_ptr_equal(hak_realloc(obj, HAK_MIB - 200 * HAK_KIB), obj);
    assert_int_equal(record_of(obj)->slack, 0);
    hak_free(obj);
}

#define CASE(text, function) {text, function, none, NULL, NULL}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("without time for guards an object goes on with the guard behind it, and its canary has room",
             in_a_hurry),
        CASE("and calloc of one is zero", zeroed_in_a_hurry),
        CASE("and each rests until 600 more of its size were freed", rest_in_a_hurry),
        CASE("every bit behind a large object counts, to the end of its page", every_byte_behind),
        CASE("a guard is near that is no more than a quarter of the object away", not_too_far),
        CASE("an object is aligned, with and without time", aligned),
        CASE("256 freed objects are shut at once, and one more a millisecond",
             a_burst_and_then_one_a_millisecond),
        CASE("with time again the guard moves to the end of an object that is resized", at_leisure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
