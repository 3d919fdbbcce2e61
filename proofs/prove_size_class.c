/* prove_size_class.c: the tables of allocator/size_class.c. */
#include "proofs/proofs.h"

#include "allocator/size_class.c"

/* Proves: a size's class is the smallest that holds it
 * For: all 262,145 sizes, with the guard's page
 * Mutant: coarse_class_rounds_down
 * Flags: --unwind 2051 --no-standard-checks */
void prove_class_of(void) {
    hak_size_class_init(4096);
    size_t size = nondet_size();
    ASSUME(size <= HAK_SLAB_SIZE_MAX);
    unsigned cls = hak_class_of(size);
    PROVE(cls >= 1 && cls <= HAK_CLASSES && hak_classes[cls].size >= size);
    PROVE(cls == 1 || hak_classes[cls - 1].size < size);
}

/* Proves: an aligned size's class has slots of that alignment that hold it, or there is none
 * For: all sizes of 64 bits, all 64 alignments
 * Mutant: aligned_class_too_small
 * Flags: --unwind 2051 --no-standard-checks */
void prove_class_aligned(void) {
    hak_size_class_init(4096);
    size_t size = nondet_size(), align = (size_t)1 << (nondet_unsigned() % 64);
    unsigned cls = hak_class_aligned(align, size);
    PROVE(cls <= HAK_CLASSES);
    PROVE(cls == 0 || (hak_classes[cls].size >= size && hak_classes[cls].size % align == 0));
    PROVE(cls != 0 || size > HAK_SLAB_SIZE_MAX - align + 1 || align > HAK_SLAB_SIZE_MAX);
}

/* Proves: the slot's index by the reciprocal is the quotient
 * For: every byte of the slabs of every class
 * Mutant: reciprocal_rounded_down
 * Flags: --unwind 2051 --no-standard-checks */
void prove_slot_index(void) {
    hak_size_class_init(4096);
    unsigned cls = nondet_unsigned();
    uint32_t offset = nondet_u32();
    ASSUME(cls >= 1 && cls <= HAK_CLASSES && offset < hak_classes[cls].slab_bytes);
    uint64_t slot = hak_slot_index(&hak_classes[cls], offset), size = hak_classes[cls].size;
    PROVE(slot * size <= offset && offset < (slot + 1) * size);
}
