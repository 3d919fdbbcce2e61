/* sample.c: see sample.h. */
#include "hardening/sample.h"

#include "allocator/os.h"
#include "allocator/os_process.h"
#include "hardening/canary.h"
#include "hardening/crash_report.h"

#include <string.h>

enum {
    PLACES = 4096,
    /* Call sites whose first allocation is sampled; above that, only one in so many. A program with thousands of call sites
     * would pay 50 us for each of them. */
    SITES_SAMPLED = 256,
    /* Places looked at for one that is not live. */
    TRIES = 16,
    DATA_AT = HAK_SAMPLE_PLACE / 2 - HAK_SAMPLE_MAX / 2, /* where the accessible pages begin in a place */
    /* In an address space with a limit the pool takes this part of it. */
    LIMITED_PART = 64,
};

HAK_HIDDEN uint8_t hak_sites[HAK_SITES];

static uintptr_t pool;
static unsigned places; /* in the pool; 0: there is none */
static hak_sample *samples;
static unsigned next_place; /* the one that was freed longest ago, or never used */
static unsigned sites_sampled;

void hak_sample_init(void) {
    memset(hak_sites, 1, sizeof hak_sites); /* until there is a pool, no call site is new */
    size_t size = (size_t)PLACES * HAK_SAMPLE_PLACE;
    if (hak_os_address_limit() != SIZE_MAX)
        size = hak_align_down(hak_os_address_limit() / LIMITED_PART, HAK_SAMPLE_PLACE);
    uintptr_t addr = size != 0 ? hak_os_reserve(size, HAK_GRANULE, 0) : 0;
    if (addr == 0)
        return;
    size_t table = hak_align_up(size / HAK_SAMPLE_PLACE * sizeof(hak_sample), hak_os_page);
    uintptr_t map = hak_os_reserve(table + 2 * hak_os_page, hak_os_page, 0);
    if (map == 0 || !hak_os_commit(map + hak_os_page, table)) {
        hak_os_unmap(addr, size);
        return;
    }
    samples = (hak_sample *)(map + hak_os_page);
    pool = addr;
    places = (unsigned)(size / HAK_SAMPLE_PLACE);
    next_place = (unsigned)(hak_random_next() % places);
    if (hak_hardening.sample_period != 0)
        memset(hak_sites, 0, sizeof hak_sites);
}

void hak_sample_fork_child(void) {
    if (places != 0)
        next_place = (unsigned)(hak_random_next() % places);
}

/* A place that is not live; the lock is held. */
static hak_sample *place_take(void) {
    for (unsigned i = 0; i < TRIES && i < places; i++) {
        hak_sample *sample = &samples[next_place];
        next_place = (next_place + 1) % places;
        if (hak_record_state(sample->word) != HAK_SLOT_LIVE && sample->word != HAK_SLOT_HELD)
            return sample;
    }
    return NULL;
}

static uintptr_t place_of(const hak_sample *sample) {
    return pool + (size_t)(sample - samples) * HAK_SAMPLE_PLACE;
}

/* The pages that hold the object's bytes; an object of no bytes has none. */
static size_t pages_of(size_t size) {
    return hak_align_up(size, hak_os_page);
}

static uintptr_t data_of(const hak_sample *sample) {
    return place_of(sample) + DATA_AT;
}

/* What fills the page around the object, so that writes that stay in it are found when the object is freed. */
static unsigned char filler(const hak_sample *sample) {
    return (unsigned char)(hak_canary_at((void *)data_of(sample)) >> 24 | 1);
}

static void stack_note(uintptr_t *out, uintptr_t caller) {
    memset(out, 0, HAK_SAMPLE_STACK * sizeof *out);
    out[0] = caller;
    (void)hak_stack_walk((uintptr_t)__builtin_frame_address(0), out + (caller != 0), HAK_SAMPLE_STACK - 1);
}

/* Three of four are right-aligned: reading past the end is the more common crime. */
static uintptr_t align(uintptr_t data, size_t size, unsigned align_log2) {
    if (size == 0 || (hak_random_next() >> 60) % 4 == 0)
        return data;
    return hak_align_down(data + pages_of(size) - size, (size_t)1 << align_log2);
}

static hak_sample *sample_make(size_t size, hak_origin origin, uintptr_t caller) {
    hak_lock_take(&hak_hardening_lock);
    hak_sample *sample = place_take();
    if (sample != NULL)
        sample->word = HAK_SLOT_HELD; /* nobody else takes it */
    hak_lock_give(&hak_hardening_lock);
    if (sample == NULL)
        return NULL;
    uintptr_t data = data_of(sample);
    if (size != 0 && !hak_os_commit(data, pages_of(size))) {
        sample->word = HAK_SLOT_UNUSED;
        return NULL;
    }
    sample->obj = align(data, size, origin.align_log2);
    sample->size = size;
    sample->made_by = hak_os_tid();
    stack_note(sample->made, caller);
    memset(sample->freed, 0, sizeof sample->freed);
    memset((char *)data, filler(sample), sample->obj - data);
    memset((char *)sample->obj + size, filler(sample), data + pages_of(size) - (sample->obj + size));
    sample->word = hak_record_live(origin);
    return sample;
}

