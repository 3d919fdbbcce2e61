/* typed.c: see typed.h. */
#include "hardening/typed.h"

#include "allocator/os/os.h"
#include "allocator/policy.h"
#include "hardening/canary.h"
#include "hardening/ring.h"
#include "hardening/sample.h"
#include "hardening/stain.h"
#include "hardening/wipe.h"

void hak_typed_init(void) {
    static const uint64_t known[2] = {0x9e3779b97f4a7c15, 0xd1342543de82ef95}; /* fixed for tests */
    hak_os_random(hak_hardening.partition_keys, sizeof hak_hardening.partition_keys);
    for (int i = 0; i < 2; i++)
        hak_hardening.partition_keys[i] = HAK_DEBUG_BUILD ? known[i] : hak_hardening.partition_keys[i] | 1;
}

unsigned hak_typed_partition_of_slot(const void *obj, unsigned *cls) {
    const hak_granule *granule = hak_granule_find((uintptr_t)obj);
    HAK_CHECK(granule != NULL, "a slot without a slab");
    *cls = granule->cls;
    return granule->partition;
}

unsigned hak_typed_partition_of(const void *obj) {
    const hak_granule *granule = hak_granule_find((uintptr_t)obj);
    if (granule != NULL)
        return granule->partition;
    const hak_region *region = hak_region_find((uintptr_t)obj);
    if (region != NULL)
        return region->kind >= HAK_REGION_TYPED ? region->kind - HAK_REGION_TYPED + 1u : 0;
    const hak_sample *sample = hak_sample_find(obj);
    return sample != NULL ? sample->partition : 0;
}

/* The calling thread's quarantine for partitions, created if needed; NULL: no memory, or the thread has not
 * begun or has ended. */
static hak_guarded *quarantine(void) {
    hak_guarded *mine = hak_guarded_mine;
    if (HAK_LIKELY(mine->other != NULL) || mine->owner == 0)
        return mine->other;
    hak_quarantine_begin(true);
    hak_guarded *typed = hak_guarded_mine;
    hak_guarded_mine = mine;
    if (typed == mine)
        return NULL;
    typed->other = mine;
    mine->other = typed;
    return typed;
}

void hak_typed_swapped(void (*does)(void)) {
    hak_guarded *mine = hak_guarded_mine;
    if (mine->other == NULL)
        return;
    hak_guarded_mine = mine->other;
    does();
    hak_guarded_mine = mine;
}

void hak_typed_thread_ends(void) {
    hak_guarded *mine = hak_guarded_mine, *typed = mine->other;
    if (typed == NULL)
        return;
    mine->other = NULL;
    hak_guarded_mine = typed;
    hak_quarantine_end();
    hak_guarded_mine = mine;
}

/* As hak_ring_exchange. Nothing is reported meanwhile, so no jump out of a report can leave the swapped state. */
static void *exchange(hak_guarded *typed, void *obj, unsigned cls, size_t size) {
    hak_guarded *mine = hak_guarded_mine;
    hak_guarded_mine = typed;
    void *out = hak_ring_exchange(typed, obj, cls, size);
    hak_guarded_mine = mine;
    return out;
}

void *hak_typed_end(void *obj, const hak_granule *granule, hak_record *record, uint32_t word,
                    const char *call) {
    hak_guarded *typed = quarantine();
    uint32_t freed = hak_record_freed(typed != NULL ? typed->owner : 0, word);
    freed |= hak_mte_freed(obj, granule->size);
    if (hak_hardening.zero) {
        hak_record_hold(record, freed);
        if (HAK_UNLIKELY(
                !hak_hardening.wipe.finish(obj, hak_record_size(word) + HAK_CANARY_BYTES, granule->size))) {
            if (hak_hardening.canary)
                hak_stain_slack(obj, hak_record_size(word), granule->size, call);
            hak_hardening.wipe.clear(obj, granule->size);
        }
        hak_record_end(record);
    } else
        hak_record_store(record, freed);
    if (typed == NULL)
        return hak_ring_common(obj, granule->cls, true);
    return exchange(typed, obj, granule->cls, granule->size);
}

void *hak_typed_first(void *obj) {
    hak_guarded *typed = quarantine();
    const hak_granule *granule = hak_granule_find((uintptr_t)obj);
    hak_place place;
    if (granule == NULL || !hak_granule_place(granule, obj, &place))
        return obj;
    if (typed == NULL)
        return hak_ring_common(obj, granule->cls, true);
    hak_record_store(place.record, hak_record_freed(typed->owner, hak_record_load(place.record)));
    return exchange(typed, obj, granule->cls, place.size);
}

static void seed(void) {
    hak_rng_seed(&hak_guarded_mine->rng);
    hak_guarded_mine->draws_left = 0;
    hak_guarded_mine->shuffle_due = true;
    hak_guarded_mine->swap_next = UINT8_MAX;
    hak_ring_draw(hak_guarded_mine);
}

/* As hak_quarantine_fork_child. */
void hak_typed_fork_child(void) {
    hak_typed_swapped(seed);
}
