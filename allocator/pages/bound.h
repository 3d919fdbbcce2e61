/* bound.h: free slabs that stay with their class and their partition, where the policy wants that
 * (HAK_POLICY_CLASS_BOUND). Layer 2.
 *
 * The addresses of such a slab wait for its class for ever, its pages do not. Pages go first from the class
 * that asked for a slab longest ago, and there from the slab that was freed first. The superslab lock is held
 * for all calls here. */
#ifndef HAK_BOUND_H
#define HAK_BOUND_H

#include "allocator/pages/superslab.h"

void hak_bound_init(void);

/* Adds a slab that was just freed; its pages may be resident. */
void hak_bound_add(hak_slab *slab);

/* The partition's slabs may be given and asked for from now on; false when the OS has no memory for its lists. */
bool hak_bound_open(unsigned partition);

/* Of the class and the partition: the slab that was freed last, or one whose pages are gone; it stays listed. NULL:
 * none. */
hak_slab *hak_bound_find(unsigned cls, unsigned partition);
void hak_bound_remove(hak_slab *slab);

/* Purges such slabs until at most `keep` bytes of hak_superslab_free_dirty are left. Returns bytes. */
size_t hak_bound_purge(size_t keep);

/* Calls `each` for all of these slabs; dies when one is in the wrong list. For tests. */
void hak_bound_check(void (*each)(const hak_slab *slab));

#endif
