/* list_test.c: the ring of list.h against an array. */
#include "tests/unit/unit.h"

#include "allocator/base/list.h"

#include <string.h>

enum { COUNT = 8 };
typedef struct item {
    int number;
    hak_link link;
} item;

static item items[COUNT];
static hak_link head;

static void expect(const int *numbers, int count) {
    int seen = 0;
    for (hak_link *link = head.next; link != &head; link = link->next) {
        assert_ptr_equal(link->next->prev, link);
        assert_ptr_equal(link->prev->next, link);
        assert_true(seen < count);
        assert_int_equal(HAK_OWNER_OF(link, item, link)->number, numbers[seen++]);
    }
    assert_int_equal(seen, count);
    assert_int_equal(hak_list_empty(&head), count == 0);
}

static int begin(void **state) {
    (void)state;
    hak_list_init(&head);
    for (int i = 0; i < COUNT; i++)
        items[i] = (item){.number = i};
    return 0;
}

static void both_ends(void **state) {
    (void)state;
    expect(NULL, 0);
    hak_list_push(&head, &items[1].link);
    hak_list_push(&head, &items[0].link);
    hak_list_push_back(&head, &items[3].link);
    hak_list_insert_after(&items[1].link, &items[2].link);
    expect((const int[]){0, 1, 2, 3}, 4);
}

static void removal(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++)
        hak_list_push_back(&head, &items[i].link);
    hak_list_remove(&items[0].link);
    expect((const int[]){1, 2, 3}, 3);
    hak_list_remove(&items[3].link);
    expect((const int[]){1, 2}, 2);
    hak_list_push(&head, &items[3].link);
    expect((const int[]){3, 1, 2}, 3);
    for (int i = 1; i < 4; i++)
        hak_list_remove(&items[i].link);
    expect(NULL, 0);
}

static void remove_first(void *unused) {
    (void)unused;
    hak_list_remove(head.next);
}

static void corruption(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++)
        hak_list_push_back(&head, &items[i].link);
    static hak_link stray = {&stray, &stray};
    hak_link *const fields[] = {head.next->next, head.next->prev};
    for (int i = 0; i < 2; i++) {
        hak_link saved = items[0].link;
        *(i == 0 ? &items[0].link.next : &items[0].link.prev) = &stray;
        unit_expect_death(remove_first, NULL, "list links do not agree");
        items[0].link = saved;
        assert_ptr_equal(i == 0 ? items[0].link.next : items[0].link.prev, fields[i]);
    }
    items[1].link.prev = &stray; /* the neighbour's word */
    unit_expect_death(remove_first, NULL, "list links do not agree");
}

#define LIST_CASE(text, function) {text, function, begin, NULL, NULL}
int main(void) {
    const struct CMUnitTest tests[] = {
        LIST_CASE("links go to the front, to the back and between", both_ends),
        LIST_CASE("a link leaves from the front, the back and between, and may come again", removal),
        LIST_CASE("a link whose neighbours do not agree ends the process", corruption),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
