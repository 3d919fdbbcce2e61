/* due.c: see due.h. */
#include "hardening/due.h"

#include "allocator/os/os.h"

enum {
    /* Number of call sites whose first allocation is sampled, because a program with thousands of sites would
     * pay 50 us for each. */
    SITES_SAMPLED = 256,
    /* Number of further early allocations that are sampled. Small programs, which have their bugs in the second
     * or third of a few objects, have nearly all objects sampled. */
    EARLY_SAMPLED = 64,
    EARLY_PER_SITE = 4,
    SAMPLES_PER_SECOND = 128,
};

static _Atomic unsigned sites_sampled, early_sampled;

/* Draws uniformly between 1 and twice the period, so that an attacker cannot count to the next sample. */
static uint32_t draw_countdown(void) {
    uint32_t period = hak_hardening.sample_period;
    if (period <= 1)
        return period == 1 ? 1 : UINT32_MAX;
    return 1 + (uint32_t)((hak_random_next() >> 32) * (2ull * period - 1) >> 32);
}

/* True while the second has samples left. At the default rate their number is limited, so that fast programs
 * pay at most a hundredth of their time where system calls are slow. A rate that the user sets has no limit. */
static _Atomic uint64_t second_and_count;
static bool in_budget(void) {
    if (hak_hardening.sample_period_set)
        return true;
    uint64_t second = hak_os_milliseconds() / 1000 << 16;
    uint64_t was = atomic_load_explicit(&second_and_count, memory_order_relaxed);
    uint64_t now = (was & ~(uint64_t)0xffff) == second ? was + 1 : second;
    atomic_store_explicit(&second_and_count, now, memory_order_relaxed); /* a race costs one more sample */
    return (now & 0xffff) < SAMPLES_PER_SECOND;
}

/* True for the first `most` callers. */
static bool take_one_of(_Atomic unsigned *taken, unsigned most) {
    return atomic_load_explicit(taken, memory_order_relaxed) < most &&
           atomic_fetch_add_explicit(taken, 1, memory_order_relaxed) < most;
}

static bool more_early(unsigned seen) {
    return seen < EARLY_PER_SITE &&
           atomic_load_explicit(&early_sampled, memory_order_relaxed) < EARLY_SAMPLED;
}

/* In each thread, the countdown of a site begins at 1 and stays there for its first few allocations while early
 * samples are left; then it is random. 0 means that it has ended. */
bool hak_due(hak_guarded *mine, uintptr_t caller) {
    _Atomic uint32_t *site = hak_site_of(mine, caller);
    if (*site != 0)
        return false; /* called because of the size */
    _Atomic uint8_t *seen = &mine->sites_seen[site - mine->sites];
    unsigned before = *seen;
    *seen = (uint8_t)(before + (before != UINT8_MAX));
    *site = more_early(before + 1) ? 1 : draw_countdown();
    if (hak_hardening.sample_period <= 1)
        return hak_hardening.sample_period == 1;
    if (before == 0)
        return take_one_of(&sites_sampled, SITES_SAMPLED);
    return (before < EARLY_PER_SITE && take_one_of(&early_sampled, EARLY_SAMPLED)) || in_budget();
}

HAK_UNSEEN void hak_due_reset(void) {
    atomic_store(&sites_sampled, 0);
    atomic_store(&early_sampled, 0);
    atomic_store(&second_and_count, 0);
}
