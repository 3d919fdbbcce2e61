/* sample_test.c: which objects are sampled, and that an access before the first slot of a slab faults. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hardening/sample.h"
#include "hardening/verify_fault.h"
#include "include/hakmem.h"
#include "tests/unit/asleep.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void *shown(void *obj) {
    void *volatile hidden = obj;
    return hidden;
}

static bool is_sampled(const void *obj) {
    return hak_sample_find(obj) != NULL;
}

/* The slow path finds classes that are not used yet; the site is the caller's nevertheless. */
static void first_of_each_site(void **state) {
    (void)state;
    assert_true(is_sampled(shown(hak_calloc(1, 3000))));
    assert_true(is_sampled(shown(hak_calloc(1, 1500))));
    void *one = shown(hak_malloc(100)), *other = shown(hak_malloc(100));
    assert_true(is_sampled(shown(hak_realloc(one, 7000))));
    assert_true(is_sampled(shown(hak_realloc(other, 9000))));
}

static HAK_NOINLINE void *wrapper(size_t size) {
    return shown(hak_malloc(size));
}

static void first_few_of_a_site(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++)
        assert_true(is_sampled(wrapper(40)));
    unsigned sampled = 0;
    for (int i = 0; i < 1000; i++)
        sampled += is_sampled(wrapper(40));
    assert_in_range(sampled, 0, 8); /* 1 in 5,000 is 0.2 */
}

static int signal_of(void (*error)(char *obj, ptrdiff_t at), char *obj, ptrdiff_t at) {
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL); /* cmocka's own */
        error(obj, at);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void write_at(char *obj, ptrdiff_t at) {
    ((volatile char *)obj)[at] = 'x';
}
static void read_at(char *obj, ptrdiff_t at) {
    (void)((volatile char *)obj)[at];
}

/* Sites whose first four objects are sampled. */
#define RARE(name)                                                                                           \
    static HAK_NOINLINE void *name(size_t size) {                                                            \
        return shown(hak_malloc(size));                                                                      \
    }
RARE(rare_0)
RARE(rare_1)
RARE(rare_2) RARE(rare_3) static void *(*const rare[])(size_t size) = {rare_0, rare_1, rare_2, rare_3};

/* The first words of the report of a child's fault. */
static void said_of(char *obj, ptrdiff_t at, char *out, size_t room) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        signal(SIGBUS, SIG_DFL);
        hak_os_on_fault(hak_verify_fault); /* cmocka's handler had replaced it */
        dup2(ends[1], STDERR_FILENO);
        read_at(obj, at);
        _exit(0);
    }
    close(ends[1]);
    size_t got = 0;
    for (ssize_t more; (more = read(ends[0], out + got, room - 1 - got)) > 0;)
        got += (size_t)more;
    out[got] = 0;
    close(ends[0]);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

/* A vector load may begin before the object that it reads. */
static void freed_and_wide(void **state) {
    (void)state;
    int right_aligned = 0;
    for (int i = 0; i < 16; i++) {
        char *obj = rare[i % 4](72);
        if (!is_sampled(obj) || (uintptr_t)obj % hak_os_page < 64)
            continue;
        right_aligned++;
        char text[512];
        hak_free(obj);
        said_of(obj, 8, text, sizeof text);
        assert_non_null(strstr(text, "use after free"));
        said_of(obj, -24, text, sizeof text);
        assert_non_null(strstr(text, "use after free"));
        said_of(obj, -(ptrdiff_t)hak_os_page, text, sizeof text);
        assert_null(strstr(text, "use after free"));
    }
    assert_true(right_aligned != 0);
}

/* It goes on until the running sweep has checked everything. */
static void write_and_go_on(char *obj, ptrdiff_t at) {
    static void *others[1000];
    signal(SIGABRT, SIG_DFL);
    write_at(obj, at);
    for (size_t round = 0; round < 300; round++) {
        for (size_t i = 0; i < 1000; i++)
            others[i] = hak_malloc(64 + round % 7 * 90);
        for (size_t i = 0; i < 1000; i++)
            hak_free(others[i]);
    }
}

