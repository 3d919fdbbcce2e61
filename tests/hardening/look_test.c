/* look_test.c: a thread may stop for ever between a change of a slot's bytes and of its record, and no sweep takes
 * that for an error. Real errors are still found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "allocator/alloc.h"
#include "allocator/os/os_process.h"
#include "allocator/pages/superslab.h"
#include "hardening/canary.h"
#include "hardening/look.h"
#include "hardening/quarantine.h"
#include "include/hakmem.h"
#include "tests/hardening/step.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SIZE = 200 };

/* A slot that belongs to no sampled object, freed or live. */
static hak_view slot_with(char **obj, bool live) {
    hak_place place;
    do
        *obj = hak_malloc(SIZE);
    while (!hak_ledger_find(*obj, &place));
    if (!live)
        hak_free(*obj);
    uintptr_t start = (uintptr_t)*obj;
    return (hak_view){.record = place.record,
                      .start = start,
                      .size = place.size,
                      .from = start,
                      .to = start + place.size,
                      .cls = hak_granule_find(start)->cls};
}

static ptrdiff_t found_at(const hak_view *slot) {
    uint32_t word;
    const unsigned char *bad = hak_look(slot, &word);
    return bad == NULL ? -1 : bad - (const unsigned char *)slot->start;
}

static void stopped_in_free(void **state) {
    (void)state;
    char *obj;
    hak_view slot = slot_with(&obj, true);
    uint32_t live = hak_record_load(slot.record);
    hak_record_hold((hak_record *)slot.record, hak_record_freed(1, live));
    memset(obj, 'x', slot.size); /* half of it may be zero already */
    memset(obj, 0, SIZE / 2);
    assert_int_equal(found_at(&slot), -1);
    memset(obj, 0, slot.size);
    hak_record_end((hak_record *)slot.record);
    assert_int_equal(hak_record_load(slot.record), hak_record_freed(1, live));
    obj[100] = 1;
    assert_int_equal(found_at(&slot), 100);
    obj[100] = 0;
}

static void stopped_in_malloc(void **state) {
    (void)state;
    char *obj;
    hak_view slot = slot_with(&obj, false);
    for (size_t size = 0; size <= slot.size - HAK_CANARY_BYTES; size += 17) {
        hak_canary_set(obj, size);
        assert_int_equal(found_at(&slot), -1);
        hak_view part = slot;
        part.from += size + 3; /* as in a page that begins within it */
        assert_int_equal(found_at(&part), -1);
        if (size != 0) {
            obj[size - 1] = 1;
            assert_int_equal(found_at(&slot), size - 1);
            obj[size - 1] = 0;
        }
        memset(obj + size, 0, HAK_CANARY_BYTES);
    }
    obj[0] = (char)hak_canary_at(obj); /* a part of a canary is no canary */
    assert_int_equal(found_at(&slot), 0);
    obj[0] = 0;
}

static void live_damage(void **state) {
    (void)state;
    char *obj;
    hak_view slot = slot_with(&obj, true);
    for (size_t at = SIZE; at < slot.size; at++) {
        obj[at] ^= 0x55;
        assert_int_equal(found_at(&slot), at);
        obj[at] ^= 0x55;
    }
    assert_int_equal(found_at(&slot), -1);
    hak_free(obj);
}

/* A slot that goes round between two looks is no error, however often that happens: one thread makes and ends
 * objects of the class while this one looks. */
static _Atomic bool over;
static void *goes_round(void *unused) {
    while (!over) {
        char *obj = hak_malloc(60000);
        memset(obj, 0xff, 60000);
        obj = hak_realloc(obj, 59000);
        hak_free(hak_realloc(obj, 60000));
    }
    return unused;
}

static void while_slots_go_round(void **state) {
    (void)state;
    char *obj;
    do
        obj = hak_malloc(60000);
    while (hak_granule_find((uintptr_t)obj) == NULL);
    const hak_granule *granule = hak_granule_find((uintptr_t)obj);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, goes_round, NULL), 0);
    uintptr_t slab = (uintptr_t)obj & ~(uintptr_t)granule->mask;
    const hak_slab *whole = hak_slab_find((uintptr_t)obj, granule->cls);
    for (int round = 0; round < 3000; round++)
        for (uint32_t i = 0; i < hak_classes[granule->cls].slots; i++) {
            uintptr_t start = slab + (uintptr_t)i * granule->size;
            if (!hak_slab_has(whole,
                              i)) /* the class's first slab may have only a part of its memory, for good */
                continue;
            hak_view slot = {granule->run + i,      start,       granule->size, start,
                             start + granule->size, granule->cls};
            assert_int_equal(found_at(&slot), -1);
        }
    over = true;
    pthread_join(thread, NULL);
    hak_free(obj);
}

