/* usage.c: see usage.h. */
#include "allocator/api/usage.h"

#include "allocator/cache/cache.h"
#include "allocator/heap/large.h"
#include "allocator/pages/release.h"
#include "allocator/policy.h"

/* High-water marks depend on earlier inputs, so a fuzzer must not count them as coverage. */
#if defined(__clang__)
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), apply_to = function)
#endif

static _Atomic size_t arena_max, large_count_max, large_bytes_max;

static size_t load(const _Atomic size_t *counter) {
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* from - what, or 0: the two numbers were not read at the same time. */
static size_t less(size_t from, size_t what) {
    return from > what ? from - what : 0;
}

/* Raises the maximum to `to` at least, and returns it. */
static size_t raise(_Atomic size_t *maximum, size_t to) {
    size_t was = load(maximum);
    while (was < to && !atomic_compare_exchange_weak_explicit(maximum, &was, to, memory_order_relaxed,
                                                              memory_order_relaxed))
        ;
    return hak_max(was, to);
}

static size_t free_bytes(void) {
    return load(&hak_superslab_free_dirty) + load(&hak_release_large_dirty);
}

static hak_usage_part live_large(const hak_held_large *held) {
    return (hak_usage_part){less(load(&hak_large_count), held->objects),
                            less(load(&hak_release_large_live), held->bytes)};
}

/* `own`: bytes of the policy's own objects. */
static size_t arena_of(size_t own) {
    return load(&hak_superslab_live_bytes) + free_bytes() + own;
}

void hak_usage_note_large(void) {
    hak_held_large held = {.bytes = 0};
    hak_policy_held_large(&held);
    hak_usage_part large = live_large(&held);
    (void)raise(&large_count_max, large.count);
    (void)raise(&large_bytes_max, large.bytes);
}

void hak_usage_note_arena(void) {
    (void)raise(&arena_max, arena_of(0));
}

static void add_class(hak_usage *out, unsigned cls, const hak_depot_free *depots, const size_t *cached,
                      const hak_held *held) {
    size_t size = hak_classes[cls].size, aside = cached[cls] + held->slots[cls];
    size_t used = less(load(&hak_cache_out[cls]), aside);
    out->used.count += used;
    out->used.bytes += used * size;
    out->set_aside.count += aside;
    out->set_aside.bytes += aside * size;
    out->rest.count += depots->slots[cls];
    out->used_of[cls] = (uint32_t)used;
    out->free_of[cls] = (uint32_t)(depots->slots[cls] + aside);
}

bool hak_usage_readable(unsigned patience) {
    const hak_lock *policy = hak_policy_lock(0); /* reading takes no other lock of the policy */
    return hak_lock_seen_free(&hak_cache_lock, &patience) && hak_depot_seen_free(&patience) &&
           (policy == NULL || hak_lock_seen_free(policy, &patience));
}

void hak_usage_read(hak_usage *out) {
    hak_depot_free depots;
    hak_held held = {.own_bytes = 0};
    size_t cached[HAK_TAGS] = {0};
    *out = (hak_usage){.arena = 0};
    hak_policy_held(&held);
    hak_cache_count(cached);
    hak_depot_count(&depots);
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        add_class(out, cls, &depots, cached, &held);
    out->used.count += held.own_objects;
    out->used.bytes += held.own_bytes;
    out->arena = arena_of(held.own_bytes);
    out->arena_max = raise(&arena_max, out->arena);
    out->rest.count += free_bytes() >> HAK_GRANULE_SHIFT;
    out->rest.bytes = less(less(out->arena, out->used.bytes), out->set_aside.bytes);
    out->large = live_large(&held.large);
    out->large_max.count = raise(&large_count_max, out->large.count);
    out->large_max.bytes = raise(&large_bytes_max, out->large.bytes);
    out->releasable = free_bytes() + depots.empty_bytes;
}

#if defined(__clang__)
#pragma clang attribute pop
#endif
