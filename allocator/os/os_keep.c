/* os_keep.c: see os_keep.h. Not part of the products. */
#include "allocator/os/os_keep.h"

#include "allocator/base/bits.h"
#include "allocator/base/check.h"
#include "allocator/os/os.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>

/* Hidden from the fuzzer's coverage: what is kept depends on earlier inputs. */
#if defined(__clang__)
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), apply_to = function)
#endif

enum {
    RANGES = 256,              /* known accessible ranges; for others the kernel is asked again */
    CLOCK_START = 1000 * 1000, /* milliseconds: later than any idle time */
    /* Milliseconds. Some 20 steps make unused memory due, 200 make idle memory due (release.c). */
    CLOCK_STEP = 50,
    /* Bytes that are zeroed without asking which pages are resident, which takes as long. */
    SMALL = 16 * 1024,
};

static const size_t MOST = (size_t)4 << 30;

typedef struct range {
    uintptr_t from, to;
} range;

static hak_keep_how keeping;
static bool own_clock;
static _Atomic uint64_t clock_now;
typedef struct list {
    range ranges[RANGES];
    unsigned count;
} list;

static list kept,
    opened; /* accessible; of these, what was opened since the last hak_os_keep; lock guards both */
static atomic_flag lock = ATOMIC_FLAG_INIT;

static void take(void) {
    while (atomic_flag_test_and_set_explicit(&lock, memory_order_acquire)) /* pairs with give's release */
        sched_yield(); /* its holder may wait for a processor */
}
static void give(void) {
    atomic_flag_clear_explicit(&lock, memory_order_release);
}

void hak_os_keep(hak_keep_how how) {
    if (how == HAK_KEEP_NOTHING)
        kept.count = 0;
    opened.count = 0;
    keeping = how;
    atomic_store_explicit(&clock_now, CLOCK_START, memory_order_relaxed);
}

bool hak_os_keep_clock(uint64_t *milliseconds) {
    *milliseconds = atomic_fetch_add_explicit(&clock_now, CLOCK_STEP, memory_order_relaxed);
    return keeping != HAK_KEEP_NOTHING || own_clock;
}

void hak_os_keep_pass(uint64_t milliseconds) {
    atomic_fetch_add_explicit(&clock_now, milliseconds, memory_order_relaxed);
}

void hak_os_keep_own_clock(void) {
    own_clock = true;
}

static bool is_in(const list *in, uintptr_t addr, size_t size) {
    for (unsigned i = 0; i < in->count; i++)
        if (in->ranges[i].from <= addr && addr + size <= in->ranges[i].to)
            return true;
    return false;
}

/* Stores the part of the range that some entry of the list has. False: none has any. */
static bool part_of(const list *in, uintptr_t addr, size_t size, range *part) {
    for (unsigned i = 0; i < in->count; i++) {
        *part = (range){hak_max(in->ranges[i].from, addr), hak_min(in->ranges[i].to, addr + size)};
        if (part->from < part->to)
            return true;
    }
    return false;
}

bool hak_os_keep_some(uintptr_t addr, size_t size) {
    range part;
    take();
    bool found = keeping != HAK_KEEP_NOTHING && part_of(&kept, addr, size, &part);
    give();
    return found;
}

static void know(list *in, uintptr_t from, uintptr_t to) {
    if (from < to && in->count < RANGES)
        in->ranges[in->count++] = (range){from, to};
}

/* Removes a range from the list; the memory on either side of it stays. */
static void forget(list *in, uintptr_t addr, size_t size) {
    for (unsigned i = 0; i < in->count;) {
        range cut = in->ranges[i];
        if (addr >= cut.to || cut.from >= addr + size) {
            i++;
            continue;
        }
        in->ranges[i] = in->ranges[--in->count];
        know(in, cut.from, hak_min(cut.to, addr));
        know(in, hak_max(cut.from, addr + size), cut.to);
    }
}

/* Extends a range that touches the new one, or adds the new one. */
static void remember(list *in, uintptr_t addr, size_t size) {
    for (unsigned i = 0; i < in->count; i++)
        if (addr <= in->ranges[i].to && in->ranges[i].from <= addr + size) {
            in->ranges[i].from = hak_min(in->ranges[i].from, addr);
            in->ranges[i].to = hak_max(in->ranges[i].to, addr + size);
            return;
        }
    know(in, addr, addr + size);
}