/* The same in steps: behind each instruction of a look, in turn, another call of realloc runs. So it is certain
 * which calls lie between two reads of the look. */
#if HAK_STEPS
static char *stepped;
static unsigned steps, apart, calls;
static void behind_an_instruction(int signal, siginfo_t *info, void *context) {
    (void)signal;
    (void)info;
    (void)context;
    if (++steps % apart == 0)
        (void)hak_realloc(stepped, calls++ % 2 == 0 ? 59000 : 60000);
}

static void between_instructions(void **state) {
    (void)state;
    do
        stepped = hak_malloc(60000);
    while (hak_granule_find((uintptr_t)stepped) == NULL);
    hak_place place;
    assert_true(hak_ledger_find(stepped, &place));
    uintptr_t start = (uintptr_t)stepped;
    hak_view slot = {
        place.record, start, place.size, start, start + place.size, hak_granule_find(start)->cls};
    struct sigaction action = {.sa_sigaction = behind_an_instruction, .sa_flags = SA_SIGINFO | SA_RESTART},
                     before;
    assert_int_equal(sigaction(SIGTRAP, &action, &before), 0);
    for (apart = 1; apart <= 150; apart++) {
        uint32_t word;
        unsigned calls_before = calls;
        step_begin();
        const unsigned char *bad = hak_look(&slot, &word);
        step_end();
        assert_null(bad);
        assert_true(calls != calls_before);
    }
    assert_int_equal(sigaction(SIGTRAP, &before, NULL), 0);
    hak_free(stepped);
}
#else
static void between_instructions(void **state) {
    (void)state;
    skip();
}
#endif

/* A slot that has an owner goes to nobody else, although all its bytes are zero like a free slot's. */
static void has_an_owner(void **state) {
    (void)state;
    char *obj;
    hak_view slot = slot_with(&obj, true);
    int ends[2], status;
    char said[64] = "";
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], STDERR_FILENO);
        memset(obj, 0, slot.size);
        (void)hak_harden_alloc_slow(
            obj, SIZE, (hak_origin){.family = HAK_FAMILY_MALLOC, .align_log2 = HAK_ALIGN_LOG2}, 0);
        _exit(0);
    }
    close(ends[1]);
    assert_true(read(ends[0], said, sizeof said - 1) > 0);
    close(ends[0]);
    assert_memory_equal(said, "hakmem: double free: malloc(", 28);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    hak_free(obj);
}

static void each_way_out_is_counted(void **state) {
    (void)state;
    char *obj;
    hak_view slot = slot_with(&obj, true);
    uint64_t before = hak_quarantine_turns(slot.cls);
    assert_ptr_equal(hak_realloc(obj, SIZE - 1), obj);
    assert_int_equal(hak_quarantine_turns(slot.cls), before + 1);
    for (int rounds = 0; rounds < 3; rounds++) { /* until the same slot is handed out again */
        before = hak_quarantine_turns(slot.cls);
        hak_free(obj);
        for (char *other = NULL; other != obj; hak_free(other == obj ? NULL : other))
            other = hak_malloc(SIZE);
        assert_true(hak_quarantine_turns(slot.cls) > before);
    }
    hak_free(obj);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        {"a thread that has stopped in free is not taken for an error, a write after free is",
         stopped_in_free, NULL, NULL, NULL},
        {"a thread that has stopped in malloc is not taken for one, a write beside its canary is",
         stopped_in_malloc, NULL, NULL, NULL},
        {"each byte behind a live object counts", live_damage, NULL, NULL, NULL},
        {"what goes round while it is looked at is not wrong", while_slots_go_round, NULL, NULL, NULL},
        {"nor between any two instructions", between_instructions, NULL, NULL, NULL},
        {"a slot that has an owner is given to nobody else", has_an_owner, NULL, NULL, NULL},
        {"no slot is handed out again without being counted", each_way_out_is_counted, NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
