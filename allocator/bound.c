/* bound.c: see bound.h. */
#include "allocator/bound.h"

#include "allocator/release.h"

/* Those whose pages may be resident, the newest first; and the others. What was made hollow may stand in the first
 * list still. */
static hak_link dirty[HAK_TAGS], clean[HAK_TAGS];
static uint64_t asked[HAK_TAGS], asks; /* when a slab of the class was asked for, by a count of that */

void hak_bound_init(void) {
    asks = 0;
    for (unsigned cls = 0; cls < HAK_TAGS; cls++) {
        hak_list_init(&dirty[cls]);
        hak_list_init(&clean[cls]);
        asked[cls] = 0;
    }
}

void hak_bound_add(hak_slab *slab) {
    hak_list_push(&dirty[slab->cls], &slab->link);
}

hak_slab *hak_bound_find(unsigned cls) {
    asked[cls] = ++asks;
    hak_link *list = hak_list_empty(&dirty[cls]) ? &clean[cls] : &dirty[cls];
    return hak_list_empty(list) ? NULL : HAK_OWNER_OF(list->next, hak_slab, link);
}

void hak_bound_remove(hak_slab *slab) {
    hak_list_remove(&slab->link);
}

/* The class that has asked longest ago, of those with pages to give; 0: there is none. */
static unsigned idlest(void) {
    unsigned found = 0;
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        if (!hak_list_empty(&dirty[cls]) && (found == 0 || asked[cls] < asked[found]))
            found = cls;
    return found;
}

/* Gives the slab's pages back, *purged bytes more; false when the OS refuses. */
static bool purge_one(hak_slab *slab, size_t *purged) {
    hak_superslab *superslab = hak_superslab_of(slab);
    uint32_t mask = hak_slab_mask(slab) & superslab->dirty_mask;
    uint32_t memory = hak_slab_memory(slab);
    unsigned first = hak_lowest_bit(memory) - (unsigned)(slab - superslab->slabs);
    if (mask != 0 && !hak_release_range(slab->start + first * (size_t)HAK_GRANULE,
                                        (size_t)__builtin_popcount(memory) * HAK_GRANULE))
        return false;
    superslab->dirty_mask &= ~mask;
    size_t bytes = (size_t)__builtin_popcount(mask) * HAK_GRANULE;
    hak_counter_sub(&hak_superslab_free_dirty, bytes);
    *purged += bytes;
    hak_list_remove(&slab->link);
    hak_list_push(&clean[slab->cls], &slab->link);
    return true;
}

size_t hak_bound_purge(size_t keep) {
    size_t purged = 0;
    for (unsigned cls = idlest();
         cls != 0 && atomic_load_explicit(&hak_superslab_free_dirty, memory_order_relaxed) > keep;
         cls = idlest())
        if (!purge_one(HAK_OWNER_OF(dirty[cls].prev, hak_slab, link), &purged))
            break;
    return purged;
}

static HAK_WALKER void check_list(const hak_link *list, unsigned cls, void (*each)(const hak_slab *slab)) {
    for (const hak_link *link = list->next; link != list; link = link->next) {
        const hak_slab *slab = HAK_OWNER_OF(link, hak_slab, link);
        HAK_CHECK(slab->cls == cls && slab->state == HAK_SLAB_UNUSED, "slab in the list of its class");
        each(slab);
    }
}

HAK_WALKER void hak_bound_check(void (*each)(const hak_slab *slab)) {
    for (unsigned cls = 0; cls < HAK_TAGS; cls++) {
        check_list(&dirty[cls], cls, each);
        check_list(&clean[cls], cls, each);
    }
}
