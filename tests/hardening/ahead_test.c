/* ahead_test.c: which pages of wide objects malloc makes resident before their owner touches them: those of sizes whose
 * objects are touched as a whole, and of no others. Counted with mincore. */
#include "tests/hardening/rest.h"

#include "allocator/os/os.h"
#include "hardening/ahead.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

enum { TAUGHT = 40, PAGE = 4096, MOST = 256 * HAK_KIB };

static const size_t sizes[] = {33000, 40000, 65536, 100000, 200000, 262000};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

/* Pages that have memory, of those that lie within the first `size` bytes of the object. */
static size_t resident(const void *obj, size_t size) {
    unsigned char in[MOST / PAGE + 1];
    uintptr_t from = hak_align_up((uintptr_t)obj, hak_os_page);
    uintptr_t to = hak_align_down((uintptr_t)obj + size, hak_os_page);
    size_t count = 0;
    assert_int_equal(mincore((void *)from, to - from, in), 0);
    for (size_t i = 0; i < (to - from) / hak_os_page; i++)
        count += in[i] & 1;
    return count;
}

static size_t pages(const void *obj, size_t size) {
    uintptr_t from = hak_align_up((uintptr_t)obj, hak_os_page);
    return (hak_align_down((uintptr_t)obj + size, hak_os_page) - from) / hak_os_page;
}

/* Makes and frees objects of which `part` bytes are touched, from the byte `from` on. */
static void teach_from(size_t size, size_t from, size_t part) {
    for (int i = 0; i < TAUGHT; i++) {
        char *obj = rest_make_slot(size);
        memset(obj + from, 1, part);
        hak_free(obj);
    }
}
static void teach(size_t size, size_t part) {
    teach_from(size, 0, part);
}

/* True when the pages of the next object of the size have memory before its owner touches them. */
static bool is_ready(size_t size) {
    char *obj = rest_make_slot(size);
    bool ready = resident(obj, size) == pages(obj, size);
    hak_free(obj);
    return ready;
}

