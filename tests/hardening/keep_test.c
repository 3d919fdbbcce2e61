/* keep_test.c: how many freed large objects are kept, and which leave first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "allocator/heap/large.h"
#include "allocator/os/os.h"
#include "allocator/os/os_process.h"
#include "allocator/pages/mapped_limit.h"
#include "allocator/policy.h"
#include "hardening/guard.h"
#include "hardening/keep.h"
#include "hardening/verify_large.h"
#include "include/hakmem.h"

enum { MOST = 800 };

static char *objs[MOST];

/* A guarded object of 16 MiB and more is unmapped. */
static void keep(unsigned i, size_t size, bool guarded) {
    size_t capacity;
    objs[i] = hak_large_take(size, HAK_MIN_ALIGN, NULL, &capacity);
    assert_non_null(objs[i]);
    if (guarded && size >= 16 * HAK_MIB)
        assert_true(hak_large_empty(objs[i]));
    assert_true(hak_keep_take(objs[i], capacity, guarded));
}

/* Of `count` objects of `size` bytes the last `kept` are still kept, after each new one. */
static void expect_kept(unsigned count, size_t size, bool guarded, unsigned kept) {
    for (unsigned i = 0; i < count; i++) {
        keep(i, size, guarded);
        assert_int_not_equal(hak_large_capacity(objs[i]), 0);
        assert_int_equal(atomic_load(&hak_large_count), i < kept ? i + 1 : kept);
    }
    for (unsigned i = 0; i < kept; i++)
        assert_int_not_equal(hak_large_capacity(objs[count - 1 - i]), 0);
}

/* As if the process had so many gaps that only what is very large is unmapped. Added, not set: others come and go. */
static void pretend_gaps(bool on) {
    const size_t gaps = hak_os_maps_allowed() / 20;
    if (on)
        atomic_fetch_add(&hak_span_holes, gaps);
    else
        atomic_fetch_sub(&hak_span_holes, gaps);
}

/* Before each: nothing is kept, no object is live, no page is locked, as locked memory cannot be purged. */
static int none(void **state) {
    (void)state;
    assert_int_equal(syscall(SYS_munlockall), 0);
    hak_free(hak_malloc(1));
    hak_keep_reset();
    atomic_store(&hak_large_count, 0);
    return 0;
}

static void by_number(void **state) {
    (void)state;
    expect_kept(MOST, 300 * HAK_KIB, true, 640);
}

/* Other sizes drive nothing out: a lane has those of a doubling. */
static void by_number_of_its_size(void **state) {
    (void)state;
    for (unsigned i = 0; i < 4; i++)
        keep(i, i % 2 == 0 ? HAK_MIB : 2 * HAK_MIB - hak_os_page, i < 2);
    for (unsigned i = 4; i < MOST; i++) {
        keep(i, (size_t[]){HAK_MIB - hak_os_page, 300 * HAK_KIB, 2 * HAK_MIB}[i % 3], i % 2 == 0);
        for (unsigned old = 0; old < 4; old++)
            assert_int_not_equal(hak_large_capacity(objs[old]), 0);
    }
    size_t others = hak_large_count - 4;
    for (unsigned i = 0; i < 700; i++)
        keep(4, HAK_MIB, false);
    assert_int_equal(hak_large_count, others + 640);
    hak_large_check();
}

/* Beyond 4 GiB of mapped addresses objects are unmapped; while there are too many gaps for that, the oldest leave. */
static void by_mapped_bytes(void **state) {
    (void)state;
    for (unsigned i = 0; i < 600; i++) {
        keep(i, 8 * HAK_MIB, i % 2 == 0);
        assert_true(hak_keep_bytes <= 4096 * (size_t)HAK_MIB);
    }
    for (unsigned i = 0; i < 600; i++)
        assert_int_equal(hak_large_is_empty(objs[i]), i >= 512);
    hak_large_check();
    none(state);
    pretend_gaps(true);
    expect_kept(600, 8 * HAK_MIB, true, 512);
    pretend_gaps(false);
}

/* The first `few` objects, of a size that has less, stay, and so do the newest; `all` together. */
static void expect_left(unsigned few, unsigned newest, unsigned count, unsigned all) {
    for (unsigned i = 0; i < count; i++)
        if (i < few || i >= newest)
            assert_int_not_equal(hak_large_capacity(objs[i]), 0);
    assert_int_equal(hak_large_count, all);
}

