/* hollow_test.c: other code maps memory where a superslab is hollow. Its mapping stays as it is, and the allocator
 * gets its memory elsewhere. */
#include "tests/unit/unit.h"

#include <string.h>
#include <sys/mman.h>

#include "allocator/base/bits.h"
#include "allocator/life/reclaim.h"
#include "allocator/os/extent.h"
#include "include/hakmem.h"

enum { OBJECTS = 256, THEIRS = 0x5a };

static void *objects[2 * OBJECTS], *theirs[OBJECTS];
static unsigned holes;

static void take(unsigned count, size_t size) {
    for (unsigned i = 0; i < count; i++) {
        objects[i] = hak_malloc(size);
        assert_non_null(objects[i]);
        memset(objects[i], 1, size);
    }
}

/* Maps a page into the first page of a former object, if nothing is there. */
static void map_theirs(const void *object) {
    uintptr_t page = hak_align_up((uintptr_t)object, hak_os_page);
    void *got = mmap((void *)page, hak_os_page, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (got == MAP_FAILED)
        return;
    assert_int_equal((uintptr_t)got, page);
    memset(got, THEIRS, hak_os_page);
    theirs[holes++] = got;
}

static void unmap_theirs(void) {
    while (holes > 0) {
        const unsigned char *page = theirs[--holes];
        for (size_t i = 0; i < hak_os_page; i++)
            assert_int_equal(page[i], THEIRS);
        munmap(theirs[holes], hak_os_page);
    }
}

static void of_size(size_t size, unsigned count) {
    take(count, size);
    for (unsigned i = 0; i < count; i++)
        hak_free(objects[i]);
    for (int how = 0; how < HAK_RECLAIMS; how++)
        (void)hak_reclaim_memory(size * count, (hak_reclaim)how);
    for (unsigned i = 0; i < count; i++)
        map_theirs(objects[i]);
    assert_true(holes > 0);
    take(2 * count, size);
    for (unsigned i = 0; i < 2 * count; i++)
        hak_free(objects[i]);
    unmap_theirs();
}

static void large(void **state) {
    (void)state;
    unit_skip_where_reserved();
    of_size(2 * HAK_MIB, 16);
}

static void slabs(void **state) {
    (void)state;
    unit_skip_where_reserved();
    of_size((size_t)20 * 1024, OBJECTS);
}

static void long_slabs(void **state) {
    (void)state;
    unit_skip_where_reserved();
    of_size((size_t)100 * 1024, 64);
}

static void cleanup(void) {
    while (holes > 0) /* left by a failed test */
        munmap(theirs[--holes], hak_os_page);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("a hole of large objects that is taken is left out", large),
        CASE("a hole of slabs that is taken is left out", slabs),
        CASE("a hole of long slabs that is taken is left out", long_slabs),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    cleanup();
    return failed;
}
