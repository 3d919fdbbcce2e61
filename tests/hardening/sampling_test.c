/* sampling_test.c: how often objects are sampled, on which side their guard is, and that the memory of samples comes
 * back. Counts of random draws have bounds of seven standard deviations or more: below 1e-11 for each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hardening/due.h"
#include "hardening/guard.h"
#include "hardening/sample.h"
#include "include/hakmem.h"
#include "tests/hardening/again.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 100, PLACES = 4096, REST = 3 };

static HAK_NOINLINE void *one_site(size_t size) {
    void *volatile obj = hak_malloc(size);
    return obj;
}

static bool is_sampled(const void *obj) {
    return hak_sample_find(obj) != NULL;
}

/* What the program prints when it runs again. ------------------------------------------------------------ */

/* The number of 2,000 sampled objects that begin where their page begins. */
static unsigned begin_at_page(void) {
    enum { COUNT = 2000 };
    unsigned sampled = 0, left = 0;
    for (int i = 0; i < COUNT; i++) {
        void *obj = one_site(SIZE);
        sampled += is_sampled(obj);
        left += is_sampled(obj) && (uintptr_t)obj % 4096 == 0;
        hak_free(obj);
    }
    return sampled == COUNT ? left : 0;
}

/* The number of 100,000 objects of one call site that are sampled. */
static unsigned sampled_of_100000(void) {
    unsigned sampled = 0;
    for (int i = 0; i < 100000; i++) {
        void *obj = one_site(SIZE);
        sampled += is_sampled(obj);
        hak_free(obj);
    }
    return sampled;
}

/* The number of sampled objects when the pool goes round but its places have no time to rest. */
static unsigned sampled_before_rest(void) {
    unsigned sampled = 0;
    for (int i = 0; i < REST * PLACES; i++) {
        void *obj = one_site(SIZE);
        sampled += is_sampled(obj);
        hak_free(obj);
    }
    return sampled;
}

/* Requests for samples, more than it takes until all places have rested; no place can be opened. */
static void refuse(int wishes) {
    unsigned taken = 0;
    for (unsigned count = 64; count != 0;)
        if (hak_guard_maps_take(count))
            taken += count;
        else
            count /= 2;
    for (int i = 0; i < wishes; i++)
        hak_free(one_site(SIZE));
    hak_guard_maps_give(taken);
}

/* The sampled ones of 1,000, after three times as many requests as there are places failed. */
static unsigned sampled_after_refusals(void) {
    unsigned sampled = 0;
    refuse(3 * PLACES);
    for (int i = 0; i < 1000; i++) {
        void *obj = one_site(SIZE);
        sampled += is_sampled(obj);
        hak_free(obj);
    }
    return sampled;
}

/* The number of different distances from one sampled object to the next, of 200. */
static unsigned distances(void) {
    enum { MOST = 200 };
    static bool seen[MOST];
    unsigned different = 0;
    for (unsigned sampled = 0, since = 0; sampled < 200;) {
        void *obj = one_site(SIZE);
        since++;
        if (is_sampled(obj)) {
            different += since < MOST && !seen[since];
            seen[since < MOST ? since : 0] = true;
            since = 0;
            sampled++;
        }
        hak_free(obj);
    }
    return different;
}

/* The second at which the clock stands still; 0: it goes on. In the place of libc's, for the core as well. */
static time_t stands_at;
int clock_gettime(clockid_t clock, struct timespec *now) {
    if (stands_at == 0)
        return (int)syscall(SYS_clock_gettime, clock, now);
    *now = (struct timespec){stands_at, 0};
    return 0;
}

/* A million allocations of one site within one second; at the default rate 200 samples are due, with a standard
 * deviation of 8. */
static unsigned in_second(time_t second) {
    unsigned sampled = 0;
    stands_at = second;
    for (int i = 0; i < 1000 * 1000; i++) {
        void *obj = one_site(SIZE);
        sampled += is_sampled(obj);
        hak_free(obj);
    }
    return sampled;
}
static unsigned in_later_second(void) {
    (void)in_second(1000);
    return in_second(1001);
}

/* The samples of a new call site in a second that has none left: the most of three, as two sites may share a count. */
static unsigned of_a_site(void) {
    unsigned most = 0;
    (void)in_second(1000);
    for (uintptr_t caller = 1 << 20; caller < (1 << 20) + 3; caller++) {
        unsigned sampled = 0;
        for (int i = 0; i < 20; i++)
            if (hak_site_passed(hak_guarded_mine, caller) == 0)
                sampled += hak_due(hak_guarded_mine, caller);
        most = sampled > most ? sampled : most;
    }
    return most;
}