static void fullest_leaves(void **state) {
    (void)state;
    pretend_gaps(true);
    for (unsigned i = 0; i < 640; i++)
        keep(i, i < 40 ? 7 * HAK_MIB : 12 * HAK_MIB, true);
    const unsigned room = (4096 - 40 * 7) / 12;
    expect_left(40, 640 - room, 640, 40 + room);
    pretend_gaps(false);
}

/* Unmapped ones leave no mapped space: they stay, although older. */
static void mapped_leave(void **state) {
    (void)state;
    for (unsigned i = 0; i < 20; i++)
        keep(i, 12 * HAK_MIB, true);
    hak_policy_idle(hak_os_milliseconds());
    hak_policy_idle(hak_os_milliseconds());
    pretend_gaps(true);
    for (unsigned i = 20; i < 640; i++)
        keep(i, 12 * HAK_MIB, true);
    pretend_gaps(false);
    expect_left(20, 640 - 4096 / 12, 640, 20 + 4096 / 12);
    hak_large_check();
}

/* The others keep their order when one of them has left between them. */
static void order_stays(void **state) {
    mapped_leave(state);
    unsigned more = 0;
    for (; hak_large_count < 640 && more < 640; more++)
        keep(640 + more % 100, 12 * HAK_MIB, false);
    assert_int_equal(hak_large_count, 640);
    for (unsigned oldest = 0; oldest < 10; oldest++) {
        keep(640, 12 * HAK_MIB, false);
        assert_int_equal(hak_large_capacity(objs[oldest]), 0);
        assert_int_not_equal(hak_large_capacity(objs[oldest + 1]), 0);
    }
}

/* Neither one of more than 16 GiB, nor many that have more together, whatever is unmapped besides. */
static void larger_drive_none_out(void **state) {
    (void)state;
    static const size_t sizes[] = {17 * 1024, 9 * 1024, 5 * 1024, 2 * 1024, 1024, 700, 400, 200, 100, 50};
    const size_t kinds = sizeof sizes / sizeof sizes[0];
    for (unsigned i = 0; i < 160; i++)
        keep(i, (size_t[]){300, 3000, 12000}[i % 3] * HAK_KIB, i % 2 == 0);
    hak_policy_idle(hak_os_milliseconds());
    hak_policy_idle(hak_os_milliseconds());
    keep(160, 17 * 1024 * (size_t)HAK_MIB, true);
    expect_left(161, 161, 161, 161);
    for (unsigned i = 161; i < MOST; i++)
        keep(i, sizes[i % kinds] * HAK_MIB, true);
    size_t newest = 2 * kinds;
    expect_left(160, (unsigned)(MOST - newest), MOST, (unsigned)hak_large_count);
    assert_in_range(hak_large_count, 160 + newest, 160 + newest + 16 * 1024 / 50);
}

/* Unmapped memory takes no address space of the kernel's. It drives objects of its size out only by its number, and by
 * those pages of our tables that stay resident for very many addresses. */
static void very_large_drain_little(void **state) {
    (void)state;
    expect_kept(100, 160 * HAK_MIB, true, 100);
}
/* 16 GiB, and two objects. */
static void by_unmapped_bytes(void **state) {
    (void)state;
    expect_kept(20, 2048 * (size_t)HAK_MIB, true, 10);
}
static void two_of_any_size(void **state) {
    (void)state;
    expect_kept(5, 17 * (size_t)HAK_MIB * 1024, true, 2);
}

/* With what realloc has cut off: that rests with the object. */
static void shortened(void **state) {
    (void)state;
    const size_t before = 15 * HAK_MIB, few = 4096 / 15;
    size_t capacity;
    for (unsigned i = 0; i < 600; i++) {
        objs[i] = hak_large_take(before, HAK_MIN_ALIGN, NULL, &capacity);
        assert_true(hak_large_resize(objs[i], 300 * HAK_KIB, &capacity));
        assert_int_equal(capacity, 300 * HAK_KIB);
        assert_true(hak_keep_take(objs[i], capacity, false));
        if (i < few || i >= few + 10) /* a part of the gap counts */
            assert_int_equal(hak_large_is_empty(objs[i]), i >= few);
    }
    assert_true(hak_keep_bytes <= 300 * HAK_KIB * (few + 10));
    for (unsigned i = 600; i < MOST; i++)
        keep(i, 300 * HAK_KIB, true);
    assert_int_equal(hak_large_count, MOST);
}

