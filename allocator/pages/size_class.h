/* size_class.h: which class serves a size, and the layout of the slabs of each class. Layer 2.
 *
 * Classes are numbered from 1; their number is what the tag table holds. Slot sizes (bytes):
 *   classes  1..16   16, 32 .. 256            steps of 16
 *   classes 17..125  272, 288 .. 262144       eight per doubling, an eighth apart, and halves between those where an
 *                                             eighth is much: the lower three, of most doublings
 *
 * A half takes part only when the class above it has many slabs: rounding up wastes up to 12.5 % without halves
 * and 8.3 % with them, but while there are few objects an additional slab costs more than that.
 *
 * If the slot size of a class is a multiple of a power of two A, every slot of the class is aligned to A.
 * hak_size_class_init fills the tables; only hak_size_class_split and _unsplit change them later. */
#ifndef HAK_SIZE_CLASS_H
#define HAK_SIZE_CLASS_H

#include "allocator/base/bits.h"
#include "allocator/base/check.h"

enum {
    HAK_CLASSES = 125, /* classes 1 to HAK_CLASSES */

    /* Tags that are no class. Their bins are always empty and full at once, so the fast paths leave. */
    HAK_TAG_NONE = 0, /* not ours, or inside a large object */
    HAK_TAG_LARGE = HAK_CLASSES + 1,
    HAK_TAG_TYPED =
        HAK_CLASSES + 2, /* never in the tag table: the hardened variant's tag for an object of a partition */
    HAK_TAGS = HAK_CLASSES + 3,

    /* With the heap profile on, the tables from sizes to classes name rations instead of bins (ration.h). */
    HAK_RATIONS_FROM = HAK_TAGS - 1,
    HAK_BINS = HAK_TAGS + HAK_CLASSES, /* bins and rations */

    HAK_FINE_MAX = 1024,               /* up to here the class table has an entry per byte */
    HAK_SLAB_SIZE_MAX = 256 * HAK_KIB, /* up to here objects live in slabs; above they are large */
    HAK_COARSE_SHIFT = 6,              /* log2 of the bytes per entry of the table for sizes in between */
};

/* The description of a class. */
typedef struct hak_class_info {
    uint64_t reciprocal; /* ceil(2^40 / size), see hak_slot_index */
    uint32_t size;       /* bytes of a slot */
    uint32_t slots;      /* in a slab */
    uint32_t slab_bytes; /* a power of two of granules; slabs are aligned to it */
    uint32_t bin_cap;    /* the bin cap: most objects in a thread's bin of this class */
    uint32_t bin_start;  /* index of the bin's first entry in a cache */
} hak_class_info;

extern HAK_HIDDEN hak_class_info hak_classes[HAK_TAGS];
/* Number of entries of all bins of a cache, the NULL below each bin included. */
extern uint32_t hak_class_bin_entries;
extern HAK_HIDDEN uint8_t hak_class_fine[HAK_FINE_MAX + 1]; /* read by HAK_GLANCE, like the next table */
extern HAK_HIDDEN uint8_t hak_class_coarse[(HAK_SLAB_SIZE_MAX >> HAK_COARSE_SHIFT) + 1];

/* Fills the tables. `guard_bytes`: bytes at the end of each slab that hold no slot. */
void hak_size_class_init(size_t guard_bytes);

/* hak_size_class_split lets the half below `cls` take the sizes that fit; does nothing when there is no such
 * half or it takes part already. The superslab lock is held. hak_size_class_unsplit: no half takes part. */
void hak_size_class_split(unsigned cls);
void hak_size_class_unsplit(void);
/* Number of changes of the tables. */
extern _Atomic unsigned hak_class_splits;
/* The class that serves the sizes of `cls` without halves: `cls` itself, or the class above when `cls` is a
 * half. */
unsigned hak_class_whole(unsigned cls);

/* The class that serves `size`, above HAK_FINE_MAX and at most HAK_SLAB_SIZE_MAX bytes. */
HAK_INLINE unsigned hak_class_of_coarse(size_t size) {
    return HAK_GLANCE(hak_class_coarse[(size + (1u << HAK_COARSE_SHIFT) - 1) >> HAK_COARSE_SHIFT]);
}

/* The ration of a class; the class of a bin or a ration. */
#define HAK_RATION_OF(cls) ((cls) + HAK_RATIONS_FROM)
HAK_INLINE unsigned hak_class_behind(unsigned bin) {
    return bin > HAK_RATIONS_FROM ? bin - HAK_RATIONS_FROM : bin;
}

/* The class that serves `size`, at most HAK_SLAB_SIZE_MAX bytes. */
HAK_INLINE unsigned hak_class_of(size_t size) {
    HAK_ASSERT(size <= HAK_SLAB_SIZE_MAX);
    if (size <= HAK_FINE_MAX)
        return HAK_GLANCE(hak_class_fine[size]);
    return hak_class_behind(hak_class_of_coarse(size));
}

/* Makes hak_class_of_coarse return rations from now on. */
void hak_size_class_rations(void);

/* The smallest class whose slots are aligned to `align` and hold `size`; 0 when there is none. */
unsigned hak_class_aligned(size_t align, size_t size);

/* The index of the slot that contains byte `offset` of a slab: offset / size without a division. Exact for
 * every byte: the reciprocal is too large by less than 1 and offset is below 2^21, so the product is too large
 * by less than 2^21, and the quotient by less than 2^-19 <= 1 / (2 * size). */
HAK_INLINE uint32_t hak_slot_index(const hak_class_info *info, uint32_t offset) {
    return (uint32_t)((offset * info->reciprocal) >> 40);
}

/* The start of the slab that contains `addr`, whose tag is `cls`. */
HAK_INLINE uintptr_t hak_slab_start(unsigned cls, uintptr_t addr) {
    return hak_align_down(addr, hak_classes[cls].slab_bytes);
}

#endif