/* The number of different bytes around 200 sampled objects. */
static unsigned fillers(void) {
    bool seen[256] = {false};
    unsigned different = 0;
    for (int i = 0; i < 200; i++) {
        const hak_sample *sample = hak_sample_find(one_site(SIZE));
        unsigned char filler = sample != NULL ? hak_sample_filler(sample) : 0;
        different += !seen[filler];
        seen[filler] = true;
    }
    return different;
}

/* The size of the largest sampled object, in bytes. */
static unsigned largest(void) {
    unsigned most = 0;
    for (unsigned size = 1; size <= 2 * HAK_SAMPLE_MAX; size += size < HAK_SAMPLE_MAX - 1000 ? 1000 : 1) {
        void *obj = one_site(size);
        most = is_sampled(obj) ? size : most;
        hak_free(obj);
        if (size > HAK_SAMPLE_MAX + 10)
            size += 1000;
    }
    return most;
}

/* Aligned objects: the number without their alignment, or that were not sampled. */
static unsigned misaligned(void) {
    unsigned wrong = 0;
    for (size_t align = 16; align <= 4096; align *= 2)
        for (size_t size = 1; size < 5000; size += 331) {
            void *obj = hak_memalign(align, size);
            wrong += (uintptr_t)obj % align != 0 || !is_sampled(obj);
            hak_free(obj);
        }
    return wrong;
}

/* The number of 300 call sites that have a sample each time when all of them make an object: the first time, or all the
 * other times until none is due any more. */
static unsigned sites_sampled(bool first) {
    enum { CALLERS = 300, TIMES = 8 };
    unsigned sampled[TIMES] = {0}, others = 0;
    hak_free(hak_malloc(SIZE));
    hak_due_reset();
    stands_at = 1000;
    for (int time = 0; time < TIMES; time++)
        for (uintptr_t caller = 1 << 20; caller < (1 << 20) + CALLERS; caller++)
            if (hak_site_passed(hak_guarded_mine, caller) == 0)
                sampled[time] += hak_due(hak_guarded_mine, caller);
    for (int time = 1; time < TIMES; time++)
        others += sampled[time];
    return first ? sampled[0] : others;
}

/* Mappings that are still taken after many sampled objects have come and gone: 1 for none. */
static unsigned maps_used(void) {
    for (int i = 0; i < 100; i++)
        hak_free(one_site(SIZE));
    unsigned before = 0, after = 0;
    while (hak_guard_maps_take(1))
        before++;
    hak_guard_maps_give(before);
    for (int i = 0; i < 2000; i++)
        hak_free(one_site(SIZE));
    while (hak_guard_maps_take(1))
        after++;
    hak_guard_maps_give(after);
    return 1 + before - after;
}

/* Of as many freed objects as there are places, the number still known after all places were requested in vain. */
static unsigned known_after_refusals(void) {
    static void *freed[PLACES];
    unsigned known = 0;
    for (int i = 0; i < PLACES; i++)
        hak_free(freed[i] = one_site(SIZE));
    refuse((REST + 2) * PLACES);
    for (int i = 0; i < PLACES; i++)
        known += is_sampled(freed[i]);
    return known;
}

/* Of 100 sampled objects the number that an access far behind the last one is not placed at: 0, or all. */
static unsigned misplaced(void) {
    uintptr_t last = 0;
    for (int i = 0; i < 100; i++) {
        uintptr_t obj = (uintptr_t)one_site(SIZE);
        last = obj > last ? obj : last;
    }
    hak_located found;
    for (uintptr_t places = 1; places < 8; places++) /* of which none was used yet */
        if (!hak_sample_locate_before(last + places * HAK_SAMPLE_PLACE, &found) || found.obj != last)
            return 100;
    return 0;
}

static int print(const char *what) {
    unsigned number = strcmp(what, "sides") == 0        ? begin_at_page()
                      : strcmp(what, "share") == 0      ? sampled_of_100000()
                      : strcmp(what, "rest") == 0       ? sampled_before_rest()
                      : strcmp(what, "refuse") == 0     ? sampled_after_refusals()
                      : strcmp(what, "known") == 0      ? known_after_refusals()
                      : strcmp(what, "distances") == 0  ? distances()
                      : strcmp(what, "second") == 0     ? in_second(1000)
                      : strcmp(what, "later") == 0      ? in_later_second()
                      : strcmp(what, "site") == 0       ? of_a_site()
                      : strcmp(what, "fillers") == 0    ? fillers()
                      : strcmp(what, "largest") == 0    ? largest()
                      : strcmp(what, "misaligned") == 0 ? misaligned()
                      : strcmp(what, "maps") == 0       ? maps_used()
                      : strcmp(what, "places") == 0     ? misplaced()
                      : strcmp(what, "sites") == 0      ? sites_sampled(true)
                      : strcmp(what, "early") == 0      ? sites_sampled(false)
                                                        : 0;
    printf("%u\n", number);
    return 0;
}

