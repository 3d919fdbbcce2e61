/* tag.h: the flat table from an address to what lies there. Layer 2.
 *
 *     address  0x00007f2a_41c8_2340
 *                        |______| 64 KiB granule number = index
 *     tag      one byte per granule of the whole user address space, a class or one of the HAK_TAG_ values
 *
 * One load answers for every pointer that a program is likely to hold. The table would be 2 GiB (x86-64); it has a
 * place of that size, and of it is mapped what describes memory of ours, 4 KiB for each 256 MiB, and what lies around
 * the program, its libraries and its stack, where whatever was never ours reads as HAK_TAG_NONE. A pointer to somewhere
 * else faults in the speed variant, as reading through it would; the hardened one asks the regions first
 * (docs/decisions/022).
 *
 * Tags change under the superslab or the large lock. Readers take none: whoever holds a live object has
 * synchronised with its allocation, and that object's tag does not change while it lives. */
#ifndef HAK_TAG_H
#define HAK_TAG_H

#include "allocator/pages/size_class.h"

extern HAK_HIDDEN uint8_t *hak_tags;

/* False when the address space does not have the table. Called once. */
bool hak_tag_init(void);

/* Makes the tags of [addr, addr + size) writable; false when the OS refuses: those that are stay so. Guarded by the
 * region lock. */
bool hak_tag_cover(uintptr_t addr, size_t size);

/* After hak_tag_cover up to `end`: the address up to which tags may be written. */
uintptr_t hak_tag_covered_to(uintptr_t end);

HAK_INLINE unsigned hak_tag_of(const void *obj) {
    return hak_tags[(uintptr_t)obj >> HAK_GRANULE_SHIFT];
}

/* The same for who owns nothing there: it may change meanwhile. */
HAK_INLINE unsigned hak_tag_glance(uintptr_t addr) {
    return HAK_GLANCE(hak_tags[addr >> HAK_GRANULE_SHIFT]);
}

/* Sets the tag of the granule that `addr` lies in. */
HAK_INLINE void hak_tag_set_one(uintptr_t addr, unsigned tag) {
    HAK_SHOW(hak_tags[addr >> HAK_GRANULE_SHIFT], (uint8_t)tag);
}

/* Sets the tags of all granules in [addr, addr + size). */
void hak_tag_set(uintptr_t addr, size_t size, unsigned tag);

#endif