/* What is kept has no memory, whether a guard took it or not. */
static void memory_goes(void **state) {
    (void)state;
    for (unsigned i = 0; i < 100; i++) {
        size_t capacity;
        objs[i] = hak_large_take(4 * HAK_MIB, HAK_MIN_ALIGN, NULL, &capacity);
        objs[i][5000] = objs[i][capacity - 1] = 'x';
        assert_true(hak_keep_take(objs[i], capacity, false));
        assert_false(hak_large_is_empty(objs[i]));
        assert_int_equal(objs[i][5000] | objs[i][capacity - 1], 0);
    }
    hak_keep_flush();
    assert_int_equal(atomic_load(&hak_keep_bytes), 0);
    assert_int_equal(atomic_load(&hak_keep_objects), 0);
}

static void too_large(void **state) {
    (void)state;
    size_t capacity;
    void *obj = hak_large_take(2100 * (size_t)HAK_MIB, HAK_MIN_ALIGN, NULL, &capacity);
    (void)hak_os_fail_at(1);
    assert_false(hak_keep_take(obj, capacity, false));
    assert_int_equal(hak_os_fail_at(0), 2);
    assert_true(hak_keep_take(obj, capacity, false));
    assert_true(hak_large_is_empty(obj));
}

/* However many gaps there are: as when there is time for a guard. */
static void large_ones_never_crowd(void **state) {
    (void)state;
    pretend_gaps(true);
    for (unsigned i = 0; i < 600; i++)
        keep(i, (i < 300 ? 1 : 16) * HAK_MIB, false);
    expect_left(300, 300, 600, 600);
    assert_true(hak_keep_bytes <= 4096 * (size_t)HAK_MIB);
    pretend_gaps(false);
}

/* False: not allowed. By a system call, because sanitizers replace mlock by nothing. */
static bool locks(void *obj, size_t size) {
    return syscall(SYS_mlock, obj, size) == 0;
}

/* Locked pages cannot be purged, but they can be unmapped. Needs no privilege: the default limit is 8 MiB, and 64 KiB
 * on older kernels. */
static void locked(void **state) {
    (void)state;
    size_t capacity;
    void *obj = hak_large_take(300 * HAK_KIB, HAK_MIN_ALIGN, NULL, &capacity);
    if (hak_region_find((uintptr_t)obj)->body.reserved) /* under a sanitizer; not unmapped but replaced */
        skip();
    if (!locks(obj, hak_os_page))
        skip();
    assert_true(hak_keep_take(obj, capacity, false));
    assert_true(hak_large_is_empty(obj));
    hak_large_check();
}

/* Where neither is possible, the next owner gets memory that is not zero: calloc zeroes it, and a canary follows it. */
static void locked_is_dirty(void **state) {
    (void)state;
    const size_t size = 300 * HAK_KIB - 100;
    char *obj = NULL, *stale = NULL;
    for (int tries = 0; tries < 100 && (obj == NULL || obj != stale); tries++) {
        stale = memset(hak_malloc(size), 'x', size);
        if (!locks(stale, size))
            skip();
        pretend_gaps(true);
        hak_free(stale);
        obj = hak_calloc(1, size);
        pretend_gaps(false);
    }
    assert_ptr_equal(obj, stale);
    for (size_t i = 0; i < size; i++)
        assert_int_equal(obj[i], 0);
    assert_int_equal(hak_ledger_large((uintptr_t)obj)->word & HAK_RECORD_BARE, 0);
    assert_null(hak_verify_large_overflow(obj, hak_ledger_large((uintptr_t)obj)));
    hak_free(obj);
}

/* Objects are unmapped at the second pass: markers of guards take page tables, which each fork copies. */
static void guards_go(void **state) {
    (void)state;
    for (unsigned i = 0; i < 3; i++)
        keep(i, 300 * HAK_KIB, i != 2);
    size_t holes = hak_span_holes; /* an object may have taken one */
    hak_policy_idle(hak_os_milliseconds());
    for (unsigned i = 0; i < 3; i++)
        assert_false(hak_large_is_empty(objs[i]));
    hak_policy_idle(hak_os_milliseconds());
    for (unsigned i = 0; i < 3; i++)
        assert_true(hak_large_is_empty(objs[i]));
    assert_int_equal(hak_keep_bytes, 0);      /* what is unmapped is no live memory */
    assert_true(hak_span_holes <= holes + 3); /* neighbours are one gap */
    hak_large_check();
    hak_keep_flush();
    hak_large_check();
}