/* ------------------------------------------------------------------------------------------------------- */

/* One of four: 500 of 2,000, with a standard deviation of 19.4. */
static void sides(void **state) {
    (void)state;
    assert_in_range(again_number("sides", NULL, "1"), 500 - 140, 500 + 140);
}

/* The distance is drawn evenly from 1 to 99: 2,000 of them, with a standard deviation of 26. */
static void share(void **state) {
    (void)state;
    assert_in_range(again_number("share", NULL, "50"), 2000 - 200, 2000 + 200);
    assert_int_equal(again_number("share", NULL, "0"), 0);
    /* 1 in 5,000, and the first four of a site: within 4.5 standard deviations there is one; within 12, at most 80. */
    assert_in_range(again_number("share", NULL, "5000"), 5, 80);
}

static void rest(void **state) {
    (void)state;
    assert_int_equal(again_number("rest", NULL, "1"), PLACES);
}

static void refused(void **state) {
    (void)state;
    assert_int_equal(again_number("refuse", NULL, "1"), 1000);
}

/* 99 values drawn 200 times: 86 different ones on average, with a standard deviation below 4. */
static void by_chance(void **state) {
    (void)state;
    assert_in_range(again_number("distances", NULL, "50"), 50, 99);
    assert_in_range(again_number("fillers", NULL, "1"), 20, 64); /* of 64: 61 different ones on average */
}

static void per_second(void **state) {
    (void)state;
    enum { OF_A_SITE = 4, A_SECOND = 128 };
    assert_int_equal(again_number("second", NULL, NULL), OF_A_SITE + A_SECOND);
    assert_int_equal(again_number("later", NULL, NULL), A_SECOND);
    assert_int_equal(again_number("site", NULL, NULL), OF_A_SITE);
}

/* One of them may share its count with the site of an object before, whose next sample it takes then. The next samples
 * of these sites are 64, and then those that a second has. */
static void first_of_sites(void **state) {
    (void)state;
    enum { SITES = 256, EARLY = 64, A_SECOND = 128 };
    assert_in_range(again_number("sites", NULL, NULL), SITES, SITES + 1);
    assert_in_range(again_number("early", NULL, NULL), EARLY + A_SECOND - 1, EARLY + A_SECOND);
}

static void which(void **state) {
    (void)state;
    assert_int_equal(again_number("largest", NULL, "1"), HAK_SAMPLE_MAX);
    assert_int_equal(again_number("misaligned", NULL, "1"), 0);
    assert_int_equal(again_number("maps", NULL, "1"), 1);
    assert_int_equal(again_number("places", NULL, "1"), 0);
}

static void known(void **state) {
    (void)state;
    assert_int_equal(again_number("known", NULL, "1"), PLACES);
}

static bool faults(const volatile char *obj, ptrdiff_t at) {
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL); /* cmocka's own */
        (void)obj[at];
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
}

/* Also for objects after the first of the site. */
static void no_bytes(void **state) {
    (void)state;
    char *objs[64];
    for (int i = 0; i < 64; i++)
        objs[i] = one_site(0);
    for (int i = 0; i < 64; i++) {
        assert_true(faults(objs[i], 0));
        assert_true(faults(objs[i], 15));
        assert_true(faults(objs[i], -1));
    }
    for (int i = 0; i < 64; i++)
        hak_free(objs[i]);
}

int main(int argc, char **argv) {
    if (argc > 1)
        return print(argv[1]);
    const struct CMUnitTest tests[] = {
        {"one of four sampled objects begins right behind its guard, the others end before one", sides, NULL,
         NULL, NULL},
        {"one allocation in so many is sampled as HAKMEM_SAMPLE_RATE says, and one in 5,000 without it",
         share, NULL, NULL, NULL},
        {"which one is sampled is drawn, and so is what lies around it", by_chance, NULL, NULL, NULL},
        {"the first four of a site, and 128 a second, in every second", per_second, NULL, NULL, NULL},
        {"the first of 256 call sites, and 64 of their next ones", first_of_sites, NULL, NULL, NULL},
        {"up to the largest, at their alignment, and their mappings come back; a far access is placed", which,
         NULL, NULL, NULL},
        {"a freed place rests until the pool was wanted three times over", rest, NULL, NULL, NULL},
        {"a place that could not be opened is not lost", refused, NULL, NULL, NULL},
        {"a freed object is known when its place could not be opened again", known, NULL, NULL, NULL},
        {"no object of no bytes has an accessible one", no_bytes, NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
