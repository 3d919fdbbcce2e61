/* runs.c: see runs.h. */
#include "hardening/runs.h"

#include "allocator/os/os.h"

#include <string.h>

enum {
    RUN_ALIGN = 16, /* runs of few records share cache lines; none shares a record */
    RUNS_STEP = HAK_GRANULE,
    RUNS_STEP_PART = 8,
    /* Values of `use`, for one page. GONE: the page is not mapped. CLEAN: all its runs are idle, and nothing of it
     * is resident. No page has so many runs: a slab has at least eight slots, and a page is at most 64 KiB. */
    GONE = UINT16_MAX,
    CLEAN = UINT16_MAX,
    /* Pages whose runs are all idle are purged together, in few calls: when there are this many, and this part of
     * all. */
    IDLE_PAGES = 16,
    IDLE_PART = 64,
};

/* The use of one page of runs. */
typedef struct use {
    uint16_t users; /* slabs with memory that have a run there, or GONE */
    uint16_t idle;  /* of these slabs, the number whose run is idle, or CLEAN */
} use;

/* Most bytes of records for a granule, which has the smallest slots; includes the records before and past its ends. */
static const size_t RUN_MAX = (HAK_GRANULE / HAK_MIN_ALIGN + 3) * sizeof(hak_record) + RUN_ALIGN;

static size_t run_bytes(size_t records) {
    return hak_align_up(records * sizeof(hak_record), RUN_ALIGN);
}

static use *uses_of(const hak_ledger_region *ledger) {
    return (use *)ledger->run_pages.start;
}

/* Bytes of run_pages for `bytes` bytes of runs. */
static size_t uses_bytes(size_t bytes) {
    return hak_align_up((bytes / hak_os_page + 1) * sizeof(use), hak_os_page);
}

/* Begins both extents or none. When the OS refuses, the ledger keeps the runs that it knows. */
bool hak_runs_begin(hak_ledger_region *ledger) {
    size_t room = hak_align_up((ledger->size >> HAK_GRANULE_SHIFT) * RUN_MAX, hak_os_page);
    hak_extent runs, pages;
    if (!hak_extent_begin(&runs, room, HAK_GRANULE, hak_os_page))
        return false;
    if (!hak_extent_begin(&pages, uses_bytes(room), uses_bytes(HAK_GRANULE), hak_os_page)) {
        hak_extent_end(&runs);
        return false;
    }
    ledger->runs = runs;
    ledger->run_pages = pages;
    ledger->runs_used = ledger->runs_idle = 0;
    hak_ledger_count(ledger->runs.mapped + ledger->run_pages.mapped);
    return true;
}

/* Bytes of the unmapped pages. */
static size_t gone(const hak_ledger_region *ledger) {
    size_t bytes = 0;
    for (size_t page = 0; page < ledger->runs_used / hak_os_page; page++)
        bytes += uses_of(ledger)[page].users == GONE ? hak_os_page : 0;
    return bytes;
}

void hak_runs_end(hak_ledger_region *ledger) {
    if (ledger->runs.start == 0)
        return;
    hak_ledger_count(gone(ledger) - ledger->runs.mapped - ledger->run_pages.mapped);
    hak_extent_end(&ledger->runs);
    hak_extent_end(&ledger->run_pages);
}

HAK_WALKER void hak_runs_empty(hak_ledger_region *ledger) {
    if (ledger->runs.start == 0)
        return;
    hak_ledger_count(gone(ledger) - ledger->runs.mapped - ledger->run_pages.mapped);
    for (size_t at = 0; at < ledger->runs_used; at += hak_os_page)
        if (uses_of(ledger)[at / hak_os_page].users != GONE)
            memset((char *)ledger->runs.start + at, 0, hak_min(hak_os_page, ledger->runs_used - at));
    if (ledger->runs_used != 0)
        memset(uses_of(ledger), 0, (ledger->runs_used / hak_os_page + 1) * sizeof(use));
    ledger->runs_idle = ledger->runs_used = ledger->runs.mapped = ledger->run_pages.mapped = 0;
}

/* Maps the runs up to byte `end`: by a generous step, or else only so far. False: the OS refused. */
static bool grow(hak_ledger_region *ledger, size_t end) {
    size_t before = ledger->runs.mapped, users_before = ledger->run_pages.mapped;
    if (end <= before)
        return true;
    size_t least = hak_align_up(end, hak_os_page);
    size_t step = hak_align_up(hak_max(RUNS_STEP, before / RUNS_STEP_PART), hak_os_page);
    size_t most = hak_max(least, hak_min(ledger->runs.room, before + step));
    if (!hak_extent_grow(&ledger->run_pages, uses_bytes(most)))
        return false;
    hak_ledger_count(ledger->run_pages.mapped - users_before);
    if (!hak_extent_grow(&ledger->runs, most) && !hak_extent_grow(&ledger->runs, least))
        return false;
    hak_ledger_count(ledger->runs.mapped - before);
    return true;
}

/* When the runs cannot grow any more, because other code has mapped memory behind them, leaves them in place and
 * begins new ones elsewhere. */
static bool find(hak_ledger_region *ledger, size_t bytes) {
    if (grow(ledger, ledger->runs_used + bytes))
        return true;
    bool stuck =
        ledger->runs.mapped == ledger->runs.room || ledger->run_pages.mapped == ledger->run_pages.room;
    return stuck && hak_runs_begin(ledger) && grow(ledger, bytes);
}

/* The pages of a run: the first one, and the one after the last. */
typedef struct span {
    size_t first, end;
} span;

