/* os_test.c: the promises of os.h, on the running kernel. */
#include "tests/unit/calls.h"
#include "tests/unit/unit.h"

#include "allocator/base/bits.h"
#include "allocator/os/os.h"
#include "allocator/os/os_process.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static void page_size(void **state) {
    (void)state;
    assert_int_equal(hak_os_page, sysconf(_SC_PAGESIZE));
    assert_true(hak_os_page <= HAK_GRANULE && hak_is_pow2(hak_os_page));
}

static void reserving(void **state) {
    (void)state;
    for (size_t align = hak_os_page; align <= 64 * HAK_MIB; align *= 2) {
        size_t size = 3 * align;
        uintptr_t addr = hak_os_reserve(size, align, 0);
        assert_true(addr != 0 && addr % align == 0);
        assert_true(hak_os_commit(addr + align, align));
        memset((void *)(addr + align), 1, align > HAK_MIB ? HAK_MIB : align);
        hak_os_unmap(addr, size);
    }
    assert_int_equal(hak_os_reserve((size_t)1 << 60, HAK_MIB, 0), 0);
    assert_int_equal(hak_os_reserve(SIZE_MAX - HAK_MIB + 1, HAK_MIB, 0), 0);
}

static bool all_zero(uintptr_t addr, size_t size) {
    const char *bytes = (const char *)addr;
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0;
}

static void zeros(void **state) {
    (void)state;
    uintptr_t addr = hak_os_reserve_zeros(HAK_MIB);
    assert_true(addr != 0 && all_zero(addr, HAK_MIB));
    assert_int_equal(hak_os_reserve_zeros_at(addr + hak_os_page, hak_os_page), HAK_MAP_TAKEN);
    hak_os_unmap(addr, HAK_MIB);
    assert_int_equal(hak_os_reserve_zeros_at(addr, HAK_MIB), HAK_MAP_DONE);
    assert_true(all_zero(addr, HAK_MIB));
    assert_true(hak_os_commit(addr, hak_os_page));
    *(char *)addr = 1;
    hak_os_unmap(addr, HAK_MIB);
}

/* Maps at an address and nowhere else, and never over an existing mapping. Part of it is unmapped and mapped again. */
static void mapping_at(void **state) {
    (void)state;
    uintptr_t addr = hak_os_reserve(4 * HAK_MIB, HAK_MIB, 0);
    assert_int_equal(hak_os_map_at(addr, HAK_MIB), HAK_MAP_TAKEN);
    hak_os_unmap(addr, 4 * HAK_MIB);
    assert_int_equal(hak_os_map_at(addr, 2 * HAK_MIB), HAK_MAP_DONE);
    memset((void *)addr, 1, 2 * HAK_MIB);
    assert_int_equal(hak_os_map_at(addr + HAK_MIB, 2 * HAK_MIB),
                     HAK_MAP_TAKEN); /* overlaps, so it changes nothing */
    assert_int_equal(*(char *)(addr + HAK_MIB), 1);
    assert_true(hak_os_unmap_part(addr, HAK_MIB));
    assert_int_equal(hak_os_map_at(addr, HAK_MIB), HAK_MAP_DONE);
    assert_true(all_zero(addr, HAK_MIB) && *(char *)(addr + HAK_MIB) == 1);
    (void)hak_os_guard(addr + hak_os_page, hak_os_page); /* the next call removes markers */
    assert_true(hak_os_shut(addr, HAK_MIB));
    assert_true(hak_os_commit(addr, HAK_MIB) && all_zero(addr, HAK_MIB));
    hak_os_unmap(addr, 2 * HAK_MIB);
    if (HAK_TSAN)
        return;                        /* ThreadSanitizer leaves no such place */
    size_t too_much = (size_t)1 << 44; /* by the usual overcommit policy; there is a place for it */
    addr = hak_os_reserve(too_much, HAK_MIB, 0);
    assert_int_not_equal(addr, 0);
    hak_os_unmap(addr, too_much);
    assert_int_equal(hak_os_map_at(addr, too_much), HAK_MAP_REFUSED);
}