/* Else there is nothing to test: Linux before 5.14, or pages as large as the objects. */
static void need_kernel(void) {
    void *page = mmap(NULL, hak_os_page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool can = madvise(page, hak_os_page, MADV_POPULATE_WRITE) == 0;
    assert_int_equal(munmap(page, hak_os_page), 0);
    if (!can || hak_os_page != PAGE)
        skip();
}

static void objects_that_are_touched(void **state) {
    (void)state;
    need_kernel();
    for (int i = 0; i < SIZES; i++) {
        assert_false(is_ready(sizes[i]));
        teach(sizes[i], sizes[i]);
        if (!is_ready(sizes[i]))
            fail_msg("%zu bytes", sizes[i]);
    }
}

/* What is done with objects of one size says nothing about another one. */
static void each_size_for_itself(void **state) {
    (void)state;
    need_kernel();
    for (int i = 0; i < SIZES; i++) {
        unit_fresh(NULL);
        teach(sizes[i], sizes[i]);
        for (int other = 0; other < SIZES; other++)
            assert_true(other == i || !is_ready(sizes[other]));
        assert_true(is_ready(sizes[i]));
    }
}

/* The core's calls, counted. */
static unsigned looks;
int mincore(void *addr, size_t size, unsigned char *in) {
    looks++;
    return (int)syscall(SYS_mincore, addr, size, in);
}

enum { ROOM = 40960 };

/* Memory that stands for a slot of ROOM bytes, touched or not. */
static char *room(bool touched) {
    char *it = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(it, MAP_FAILED);
    return touched ? memset(it, 1, ROOM) : it;
}

/* Eight in a row. Before the first one was found so, only some frees look. */
static void only_when_sure(void **state) {
    (void)state;
    need_kernel();
    char *used = room(true), *next = room(false);
    for (unsigned before = looks; looks == before;)
        hak_ahead_learn(used, ROOM, ROOM);
    for (int taught = 1; taught <= HAK_AHEAD_SURE; taught++) {
        hak_ahead_ask(next, ROOM, ROOM);
        assert_int_equal(resident(next, ROOM), taught < HAK_AHEAD_SURE ? 0 : ROOM / PAGE);
        hak_ahead_learn(used, ROOM, ROOM);
    }
    munmap(used, ROOM);
    munmap(next, ROOM);
}

/* A look takes as long as malloc and free of a small object together, so where they show nothing they are few. */
static void few_looks(void **state) {
    (void)state;
    enum { FREES = 400, COLD_LOOKS = 4 };
    need_kernel();
    char *unused = room(false);
    hak_free(rest_make_slot(ROOM)); /* what the core asks once */
    unsigned before = looks;
    for (int i = 0; i < FREES; i++)
        hak_ahead_learn(unused, ROOM, ROOM);
    assert_int_equal(looks - before, FREES / COLD_LOOKS);
    munmap(unused, ROOM);
}

static void what_is_ready_is_zero(void **state) {
    (void)state;
    static const char zeros[MOST];
    for (int i = 0; i < SIZES; i++) {
        teach(sizes[i], sizes[i]);
        for (int again = 0; again < 700; again++) { /* slots that had an owner come back, too */
            char *obj = rest_make_slot(sizes[i]);
            assert_memory_equal(obj, zeros, sizes[i]);
            memset(obj, 1, sizes[i]);
            hak_free(obj);
        }
    }
}

static void objects_that_are_not(void **state) {
    (void)state;
    for (int i = 0; i < SIZES; i++)
        for (size_t part = 1; part < sizes[i] - PAGE; part += sizes[i] / 4) {
            teach(sizes[i], part);
            assert_false(is_ready(sizes[i]));
        }
}

/* One of two such objects shows it by a random page; so it ends after 20 but for one run in a million. */
static void ends_when_half_is_touched(void **state) {
    (void)state;
    need_kernel();
    for (int i = 0; i < SIZES; i++) {
        teach(sizes[i], sizes[i]);
        assert_true(is_ready(sizes[i])); /* nothing of this one is touched */
        assert_false(is_ready(sizes[i]));
        teach(sizes[i], sizes[i]);
        teach(sizes[i], sizes[i] / 2);
        assert_false(is_ready(sizes[i]));
        teach(sizes[i], sizes[i]);
        assert_true(is_ready(sizes[i]));
        teach(sizes[i], sizes[i]);
        teach_from(sizes[i], sizes[i] / 2, sizes[i] / 2);
        assert_false(is_ready(sizes[i]));
    }
}

/* 300 objects of 100 KB stay, and nobody touches them. */
static void what_stays_is_bounded(void **state) {
    (void)state;
    enum { OBJS = 300, SIZE = 100000 };
    static char *objs[OBJS];
    size_t ready = 0;
    teach(SIZE, SIZE);
    for (int i = 0; i < OBJS; i++) {
        objs[i] = rest_make_slot(SIZE);
        ready += resident(objs[i], SIZE) > 2 ? SIZE : 0; /* the canary's page, and one that it shares */
    }
    assert_true(ready <= HAK_AHEAD_BYTES + (size_t)OBJS * SIZE / 3);
    for (int i = 0; i < OBJS; i++)
        hak_free(objs[i]);
    teach(SIZE, SIZE);
    need_kernel();
    assert_true(is_ready(SIZE)); /* what is freed does not count any more */
}

/* Objects that are live, and that nobody has touched. They are kept in a table by a hash of the address, where some
 * have the same place. */
static void many_at_a_time(void **state) {
    (void)state;
    enum { OBJS = 64, SIZE = 40000 };
    char *objs[OBJS];
    unsigned ready = 0;
    need_kernel();
    teach(SIZE, SIZE);
    for (int i = 0; i < OBJS; i++) {
        objs[i] = rest_make_slot(SIZE);
        ready += resident(objs[i], SIZE) == pages(objs[i], SIZE);
    }
    assert_in_range(ready, OBJS / 2, OBJS);
    for (int i = 0; i < OBJS; i++)
        hak_free(objs[i]);
}

static void freed_objects_keep_no_page(void **state) {
    (void)state;
    for (int i = 0; i < SIZES; i++)
        for (size_t part = 1; part <= sizes[i]; part += sizes[i] / 5) {
            char *obj = rest_make_slot(sizes[i]);
            hak_place place = {0};
            assert_true(hak_ledger_find(obj, &place));
            memset(obj + sizes[i] - part, 1, part);
            hak_free(obj);
            assert_int_equal(resident(obj, place.size), 0);
        }
}

/* When the kernel has no memory for it, nothing else happens. Some of these calls need the OS for something else. */
static void the_os_refuses(void **state) {
    (void)state;
    enum { SIZE = 100000, TRIES = 20 };
    bool refused = false;
    need_kernel();
    teach(SIZE, SIZE);
    for (int i = 0; i < TRIES && !refused; i++) {
        errno = 77;
        (void)hak_os_fail_at(1);
        char *obj = rest_make_slot(SIZE);
        (void)hak_os_fail_at(0);
        assert_int_equal(errno, 77);
        refused = resident(obj, SIZE) <= 2;
        memset(obj, 1, SIZE);
        hak_free(obj);
    }
    assert_true(refused);
    teach(SIZE, SIZE);
    assert_false(is_ready(SIZE)); /* it is not asked again */
}

static void child_goes_on(void **state) {
    (void)state;
    need_kernel();
    teach(65536, 65536);
    pid_t child = fork();
    if (child == 0)
        _exit(is_ready(65536) ? 0 : 1);
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_true(is_ready(65536));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("objects of a size that is touched as a whole have their pages at once",
             objects_that_are_touched),
        CASE("when eight in a row were", only_when_sure),
        CASE("which says nothing about other sizes", each_size_for_itself),
        CASE("and takes few looks where it is not so", few_looks),
        CASE("many objects at a time", many_at_a_time),
        CASE("these pages are zero", what_is_ready_is_zero),
        CASE("objects of a size that is touched in part have not", objects_that_are_not),
        CASE("it ends when objects are no longer touched as a whole", ends_when_half_is_touched),
        CASE("objects that stay and are never touched get little memory", what_stays_is_bounded),
        CASE("a freed object keeps no page, wherever it was touched", freed_objects_keep_no_page),
        CASE("when the OS refuses, errno and the object are as ever, and it is not asked again",
             the_os_refuses),
        CASE("a forked child goes on with what its parent learned", child_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
