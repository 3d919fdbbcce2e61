/* wipe_test.c: zeroing and finding bytes, with each vector width of this processor, compared with plain loops; and
 * the ends of malloc and free that exist for each width. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hardening/stain.h"
#include "hardening/wipe.h"
#include "include/hakmem.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 5000, EDGE = 64 };

static _Alignas(64) unsigned char bytes[MOST + 3 * EDGE];

/* All sizes up to a few of the widest vectors, then some. */
static size_t next_size(size_t size) {
    return size < 1400 ? size + 16 : size + 208;
}

static void clears_exactly(void **state) {
    (void)state;
    for (size_t shift = 0; shift < 64; shift += 16)
        for (size_t size = 16; size <= MOST; size = next_size(size)) {
            memset(bytes, 0xaa, sizeof bytes);
            hak_wipe.clear((char *)bytes + EDGE + shift, size);
            for (size_t i = 0; i < sizeof bytes; i++) {
                bool inside = i >= EDGE + shift && i < EDGE + shift + size;
                assert_int_equal(bytes[i], inside ? 0 : 0xaa);
            }
        }
}

/* In wide slots only the bytes that are not zero are written to. */
static void clears_the_only_byte(void **state) {
    (void)state;
    static const size_t sizes[] = {HAK_WIPE_LOOKS, HAK_WIPE_LOOKS + 16, MOST / 16 * 16};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (size_t at = 0; at < sizes[s]; at++) {
            memset(bytes, 0, sizeof bytes);
            char *start = (char *)bytes + EDGE + at % 4 * 16;
            start[-1] = start[at] = start[sizes[s]] = 1;
            hak_wipe.clear(start, sizes[s]);
            assert_true(start[-1] == 1 && start[sizes[s]] == 1);
            assert_null(hak_stain_find(start, sizes[s]));
        }
}

/* The KiB in the mapping around the address that have memory of their own. */
static size_t own_memory(const void *addr) {
    FILE *maps = fopen("/proc/self/smaps", "r");
    assert_non_null(maps);
    static char line[512];
    bool inside = false;
    size_t kib = 0;
    for (uintptr_t start, end; fgets(line, sizeof line, maps) != NULL;) {
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &start, &end) == 2)
            inside = (uintptr_t)addr >= start && (uintptr_t)addr < end;
        else if (inside && strncmp(line, "Anonymous:", 10) == 0)
            kib = strtoul(line + 10, NULL, 10);
    }
    (void)fclose(maps);
    return kib;
}

/* 4 MiB: the owner touches the first byte of each 200 KB, and malloc touches the last page. */
static void what_nobody_touched_takes_no_memory(void **state) {
    (void)state;
    enum { OBJS = 20, SIZE = 200000 };
    char *objs[OBJS];
    for (int i = 0; i < OBJS; i++)
        (objs[i] = hak_malloc(SIZE))[0] = 1;
    size_t before = own_memory(objs[OBJS - 1]);
    assert_int_not_equal(before, 0);
    for (int i = 0; i < OBJS; i++)
        hak_free(objs[i]);
    assert_true(own_memory(objs[OBJS - 1]) <= before + OBJS * 16);
}

static void sees_every_byte(void **state) {
    (void)state;
    for (size_t shift = 0; shift < 64; shift += 16)
        for (size_t size = 16; size <= 2200; size = next_size(size)) {
            memset(bytes, 0, sizeof bytes);
            char *start = (char *)bytes + EDGE + shift;
            start[-1] = start[size] = 1; /* outside: must not count */
            assert_true(hak_wipe.is_clear(start, size));
            for (size_t i = 0; i < size; i++) {
                start[i] = 1;
                assert_false(hak_wipe.is_clear(start, size));
                start[i] = 0;
            }
        }
}

static void finish_checks_the_slack(void **state) {
    (void)state;
    for (size_t room = 16; room <= 640; room += 16)
        for (size_t used = 8; used <= room; used++) {
            char *slot = (char *)bytes + EDGE;
            memset(bytes, 0x55, sizeof bytes);
            memset(slot + used, 0, room - used);
            assert_true(hak_wipe.finish(slot, used, room));
            assert_null(hak_stain_find(slot, room));
            assert_int_equal(slot[-1], 0x55);
            assert_int_equal(slot[room], 0x55);
            for (size_t bad = used; bad < room; bad++) {
                memset(slot, 0x55, used);
                slot[bad] = 1;
                assert_false(hak_wipe.finish(slot, used, room));
                assert_int_equal(slot[0], 0x55);
                slot[bad] = 0;
            }
        }
}

static void finds_the_first(void **state) {
    (void)state;
    for (size_t start = 0; start < 33; start++)
        for (size_t bad = start; bad < 200; bad++) {
            memset(bytes, 0, sizeof bytes);
            bytes[bad] = bytes[bad + 1] = 9;
            assert_ptr_equal(hak_stain_find(bytes + start, 220 - start), bytes + bad);
        }
}

enum { KEPT = 64 };

/* Objects of all sizes, sometimes shrunk in place, are handed out as zeros after others had their memory. */
static void objects_are_zero(void **state) {
    (void)state;
    static unsigned char *kept[KEPT];
    for (size_t step = 0; step < 20000; step++) {
        unsigned char **place = &kept[step * 7 % KEPT];
        hak_free(*place);
        size_t size = step * 37 % 1500;
        *place = step % 5 == 0 ? hak_memalign(256, size) : hak_malloc(size);
        for (size_t i = 0; i < size; i++)
            assert_int_equal((*place)[i], 0);
        memset(*place, 0xaa, size);
        if (step % 3 == 0 && size > 1)
            *place = hak_realloc(*place, size - size / 3);
    }
    for (size_t i = 0; i < KEPT; i++) {
        hak_free(kept[i]);
        kept[i] = NULL;
    }
}