static span pages_of(const hak_ledger_region *ledger, const hak_record *run, size_t bytes) {
    size_t from = (uintptr_t)run - ledger->runs.start;
    return (span){from / hak_os_page, (from + bytes - 1) / hak_os_page + 1};
}

static void add_user(hak_ledger_region *ledger, span pages) {
    for (size_t page = pages.first; page < pages.end; page++) {
        use *its = &uses_of(ledger)[page];
        if (its->idle == CLEAN)
            its->idle = its->users;
        its->users++;
    }
}

hak_record *hak_run_take(hak_ledger_region *ledger, size_t records) {
    size_t bytes = run_bytes(records);
    hak_record *run = NULL;
    hak_lock_take(&hak_region_lock);
    if (find(ledger, bytes)) {
        run = (hak_record *)(ledger->runs.start + ledger->runs_used);
        add_user(ledger, pages_of(ledger, run, bytes));
        ledger->runs_used += bytes;
    }
    hak_lock_give(&hak_region_lock);
    return run;
}

/* False: the run lies in an extent that could not grow any more. Nothing is known of the pages of such an extent. */
static bool is_known(const hak_ledger_region *ledger, const hak_record *run) {
    return (uintptr_t)run - ledger->runs.start < ledger->runs_used;
}

static uintptr_t page_at(const hak_ledger_region *ledger, size_t page) {
    return ledger->runs.start + page * hak_os_page;
}

static void hollow(hak_ledger_region *ledger, size_t first, size_t end) {
    size_t bytes = (end - first) * hak_os_page;
    if (first == end || !hak_extent_hollow(&ledger->runs, page_at(ledger, first), bytes))
        return;
    for (size_t page = first; page < end; page++)
        uses_of(ledger)[page] = (use){.users = GONE};
    hak_ledger_count(-bytes);
}

/* Unmaps pages of the run without users, in one call. The page in which the next run will begin stays. */
void hak_run_hollow(hak_ledger_region *ledger, hak_record *run, size_t records) {
    hak_lock_take(&hak_region_lock);
    if (is_known(ledger, run)) {
        span pages = pages_of(ledger, run, run_bytes(records));
        size_t end = hak_min(pages.end, ledger->runs_used / hak_os_page), first = pages.first;
        for (size_t page = pages.first; page < pages.end; page++)
            uses_of(ledger)[page].users--;
        while (first < end && uses_of(ledger)[first].users != 0)
            first++;
        while (end > first && uses_of(ledger)[end - 1].users != 0)
            end--;
        hollow(ledger, first, end);
    }
    hak_lock_give(&hak_region_lock);
}

/* Maps again those of the pages that are gone. */
static hak_map_result fill(hak_ledger_region *ledger, span pages) {
    for (size_t page = pages.first; page < pages.end; page++) {
        if (uses_of(ledger)[page].users != GONE)
            continue;
        hak_map_result result = hak_extent_fill(&ledger->runs, page_at(ledger, page), hak_os_page);
        if (result != HAK_MAP_DONE)
            return result;
        uses_of(ledger)[page].users = 0;
        hak_ledger_count(hak_os_page);
    }
    return HAK_MAP_DONE;
}

hak_map_result hak_run_fill(hak_ledger_region *ledger, hak_record *run, size_t records) {
    hak_map_result result = HAK_MAP_DONE;
    hak_lock_take(&hak_region_lock);
    if (is_known(ledger, run)) {
        span pages = pages_of(ledger, run, run_bytes(records));
        result = fill(ledger, pages);
        if (result == HAK_MAP_DONE)
            add_user(ledger, pages);
    }
    hak_lock_give(&hak_region_lock);
    return result;
}

static bool is_idle(const hak_ledger_region *ledger, size_t page) {
    use its = uses_of(ledger)[page];
    return its.users != GONE && its.idle == its.users;
}

/* Purges pages whose runs are all idle, except the page in which the next run will begin. */
static void purge_idle(hak_ledger_region *ledger) {
    size_t pages = ledger->runs_used / hak_os_page;
    for (size_t first = 0, end; first < pages; first = end) {
        for (end = first; end < pages && is_idle(ledger, end);)
            end++;
        if (end != first && hak_os_purge(page_at(ledger, first), (end - first) * hak_os_page, HAK_PURGE_NOW))
            for (size_t page = first; page < end; page++)
                uses_of(ledger)[page].idle = CLEAN;
        end += end == first;
    }
    ledger->runs_idle = 0;
}

void hak_run_idle(hak_ledger_region *ledger, hak_record *run, size_t records) {
    hak_lock_take(&hak_region_lock);
    if (is_known(ledger, run)) {
        span pages = pages_of(ledger, run, run_bytes(records));
        for (size_t page = pages.first; page < pages.end; page++) {
            uses_of(ledger)[page].idle++;
            ledger->runs_idle += is_idle(ledger, page);
        }
        if (ledger->runs_idle >= hak_max(IDLE_PAGES, ledger->runs_used / hak_os_page / IDLE_PART))
            purge_idle(ledger);
    }
    hak_lock_give(&hak_region_lock);
}

void hak_run_wake(hak_ledger_region *ledger, hak_record *run, size_t records) {
    hak_lock_take(&hak_region_lock);
    if (is_known(ledger, run)) {
        span pages = pages_of(ledger, run, run_bytes(records));
        for (size_t page = pages.first; page < pages.end; page++) {
            use *its = &uses_of(ledger)[page];
            ledger->runs_idle -= is_idle(ledger, page) && ledger->runs_idle != 0;
            its->idle = (uint16_t)((its->idle == CLEAN ? its->users : its->idle) - 1);
        }
    }
    hak_lock_give(&hak_region_lock);
}
