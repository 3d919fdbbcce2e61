/* bound.c: see bound.h. */
#include "allocator/pages/bound.h"

#include "allocator/pages/release.h"
#include "allocator/pages/superslab_own.h"
#include "allocator/policy.h"

/* The free slabs of a class and a partition. dirty: slabs whose pages may be resident, the newest first; hollow
 * slabs may be in it, too. clean: the others. */
typedef struct slabs {
    hak_link dirty, clean;
    uint64_t asked; /* value of `asks` when such a slab was last requested */
} slabs;

static slabs plain[HAK_TAGS];    /* without a partition */
static slabs (*typed)[HAK_TAGS]; /* of partitions from 1 on */
static uint64_t asks;
static unsigned partitions; /* the highest that was opened */

static slabs *of(unsigned partition) {
    return partition == 0 ? plain : typed[partition - 1];
}

static void begin(unsigned partition) {
    slabs *its = of(partition);
    for (unsigned cls = 0; cls < HAK_TAGS; cls++) {
        hak_list_init(&its[cls].dirty);
        hak_list_init(&its[cls].clean);
        its[cls].asked = 0;
    }
}

void hak_bound_init(void) {
    asks = 0;
    partitions = 0;
    begin(0);
}

bool hak_bound_open(unsigned partition) {
    static hak_extent table;
    if (HAK_LIKELY(partition <= partitions))
        return true;
    if (!hak_region_reach(&table, sizeof typed[0], HAK_POLICY_PARTITIONS, partition))
        return false;
    typed = (slabs(*)[HAK_TAGS])table.start;
    while (partitions < partition)
        begin(++partitions);
    return true;
}

static slabs *slabs_of(const hak_slab *slab) {
    return &of(hak_shard_partition(slab->shard))[slab->cls];
}

void hak_bound_add(hak_slab *slab) {
    hak_list_push(&slabs_of(slab)->dirty, &slab->link);
}

hak_slab *hak_bound_find(unsigned cls, unsigned partition) {
    slabs *its = &of(partition)[cls];
    its->asked = ++asks;
    hak_link *list = hak_list_empty(&its->dirty) ? &its->clean : &its->dirty;
    return hak_list_empty(list) ? NULL : HAK_OWNER_OF(list->next, hak_slab, link);
}

void hak_bound_remove(hak_slab *slab) {
    hak_list_remove(&slab->link);
}

void hak_bound_clean(hak_slab *slab) {
    hak_list_remove(&slab->link);
    hak_list_push_back(&slabs_of(slab)->clean, &slab->link);
}

/* The class of a partition with pages to purge that requested a slab longest ago; NULL: none. */
static slabs *idlest(void) {
    slabs *found = NULL;
    for (unsigned partition = 0; partition <= partitions; partition++)
        for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
            slabs *its = &of(partition)[cls];
            if (!hak_list_empty(&its->dirty) && (found == NULL || its->asked < found->asked))
                found = its;
        }
    return found;
}

/* Purges the slab's pages and adds their bytes to *purged. False: the OS refused. */
static bool purge_one(hak_slab *slab, size_t *purged) {
    hak_superslab *superslab = hak_superslab_of(slab);
    *purged += hak_superslab_unmap(superslab);
    uint32_t mask = hak_slab_mask(slab) & superslab->dirty_mask;
    /* The dirty granules are one run: those of a part, or all from the first on. */
    size_t bytes = (size_t)__builtin_popcount(mask) * HAK_GRANULE;
    if (mask != 0 && !hak_release_range(superslab->start + (size_t)hak_lowest_bit(mask) * HAK_GRANULE, bytes))
        return false;
    hak_policy_slab_purged(slab);
    superslab->dirty_mask &= ~mask;
    hak_counter_sub(&hak_superslab_free_dirty, bytes);
    *purged += bytes;
    hak_list_remove(&slab->link);
    hak_list_push(&slabs_of(slab)->clean, &slab->link);
    return true;
}

size_t hak_bound_purge(size_t keep) {
    size_t purged = 0;
    for (slabs *its = idlest();
         its != NULL && atomic_load_explicit(&hak_superslab_free_dirty, memory_order_relaxed) > keep;
         its = idlest())
        if (!purge_one(HAK_OWNER_OF(its->dirty.prev, hak_slab, link), &purged))
            break;
    return purged;
}

static HAK_WALKER void check_list(const hak_link *list, const slabs *its,
                                  void (*each)(const hak_slab *slab)) {
    for (const hak_link *link = list->next; link != list; link = link->next) {
        const hak_slab *slab = HAK_OWNER_OF(link, hak_slab, link);
        HAK_CHECK(slabs_of(slab) == its && slab->state == HAK_SLAB_UNUSED, "slab in the list of its class");
        each(slab);
    }
}

HAK_WALKER void hak_bound_check(void (*each)(const hak_slab *slab)) {
    for (unsigned partition = 0; partition <= partitions; partition++)
        for (unsigned cls = 0; cls < HAK_TAGS; cls++) {
            const slabs *its = &of(partition)[cls];
            check_list(&its->dirty, its, each);
            check_list(&its->clean, its, each);
        }
}
