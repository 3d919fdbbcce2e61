/* bound.h: free slabs that stay with their class and their partition, where the policy wants that
 * (HAK_POLICY_CLASS_BOUND). Layer 2.
 *
 * The addresses of such a slab stay reserved for its class for ever, but its pages do not. A purge begins with
 * the class that requested a slab longest ago, and there with the slab that was freed first. The caller of each
 * function here holds the superslab lock. */
#ifndef HAK_BOUND_H
#define HAK_BOUND_H

#include "allocator/pages/superslab.h"

void hak_bound_init(void);

/* Adds a slab that was just freed; its pages may be resident. */
void hak_bound_add(hak_slab *slab);

/* From now on slabs of the partition may be added and requested. False: the OS has no memory for its lists. */
bool hak_bound_open(unsigned partition);

/* Finds the slab of the class and the partition that was freed last, or a clean one. It stays in its list.
 * NULL: none. */
hak_slab *hak_bound_find(unsigned cls, unsigned partition);
void hak_bound_remove(hak_slab *slab);

/* Moves a slab of which nothing is resident to the end of those. */
void hak_bound_clean(hak_slab *slab);

/* Purges such slabs until at most `keep` bytes of hak_superslab_free_dirty are left. Returns bytes. */
size_t hak_bound_purge(size_t keep);

/* Calls `each` for all of these slabs; dies when one is in the wrong list. For tests. */
void hak_bound_check(void (*each)(const hak_slab *slab));

#endif
