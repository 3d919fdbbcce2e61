/* huge.h: large memory that is used over and over, and densely, becomes huge pages. Layer 3.
 *
 * What a region grows by is asked for as huge pages where what it grew by before is dense (region.c). Objects that
 * touch little of themselves make their memory dense only as they follow one another in it. That is looked at here,
 * more and more seldom: each time half as many bytes again were handed out a second time. Large lock held. */
#ifndef HAK_HUGE_H
#define HAK_HUGE_H

#include "allocator/pages/region.h"

void hak_huge_init(void);

/* So many bytes of memory that was used before have a new owner. */
void hak_huge_turned(size_t bytes);

#endif