bool hak_os_keep_protect(uintptr_t addr, size_t size, bool open) {
    if (!open)
        return keeping == HAK_KEEP_ALL;
    if (keeping == HAK_KEEP_NOTHING)
        return false; /* nothing is known */
    take();
    bool known = is_in(&kept, addr, size);
    if (known)
        remember(&opened, addr, size);
    give();
    return known;
}

bool hak_os_keep_left(uintptr_t addr) {
    take();
    bool left = is_in(&kept, addr, 1) && !is_in(&opened, addr, 1);
    give();
    return left;
}

/* The kernel may take lazily freed pages at any time, or never. Here only the first page goes. */
bool hak_os_keep_purge(uintptr_t addr, size_t size, hak_os_purge_how how) {
    if (keeping != HAK_KEEP_ALL)
        return false;
    hak_os_scrub(addr, how == HAK_PURGE_LAZY ? hak_min(size, hak_os_page) : size);
    return true;
}

bool hak_os_keep_hollow(uintptr_t addr, size_t size) {
    if (keeping != HAK_KEEP_ALL)
        return false; /* hollow memory faults as a guard does */
    hak_os_scrub(addr, size);
    return true;
}

bool hak_os_keep_refuses(size_t size) {
    return keeping != HAK_KEEP_NOTHING && size > MOST;
}

bool hak_os_keeps(void) {
    return keeping != HAK_KEEP_NOTHING;
}

/* Two neighbours that are born at the same time may both guard the page between them. With the kernel's guards
 * that is no race. */
bool hak_os_keep_guard(uintptr_t addr, size_t size) {
    if (keeping != HAK_KEEP_ALL)
        return false;
    if (size > SMALL)
        hak_os_scrub(addr, size);
    for (size_t at = 0; size <= SMALL && at < size; at += sizeof(uint64_t)) /* relaxed: no thread reads it */
        atomic_store_explicit((_Atomic uint64_t *)(addr + at), 0, memory_order_relaxed);
    return true;
}
bool hak_os_keep_unguard(void) {
    return keeping == HAK_KEEP_ALL;
}

void hak_os_keep_note(uintptr_t addr, size_t size, bool open) {
    if (keeping == HAK_KEEP_NOTHING)
        return;
    take();
    if (open) {
        remember(&kept, addr, size);
        remember(&opened, addr, size);
    } else {
        forget(&kept, addr, size);
        forget(&opened, addr, size);
    }
    give();
}

void hak_os_keep_drop(uintptr_t addr, size_t size) {
    range part;
    for (bool found = true; found;) {
        take();
        found = part_of(&kept, addr, size, &part);
        if (found)
            forget(&kept, part.from, part.to - part.from);
        give();
        if (found)
            hak_os_unmap(part.from, part.to - part.from);
    }
}

/* Stands for the kernel, which takes pages beside threads that read them by atomic loads: that is no race of ours. A
 * multiple of eight bytes. */
static void zero(uintptr_t addr, size_t size) {
#ifdef __SANITIZE_THREAD__
    for (uintptr_t at = addr; at < addr + size; at += sizeof(uint64_t))
        atomic_store_explicit((_Atomic uint64_t *)at, 0, memory_order_relaxed);
#else
    memset((void *)addr, 0, size);
#endif
}

/* Zeroes a page if it is resident; it may be unmapped. */
static void scrub_page(uintptr_t addr) {
    unsigned char resident;
    if (mincore((void *)addr, hak_os_page, &resident) == 0 && (resident & 1) != 0)
        zero(addr, hak_os_page);
}

void hak_os_scrub(uintptr_t addr, size_t size) {
    unsigned char resident[1024];
    if (size <= SMALL) {
        zero(addr, size);
        return;
    }
    size_t step = sizeof resident * hak_os_page;
    for (size_t done = 0; done < size; done += step) {
        size_t part = hak_min(step, size - done);
        if (mincore((void *)(addr + done), part, resident) != 0) { /* a part is not mapped */
            HAK_CHECK(part > hak_os_page || errno == ENOMEM, "mincore refused");
            for (size_t page = 0; part > hak_os_page && page < part; page += hak_os_page)
                scrub_page(addr + done + page);
            continue;
        }
        for (size_t page = 0; page * hak_os_page < part; page++)
            if (resident[page] & 1)
                zero(addr + done + page * hak_os_page, hak_os_page);
    }
}

#if defined(__clang__)
#pragma clang attribute pop
#endif
