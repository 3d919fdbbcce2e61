/* profile_test.c: the heap profile tells stacks apart, and counts live and made objects of each. */
#include "tests/unit/unit.h"

#include "allocator/heap/profile.h"

#include <string.h>

enum { STACKS = 20000, TIMES = 3, SIZE = 100, UNIT = 1 << 16, PLACE = 0x500000 };

static void *object(int stack, int time) {
    return (void *)(uintptr_t)(0x100000 + 16 * (stack * TIMES + time));
}

/* The frames that all stacks of that place share; the frames above it on this stack may differ from call to call. */
static hak_profile_stack sums[STACKS];
static void add_up(void) {
    memset(sums, 0, sizeof sums);
    for (const hak_profile_stack *one = hak_profile_stacks(); one != NULL; one = one->older) {
        uintptr_t place = one->frames[0] - PLACE;
        assert_in_range(place, 0, STACKS - 1);
        sums[place].samples += one->samples;
        sums[place].live_samples += one->live_samples;
        sums[place].made_objects += one->made_objects;
        sums[place].made_bytes += one->made_bytes;
        sums[place].live_objects += one->live_objects;
        sums[place].live_bytes += one->live_bytes;
    }
}

static void expect_sums(uint64_t made, uint64_t live) {
    add_up();
    for (int i = 0; i < STACKS; i++) {
        assert_int_equal(sums[i].samples, made);
        assert_int_equal(sums[i].made_objects, made * UNIT);
        assert_int_equal(sums[i].made_bytes, made * SIZE);
        assert_int_equal(sums[i].live_samples, live);
        assert_int_equal(sums[i].live_objects, live * UNIT);
        assert_int_equal(sums[i].live_bytes, live * SIZE);
    }
}

static void make(int time) {
    for (int i = 0; i < STACKS; i++)
        hak_profile_made(object(i, time), SIZE, 0, (uintptr_t)(PLACE + i));
}
static void end(int time) {
    for (int i = 0; i < STACKS; i++)
        hak_profile_ended(object(i, time));
}

/* Other call sites, more of them than the table has heads. At this rate each object is a sample. */
static void each_by_itself(void **state) {
    (void)state;
    hak_profile_init(1);
    assert_int_equal(hak_profile_rate, 1);
    for (int time = 0; time < TIMES; time++)
        make(time);
    expect_sums(TIMES, TIMES);
    end(1);
    expect_sums(TIMES, TIMES - 1);
    make(1); /* records of other stacks are used again */
    expect_sums(TIMES + 1, TIMES);
    end(0);
    end(1);
    end(1); /* its record is gone: changes nothing */
    end(2);
    expect_sums(TIMES + 1, 0);
    assert_int_equal(hak_profile_lost, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("each stack has its own counts", each_by_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