/* Other code of the process needs mappings, too. */
static void not_while_there_are_many_gaps(void **state) {
    (void)state;
    keep(0, 300 * HAK_KIB, true);
    pretend_gaps(true);
    for (int passes = 0; passes < 3; passes++)
        hak_policy_idle(hak_os_milliseconds());
    pretend_gaps(false);
    assert_false(hak_large_is_empty(objs[0]));
    for (int passes = 0; passes < 2; passes++)
        hak_policy_idle(hak_os_milliseconds());
    assert_true(hak_large_is_empty(objs[0]));
}

/* More objects than there may be gaps, but side by side. */
static void neighbours_are_one_gap(void **state) {
    (void)state;
    const unsigned many = 6 * 640;
    assert_true(many > hak_os_maps_allowed() / 20);
    for (unsigned i = 0; i < many; i++)
        keep(i % MOST, (size_t)300 * HAK_KIB << i % 6, true);
    assert_int_equal(hak_keep_objects, many);
    hak_policy_idle(hak_os_milliseconds());
    hak_policy_idle(hak_os_milliseconds());
    assert_int_equal(hak_keep_bytes, 0);
    assert_true(hak_span_holes < many / 4);
    hak_large_check();
}

/* Freed objects of 1 MiB and more, while there are few gaps. */
static void unmapped_while_few(void **state) {
    (void)state;
    assert_true(hak_guard_unmaps(HAK_MIB));
    assert_false(hak_guard_unmaps(HAK_MIB - 1));
    pretend_gaps(true);
    assert_false(hak_guard_unmaps(HAK_MIB));
    assert_false(hak_guard_unmaps(16 * HAK_MIB - 1));
    assert_true(hak_guard_unmaps(16 * HAK_MIB));
    pretend_gaps(false);
    char *large = hak_malloc(HAK_MIB), *less = hak_malloc(300 * HAK_KIB);
    while (!hak_guard_at_leisure())
        hak_os_sleep(1);
    hak_os_sleep(2);
    hak_free(large);
    hak_free(less);
    assert_true(hak_large_is_empty(large));
    assert_false(hak_large_is_empty(less));
    hak_large_check();
}

/* Objects that are too short alone, in one row. */
static void unmapped_when_purged(void **state) {
    (void)state;
    for (unsigned i = 0; i < 30; i++)
        keep(i, 900 * HAK_KIB, true);
    hak_keep_flush();
    size_t committed = hak_region_committed;
    (void)hak_large_purge(0);
    assert_true(hak_region_committed + 20 * HAK_MIB < committed);
    hak_large_check();
}

/* Places are mapped with the first object of their doubling. Where the OS has no memory for them nothing is kept. */
static void places_refused(void **state) {
    (void)state;
    size_t capacity;
    void *obj = hak_large_take(HAK_MIB, HAK_MIN_ALIGN, NULL, &capacity);
    (void)hak_os_fail_at(1);
    bool kept = hak_keep_take(obj, capacity, true);
    uint64_t calls = hak_os_fail_at(0);
    assert_int_equal(calls, 1);
    assert_false(kept);
    assert_int_equal(hak_keep_objects, 0);
    keep(0, HAK_MIB, true);
    assert_int_equal(hak_keep_objects, 1);
}

/* All are kept, but of address space that other code could have no more than 16 MiB, and a quarter of that where an
 * object can be unmapped. */
static void little_where_scarce(void **state) {
    (void)state;
    hak_guard_scarce();
    for (unsigned i = 0; i < 20; i++) {
        keep(i, 3 * HAK_MIB, false);
        assert_int_equal(hak_keep_bytes, 3 * HAK_MIB); /* no second one within a quarter of 16 MiB */
    }
    for (unsigned i = 0; i < 20; i++)
        assert_int_not_equal(hak_large_capacity(objs[i]), 0);
    hak_large_check();
    hak_keep_flush();
    pretend_gaps(true);
    for (unsigned i = 0; i < 20; i++)
        keep(i, 3 * HAK_MIB, false);
    pretend_gaps(false);
    assert_int_equal(hak_keep_bytes, 15 * HAK_MIB);
    hak_keep_flush();
    hak_guard_reset();
}