static void purging(void **state) {
    (void)state;
    uintptr_t addr = hak_os_reserve(HAK_MIB, hak_os_page, 0);
    assert_true(hak_os_commit(addr, HAK_MIB));
    memset((void *)addr, 0x5a, HAK_MIB);
    assert_true(hak_os_purge(addr, HAK_MIB / 2, HAK_PURGE_NOW));
    assert_true(all_zero(addr, HAK_MIB / 2));
    assert_int_equal(*(char *)(addr + HAK_MIB / 2), 0x5a);
    assert_true(hak_os_purge(addr + HAK_MIB / 2, HAK_MIB / 2, HAK_PURGE_LAZY));
    memset((void *)addr, 0x5b, HAK_MIB); /* still committed */
    hak_os_unmap(addr, HAK_MIB);
}

static void moving(void **state) {
    (void)state;
    uintptr_t addr = hak_os_reserve(4 * HAK_MIB, hak_os_page, 0), to = addr + 2 * HAK_MIB;
    hak_os_unmap(to, 2 * HAK_MIB);
    assert_true(hak_os_commit(addr, HAK_MIB));
    memset((void *)addr, 0x5a, HAK_MIB);
    assert_false(hak_os_move(addr, 2 * HAK_MIB, to, 2 * HAK_MIB + hak_os_page)); /* across two mappings */
    for (size_t i = 0; i < HAK_MIB; i++)
        assert_int_equal(((char *)addr)[i], 0x5a);
    assert_int_equal(hak_os_map_at(to, HAK_MIB), HAK_MAP_DONE); /* still nothing is mapped */
    hak_os_unmap(to, HAK_MIB);
    assert_true(hak_os_move(addr, HAK_MIB, to, 2 * HAK_MIB));
    for (size_t i = 0; i < HAK_MIB; i++)
        assert_int_equal(((char *)to)[i], 0x5a);
    assert_true(all_zero(to + HAK_MIB, HAK_MIB));
    assert_int_equal(hak_os_map_at(addr, HAK_MIB), HAK_MAP_DONE); /* nothing is mapped any more */
    hak_os_unmap(addr, 4 * HAK_MIB);
}

static void populating(void **state) {
    (void)state;
    size_t pages = 16;
    uintptr_t addr = hak_os_reserve(pages * hak_os_page, hak_os_page, 0);
    assert_true(hak_os_commit(addr, pages * hak_os_page));
    hak_os_populate(addr, pages * hak_os_page);
    unsigned char resident[16];
    assert_int_equal(mincore((void *)addr, pages * hak_os_page, resident), 0);
    for (size_t i = 0; i < pages; i++)
        assert_true(resident[i] & 1);
    assert_true(all_zero(addr, pages * hak_os_page));
    hak_os_unmap(addr, pages * hak_os_page);
}

/* Linux before 5.14 does not give pages in advance. */
static void faulting_in(void **state) {
    (void)state;
    enum { PAGES = 16 };
    size_t size = PAGES * hak_os_page;
    uintptr_t addr = hak_os_reserve(size, hak_os_page, 0);
    assert_true(hak_os_commit(addr, size));
    *(char *)addr = 0x5a;
    unsigned char resident[PAGES];
    errno = 77;
    bool done = hak_os_fault_in(addr, size);
    assert_int_equal(errno, 77);
    assert_int_equal(mincore((void *)addr, size, resident), 0);
    for (size_t i = 0; i < PAGES; i++)
        assert_int_equal(resident[i] & 1, done || i == 0);
    assert_int_equal(*(char *)addr, 0x5a);
    assert_true(all_zero(addr + hak_os_page, size - hak_os_page));
    hak_os_unmap(addr, size);
    errno = 77;
    assert_false(hak_os_fault_in(addr, size)); /* nothing is mapped there */
    assert_int_equal(errno, 77);
}

/* Makes one call of each kind, which fails when `fail`. */
static void one_of_each(bool fail) {
    uintptr_t addr = hak_os_reserve(HAK_MIB, hak_os_page, 0);
    for (int call = 0; call < 9; call++) {
        (void)hak_os_fail_at(fail ? 1 : 0);
        errno = 77;
        uintptr_t got = call == 0   ? hak_os_reserve(HAK_MIB, hak_os_page, 0)
                        : call == 1 ? hak_os_reserve_zeros(HAK_MIB)
                                    : 0;
        bool done = call == 2   ? hak_os_commit(addr, HAK_MIB)
                    : call == 3 ? hak_os_purge(addr, HAK_MIB, HAK_PURGE_NOW)
                    : call == 4 ? hak_os_protect(addr, HAK_MIB)
                    : call == 5 ? hak_os_reserve_zeros_at(addr, HAK_MIB) == HAK_MAP_DONE
                    : call == 6 ? hak_os_map_at(addr, HAK_MIB) == HAK_MAP_DONE
                    : call == 7 ? hak_os_shut(addr, HAK_MIB)
                    : call == 8 ? hak_os_unmap_part(addr, HAK_MIB)
                                : got != 0;
        assert_int_equal(errno, 77);
        assert_int_equal(done, !fail && call != 5 && call != 6); /* the range is taken */
        if (got != 0)
            hak_os_unmap(got, HAK_MIB);
    }
    (void)hak_os_fail_at(0);
    hak_os_unmap(addr, HAK_MIB);
}

