/* ring_pages.c: the pages of slots that rest in a thread's ring, when the thread has not freed any of the class for a
 * moment. The slots keep their places; they only rest without memory from then on. */
#include "allocator/heap/depot.h"
#include "hardening/ring_own.h"
#include "hardening/wipe.h"

/* Places. A ring above its floor may have more, and gives them up when memory is sparse. */
enum { PLACES_MOST = 2048 };

/* Adds the slots of the slab that rest at places [from, count) to the part, and marks these places as seen. A slot that
 * was written since it was freed is left as it is: it is reported when it is handed out. */
static void slab_part(const hak_slab *slab, void *const *slots, uint32_t from, uint32_t count, uint64_t *seen,
                      hak_slab_part *part) {
    const hak_class_info *info = &hak_classes[slab->cls];
    size_t bytes = slab->slots * (size_t)info->size;
    for (uint32_t i = from; i < count; i++) {
        size_t offset = (uintptr_t)slots[i] - slab->start;
        if (offset >= bytes)
            continue;
        seen[i / 64] |= (uint64_t)1 << (i % 64);
        if (!hak_wipe.is_clear(slots[i], info->size))
            continue;
        uint32_t slot = hak_slot_index(info, (uint32_t)offset);
        part->bits[slot / 64] |= (uint64_t)1 << (slot % 64);
        part->count++;
    }
}

void hak_ring_purge_around(const hak_guarded *mine, unsigned cls) {
    uint64_t seen[PLACES_MOST / 64] = {0};
    void *const *slots = mine->rings[cls].slots;
    uint32_t count = mine->rings[cls].limit;
    if (hak_ring_is_bare(cls) || count > PLACES_MOST || (HAK_DEBUG_BUILD && hak_quarantine_home != NULL))
        return;
    for (uint32_t i = 0; i < count; i++) {
        hak_slab *slab = NULL;
        if (slots[i] != NULL && (seen[i / 64] >> (i % 64) & 1) == 0)
            slab = hak_slab_find((uintptr_t)slots[i], cls);
        if (slab == NULL)
            continue;
        hak_slab_part part = {0};
        slab_part(slab, slots, i, count, seen, &part);
        if (part.count != 0)
            hak_depot_purge_slab(slab, &part);
    }
}
