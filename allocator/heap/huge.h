/* huge.h: turns large memory that is reused often, and densely, into huge pages. Layer 3.
 *
 * A region grows by huge pages where its earlier part is dense (region.c). Large objects that touch little of
 * their memory make it dense only as many of them follow one another. This file looks for such memory, at
 * growing intervals: each time half as many bytes again have been reused. The large lock is held. */
#ifndef HAK_HUGE_H
#define HAK_HUGE_H

#include "allocator/pages/region.h"

void hak_huge_init(void);

/* Notes that so many bytes of used memory have been handed out again. */
void hak_huge_turned(size_t bytes);

#endif