static void failures(void **state) {
    (void)state;
    one_of_each(false);
    one_of_each(true);
    (void)hak_os_fail_at(3);
    uintptr_t got[4];
    for (int i = 0; i < 4; i++)
        got[i] = hak_os_reserve(HAK_MIB, hak_os_page, 0);
    assert_int_equal(hak_os_fail_at(0), 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(got[i] == 0, i == 2);
        if (got[i] != 0)
            hak_os_unmap(got[i], HAK_MIB);
    }
}

static size_t mappings(void) {
    FILE *maps = fopen("/proc/self/maps", "r");
    size_t lines = 0;
    assert_non_null(maps);
    for (int c; (c = getc(maps)) != EOF;)
        lines += c == '\n';
    fclose(maps);
    return lines;
}

/* A thread has two such ranges: with two mappings for each, some 16,000 threads would be all that a process may have.
 * Kernels without guards leave them out. */
static void ranges_between(void **state) {
    (void)state;
    unit_skip_where_reserved();
    enum { FIRST = 5000, MORE = 1000 };
    static uintptr_t ranges[FIRST + MORE];
    size_t before = 0;
    for (int i = 0; i < FIRST + MORE; i++) {
        before = i == FIRST ? mappings() : before;
        assert_true((ranges[i] = hak_os_map_between(hak_os_page)) != 0);
        *(char *)ranges[i] = 1;
    }
    assert_in_range(mappings(), 0, before + MORE / 10);
    for (int i = 0; i < FIRST + MORE; i++) {
        hak_os_unmap_between(ranges[i], hak_os_page);
        assert_false(hak_os_is_mapped(ranges[i], hak_os_page));
    }
    before = mappings();
    uintptr_t again = hak_os_map_between(hak_os_page);
    assert_true(mappings() >= before + 2); /* few again: shut pages */
    char byte;
    assert_int_equal(hak_os_read(&byte, again - 1, 1) + hak_os_read(&byte, again + hak_os_page, 1), 0);
    hak_os_unmap_between(again, hak_os_page);
}

static void fill(uintptr_t addr) {
    for (size_t at = 0; at < HAK_MIB; at++)
        ((char *)addr)[at] = (char)(at % 251);
}
static bool is_filled(uintptr_t addr) {
    for (size_t at = 0; at < HAK_MIB; at++)
        if (((char *)addr)[at] != (char)(at % 251))
            return false;
    return true;
}

/* Each call fails after it has done a part, and keeps the promises of os.h for that case. */
static void late_failures(void **state) {
    (void)state;
    uintptr_t addr = hak_os_reserve(4 * HAK_MIB, hak_os_page, 0), to = addr + 2 * HAK_MIB;
    hak_os_unmap(to, 2 * HAK_MIB);
    assert_true(hak_os_commit(addr, HAK_MIB));
    fill(addr);
    bool (*const unchanged[])(uintptr_t addr, size_t size) = {hak_os_protect, hak_os_shut, hak_os_unmap_part};
    for (size_t i = 0; i < sizeof unchanged / sizeof unchanged[0]; i++) {
        (void)hak_os_fail_at(1 | HAK_OS_FAIL_LATE);
        assert_false(unchanged[i](addr, HAK_MIB));
        assert_true(is_filled(addr));
        fill(addr);
    }
    (void)hak_os_fail_at(1 | HAK_OS_FAIL_LATE);
    assert_false(hak_os_move(addr, HAK_MIB, to, HAK_MIB + hak_os_page));
    assert_true(is_filled(addr));
    assert_false(hak_os_is_mapped(to, hak_os_page));
    (void)hak_os_fail_at(1 | HAK_OS_FAIL_LATE);
    assert_int_equal(hak_os_map_at(to, HAK_MIB), HAK_MAP_REFUSED);
    assert_false(hak_os_is_mapped(to, hak_os_page));
    (void)hak_os_fail_at(1 | HAK_OS_FAIL_LATE);
    assert_false(hak_os_guard(addr, HAK_MIB)); /* the contents may be lost, but the memory can be read */
    fill(addr);
    (void)hak_os_fail_at(1 | HAK_OS_FAIL_LATE);
    assert_false(hak_os_purge(addr, HAK_MIB, HAK_PURGE_NOW));
    assert_true(all_zero(addr, HAK_MIB / 2)); /* a part was purged before the failure */
    fill(addr);
    (void)hak_os_fail_at(1 | HAK_OS_FAIL_LATE);
    assert_false(hak_os_renew(addr, HAK_MIB));
    assert_false(hak_os_is_mapped(addr, hak_os_page));
    assert_int_equal(hak_os_fail_at(0), 1);
    hak_os_unmap(addr, 4 * HAK_MIB);
}

