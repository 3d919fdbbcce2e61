/* tag.h: the flat table from an address to what lies there. Layer 2.
 *
 *     address  0x00007f2a_41c8_2340
 *                        |______| 64 KiB granule number = index
 *     tag      one byte per granule of the whole user address space, a class or one of the HAK_TAG_ values
 *
 * One load gives the tag of every pointer that a program is likely to hold. The whole table would be 2 GiB
 * (x86-64). It has address space of that size, and only parts of it are mapped: what describes our memory, 4
 * KiB for each 256 MiB; and what describes the surroundings of the program, its libraries and its stack, where
 * memory that was never ours reads as HAK_TAG_NONE. For a pointer to anywhere else the load faults in the speed
 * variant, as reading through the pointer would; the hardened variant asks the regions first
 * (docs/decisions/022).
 *
 * Tags change under the superslab lock or the large lock. Readers take no lock: a thread with a live object has
 * synchronised with its allocation, and the object's tag does not change while it lives. */
#ifndef HAK_TAG_H
#define HAK_TAG_H

#include "allocator/pages/size_class.h"

extern HAK_HIDDEN uint8_t *hak_tags;

/* Maps the table. False: no address space for it. Called once. */
bool hak_tag_init(void);

/* Makes the tags of [addr, addr + size) writable. False: the OS refused; tags that are writable stay so.
 * Guarded by the region lock. */
bool hak_tag_cover(uintptr_t addr, size_t size);

/* After hak_tag_cover up to `end`: the address up to which all tags are writable. */
uintptr_t hak_tag_covered_to(uintptr_t end);

HAK_INLINE unsigned hak_tag_of(const void *obj) {
    return hak_tags[(uintptr_t)obj >> HAK_GRANULE_SHIFT];
}

/* As hak_tag_of, for callers without a live object there: the tag may change at any time. */
HAK_INLINE unsigned hak_tag_glance(uintptr_t addr) {
    return HAK_GLANCE(hak_tags[addr >> HAK_GRANULE_SHIFT]);
}

/* Sets the tag of the granule that contains `addr`. */
HAK_INLINE void hak_tag_set_one(uintptr_t addr, unsigned tag) {
    HAK_SHOW(hak_tags[addr >> HAK_GRANULE_SHIFT], (uint8_t)tag);
}

/* Sets the tags of all granules in [addr, addr + size). */
void hak_tag_set(uintptr_t addr, size_t size, unsigned tag);

#endif
