/* prove_size_class.c: the tables of allocator/pages/size_class.c. */
#include "proofs/proofs.h"

#include "allocator/pages/size_class.c"

/* Proves: a size's class is the smallest that holds it
 * For: all 262,145 sizes, with the guard's page
 * Mutant: coarse_class_rounds_down
 * Flags: -DHAK_HARDENED=1 --unwind 2051 --no-standard-checks */
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
 * Flags: -DHAK_HARDENED=1 --unwind 2051 --no-standard-checks */
void prove_class_aligned(void) {
    hak_size_class_init(4096);
    size_t size = nondet_size(), align = (size_t)1 << (nondet_unsigned() % 64);
    unsigned cls = hak_class_aligned(align, size);
    PROVE(cls <= HAK_CLASSES);
    PROVE(cls == 0 || (hak_classes[cls].size >= size && hak_classes[cls].size % align == 0));
    PROVE(cls != 0 || size > HAK_SLAB_SIZE_MAX - align + 1 || align > HAK_SLAB_SIZE_MAX);
}

/* Proves: the slot's index by the reciprocal is the quotient
 * For: every byte of the slabs of classes 3, 17, 50 and 125; size_class_test has all
 * Mutant: reciprocal_rounded_down
 * Flags: -DHAK_HARDENED=1 --unwind 2051 --no-standard-checks */
void prove_slot_index(void) {
    static const unsigned some[] = {3, 17, 50, 125};
    hak_size_class_init(4096);
    for (unsigned i = 0; i < sizeof some / sizeof some[0]; i++) {
        const hak_class_info *info = &hak_classes[some[i]];
        uint32_t offset = nondet_u32();
        ASSUME(offset < info->slab_bytes);
        uint64_t slot = hak_slot_index(info, offset), size = info->size;
        PROVE(slot * size <= offset && offset < (slot + 1) * size);
    }
}