static void counters(void **state) {
    (void)state;
    uint64_t mmaps = hak_os_counts.mmap, munmaps = hak_os_counts.munmap, madvises = hak_os_counts.madvise,
             mprotects = hak_os_counts.mprotect;
    uintptr_t addr = hak_os_reserve(HAK_MIB, hak_os_page, 0);
    assert_true(hak_os_commit(addr, HAK_MIB));
    assert_true(hak_os_purge(addr, HAK_MIB, HAK_PURGE_NOW));
    hak_os_unmap(addr, HAK_MIB);
    assert_int_equal(hak_os_counts.mmap - mmaps, 1);
    assert_int_equal(hak_os_counts.mprotect - mprotects, 1);
    assert_int_equal(hak_os_counts.madvise - madvises, 1);
    assert_int_equal(hak_os_counts.munmap - munmaps, 1);
}

static void randomness(void **state) {
    (void)state;
    unsigned char a[64], b[64], zero[64] = {0};
    errno = 5;
    hak_os_random(a, sizeof a);
    hak_os_random(b, sizeof b);
    assert_int_equal(errno, 5);
    assert_memory_not_equal(a, b, sizeof a);
    assert_memory_not_equal(a, zero, sizeof a);
}

/* Reads all readable bytes up to the first one that cannot be read; nothing faults, and errno stays. */
static void reading(void **state) {
    (void)state;
    uintptr_t pages = hak_os_reserve(2 * hak_os_page, hak_os_page, 0);
    assert_true(hak_os_commit(pages, hak_os_page));
    memset((void *)pages, 'x', hak_os_page);
    char out[64] = {0};
    errno = 77;
    assert_int_equal(hak_os_read(out, pages + hak_os_page - 10, sizeof out), 10);
    assert_true(out[9] == 'x' && out[10] == 0);
    assert_int_equal(hak_os_read(out, pages + 1, sizeof out), sizeof out);
    assert_int_equal(hak_os_read(out, pages + hak_os_page, sizeof out), 0);
    assert_int_equal(hak_os_read(out, 0, sizeof out), 0);
    assert_int_equal(errno, 77);
    hak_os_unmap(pages, 2 * hak_os_page);
}

/* What the kernel says of a program whose file was replaced, as by an upgrade, and of others. */
static const char *running;
static bool readlink_says(long number, const long args[6], long *answer) {
    if (number != SYS_readlinkat)
        return false;
    size_t length = strlen(running);
    assert_in_range(length, 1, args[3]);
    memcpy((char *)args[2], running, length);
    *answer = (long)length;
    return true;
}
static void replaced_program(void **state) {
    (void)state;
    static const char *const rows[][2] = {{"/usr/bin/some", "/usr/bin/some"},
                                          {"/usr/bin/some (deleted)", "/usr/bin/some"},
                                          {"/usr/bin/(deleted)", "/usr/bin/(deleted)"},
                                          {"/some (deleted) (deleted)", "/some (deleted)"}};
    atomic_store(&calls_seen_by, readlink_says);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char path[HAK_OS_PATH_MOST];
        running = rows[i][0];
        assert_true(hak_os_executable(path));
        assert_string_equal(path, rows[i][1]);
    }
    atomic_store(&calls_seen_by, NULL);
}