/* A sixteenth of a limit that counts what is mapped, if that is less, also where nothing can be unmapped. */
static void little_within_a_limit(void **state) {
    (void)state;
    pretend_gaps(true);
    hak_guard_scarce();
    (void)hak_limit_set(128 * HAK_MIB);
    for (unsigned i = 0; i < 20; i++) {
        keep(i, HAK_MIB, true);
        assert_in_range(hak_keep_bytes, HAK_MIB, 8 * HAK_MIB);
    }
    assert_true(hak_keep_bytes > 4 * HAK_MIB);
    hak_keep_flush();
    (void)hak_limit_set(SIZE_MAX);
    hak_guard_reset();
    pretend_gaps(false);
}

/* What is unmapped has tables, which the limit counts. */
static void addresses_within_a_limit(void **state) {
    (void)state;
    (void)hak_limit_set(128 * HAK_MIB);
    expect_kept(60, 64 * HAK_MIB, true, 16 * 128 / 64 + 2);
    (void)hak_limit_set(SIZE_MAX);
}

static void all_go_back(void **state) {
    (void)state;
    for (unsigned i = 0; i < 10; i++)
        keep(i, HAK_MIB, i % 2 == 0);
    assert_int_equal(atomic_load(&hak_large_count), 10);
    hak_keep_flush();
    assert_int_equal(atomic_load(&hak_large_count), 0);
    assert_int_equal(atomic_load(&hak_keep_objects), 0);
}

/* The OS refuses a request of so many bytes. */
static void refused(size_t size) {
    (void)hak_os_fail_at(1 | HAK_OS_FAIL_ON);
    hak_free(hak_malloc(size));
    (void)hak_os_fail_at(0);
}

/* Input of the program may choose its size: more than memory and swap is refused without any limit. */
static void absurd_request(void **state) {
    (void)state;
    for (unsigned i = 0; i < 60; i++)
        keep(i, 10 * HAK_MIB, true);
    refused(300 * HAK_MIB);
    assert_false(hak_guard_is_scarce());
    assert_true(hak_policy_tail_stays());
    assert_int_equal(hak_keep_objects, 60);
    refused(200 * HAK_MIB);
    assert_true(hak_guard_is_scarce());
    assert_int_equal(hak_keep_objects, 0);
    hak_large_check();
    hak_guard_reset();
}

#define CASE(text, function) {text, function, none, NULL, NULL}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("640 objects are kept, the oldest leaves first", by_number),
        CASE("of each size, whatever becomes of others", by_number_of_its_size),
        CASE("4 GiB of mapped addresses are kept, what comes then is unmapped", by_mapped_bytes),
        CASE("if something must go it is the oldest of the size that has most", fullest_leaves),
        CASE("and mapped", mapped_leave),
        CASE("and the order of the others stays", order_stays),
        CASE("very large objects drive little out", very_large_drain_little),
        CASE("16 GiB of unmapped addresses are kept", by_unmapped_bytes),
        CASE("and two objects of any size", two_of_any_size),
        CASE("very large objects drive no others out", larger_drive_none_out),
        CASE("a shortened object counts with what it had", shortened),
        CASE("what is kept has no memory", memory_goes),
        CASE("an object of more than 2 GiB is kept only if it can be unmapped", too_large),
        CASE("objects of 16 MiB and more are unmapped where mapped ones are too many",
             large_ones_never_crowd),
        CASE("a locked object is unmapped", locked),
        CASE("or its memory is not taken for zero", locked_is_dirty),
        CASE("an object is unmapped at the second pass, guarded or not", guards_go),
        CASE("but not while there are many gaps", not_while_there_are_many_gaps),
        CASE("all of them, as neighbours are one gap", neighbours_are_one_gap),
        CASE("from 1 MiB on at once, while there are few gaps", unmapped_while_few),
        CASE("and shorter ones that merge, when they are purged", unmapped_when_purged),
        CASE("where there is no memory for places nothing is kept", places_refused),
        CASE("where address space is scarce only 16 MiB of it are kept", little_where_scarce),
        CASE("under a limit a sixteenth of that", little_within_a_limit),
        CASE("and 16 times the limit of unmapped addresses", addresses_within_a_limit),
        CASE("when memory has run out all of it goes back", all_go_back),
        CASE("but not for a request that is refused for its size alone", absurd_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
