/* fuzz_size_class.c: the class of a size is the smallest that holds it and wastes no more than size_class.h
 * promises; the class of an alignment has aligned slots; a slot's index is found without a division. Input: per case
 * 8 bytes of size, 1 of log2 of the alignment, 2 of offset. */
#include "allocator/life/reset.h"
#include "allocator/pages/size_class.h"
#include "fuzz/bytes.h"
#include "fuzz/engine.h"

/* The documented steps: 16 up to 256, then an eighth, from 8 KiB on a quarter of the power of two below. */
static size_t most_wasted(size_t size) {
    if (size <= 256)
        return 15;
    size_t power = (size_t)1 << (63 - __builtin_clzll(size - 1));
    return power / (size <= 8192 ? 8 : 4) - 1;
}

static void verify_size(size_t size) {
    unsigned cls = hak_class_of(size);
    BYTES_RULE(cls >= 1 && cls <= HAK_CLASSES, "a size has a class");
    BYTES_RULE(hak_classes[cls].size >= size, "the class holds the size");
    unsigned below = cls - 1 - (cls > 2 && hak_class_whole(cls - 1) != cls - 1); /* no class is split */
    BYTES_RULE(cls == 1 || hak_classes[below].size < size, "no smaller class holds it");
    BYTES_RULE(size == 0 || hak_classes[cls].size - size <= most_wasted(size),
               "no more is wasted than the head says");
}

static void verify_aligned(size_t align, size_t size) {
    unsigned cls = hak_class_aligned(align, size);
    bool possible = size <= HAK_SLAB_SIZE_MAX && align <= HAK_SLAB_SIZE_MAX;
    BYTES_RULE(cls <= HAK_CLASSES && (cls == 0) == !possible,
               "an aligned class is there when both fit in a slab");
    if (cls == 0)
        return;
    BYTES_RULE(hak_classes[cls].size >= size, "the aligned class holds the size");
    BYTES_RULE(hak_classes[cls].size % align == 0, "the slots of an aligned class are aligned");
    BYTES_RULE(hak_classes[cls].slab_bytes % align == 0 || align > hak_classes[cls].slab_bytes,
               "and so are its slabs");
}

static void verify_slots(unsigned cls, uint32_t offset) {
    const hak_class_info *info = &hak_classes[cls];
    BYTES_RULE((size_t)info->slots * info->size <= info->slab_bytes, "the slots fit in the slab");
    BYTES_RULE(info->slots >= 7, "a slab has slots"); /* eight, or one less where a guard takes its room */
    offset %= info->slab_bytes;
    BYTES_RULE(hak_slot_index(info, offset) == offset / info->size, "the slot's index is offset / size");
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    hak_test_reset(HAK_RESET_KEPT); /* what happens once per process is no part of an input */
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    bytes_reader in = {bytes, bytes + length};
    while (bytes_left(&in)) {
        size_t any = bytes_u64(&in), size = any % (HAK_SLAB_SIZE_MAX + 1);
        unsigned align_log2 = bytes_u8(&in) % 48;
        verify_size(size);
        verify_aligned((size_t)1 << align_log2, align_log2 & 1 ? any : size);
        verify_slots(hak_class_of(size), bytes_u16(&in) * 33);
    }
    return 0;
}
