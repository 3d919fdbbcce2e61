/* ahead.c: see ahead.h. */
#include "hardening/ahead.h"

#include "allocator/base/bits.h"
#include "allocator/os/os.h"
#include "allocator/os/os_process.h"
#include "allocator/pages/release.h"
#include "allocator/pages/size_class.h"
#include "hardening/modes.h"
#include "hardening/quarantine.h"

enum {
    PAGE = 4096,
    SIZE_STEP = 4 * HAK_KIB, /* slots of one step learn together: seldom more than one class */
    STEPS = HAK_SLAB_SIZE_MAX / SIZE_STEP + 1,
    /* Before an object of a size was found touched as a whole, one free in so many looks. A look is a system call of 1
     * to 2 us. */
    COLD_LOOKS = 4,
    ASKED_BITS = 8, /* log2 of the most objects that have not shown yet whether it was right to ask */
    LIVE_PART = 4,
};

static _Atomic uint8_t touched[STEPS]; /* objects in a row, up to HAK_AHEAD_SURE */
static _Atomic uint8_t frees[STEPS];
static _Atomic uintptr_t asked[1 << ASKED_BITS]; /* objects, by a hash of the address; 0: none */
static _Atomic size_t asked_bytes;
static _Atomic bool refused;

/* Fibonacci hashing: the upper bits of a product (Knuth, The Art of Computer Programming, volume 3, 6.4). */
static _Atomic uintptr_t *asked_at(const void *obj) {
    return &asked[((uintptr_t)obj / PAGE) * 0x9e3779b97f4a7c15u >> (64 - ASKED_BITS)];
}

/* Removes the object. False: it is not one of them. */
static bool asked_take(const void *obj, size_t room) {
    uintptr_t addr = (uintptr_t)obj;
    if (atomic_load_explicit(asked_at(obj), memory_order_relaxed) != addr ||
        !atomic_compare_exchange_strong_explicit(asked_at(obj), &addr, 0, memory_order_relaxed,
                                                 memory_order_relaxed))
        return false;
    atomic_fetch_sub_explicit(&asked_bytes, room, memory_order_relaxed);
    return true;
}

/* False: too much was asked for that nobody may need. */
static bool asked_put(const void *obj, size_t room) {
    uintptr_t none = 0;
    size_t most = HAK_AHEAD_BYTES + hak_release_slabs_live() / LIVE_PART;
    if (atomic_load_explicit(&asked_bytes, memory_order_relaxed) + room > most ||
        !atomic_compare_exchange_strong_explicit(asked_at(obj), &none, (uintptr_t)obj, memory_order_relaxed,
                                                 memory_order_relaxed))
        return false;
    atomic_fetch_add_explicit(&asked_bytes, room, memory_order_relaxed);
    return true;
}

/* Bytes of the pages that have a byte of the range, the first of which is stored. */
static size_t pages_of(const void *obj, size_t size, uintptr_t *first) {
    *first = hak_align_down((uintptr_t)obj, hak_os_page);
    return hak_align_up((uintptr_t)obj + size, hak_os_page) - *first;
}

static bool can_ask(void) {
    return !atomic_load_explicit(&refused, memory_order_relaxed) && hak_os_resident_told();
}

HAK_UNSEEN void hak_ahead_ask(void *obj, size_t size, size_t room) {
    uintptr_t first;
    size_t bytes = pages_of(obj, size, &first);
    if (atomic_load_explicit(&touched[room / SIZE_STEP], memory_order_relaxed) == HAK_AHEAD_SURE &&
        can_ask() && asked_put(obj, room) && !hak_os_fault_in(first, bytes))
        atomic_store_explicit(&refused, true, memory_order_relaxed);
}

static bool is_resident(const void *obj, size_t used) {
    uintptr_t first;
    size_t bytes = pages_of(obj, used, &first);
    return hak_os_resident_count(first, bytes) == bytes / hak_os_page;
}

/* False: a random page of the object, which has memory, is still zero. */
HAK_PEEKS static bool is_written(const char *obj, size_t used) {
    size_t page = (size_t)(hak_random_next() >> 32) * (used / PAGE) >> 32;
    return !hak_hardening.wipe.is_clear(obj + page * PAGE, PAGE);
}

HAK_UNSEEN void hak_ahead_learn(const void *obj, size_t used, size_t room) {
    _Atomic uint8_t *of = &touched[room / SIZE_STEP], *turn = &frees[room / SIZE_STEP];
    uint8_t before = atomic_load_explicit(of, memory_order_relaxed);
    bool mine = asked_take(obj, room);
    if (!mine && (!can_ask() ||
                  (before == 0 && atomic_fetch_add_explicit(turn, 1, memory_order_relaxed) % COLD_LOOKS)))
        return;
    bool whole = mine ? is_written(obj, used) : is_resident(obj, used);
    atomic_store_explicit(of, whole ? (uint8_t)hak_min(before + 1, HAK_AHEAD_SURE) : 0, memory_order_relaxed);
}

void hak_ahead_reset(void) {
    for (unsigned i = 0; i < STEPS; i++)
        atomic_store(&touched[i], 0);
    for (unsigned i = 0; i < 1 << ASKED_BITS; i++)
        atomic_store(&asked[i], 0);
    atomic_store(&asked_bytes, 0);
    atomic_store(&refused, false);
}
