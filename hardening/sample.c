/* sample.c: see sample.h. */
#include "hardening/sample.h"

#include "allocator/base/probe.h"
#include "allocator/os/extent.h"
#include "allocator/os/os_process.h"
#include "allocator/os/stack_walk.h"
#include "hardening/canary.h"
#include "hardening/due.h"
#include "hardening/exits.h"
#include "hardening/guard.h"

#include <string.h>

enum {
    PLACES = 4096,
    /* Places for objects of 0 bytes. They are apart, so that such objects keep no other from being sampled.
     * When they are used up, an object of 0 bytes gets a slot like any other. */
    NOTHINGS = 16384,
    ALL_PLACES = PLACES + NOTHINGS,
    /* A freed place rests until so many times the pool's places were wanted; otherwise a heap spray would get
     * it back. */
    REST = 3,
    /* Places that are tried to find one that is not live. */
    TRIES = 16,
    /* Offset of the accessible pages in a place, where pages are not larger. */
    DATA_AT = HAK_SAMPLE_PLACE / 2 - HAK_SAMPLE_MAX / 2,
};

static hak_extent place_extent, record_extent;
static uintptr_t pool;
static unsigned places; /* places of both kinds; 0: no pool */
static hak_sample *samples;
/* Places of one kind, taken in turn. Guarded by hak_hardening_lock. */
typedef struct turn {
    unsigned first, count;
    unsigned next;           /* the place that was freed longest ago, or was never used */
    _Atomic uint32_t wishes; /* how often a place was wanted; raised under the lock */
} turn;
static turn sampled_turn = {.first = 0}, nothing_turn = {.first = PLACES};
static uint64_t
    mapped_records[ALL_PLACES / 64]; /* bit i: page i of the records is mapped; hak_hardening_lock */
/* Bit i: place i has been used. The sweep at exit skips the others, whose untouched records would take 1 MiB. */
static _Atomic uint64_t used_places[ALL_PLACES / 64];

/* Claims the pool's addresses. Only the pages of live objects are mapped, and the pages with records that were
 * ever used. */
void hak_sample_init(void) {
    if (!hak_extent_begin(&place_extent, (size_t)ALL_PLACES * HAK_SAMPLE_PLACE, 0, HAK_GRANULE) ||
        !hak_extent_begin(&record_extent, ALL_PLACES * sizeof(hak_sample), 0, hak_os_page) ||
        place_extent.room < (size_t)ALL_PLACES * HAK_SAMPLE_PLACE ||
        record_extent.room < ALL_PLACES * sizeof(hak_sample))
        return;
    pool = place_extent.start;
    samples = (hak_sample *)record_extent.start;
    places = ALL_PLACES;
    sampled_turn.count = PLACES;
    nothing_turn.count = NOTHINGS;
    sampled_turn.next = (unsigned)(hak_random_next() % PLACES);
    nothing_turn.next = (unsigned)(hak_random_next() % NOTHINGS);
}

/* Maps the record of the place if needed. False: the OS refused. */
static HAK_UNSEEN bool record_map(unsigned place) {
    size_t page = place * sizeof(hak_sample) / hak_os_page;
    uint64_t bit = (uint64_t)1 << page % 64;
    if ((mapped_records[page / 64] & bit) == 0 &&
        hak_extent_fill(&record_extent, record_extent.start + page * hak_os_page, hak_os_page) ==
            HAK_MAP_DONE)
        mapped_records[page / 64] |= bit;
    return (mapped_records[page / 64] & bit) != 0;
}

static turn *turn_of(size_t size) {
    return size != 0 ? &sampled_turn : &nothing_turn;
}

