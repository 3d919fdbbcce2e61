/* size_class.c: fills the tables of size_class.h. */
#include "allocator/pages/size_class.h"

#include "allocator/policy.h"

hak_class_info hak_classes[HAK_TAGS];
uint32_t hak_class_bin_entries;
uint8_t hak_class_fine[HAK_FINE_MAX + 1];
uint8_t hak_class_coarse[(HAK_SLAB_SIZE_MAX >> HAK_COARSE_SHIFT) + 1];

enum {
    /* A slab has room for at least this many slots, so that a 256 KiB class fills one superslab. */
    MIN_SLOTS = 8,

    /* And where slots have pages of their own, so that a longer slab has no more of them resident, at most this part
     * of it lies behind the last slot. */
    PAGES_FROM = 4 * HAK_KIB,
    TAIL_PART = 32,

    /* A bin may hold this many bytes, but at least BIN_CAP_MIN and at most BIN_CAP_MAX objects. The bytes are what
     * workload d needs to stay in its bins (half as many: a tenth slower, and 0.6 MiB more resident); more objects than
     * these bought no speed in workloads g, i, larson and xmalloc, and cost up to 3 MiB of peak RSS in workload g. */
    BIN_BYTES = 512 * HAK_KIB,
    BIN_CAP_MIN = 4,
    BIN_CAP_MAX = 64,
};

/* The slot size after `size`. */
static size_t next_size(size_t size) {
    if (size < 256)
        return size + 16;
    return size + ((size_t)1 << hak_log2(size)) / 8;
}

/* Bytes of a slab that no slot has. */
static size_t tail(size_t slab, size_t size, size_t guard_bytes) {
    return slab - (slab - guard_bytes) / size * size;
}

static void describe(hak_class_info *info, size_t size, size_t guard_bytes) {
    size_t slab = HAK_GRANULE;
    size_t slots = size <= HAK_POLICY_SLAB_SLOTS_SIZE ? hak_max(MIN_SLOTS, HAK_POLICY_SLAB_SLOTS) : MIN_SLOTS;
    while (slab < slots * size ||
           (size > PAGES_FROM && slab < HAK_SUPERSLAB && tail(slab, size, guard_bytes) > slab / TAIL_PART))
        slab *= 2;
    info->size = (uint32_t)size;
    info->reciprocal = ((1ull << 40) + size - 1) / size;
    info->slab_bytes = (uint32_t)slab;
    info->slots = (uint32_t)((slab - guard_bytes) / size);
    info->bin_cap = (uint32_t)hak_max(BIN_CAP_MIN, hak_min(BIN_BYTES / size, BIN_CAP_MAX));
}

void hak_size_class_init(size_t guard_bytes) {
    size_t size = 0, fine = 0, coarse = 0;
    uint32_t start = 1; /* entry 0 of a cache's arrays is the NULL below the first bin */
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        hak_class_info *info = &hak_classes[cls];
        size = next_size(size);
        describe(info, size, guard_bytes);
        info->bin_start = start;
        start += info->bin_cap + 1; /* and a NULL below the next bin */
        for (; fine <= size && fine <= HAK_FINE_MAX; fine++)
            hak_class_fine[fine] = (uint8_t)cls;
        for (; coarse << HAK_COARSE_SHIFT <= size && coarse < sizeof hak_class_coarse; coarse++)
            hak_class_coarse[coarse] = (uint8_t)cls;
    }
    hak_class_bin_entries = start;
    HAK_CHECK(size == HAK_SLAB_SIZE_MAX, "size classes do not end at the largest slab size");
}

void hak_size_class_rations(void) {
    for (size_t i = 0; i < sizeof hak_class_coarse; i++)
        hak_class_coarse[i] = (uint8_t)HAK_RATION_OF(hak_class_behind(hak_class_coarse[i]));
}

unsigned hak_class_aligned(size_t align, size_t size) {
    size_t rounded;
    if (!hak_align_up_checked(hak_max(size, align), hak_min(align, HAK_SLAB_SIZE_MAX), &rounded) ||
        rounded > HAK_SLAB_SIZE_MAX || align > HAK_SLAB_SIZE_MAX)
        return 0;
    /* Its size is a multiple of the alignment, as `rounded` is: classes are a power of two apart, and where that is
     * less than the alignment, `rounded` is itself the size of a class. */
    return hak_class_of(rounded);
}
