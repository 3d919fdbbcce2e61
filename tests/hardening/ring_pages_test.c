/* ring_pages_test.c: slots rest without memory once the thread has freed nothing of their class for a moment. */
#include "tests/hardening/rest.h"

#include "allocator/os/os.h"
#include "allocator/os/os_process.h"
#include "hardening/ring.h"

#include <string.h>
#include <unistd.h>

enum { MOST = 1500, MOMENT_MS = 12, TRIES = 50 };
static const size_t sizes[] = {24, 200, 1000, 2000, 5000, 9000, 30000};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

/* Objects in a row that fill some pages each. */
static unsigned make_all(char **objs, size_t size) {
    unsigned count = (unsigned)hak_min(MOST, 4 * HAK_MIB / size);
    for (unsigned i = 0; i < count; i++)
        memset(objs[i] = rest_make_slot(size), 0xa5, size);
    return count;
}

static void free_all(char **objs, unsigned count) {
    for (unsigned i = 0; i < count; i++)
        hak_free(objs[i]);
}

/* By the clock that a look reads: on a busy machine its ticks come late. */
static void pass_moment(void) {
    for (uint64_t from = hak_os_milliseconds(); hak_os_milliseconds() - from < MOMENT_MS;)
        (void)usleep(1000);
}

/* Nothing of any class is freed meanwhile. The first look sees what was freed, the second that nothing was since. */
static void moment(void) {
    hak_quarantine_age(false);
    pass_moment();
    hak_quarantine_age(false);
}

/* Bytes of slots that rest in the class's ring, and how many of the pages that they touch are resident. */
static size_t resting(unsigned cls, unsigned *resident) {
    const hak_ring *ring = &hak_guarded_mine->rings[cls];
    size_t bytes = 0, size = hak_classes[cls].size;
    *resident = 0;
    for (uint32_t i = 0; i < ring->limit; i++) {
        if (ring->slots[i] == NULL)
            continue;
        bytes += size;
        uintptr_t at = (uintptr_t)ring->slots[i], end = at + size;
        for (uintptr_t page = hak_align_down(at, hak_os_page); page < end; page += hak_os_page)
            *resident += (unsigned)hak_os_resident(page, 1);
    }
    return bytes;
}

/* Makes and frees objects until slots rest with their memory: a look may come at any time, and on a busy machine the
 * thread may have freed nothing for a moment then. Returns their bytes. */
static size_t rests_with_memory(unsigned cls, size_t size, unsigned *resident) {
    static char *objs[MOST];
    for (int try = 0; try < TRIES; try++) {
        hak_quarantine_flush();
        free_all(objs, make_all(objs, size));
        hak_quarantine_age(false);
        size_t bytes = resting(cls, resident);
        assert_true(bytes >= (size_t)hak_ring_floor(cls) * hak_classes[cls].size);
        if (*resident >= bytes / hak_os_page / 2)
            return bytes;
    }
    fail_msg("%zu bytes: what rests has no memory from the start", size);
    return 0;
}

/* Whatever the size: what rests keeps no page, but one that it shares with an object in use or of a thread's cache. */
static void without_memory(void **state) {
    (void)state;
    if (!hak_os_resident_told())
        skip();
    for (unsigned i = 0; i < SIZES; i++) {
        unsigned cls = hak_class_of(sizes[i] + HAK_CANARY_BYTES), before, after;
        size_t bytes = rests_with_memory(cls, sizes[i], &before);
        moment();
        assert_int_equal(resting(cls, &after), bytes); /* they rest as before */
        if (after > before / 4)
            fail_msg("%zu bytes: %u pages of %u stay", sizes[i], after, before);
    }
}

/* The neighbours in use keep what they hold, and their pages. */
static void among_objects_in_use(void **state) {
    (void)state;
    static char *objs[MOST];
    for (unsigned i = 0; i < SIZES; i++) {
        hak_quarantine_flush();
        unsigned count = make_all(objs, sizes[i]);
        for (unsigned k = 0; k < count; k++)
            if (k % 3 != 0)
                hak_free(objs[k]);
        moment();
        for (unsigned k = 0; k < count; k += 3)
            for (size_t at = 0; at < sizes[i]; at++)
                if (objs[k][at] != (char)0xa5)
                    fail_msg("byte %zu of %zu is lost", at, sizes[i]);
        for (unsigned k = 0; k < count; k += 3)
            hak_free(objs[k]);
    }
}