/* Takes a place that is not live and had no object of another partition. The lock is held. */
static hak_sample *place_take(turn *from, unsigned partition) {
    uint32_t wishes = ++from->wishes;
    for (unsigned i = 0; i < TRIES && i < from->count; i++) {
        unsigned place = from->first + from->next;
        hak_sample *sample = &samples[place];
        if (!record_map(place) || (sample->word != HAK_SLOT_UNUSED && sample->partition != partition)) {
            from->next = (from->next + 1) % from->count;
            continue;
        }
        bool rested = hak_record_state(sample->word) == HAK_SLOT_FREED &&
                      wishes - sample->freed_at >= REST * from->count;
        if (sample->word != HAK_SLOT_UNUSED && !rested && hak_record_state(sample->word) == HAK_SLOT_FREED)
            return NULL; /* the others were freed later */
        from->next = (from->next + 1) % from->count;
        if (sample->word == HAK_SLOT_UNUSED || rested)
            return sample;
    }
    return NULL;
}

static uintptr_t place_of(const hak_sample *sample) {
    return pool + (size_t)(sample - samples) * HAK_SAMPLE_PLACE;
}

/* Bytes of the pages that hold the object; 0 for an object of 0 bytes. */
static size_t pages_of(size_t size) {
    return hak_align_up(size, hak_os_page);
}

static uintptr_t data_of(const hak_sample *sample) {
    return place_of(sample) + hak_align_up(DATA_AT, hak_os_page);
}

/* The byte that fills the pages around the object, so that writes which stay inside are found when the object
 * is freed. It is no letter and not zero. */
static unsigned char filler(const hak_sample *sample) {
    return (unsigned char)((hak_canary_at((void *)data_of(sample)) >> 24 & 0x3f) | 0x80);
}

unsigned char hak_sample_filler(const hak_sample *sample) {
    return filler(sample);
}

static void stack_note(uintptr_t *out, uintptr_t caller) {
    memset(out, 0, HAK_SAMPLE_STACK * sizeof *out);
    out[0] = caller;
    (void)hak_stack_walk((uintptr_t)__builtin_frame_address(0), out + (caller != 0), HAK_SAMPLE_STACK - 1);
}

/* Three of four objects are right-aligned, because access past the end is the more common error. */
static uintptr_t align(uintptr_t data, size_t size, unsigned align_log2) {
    if (size == 0 || (hak_random_next() >> 60) % 4 == 0)
        return data;
    return hak_align_down(data + pages_of(size) - size, (size_t)1 << align_log2);
}

/* Maps the object's pages, between unmapped addresses. False: the OS refused, or too many mappings are in use. */
static HAK_UNSEEN bool data_open(const hak_sample *sample, size_t bytes) {
    if (!hak_guard_maps_take(1))
        return false;
    if (hak_extent_fill(&place_extent, data_of(sample), bytes) == HAK_MAP_DONE)
        return true;
    hak_guard_maps_give(1);
    return false;
}

/* Makes the pages inaccessible, and drops their contents. */
static HAK_UNSEEN void pages_shut(const hak_sample *sample, size_t bytes) {
    if (place_extent.reserved) {
        (void)hak_os_protect(data_of(sample), bytes);
        (void)hak_os_purge(data_of(sample), bytes, HAK_PURGE_NOW);
    } else
        hak_os_unmap(data_of(sample), bytes);
}
static void data_shut(const hak_sample *sample, size_t bytes) {
    pages_shut(sample, bytes);
    hak_guard_maps_give(1);
}

static hak_sample *sample_make(size_t size, hak_origin origin, uintptr_t caller) {
    hak_lock_take(&hak_hardening_lock);
    hak_sample *sample = place_take(turn_of(size), origin.partition);
    uint32_t before = HAK_SLOT_UNUSED;
    if (sample != NULL) {
        size_t i = (size_t)(sample - samples);
        before = sample->word;
        sample->partition = (uint16_t)origin.partition;
        sample->word = HAK_SLOT_HELD; /* no other thread takes it */
        atomic_fetch_or_explicit(&used_places[i / 64], (uint64_t)1 << i % 64, memory_order_relaxed);
    }
    hak_lock_give(&hak_hardening_lock);
    if (sample == NULL)
        return NULL;
    uintptr_t data = data_of(sample);
    if (size != 0 && !data_open(sample, pages_of(size))) {
        sample->word = before; /* a second free of the object before is still reported */
        return NULL;
    }
    sample->obj = align(data, size, origin.align_log2);
    sample->size = size;
    sample->made_by = hak_os_tid();
    sample->forks = hak_forks;
    sample->told = false;
    stack_note(sample->made, caller);
    memset(sample->freed, 0, sizeof sample->freed);
    memset((char *)data, filler(sample), sample->obj - data);
    memset((char *)sample->obj + size, filler(sample), data + pages_of(size) - (sample->obj + size));
    origin.partition = 0; /* frees of it take the slow path anyway */
    sample->word = hak_record_live(origin);
    HAK_PROBE(sample, sample->obj, size);
    return sample;
}

