/* stack_walk_test.c: the walk follows frame pointers, and stops where they end. */
#include "tests/unit/unit.h"

#include "allocator/os/os.h"
#include "allocator/os/stack_walk.h"

#include <string.h>
#include <sys/mman.h>

enum { MOST = 64, LONG = 400, PLACE = 0x10000 };

typedef struct record {
    uintptr_t next, place; /* as a frame begins: the caller's frame, the return address */
} record;

/* Each frame points to the next one; places count from PLACE. */
static void chain(record *records, unsigned count) {
    for (unsigned i = 0; i < count; i++)
        records[i] = (record){i + 1 < count ? (uintptr_t)&records[i + 1] : 0, PLACE + i};
}

/* The walk from there finds so many frames, in their order. */
static void expect(const record *from, unsigned count) {
    uintptr_t found[MOST];
    assert_int_equal(hak_stack_walk((uintptr_t)from, found, MOST), count);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(found[i], PLACE + i);
}

static void whole(void **state) {
    (void)state;
    record records[8];
    for (unsigned count = 1; count <= 8; count++) {
        chain(records, count);
        expect(records, count);
    }
    uintptr_t none;
    assert_int_equal(hak_stack_walk(0, &none, 1), 0);
}

static void as_many_as_wanted(void **state) {
    (void)state;
    static record records[LONG];
    static uintptr_t found[LONG + 1];
    chain(records, LONG);
    found[LONG] = found[10] = 7;
    assert_int_equal(hak_stack_walk((uintptr_t)records, found, 10), 10);
    assert_int_equal(found[10], 7);
    assert_int_equal(hak_stack_walk((uintptr_t)records, found, LONG), LONG);
    for (unsigned i = 0; i < LONG; i++)
        assert_int_equal(found[i], PLACE + i);
    assert_int_equal(found[LONG], 7);
    assert_int_equal(hak_stack_walk((uintptr_t)records, found, 0), 0);
}

static void no_frame_pointers(void **state) {
    (void)state;
    static record records[8], far[2 * HAK_MIB / sizeof(record)];
    chain(records, 8);
    records[3].next = (uintptr_t)&records[1]; /* a stack grows down, so its frames go up */
    expect(records, 4);
    records[3].next = (uintptr_t)&records[3];
    expect(records, 4);
    records[3].next = (uintptr_t)&records[4] + 4;
    expect(records, 4);
    records[3].next = 0;
    expect(records, 4);
    chain(records, 8);
    records[3].place = 4095; /* where no code lies */
    expect(records, 3);
    records[3].place = 0;
    expect(records, 3);
    far[0] = (record){(uintptr_t)&far[HAK_MIB / sizeof(record)], PLACE};
    far[HAK_MIB / sizeof(record)] = (record){0, PLACE + 1};
    expect(far, 2);
    far[0].next = (uintptr_t)&far[HAK_MIB / sizeof(record) + 1];
    far[HAK_MIB / sizeof(record) + 1] = (record){0, PLACE + 1};
    expect(far, 1);
}

static void not_readable(void **state) {
    (void)state;
    char *pages = mmap(NULL, 2 * hak_os_page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(pages, MAP_FAILED);
    assert_int_equal(mprotect(pages + hak_os_page, hak_os_page, PROT_NONE), 0);
    record *last = (record *)(pages + hak_os_page) - 1;
    *last = (record){(uintptr_t)(last + 1), PLACE};
    expect(last, 1);
    uintptr_t *half = (uintptr_t *)(pages + hak_os_page) - 1; /* half of a record */
    last->next = 0;
    uintptr_t found[MOST];
    assert_int_equal(hak_stack_walk((uintptr_t)half, found, MOST), 0);
    assert_int_equal(hak_stack_walk((uintptr_t)(last + 1), found, MOST), 0);
    munmap(pages, 2 * hak_os_page);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("every frame is found, from the innermost on", whole),
        CASE("as many as are wanted, also of a long stack", as_many_as_wanted),
        CASE("what is no frame pointer is not followed", no_frame_pointers),
        CASE("nor is what cannot be read", not_readable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