/* True when a process that runs error(size, at) ends by abort. */
static bool dies(void (*error)(size_t size, size_t at), size_t size, size_t at) {
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGABRT, SIG_DFL);
        close(STDERR_FILENO);
        error(size, at);
        _exit(0);
    }
    return waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

/* Without quarantine and random choice the slot that was freed last is handed out next. The new owner keeps it: a free
 * looks at what is behind the object, too. */
static void write_freed(size_t size, size_t at) {
    char *obj = hak_malloc(size);
    hak_free(obj);
    obj[at] = 1;
    assert_non_null(hak_malloc(size));
}

static void write_slack(size_t size, size_t at) {
    char *obj = hak_malloc(size);
    obj[at] = 1;
    hak_free(obj);
}

static void freed_bytes_count(void **state) {
    (void)state;
    static const size_t sizes[] = {1, 8, 24, 40, 56, 100, 248, 500, 1000, 3000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (size_t at = 0; at < sizes[i]; at += sizes[i] / 3 + 1)
            assert_true(dies(write_freed, sizes[i], at));
}

/* For wide slots, too: the first and the last byte that the owner had. */
static void freed_bytes_of_wide_slots(void **state) {
    (void)state;
    for (size_t size = 1025; size <= 65536; size = size * 5 / 4) {
        const size_t at[] = {0, 63, size - 64, size - 1};
        for (size_t i = 0; i < sizeof at / sizeof at[0]; i++)
            if (!dies(write_freed, size, at[i]))
                fail_msg("byte %zu of %zu", at[i], size);
    }
}

/* `size` bytes, a canary of 8, and the rest of the slot. */
static const struct {
    size_t size, slot;
} slack[] = {{1, 16}, {7, 16}, {9, 32}, {40, 48}, {41, 64}, {57, 80}, {258, 288}, {500, 512}, {517, 576}};

static void freed_slack_counts(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof slack / sizeof slack[0]; i++)
        for (size_t at = slack[i].size; at < slack[i].slot; at += 3)
            assert_true(dies(write_freed, slack[i].size, at));
    assert_true(dies(write_freed, 1000, 1023));
    assert_true(dies(write_freed, 50000, 52000)); /* on a page that the owner never had */
    assert_true(dies(write_freed, 50000, 53247));
}

static void slack_counts(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof slack / sizeof slack[0]; i++)
        for (size_t at = slack[i].size + 8; at < slack[i].slot; at += 3)
            assert_true(dies(write_slack, slack[i].size, at));
    assert_false(dies(write_slack, 100, 50));
}

/* Before each group of tests. */
static int narrow(void **state) {
    (void)state;
    return hak_wipe_choose(16) != 16;
}
static int middle(void **state) {
    (void)state;
    return hak_wipe_choose(32) < 16;
}
static int widest(void **state) {
    (void)state;
    return hak_wipe_choose(HAK_WIPE_WIDEST) < 16;
}

/* The chosen width lies on a page that is sealed after start, and quarantine, random choice and sampling would find
 * errors later: so the program starts itself again, with checks reduced. A processor without the wider vectors tests
 * the narrower ones twice. */
int main(int argc, char **argv) {
    (void)argc;
    if (getenv("HAKMEM_HARDENING") == NULL && setenv("HAKMEM_SAMPLE_RATE", "0", 1) == 0 &&
        setenv("HAKMEM_HARDENING", "seal:off,quarantine:off,random:off,sweep:off", 1) == 0)
        execv("/proc/self/exe", argv);
    const struct CMUnitTest tests[] = {
        {"clearing writes zero to every byte asked for and to no other", clears_exactly, NULL, NULL, NULL},
        {"in a wide slot the only byte that is not zero is cleared", clears_the_only_byte, NULL, NULL, NULL},
        {"pages that nobody has touched take no memory when the object is freed",
         what_nobody_touched_takes_no_memory, NULL, NULL, NULL},
        {"a single byte anywhere is seen, one outside is not", sees_every_byte, NULL, NULL, NULL},
        {"the end of a slot is checked before the rest is cleared", finish_checks_the_slack, NULL, NULL,
         NULL},
        {"the first byte that is not zero is found", finds_the_first, NULL, NULL, NULL},
        {"objects are zero when they are handed out again", objects_are_zero, NULL, NULL, NULL},
        {"a byte that is written after free is found when the slot is handed out", freed_bytes_count, NULL,
         NULL, NULL},
        {"so is one at either end of an object of up to 64 KiB", freed_bytes_of_wide_slots, NULL, NULL, NULL},
        {"so is one behind what the last owner had", freed_slack_counts, NULL, NULL, NULL},
        {"a byte written behind the canary is found by free", slack_counts, NULL, NULL, NULL},
    };
    int failed = cmocka_run_group_tests_name("16 bytes", tests, narrow, NULL);
    failed += cmocka_run_group_tests_name("32 bytes", tests, middle, NULL);
    return failed + cmocka_run_group_tests_name("64 bytes", tests, widest, NULL);
}