void *hak_sample_take_slow(void *obj, unsigned cls, size_t size, hak_origin origin, uintptr_t caller) {
    hak_guarded *mine = hak_guarded_mine;
    bool wanted =
        (hak_due(mine, caller) && !hak_exits_stream(caller, size)) || (size == 0 && hak_hardening.guard);
    if (!wanted || places == 0 || mine->owner == 0 || size > HAK_SAMPLE_MAX ||
        (size_t)1 << origin.align_log2 > hak_os_page)
        return NULL;
    hak_sample *sample = sample_make(size, origin, caller);
    if (sample == NULL)
        return NULL;
    hak_hardening.give(obj, cls);
    return (void *)sample->obj;
}

static HAK_UNSEEN bool was_used(size_t place) {
    return (atomic_load_explicit(&used_places[place / 64], memory_order_relaxed) >> place % 64 & 1) != 0;
}

/* The place that contains `addr`, if it was ever used; NULL outside the pool. */
static hak_sample *place_at(uintptr_t addr) {
    size_t place = (addr - pool) / HAK_SAMPLE_PLACE;
    return addr >= pool && place < places && was_used(place) ? &samples[place] : NULL;
}

hak_sample *hak_sample_find(const void *obj) {
    hak_sample *sample = place_at((uintptr_t)obj);
    return sample != NULL && sample->obj == (uintptr_t)obj && sample->word != 0 ? sample : NULL;
}

bool hak_sample_end(hak_sample *sample, uint32_t *word) {
    *word = sample->word;
    if (hak_record_state(*word) != HAK_SLOT_LIVE)
        return false;
    sample->freed_at =
        turn_of(sample->size)
            ->wishes; /* before the state changes: a search for a place reads the state first */
    return atomic_compare_exchange_strong(&sample->word, word,
                                          (*word & ~(uint32_t)HAK_RECORD_STATE) | HAK_SLOT_FREED);
}

void hak_sample_give(hak_sample *sample, uintptr_t caller) {
    size_t size = pages_of(sample->size);
    sample->freed_by = hak_os_tid();
    stack_note(sample->freed, caller);
    if (size == 0)
        return;
    /* A thread that checks the bytes holds the lock and has seen the object live. After this take of the lock
     * none does any more. */
    hak_lock_take(&hak_hardening_lock);
    hak_lock_give(&hak_hardening_lock);
    data_shut(sample, size);
}

/* The first byte of [from, to) that has neither value; NULL: none. */
static const unsigned char *find_other(uintptr_t from, uintptr_t to, unsigned char right, unsigned char or) {
    for (const unsigned char *at = (const unsigned char *)from; at < (const unsigned char *)to; at++)
        if (*at != right && *at != or)
            return at;
    return NULL;
}

const unsigned char *hak_sample_overflow(const hak_sample *sample, size_t reach) {
    uintptr_t data = data_of(sample), end = data + pages_of(sample->size);
    uintptr_t after = sample->obj + sample->size;
    unsigned char right = filler(sample);
    unsigned char wiped = sample->forks != hak_forks ? 0 : right; /* wiped by a fork: inherit.h */
    const unsigned char *bad = find_other(after, after + hak_min(reach, end - after), right, wiped);
    if (bad != NULL)
        return bad;
    return find_other(sample->obj - hak_min(reach, sample->obj - data), sample->obj, right, wiped);
}

