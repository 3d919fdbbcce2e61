/* profile.c: see profile.h. */
#include "allocator/heap/profile.h"

#include "allocator/base/odds.h"
#include "allocator/os/os.h"
#include "allocator/os/stack_walk.h"

#include <string.h>

enum {
    STACK_HEADS = 1 << 12,
    LIVE_HEADS = 1 << 15,
    CHUNK = 256 * HAK_KIB, /* unit in which memory is taken from the OS */
    UNIT_SHIFT = 16,       /* units of a count: 2^-16 */
};

/* A live sampled object. */
typedef struct live {
    struct live *next;
    uintptr_t obj;
    uint64_t objects, bytes; /* what the sample stands for */
    hak_profile_stack *stack;
} live;

hak_lock hak_profile_lock = HAK_LOCK_INIT(HAK_RANK_PROFILE);
size_t hak_profile_rate;
_Atomic uint64_t hak_profile_lost;

static double odds_of[HAK_TAGS]; /* probability that an allocation of the class is sampled */
static hak_profile_stack **stack_heads;
static live **live_heads, *live_free;
static _Atomic(hak_profile_stack *) newest;
static uintptr_t chunk, chunk_left;

static double odds_for(size_t size) {
    return hak_odds_within((double)size / (double)hak_profile_rate);
}

void hak_profile_init(size_t rate) {
    size_t heads = STACK_HEADS * sizeof *stack_heads, more = LIVE_HEADS * sizeof *live_heads;
    uintptr_t tables = hak_os_map_between(hak_align_up(heads + more, hak_os_page));
    if (tables == 0)
        return;
    stack_heads = (hak_profile_stack **)tables;
    live_heads = (live **)(tables + heads);
    hak_profile_rate = rate;
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        odds_of[cls] = odds_for(hak_classes[cls].size);
}

/* Geometrically distributed: an exponential number of bytes, cut into slots. */
uint32_t hak_profile_draw(unsigned cls, uint64_t random) {
    double slots = hak_odds_gap(random) * (double)hak_profile_rate / hak_classes[cls].size;
    return slots < UINT32_MAX - 1 ? 1 + (uint32_t)slots : UINT32_MAX;
}

bool hak_profile_hits(size_t size, uint64_t random) {
    return (double)(random >> 11) * 0x1p-53 < odds_for(size);
}

/* Takes memory that is never given back. NULL: the OS has none. */
static void *memory_locked(size_t size) {
    hak_lock_check_held(&hak_profile_lock);
    if (chunk_left < size) {
        uintptr_t more = hak_os_map_between(CHUNK);
        if (more == 0)
            return NULL;
        chunk = more;
        chunk_left = CHUNK;
    }
    chunk_left -= size;
    chunk += size;
    return (void *)(chunk - size);
}

static uint64_t mix(uint64_t x) {
    x *= 0x9e3779b97f4a7c15; /* 2^64 over the golden ratio */
    return x ^ x >> 32;
}

static hak_profile_stack *stack_locked(const uintptr_t *frames, unsigned depth) {
    uint64_t hash = depth;
    for (unsigned i = 0; i < depth; i++)
        hash = mix(hash ^ frames[i]);
    hak_profile_stack **head = &stack_heads[hash % STACK_HEADS], *stack = *head;
    for (; stack != NULL; stack = stack->next)
        if (stack->hash == hash && stack->depth == depth &&
            memcmp(stack->frames, frames, depth * sizeof *frames) == 0)
            return stack;
    stack = (hak_profile_stack *)memory_locked(sizeof *stack + depth * sizeof *frames);
    if (stack == NULL)
        return NULL;
    *stack = (hak_profile_stack){.next = *head, .hash = hash, .depth = depth};
    stack->older = atomic_load_explicit(&newest, memory_order_relaxed);
    memcpy(stack->frames, frames, depth * sizeof *frames);
    *head = stack;
    /* release: pairs with the acquire in hak_profile_stacks */
    atomic_store_explicit(&newest, stack, memory_order_release);
    return stack;
}

static live **head_of(uintptr_t obj) {
    return &live_heads[mix(obj >> HAK_GRANULE_SHIFT) % LIVE_HEADS];
}

static live *live_locked(uintptr_t obj) {
    live *one = live_free;
    if (one != NULL)
        live_free = one->next;
    else
        one = (live *)memory_locked(sizeof *one);
    if (one == NULL)
        return NULL;
    live **head = head_of(obj);
    *one = (live){.next = *head, .obj = obj};
    *head = one;
    return one;
}

/* `by`: 1, or (uint64_t)-1. */
static void count_live(const live *one, uint64_t by) {
    hak_profile_stack *stack = one->stack;
    HAK_SHOW(stack->live_objects, stack->live_objects + by * one->objects);
    HAK_SHOW(stack->live_bytes, stack->live_bytes + by * one->bytes);
    HAK_SHOW(stack->live_samples, stack->live_samples + by);
}

static bool note_locked(uintptr_t obj, uint64_t objects, uint64_t bytes, const uintptr_t *frames,
                        unsigned depth) {
    hak_profile_stack *stack = stack_locked(frames, depth);
    live *one = stack != NULL ? live_locked(obj) : NULL;
    if (one == NULL)
        return false;
    one->objects = objects;
    one->bytes = bytes;
    one->stack = stack;
    HAK_SHOW(stack->made_objects, stack->made_objects + objects);
    HAK_SHOW(stack->made_bytes, stack->made_bytes + bytes);
    HAK_SHOW(stack->samples, stack->samples + 1);
    count_live(one, 1);
    return true;
}

void hak_profile_made(void *obj, size_t size, unsigned cls, uintptr_t caller) {
    uintptr_t frames[HAK_PROFILE_STACK];
    unsigned depth = hak_stack_unwind(caller, frames, HAK_PROFILE_STACK);
    double stands_for = 1 / (cls != 0 ? odds_of[cls] : odds_for(size));
    uint64_t objects = (uint64_t)(stands_for * (1 << UNIT_SHIFT) + 0.5);
    uint64_t bytes = (uint64_t)(stands_for * (double)size + 0.5);
    hak_lock_take(&hak_profile_lock);
    bool noted = note_locked((uintptr_t)obj, objects, bytes, frames, depth);
    hak_lock_give(&hak_profile_lock);
    if (!noted)
        atomic_fetch_add_explicit(&hak_profile_lost, 1, memory_order_relaxed);
}

void hak_profile_ended(void *obj) {
    hak_lock_take(&hak_profile_lock);
    live **at = head_of((uintptr_t)obj);
    while (*at != NULL && (*at)->obj != (uintptr_t)obj)
        at = &(*at)->next;
    live *one = *at;
    if (one != NULL) {
        *at = one->next;
        count_live(one, (uint64_t)-1);
        one->next = live_free;
        live_free = one;
    }
    hak_lock_give(&hak_profile_lock);
}

const hak_profile_stack *hak_profile_stacks(void) {
    /* acquire: pairs with the release in stack_locked */
    return atomic_load_explicit(&newest, memory_order_acquire);
}
