/* size_class.c: fills the tables of size_class.h. */
#include "allocator/pages/size_class.h"

#include "allocator/policy.h"

hak_class_info hak_classes[HAK_TAGS];
uint32_t hak_class_bin_entries;
_Atomic unsigned hak_class_splits;
static bool rations;
uint8_t hak_class_fine[HAK_FINE_MAX + 1];
uint8_t hak_class_coarse[(HAK_SLAB_SIZE_MAX >> HAK_COARSE_SHIFT) + 1];

enum {
    /* A slab has room for at least this many slots, so that a 256 KiB class fills one superslab. */
    MIN_SLOTS = 8,

    /* For slots larger than PAGES_FROM, which have pages of their own, a longer slab has no more resident
     * pages. So at most this part of such a slab lies behind the last slot. */
    PAGES_FROM = 3 * HAK_KIB,
    TAIL_PART = 32,

    /* A bin may hold this many bytes, but at least BIN_CAP_MIN and at most BIN_CAP_MAX objects. Workload d
     * needs these bytes to stay in its bins: with half as many it was a tenth slower and 0.6 MiB more were
     * resident. More objects brought no speed in workloads g, i, larson and xmalloc, and cost up to 3 MiB of
     * peak RSS in workload g. */
    BIN_BYTES = 512 * HAK_KIB,
    BIN_CAP_MIN = 4,
    BIN_CAP_MAX = 64,
};

/* The slot size after `size`. */
static size_t next_size(size_t size) {
    if (size < 256)
        return size + 16;
    size_t base = (size_t)1 << hak_log2(size), step = base / 8;
    /* The halves that exist: the first one above 256, and the lower three of each later doubling. The halves
     * from 192 KiB to 208 KiB exist too, because nine slots of 208 KiB leave much of a slab unused. */
    bool halves =
        size < base + (base == 256 ? 1 : 3) * step || (size >= 192 * HAK_KIB && size < 208 * HAK_KIB);
    return size + (halves ? step / 2 : step);
}

/* True for a class that takes part only when the class above it is split. */
static bool is_half(unsigned cls) {
    size_t size = hak_classes[cls].size;
    return size > 256 && size % (((size_t)1 << hak_log2(size)) / 8) != 0;
}

/* Lets `cls` serve the sizes above `from` up to its own; the coarse table gets `name`, its bin or its ration. */
static void name(size_t from, unsigned cls, unsigned name) {
    size_t size = hak_classes[cls].size, step = (size_t)1 << HAK_COARSE_SHIFT;
    for (size_t at = from + 1; at <= hak_min(size, HAK_FINE_MAX); at++)
        HAK_SHOW(hak_class_fine[at], (uint8_t)cls);
    for (size_t at = hak_align_up(from + 1, step); at <= size; at += step)
        HAK_SHOW(hak_class_coarse[at / step], (uint8_t)name);
}

/* Bytes of a slab that are in no slot. */
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
    size_t size = 0;
    uint32_t start = 1; /* entry 0 of a cache's entries is the NULL below the first bin */
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        hak_class_info *info = &hak_classes[cls];
        size = next_size(size);
        describe(info, size, guard_bytes);
        info->bin_start = start;
        start += info->bin_cap + 1; /* and a NULL below the next bin */
    }
    hak_class_fine[0] = hak_class_coarse[0] = 1;
    hak_size_class_unsplit();
    hak_class_bin_entries = start;
    HAK_CHECK(size == HAK_SLAB_SIZE_MAX, "size classes do not end at the largest slab size");
}

void hak_size_class_unsplit(void) {
    for (unsigned cls = HAK_CLASSES; cls >= 1; cls--) {
        size_t from = cls > 1 ? hak_classes[cls - 1].size : 0;
        if (cls > 1 && is_half(cls - 1))
            from = hak_classes[cls - 2].size;
        if (!is_half(cls))
            name(from, cls, rations ? HAK_RATION_OF(cls) : cls);
    }
    atomic_fetch_add_explicit(&hak_class_splits, 1, memory_order_relaxed);
}

void hak_size_class_split(unsigned cls) {
    unsigned half = cls - 1;
    if (half <= 1 || !is_half(half) || hak_class_of(hak_classes[half].size) == half)
        return;
    name(hak_classes[half - 1].size, half, rations ? HAK_RATION_OF(half) : half);
    atomic_fetch_add_explicit(&hak_class_splits, 1, memory_order_relaxed);
}

unsigned hak_class_whole(unsigned cls) {
    return cls + is_half(cls);
}

void hak_size_class_rations(void) {
    rations = true;
    for (size_t i = 0; i < sizeof hak_class_coarse; i++)
        hak_class_coarse[i] = (uint8_t)HAK_RATION_OF(hak_class_behind(hak_class_coarse[i]));
}

unsigned hak_class_aligned(size_t align, size_t size) {
    size_t rounded;
    if (!hak_align_up_checked(hak_max(size, align), hak_min(align, HAK_SLAB_SIZE_MAX), &rounded) ||
        rounded > HAK_SLAB_SIZE_MAX || align > HAK_SLAB_SIZE_MAX)
        return 0;
    /* The size of this class is a multiple of the alignment: where the steps between classes are multiples of
     * it, all sizes are; where a step is less than the alignment, `rounded` is itself the size of a class. */
    return hak_class_of(rounded);
}