bool hak_sample_look(const hak_sample *sample, size_t reach, const unsigned char **bad) {
    *bad = NULL;
    if (!hak_lock_try(&hak_hardening_lock))
        return false;
    if (hak_record_state(sample->word) == HAK_SLOT_LIVE)
        *bad = hak_sample_overflow(sample, reach);
    hak_lock_give(&hak_hardening_lock);
    return true;
}

static bool describe(const hak_sample *sample, hak_located *out) {
    if (sample == NULL || sample->word == 0)
        return false;
    *out = (hak_located){.where = HAK_WHERE_SAMPLED,
                         .obj = sample->obj,
                         .size = sample->size,
                         .room = pages_of(sample->size),
                         .before = sample->size != 0 ? sample->obj - data_of(sample) : 0,
                         .word = sample->word,
                         .sample = sample};
    return true;
}

bool hak_sample_locate(uintptr_t addr, hak_located *out) {
    return describe(place_at(addr), out);
}

bool hak_sample_locate_before(uintptr_t addr, hak_located *out) {
    size_t place = (addr - pool) / HAK_SAMPLE_PLACE;
    if (addr < pool || place >= places)
        return false;
    while (place > 0 && !(was_used(place) && samples[place].word != 0))
        place--;
    return was_used(place) && describe(&samples[place], out);
}

hak_sample *hak_sample_next(unsigned *at) {
    unsigned place = *at % PLACES;
    uint64_t used = atomic_load_explicit(&used_places[place / 64], memory_order_relaxed) >> place % 64;
    if (used == 0) {
        *at = hak_align_down(place, 64) + 64;
        return NULL;
    }
    place += hak_lowest_bit(used);
    *at = place + 1;
    bool seen = hak_record_state(samples[place].word) == HAK_SLOT_LIVE && !hak_sample_torn(&samples[place]);
    return seen ? &samples[place] : NULL;
}

void hak_sample_each(void (*each)(const hak_sample *sample)) {
    for (unsigned i = 0; i < PLACES / 64; i++)
        for (uint64_t bits = atomic_load_explicit(&used_places[i], memory_order_relaxed); bits != 0;
             bits &= bits - 1) {
            const hak_sample *sample = &samples[i * 64 + hak_lowest_bit(bits)];
            if (hak_record_state(sample->word) == HAK_SLOT_LIVE && !hak_sample_torn(sample))
                each(sample);
        }
}

/* Maps pages that the program excluded from the copy. */
static void data_fill(const hak_sample *sample) {
    hak_inherit_fill(data_of(sample), pages_of(sample->size));
}

void hak_sample_fork_child(void) {
    if (places == 0)
        return;
    /* Not hak_random_next: for a thread without a state of its own that takes a lock, which this very thread
     * may hold if the fork is in a signal handler. */
    uint64_t number;
    hak_os_random(&number, sizeof number);
    sampled_turn.next = (unsigned)(number % PLACES);
    nothing_turn.next = (unsigned)((number >> 32) % NOTHINGS);
    hak_sample_each(data_fill);
}

/* After a reset, places are used in order, so that the next reset is short. */
HAK_UNSEEN void hak_sample_reset(bool stay) {
    (void)stay;
    for (unsigned i = 0; i < places; i++) {
        if (!was_used(i))
            continue;
        if (samples[i].word != 0 &&
            samples[i].size != 0) /* a test may have jumped out of a report before the pages were shut */
            pages_shut(&samples[i], pages_of(samples[i].size));
        samples[i].word = 0;
    }
    for (unsigned i = 0; i < ALL_PLACES / 64; i++)
        atomic_store(&used_places[i], 0);
    for (unsigned page = 0; page < ALL_PLACES;
         page++) /* so the next input makes the same system calls as the one before */
        if ((mapped_records[page / 64] >> page % 64 & 1) != 0 && !record_extent.reserved)
            hak_os_unmap(record_extent.start + page * hak_os_page, hak_os_page);
    memset(mapped_records, 0, sizeof mapped_records);
    sampled_turn.next = nothing_turn.next = 0;
    sampled_turn.wishes = nothing_turn.wishes = 0;
    hak_due_reset();
}
