/* held.c: counts what the hardened variant holds back, for statistics (hooks hak_policy_held,
 * hak_policy_held_large). */
#include "allocator/policy.h"

#include "allocator/os/os.h"
#include "hardening/common.h"
#include "hardening/ring.h"

/* The number of places of the class's ring that hold an object. A ring fills from its start; when its last place is in
 * use, all are. A ring below its floor may be a front, which has empty places anywhere. */
static size_t ring_count(const hak_ring *ring, unsigned cls) {
    uint32_t limit = HAK_GLANCE(ring->limit);
    if (limit == 0)
        return 0;
    if (limit >= hak_ring_floor(cls))
        return HAK_GLANCE(ring->slots[limit - 1]) != NULL
                   ? limit
                   : hak_min(limit, (size_t)(HAK_GLANCE(ring->in) - ring->slots));
    size_t count = 0;
    for (uint32_t i = 0; i < limit; i++)
        count += HAK_GLANCE(ring->slots[i]) != NULL;
    return count;
}

static size_t swap_count(void *const *swap) {
    size_t count = 0;
    for (unsigned i = 0; i < HAK_SWAP_PLACES; i++)
        count += HAK_GLANCE(swap[i]) != NULL;
    return count;
}

static void count_sample(hak_held *held, const hak_sample *sample) {
    held->own_objects++;
    held->own_bytes += hak_align_up(sample->size, hak_os_page);
}

void hak_harden_held_large(hak_held_large *held) {
    held->objects += atomic_load_explicit(&hak_keep_objects, memory_order_relaxed);
    held->bytes += atomic_load_explicit(&hak_keep_bytes, memory_order_relaxed);
}

void hak_harden_held(hak_held *held) {
    hak_harden_held_large(&held->large);
    hak_lock_take(&hak_hardening_lock);
    for (hak_guarded *state = hak_guarded_all; state != NULL; state = state->next)
        for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
            held->slots[cls] += ring_count(&state->rings[cls], cls) + swap_count(state->swaps[cls]);
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        held->slots[cls] += hak_common_count(cls);
    hak_lock_give(&hak_hardening_lock);
    unsigned at = 0, before;
    do {
        before = at;
        const hak_sample *sample = hak_sample_next(&at);
        if (sample != NULL && at > before)
            count_sample(held, sample);
    } while (at > before);
}