static void swept(void **state) {
    (void)state;
    if (HAK_TSAN) { /* has its own thread, so no process has only one */
        skip();
    }
    char *obj = shown(hak_malloc(40));
    assert_true(is_sampled(obj));
    assert_int_equal(signal_of(write_and_go_on, obj, 39), 0);
    assert_int_equal(signal_of(write_and_go_on, obj, 40), SIGABRT);
    hak_free(obj);
}

/* The same for slots, and for freed objects: no call frees them or takes them, and the process does not exit. */
static void freed_and_go_on(char *obj, ptrdiff_t at) {
    hak_free(obj);
    write_and_go_on(obj, at);
}
static void swept_slots(void **state) {
    (void)state;
    if (HAK_TSAN) {
        skip();
    }
    char *obj;
    do
        obj = wrapper(1000);
    while (is_sampled(obj));
    assert_int_equal(signal_of(write_and_go_on, obj, 999), 0);
    assert_int_equal(signal_of(write_and_go_on, obj, 1000), SIGABRT);
    assert_int_equal(signal_of(write_and_go_on, obj, 1023), SIGABRT);
    assert_int_equal(signal_of(freed_and_go_on, obj, 0), SIGABRT);
    hak_free(obj);
}

static char *in_first_slot(size_t size) {
    for (;;) {
        char *obj = wrapper(size);
        if (!is_sampled(obj) && hak_slab_start(hak_tag_of(obj), (uintptr_t)obj) == (uintptr_t)obj)
            return obj;
    }
}

static void before_the_first_slot(void **state) {
    (void)state;
    static const size_t sizes[] = {40, 500, 3000, 15000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (int tries = 0; tries < 8; tries++) {
            char *obj = in_first_slot(sizes[i]);
            assert_int_equal(signal_of(write_at, obj, -1), SIGSEGV);
            assert_int_equal(signal_of(read_at, obj, -8), SIGSEGV);
        }
}

/* Ends a sampled object, while another thread looks at its bytes: with the lock held, having seen it live. */
static _Atomic pid_t ender;
static _Atomic bool ended;
static void *end_it(void *obj) {
    ender = (pid_t)syscall(SYS_gettid);
    hak_free(obj);
    ended = true;
    return NULL;
}

/* No memory, or no access. */
static bool is_shut(const char *obj) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    bool shut = syscall(SYS_write, ends[1], obj, 1) != 1; /* no sanitizer looks at it */
    close(ends[0]);
    close(ends[1]);
    return shut;
}

static HAK_NOINLINE char *rare_shut(size_t size) {
    return shown(hak_malloc(size));
}

static void freed_under_a_look(void **state) {
    (void)state;
    char *obj = rare_shut(100);
    assert_true(is_sampled(obj));
    assert_false(is_shut(obj));
    pthread_t thread;
    hak_lock_take(&hak_hardening_lock);
    assert_int_equal(pthread_create(&thread, NULL, end_it, obj), 0);
    while (hak_record_state(hak_sample_find(obj)->word) == HAK_SLOT_LIVE ||
           (!ended && !thread_is_asleep(ender)))
        usleep(100);
    bool early = ended || is_shut(obj);
    hak_lock_give(&hak_hardening_lock);
    pthread_join(thread, NULL);
    assert_false(early);
    assert_true(is_shut(obj));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        {"the first object of each call site is sampled, whichever way it is made", first_of_each_site, NULL,
         NULL, NULL},
        {"the first four of a site are sampled while there are few, and then hardly any", first_few_of_a_site,
         NULL, NULL, NULL},
        {"an access that begins before a freed object, in its pages, is a use after free", freed_and_wide,
         NULL, NULL, NULL},
        {"the running sweep sees what was written beside a sampled object that nobody frees", swept, NULL,
         NULL, NULL},
        {"it sees what was written behind a slot that nobody frees, and into a freed one", swept_slots, NULL,
         NULL, NULL},
        {"what lies before the first slot of a slab faults", before_the_first_slot, NULL, NULL, NULL},
        /* Last: a child of a process that has had two threads does not check what it inherits. */
        {"a freed object is shut once nobody looks at it any more", freed_under_a_look, NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