/* A class in use keeps its memory: else each object would cost page faults. */
static void not_while_in_use(void **state) {
    (void)state;
    enum { SIZE = 9000 };
    unsigned cls = hak_class_of(SIZE + HAK_CANARY_BYTES), before = 1, after = 0;
    if (!hak_os_resident_told())
        skip();
    for (int try = 0; after < before - before / 8 && try < TRIES; try++) { /* another look may come first */
        (void)rests_with_memory(cls, SIZE, &before);
        void *obj = rest_make_slot(SIZE);
        pass_moment();
        hak_free(obj);
        hak_quarantine_age(false);
        (void)resting(cls, &after);
    }
    assert_in_range(after, before - before / 8, before + before / 8);
}

/* What was written to a slot after its free stays, so that it is found. */
static void written(void *arg) {
    const size_t *size = arg;
    char *stale = rest_victim(*size);
    hak_quarantine_age(false);
    stale[*size / 2] = 1;
    pass_moment();
    hak_quarantine_age(false);
    (void)rest_pairs_until(NULL, *size, MOST); /* it leaves, or the sweep comes by */
}

static void writes_are_found(void **state) {
    (void)state;
    static const size_t wide[] = {200, 5000, 9000, 30000};
    for (unsigned i = 0; i < sizeof wide / sizeof wide[0]; i++)
        unit_expect_death(written, (void *)&wide[i], "hakmem: write after free: ");
}

static unsigned all_resident(void) {
    unsigned sum = 0, one;
    for (unsigned cls = 1; hak_classes[cls].size <= HAK_RING_BARE; cls++) {
        (void)resting(cls, &one);
        sum += one;
    }
    return sum;
}

/* All of it within one look would take too long. */
static void some_at_a_time(void **state) {
    (void)state;
    enum { SIZES_MOST = 16 };
    static char *objs[SIZES_MOST][MOST];
    unsigned counts[SIZES_MOST], used = 0;
    if (!hak_os_resident_told())
        skip();
    unsigned before = 0, after = 0;
    for (int try = 0; before * hak_os_page <= 8 * HAK_MIB && try < TRIES; try++, used = 0) {
        hak_quarantine_flush();
        for (size_t size = 5000; used < SIZES_MOST; size += size / 8)
            counts[used] = make_all(objs[used], size), used++;
        for (unsigned i = 0; i < used; i++)
            free_all(objs[i], counts[i]);
        hak_quarantine_age(false);
        before = after = all_resident();
    }
    assert_true(before * hak_os_page > 8 * HAK_MIB);
    for (int look = 0; look < 8; look++) {
        unsigned last = after;
        pass_moment();
        hak_quarantine_age(false);
        after = all_resident();
        assert_true((last - after) * hak_os_page <= 6 * HAK_MIB);
    }
    assert_true(after < before / 4);
}

/* realloc leaves an object in its slot as long as it fills a quarter. Its pages are resident up to its former end. */
static void shortened_objects_rest_bare(void **state) {
    (void)state;
    if (!hak_os_resident_told())
        skip();
    const size_t wide[] = {34000, 60000, 100000, 120000};
    for (size_t i = 0; i < sizeof wide / sizeof wide[0]; i++) {
        size_t size = wide[i], less = hak_min(size - size / 4, 31000);
        hak_place place;
        char *obj = rest_make_slot(size);
        assert_true(hak_ledger_find(obj, &place));
        memset(obj, 0xa5, size);
        assert_ptr_equal(hak_realloc(obj, less), obj);
        hak_free(obj);
        uintptr_t from = hak_align_up((uintptr_t)obj, hak_os_page);
        for (uintptr_t page = from; page + hak_os_page <= (uintptr_t)obj + place.size; page += hak_os_page)
            assert_int_equal(hak_os_resident(page, 1), 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("resting slots have no memory once the class is not used", without_memory),
        CASE("objects in use among them keep theirs", among_objects_in_use),
        CASE("resting slots of a class in use keep theirs", not_while_in_use),
        CASE("a write after free is found nevertheless", writes_are_found),
        CASE("one look gives some megabytes back, the next ones the others", some_at_a_time),
        CASE("a wide object that realloc has shortened in its slot keeps no pages either",
             shortened_objects_rest_bare),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