/* Uniform between 1 and twice the period, so that nobody can count to the next one. */
static uint32_t draw_countdown(void) {
    uint32_t period = hak_hardening.sample_period;
    if (period <= 1)
        return period == 1 ? 1 : UINT32_MAX;
    return 1 + (uint32_t)((hak_random_next() >> 32) * (2ull * period - 1) >> 32);
}

/* True when this call site is new, and still worth a sample. */
static bool site_counts(uintptr_t caller) {
    uint8_t *seen = &hak_sites[(caller * 0x9e3779b97f4a7c15u ^ caller) >> 52 & (HAK_SITES - 1)];
    if (*seen)
        return false;
    *seen = 1;
    return __atomic_fetch_add(&sites_sampled, 1, __ATOMIC_RELAXED) < SITES_SAMPLED;
}

void *hak_sample_take_slow(void *obj, unsigned cls, size_t size, hak_origin origin, uintptr_t caller) {
    hak_guarded *mine = hak_guarded_mine;
    bool due = mine->countdown == 0 || mine->countdown > 2 * (uint64_t)hak_hardening.sample_period + 2;
    if (due) {
        bool first =
            mine->countdown != 0; /* a new thread's counter went from 0 to UINT32_MAX: no sample for that */
        mine->countdown = draw_countdown();
        due = hak_hardening.sample_period != 0 && (!first || hak_hardening.sample_period == 1);
    }
    bool wanted = (size == 0 && hak_hardening.guard) ||
                  (site_counts(caller) && hak_hardening.sample_period != 0) || due;
    if (!wanted || places == 0 || mine->owner == 0 || size > HAK_SAMPLE_MAX ||
        (size_t)1 << origin.align_log2 > hak_os_page)
        return NULL;
    hak_sample *sample = sample_make(size, origin, caller);
    if (sample == NULL)
        return NULL;
    mine->give(obj, cls);
    return (void *)sample->obj;
}

/* The place that `addr` lies in, NULL outside of the pool. */
static hak_sample *place_at(uintptr_t addr) {
    if (addr - pool >= (size_t)places * HAK_SAMPLE_PLACE)
        return NULL;
    return &samples[(addr - pool) / HAK_SAMPLE_PLACE];
}

hak_sample *hak_sample_find(const void *obj) {
    hak_sample *sample = place_at((uintptr_t)obj);
    return sample != NULL && sample->obj == (uintptr_t)obj && sample->word != 0 ? sample : NULL;
}

void hak_sample_give(hak_sample *sample, uintptr_t caller) {
    size_t size = pages_of(sample->size);
    sample->freed_by = hak_os_tid();
    stack_note(sample->freed, caller);
    sample->word = (sample->word & ~(uint32_t)HAK_RECORD_STATE) | HAK_SLOT_FREED;
    if (size == 0)
        return;
    (void)hak_os_protect(data_of(sample), size);
    (void)hak_os_purge(data_of(sample), size, HAK_PURGE_NOW);
}

const unsigned char *hak_sample_overflow(const hak_sample *sample) {
    const unsigned char *end = (const unsigned char *)data_of(sample) + pages_of(sample->size);
    unsigned char right = filler(sample);
    for (const unsigned char *at = (const unsigned char *)sample->obj + sample->size; at < end; at++)
        if (*at != right)
            return at;
    for (const unsigned char *at = (const unsigned char *)data_of(sample);
         at < (const unsigned char *)sample->obj; at++)
        if (*at != right)
            return at;
    return NULL;
}

bool hak_sample_locate(uintptr_t addr, hak_located *out) {
    const hak_sample *sample = place_at(addr);
    if (sample == NULL || sample->word == 0)
        return false;
    *out = (hak_located){.where = HAK_WHERE_SAMPLED,
                         .obj = sample->obj,
                         .size = sample->size,
                         .room = pages_of(sample->size),
                         .word = sample->word,
                         .sample = sample};
    return true;
}

void hak_sample_each(void (*each)(const hak_sample *sample)) {
    for (unsigned i = 0; i < places; i++)
        if (hak_record_state(samples[i].word) == HAK_SLOT_LIVE)
            each(&samples[i]);
}

void hak_sample_reset(void) {
    for (unsigned i = 0; i < places; i++) {
        if (samples[i].word != 0 && samples[i].size != 0)
            (void)hak_os_protect(data_of(&samples[i]), pages_of(samples[i].size));
        samples[i].word = 0;
    }
    next_place = sites_sampled = 0;
    if (places != 0 && hak_hardening.sample_period != 0)
        memset(hak_sites, 0, sizeof hak_sites);
}