/* The interrupted code may be just about to look at errno. */
static _Atomic int handled;
static void changes_errno(void) {
    handled++;
    errno = 5;
}
static hak_fault_verdict mends(const hak_fault *fault) {
    (void)fault;
    changes_errno();
    return HAK_FAULT_MENDED;
}
static void in_handlers(void *unused) {
    (void)unused;
    (void)signal(SIGUSR1, SIG_DFL);
    (void)signal(SIGSEGV, SIG_DFL);
    bool taken = hak_os_on_signal(HAK_OS_SIGNAL_USR1, changes_errno);
    hak_os_on_fault(mends);
    errno = 77;
    (void)raise(SIGUSR1);
    (void)raise(SIGSEGV);
    _exit(taken && handled == 2 && errno == 77 ? 0 : 1);
}
static void handlers_keep_errno(void **state) {
    (void)state;
    assert_string_equal(unit_stderr_of(in_handlers, NULL), "");
}

/* A filter only becomes stricter. This process has no filter, or began with one. */
static void filtering(void **state) {
    (void)state;
    hak_filter before = hak_os_filter;
    hak_os_filter_look();
    hak_filter found = hak_os_filter;
    assert_in_range(found, before, HAK_FILTER_INHERITED);
    hak_os_filter_raise(HAK_FILTER_OWN);
    hak_os_filter_raise(HAK_FILTER_INHERITED);
    assert_int_equal(hak_os_filter, HAK_FILTER_OWN);
    assert_false(hak_os_freeze((uintptr_t)&before, sizeof before));
    hak_os_filter = (uint8_t)found;
}

/* True when the kernel names the feature for the first processor. */
static bool has_flag(const char *flag) {
    static char line[8192];
    bool found = false;
    char spaced[32];
    assert_in_range(snprintf(spaced, sizeof spaced, " %s ", flag), 1, sizeof spaced - 1);
    FILE *file = fopen("/proc/cpuinfo", "r");
    assert_non_null(file);
    while (!found && fgets(line, sizeof line - 1, file) != NULL) {
        char *end = strchr(line, '\n');
        if (end != NULL)
            memcpy(end, " ", 2);
        found = strncmp(line, "flags", 5) == 0 && strstr(line, spaced) != NULL;
    }
    assert_int_equal(fclose(file), 0);
    return found;
}

static void vectors(void **state) {
    (void)state;
    unsigned wanted = has_flag("avx2") ? 32 : 16;
    if (wanted == 32 && has_flag("avx512f") && has_flag("avx512vl") && has_flag("avx512dq") &&
        has_flag("avx512bw"))
        wanted = 64;
    assert_int_equal(hak_os_vector_bytes(), wanted);
}

static void facts(void **state) {
    (void)state;
    uintptr_t landmarks[HAK_OS_LANDMARKS];
    hak_os_landmarks(landmarks);
    for (int i = 0; i < HAK_OS_LANDMARKS; i++)
        assert_true(landmarks[i] != 0 && landmarks[i] >> HAK_ADDRESS_BITS == 0);
    assert_true(hak_os_cpus() >= 1);
    assert_false(hak_os_secure());
    assert_non_null(hak_os_environment());
    uint64_t before = hak_os_milliseconds();
    usleep(30000);
    assert_true(hak_os_milliseconds() > before);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("the page size is the kernel's", page_size),
        CASE("address space is reserved at every alignment, and too much of it is refused", reserving),
        CASE("reserved zeros read as zero, and are not mapped over anything", zeros),
        CASE("pages that are given back at once read as zero and may be written again", purging),
        CASE("memory is mapped at an address, over nothing, and parts of it go and come", mapping_at),
        CASE("moved pages have their contents, and a move that fails changes nothing", moving),
        CASE("a populated range is resident and zero", populating),
        CASE("pages that are asked for keep their contents, and errno", faulting_in),
        CASE("an injected failure fails that call only, and every call keeps errno", failures),
        CASE("a call that fails when it has done a part keeps what is promised", late_failures),
        CASE("every call is counted by its kind", counters),
        CASE("memory between two pages without access takes few mappings where there is much",
             ranges_between),
        CASE("random bytes differ from call to call", randomness),
        CASE("what can be read is read, up to the first byte that cannot", reading),
        CASE("a program whose file was replaced has the path that it had", replaced_program),
        CASE("handlers of signals and of faults keep errno", handlers_keep_errno),
        CASE("a filter of system calls only becomes stricter, and what is rare is then not asked for",
             filtering),
        CASE("landmarks, processors, clock and environment are there", facts),
        CASE("vectors are as wide as the kernel says that the processor has them", vectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
