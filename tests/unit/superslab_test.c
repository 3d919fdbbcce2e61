/* superslab_test.c: slabs are cut from superslabs, given back and purged; the walker runs after every step. */
#include "tests/unit/unit.h"

#include "allocator/os/os.h"
#include "allocator/os/os_process.h"
#include "allocator/pages/release.h"
#include "allocator/pages/superslab.h"
#include "allocator/pages/tag.h"
#include "allocator/policy.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { SLABS = 120, STEPS = 2500 };

/* Returns a class whose slabs have `granules` granules. */
static unsigned class_with(unsigned granules) {
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        if (hak_classes[cls].slab_bytes == granules * (unsigned)HAK_GRANULE)
            return cls;
    fail_msg("no class has slabs of %u granules", granules);
    return 0;
}

/* Touches a slab: all of it, or the part that is mapped. */
static void touch(const hak_slab *slab, int byte) {
    size_t size = hak_classes[slab->cls].size;
    memset((void *)(slab->start + hak_slab_part_slots(slab).from * size), byte, hak_slab_all(slab) * size);
}

static void expect_slab(const hak_slab *slab, unsigned cls, unsigned shard) {
    assert_non_null(slab);
    assert_int_equal(slab->cls, cls);
    assert_int_equal(slab->shard, shard);
    assert_int_equal(slab->start % hak_classes[cls].slab_bytes, 0);
    assert_int_equal(slab->slots, hak_classes[cls].slots);
    assert_int_equal(slab->free, hak_slab_all(slab));
    for (uintptr_t at = slab->start; at < slab->start + hak_classes[cls].slab_bytes; at += HAK_GRANULE) {
        assert_int_equal(hak_tag_of((void *)at), cls);
        assert_ptr_equal(hak_slab_find(at + 17, cls), slab);
    }
}

static void bitmaps_apart(void **state) {
    (void)state;
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        hak_slab *a = hak_superslab_take_slab(cls, 0), *b = hak_superslab_take_slab(cls, 0);
        assert_non_null(a);
        assert_non_null(b);
        size_t words = (hak_classes[cls].slots + 63) / 64;
        assert_true(a->free_bits + words <= b->free_bits || b->free_bits + words <= a->free_bits);
        hak_superslab_give_slab(b);
        hak_superslab_give_slab(a);
    }
}

static void every_class(void **state) {
    (void)state;
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        hak_slab *slab = hak_superslab_take_slab(cls, cls % 5);
        expect_slab(slab, cls, cls % 5);
        touch(slab, 0x5a);
        hak_superslab_check();
        hak_superslab_give_slab(slab);
        hak_superslab_check();
        assert_int_equal(hak_superslabs_live, 0);
        assert_int_equal(hak_superslab_live_bytes, 0);
        if (!HAK_POLICY_CLASS_BOUND)
            assert_int_equal(hak_tag_of((void *)slab->start), HAK_TAG_NONE);
    }
}

static size_t mapped_bytes(const hak_slab *slab) {
    size_t bytes = 0;
    for (uintptr_t at = slab->start; at < slab->start + hak_classes[slab->cls].slab_bytes; at += HAK_GRANULE)
        bytes += hak_os_is_mapped(at, HAK_GRANULE) ? HAK_GRANULE : 0;
    return bytes;
}

#define WIDE hak_class_of(160 * HAK_KIB)

/* Also holds when all free memory was unmapped meanwhile. */
static void first_in_part(void **state) {
    (void)state;
    hak_slab *first = hak_superslab_take_slab(WIDE, 0);
    if (hak_region_find(first->start)->body.reserved)
        skip(); /* under a sanitizer, which has the address space, regions are reserved */
    assert_in_range(first->part_count, 1, first->slots - 1);
    assert_int_equal(mapped_bytes(first), hak_superslab_live_bytes);
    assert_true(mapped_bytes(first) <= HAK_SUPERSLAB / 4);
    touch(first, 1);
    size_t have = 0;
    for (uint32_t slot = 0; slot < first->slots; slot++)
        have += hak_slab_has(first, slot);
    assert_int_equal(have, hak_slab_all(first));
    hak_slab *second = hak_superslab_take_slab(WIDE, 0);
    assert_int_equal(second->part_count, 0);
    size_t memory = (size_t)__builtin_popcount(hak_slab_memory(second)) * HAK_GRANULE;
    assert_true(memory < HAK_SUPERSLAB); /* nothing need be mapped behind the last slot */
    assert_int_equal(mapped_bytes(second), memory);
    touch(second, 1);
    hak_superslab_give_slab(first);
    hak_superslab_check();
    assert_true(hak_superslab_hollow() != 0);
    hak_superslab_check();
    hak_slab *again = hak_superslab_take_slab(WIDE, 0);
    hak_superslab_check();
    assert_int_equal(again->part_count, 0);
    touch(again, 1);
    hak_superslab_give_slab(again);
    hak_superslab_give_slab(second);
}

/* The same for slabs that are wide so that there are slots to draw from: the part has as many slots as a batch is
 * drawn from. */
static void first_in_part_of_many(void **state) {
    (void)state;
    enum { LEAST = 64 };
    if (HAK_POLICY_SLAB_SLOTS == 0)
        skip(); /* slabs are short there */
    for (size_t size = 1100; size <= 4500; size += 400) {
        unsigned cls = hak_class_of(size);
        hak_test_reset(HAK_RESET_FRESH);
        hak_slab *first = hak_superslab_take_slab(cls, 0);
        if (hak_region_find(first->start)->body.reserved)
            skip();
        size_t wanted = hak_max(128 * HAK_KIB, LEAST * hak_classes[cls].size);
        assert_in_range(hak_slab_all(first), LEAST, first->slots - 1);
        assert_true(mapped_bytes(first) <= wanted + 2 * HAK_GRANULE);
        assert_int_equal(mapped_bytes(first), hak_superslab_live_bytes);
        touch(first, 1);
        hak_slab *second = hak_superslab_take_slab(cls, 0);
        assert_int_equal(second->part_count, 0);
        touch(second, 1);
        hak_superslab_check();
    }
}

/* Lets each call fail in turn; one of them maps the whole slab. */
static void refused_whole(void **state) {
    (void)state;
    unsigned parts = 0;
    uint64_t seen;
    for (uint64_t k = 1;; k++) {
        hak_test_reset(HAK_RESET_FRESH);
        hak_slab *first = hak_superslab_take_slab(WIDE, 0);
        if (hak_region_find(first->start)->body.reserved)
            skip();
        (void)hak_os_fail_at(k);
        hak_slab *slab = hak_superslab_take_slab(WIDE, 0);
        seen = hak_os_fail_at(0);
        hak_superslab_check();
        if (slab != NULL) {
            touch(slab, 1);
            parts += slab->part_count != 0;
        }
        if (seen < k)
            break;
    }
    assert_true(parts >= 1);
}

static unsigned live_slabs(hak_slab **slabs, unsigned count, unsigned cls) {
    for (unsigned i = 0; i < count; i++) {
        slabs[i] = hak_superslab_take_slab(cls, 0);
        assert_non_null(slabs[i]);
        touch(slabs[i], 1);
    }
    return count;
}

/* A superslab that comes whole has its tail mapped at first. */
static void tails_go(void **state) {
    (void)state;
    hak_slab *slabs[12];
    unsigned count = live_slabs(slabs, 12, WIDE);
    if (hak_region_find(slabs[0]->start)->body.reserved)
        skip();
    size_t memory = (size_t)__builtin_popcount(hak_slab_memory(slabs[11])) * HAK_GRANULE;
    assert_int_equal(mapped_bytes(slabs[11]), HAK_SUPERSLAB);
    assert_true(hak_superslab_cut_tails() >= HAK_SUPERSLAB - memory);
    hak_superslab_check();
    assert_int_equal(hak_superslab_cut_tails(), 0);
    assert_int_equal(mapped_bytes(slabs[11]), memory);
    for (int life = 0; life < 3; life++) {
        for (unsigned i = 0; i < count; i++) {
            touch(slabs[i], 2);
            hak_superslab_give_slab(slabs[i]);
            hak_superslab_check();
        }
        if (life != 0)
            assert_true(hak_superslab_hollow() != 0);
        count = live_slabs(slabs, 12, life == 1 ? class_with(4) : WIDE);
        hak_superslab_check();
        (void)hak_superslab_cut_tails();
        hak_superslab_check();
    }
    for (unsigned i = 0; i < count; i++)
        hak_superslab_give_slab(slabs[i]);
    hak_superslab_check();
    assert_int_equal(hak_superslab_live_bytes, 0);
}

static void many_slabs_split(void **state) {
    (void)state;
    enum { SPLIT_FROM = 16 };
    hak_slab *slabs[SPLIT_FROM];
    unsigned cls = hak_class_of(9 * HAK_KIB), half = cls - 1;
    assert_int_equal(hak_class_of(hak_classes[half].size), cls);
    unsigned count = live_slabs(slabs, SPLIT_FROM - 1, cls);
    assert_int_equal(hak_class_of(hak_classes[half].size), cls);
    (void)live_slabs(slabs + count, 1, cls);
    assert_int_equal(hak_class_of(hak_classes[half].size), half);
    for (unsigned i = 0; i < SPLIT_FROM; i++)
        hak_superslab_give_slab(slabs[i]);
}

static void random_walk(void **state) {
    (void)state;
    static hak_slab *slabs[SLABS];
    uint64_t seed = 4;
    memset(slabs, 0, sizeof slabs);
    for (int step = 0; step < STEPS; step++) {
        hak_slab **slab = &slabs[unit_random(&seed) % SLABS];
        if (*slab != NULL) {
            hak_superslab_give_slab(*slab);
            *slab = NULL;
        } else {
            unsigned cls = 1 + (unsigned)(unit_random(&seed) % HAK_CLASSES);
            *slab = hak_superslab_take_slab(cls, 0);
            expect_slab(*slab, cls, 0);
        }
        if (step % 500 == 499)
            (void)hak_superslab_purge(step % 1000 == 999 ? 0 : HAK_MIB);
        hak_superslab_check(); /* finds overlaps, wrong tags and wrong counters */
    }
    for (int i = 0; i < SLABS; i++)
        if (slabs[i] != NULL)
            hak_superslab_give_slab(slabs[i]);
    hak_superslab_check();
    assert_int_equal(hak_superslab_live_bytes, 0);
    assert_int_equal(hak_superslabs_live, 0);
}

static void taken_again(void **state) {
    (void)state;
    for (unsigned granules = 1; granules <= 32; granules *= 2) {
        unsigned cls = class_with(granules);
        hak_slab *first = hak_superslab_take_slab(cls, 0), *second = hak_superslab_take_slab(cls, 0);
        for (int i = 0; i < 10; i++) { /* the count of superslabs stays right over many lives */
            hak_superslab_give_slab(first);
            hak_superslab_give_slab(second);
            hak_superslab_check();
            assert_int_equal(hak_superslabs_live, 0);
            first = hak_superslab_take_slab(cls, 0);
            second = hak_superslab_take_slab(cls, 0);
            hak_superslab_check();
        }
        hak_superslab_give_slab(first);
        hak_superslab_give_slab(second);
    }
}

static void dense(void **state) {
    (void)state;
    if (HAK_POLICY_CLASS_BOUND)
        return; /* free slabs wait for their class there */
    unsigned one = class_with(1);
    hak_slab *slabs[32];
    for (int i = 0; i < 32; i++)
        slabs[i] = hak_superslab_take_slab(one, 0);
    assert_int_equal(hak_superslabs_live, 1); /* 32 granules fill one superslab */
    for (int i = 0; i < 32; i += 2)
        hak_superslab_give_slab(slabs[i]);
    for (unsigned granules = 2; granules <= 32; granules *= 2) { /* no such run is free there */
        hak_slab *slab = hak_superslab_take_slab(class_with(granules), 0);
        assert_int_equal(hak_superslabs_live, 2);
        hak_superslab_give_slab(slab);
        hak_superslab_check();
    }
    for (int i = 0; i < 32; i += 2)
        assert_int_equal(hak_superslab_take_slab(one, 0)->start / HAK_SUPERSLAB,
                         slabs[1]->start / HAK_SUPERSLAB);
    hak_superslab_check();
}

static void purged(void **state) {
    (void)state;
    hak_release_init(true, HAK_DECOMMIT_OFF, 0);
    unsigned cls = class_with(4);
    hak_slab *slabs[16];
    (void)hak_superslab_take_slab(cls, 0); /* only a part of the first slab may be mapped */
    for (int i = 0; i < 16; i++) {
        slabs[i] = hak_superslab_take_slab(cls, 0);
        touch(slabs[i], 0x5a);
    }
    for (int i = 0; i < 16; i++)
        hak_superslab_give_slab(slabs[i]);
    assert_int_equal(hak_superslab_free_dirty, 64 * HAK_GRANULE);
    assert_int_equal(hak_superslab_purge(64 * HAK_GRANULE), 0);
    assert_true(hak_superslab_purge(32 * HAK_GRANULE) >= 32 * HAK_GRANULE);
    hak_superslab_check();
    (void)hak_superslab_purge(0);
    hak_superslab_check();
    assert_int_equal(hak_superslab_free_dirty, 0);
    for (int i = 0; i < 16; i++)
        assert_int_equal(*(char *)slabs[i]->start, 0); /* a purged page reads as zero */
}

/* One granule in eight is resident: a slab of eight granules brings seven fresh ones, and twice as many are purged
 * elsewhere. */
static void resident_in_part(void **state) {
    enum { ONES = 2048, EIGHTS = 16 };
    static hak_slab *ones[ONES], *eights[EIGHTS];
    (void)state;
    if (HAK_POLICY_CLASS_BOUND)
        skip(); /* slabs are resident as a whole or not at all */
    hak_release_init(true, HAK_DECOMMIT_OFF, 0);
    (void)hak_superslab_purge(0);
    unsigned one = class_with(1), eight = class_with(8);
    for (int i = 0; i < ONES; i++)
        ones[i] = hak_superslab_take_slab(one, 0);
    for (int i = 0; i < ONES; i++)
        if (ones[i]->start / HAK_GRANULE % 8 != 0)
            hak_superslab_give_slab(ones[i]), ones[i] = NULL;
    (void)hak_superslab_purge(0);
    for (int i = 0; i < ONES; i++)
        if (ones[i] != NULL)
            hak_superslab_give_slab(ones[i]);
    assert_true(hak_superslab_free_dirty >= 2 * hak_release_slab_keep() - HAK_MIB);
    for (int i = 0; i < EIGHTS; i++)
        eights[i] = hak_superslab_take_slab(eight, 0);
    assert_in_range(hak_superslab_free_dirty, 0, hak_release_slab_keep());
    hak_superslab_check();
    for (int i = 0; i < EIGHTS; i++)
        hak_superslab_give_slab(eights[i]);
    (void)hak_superslab_purge(0);
}

/* Free slabs that stay with their class: a purge takes the pages of the slab that was freed first, and a slab with
 * pages is taken before one without. */
static void bound_slabs(void **state) {
    (void)state;
    if (!HAK_POLICY_CLASS_BOUND) { /* no slab stays with its class there */
        skip();
    }
    enum { BOUND = 4 };
    hak_slab *slabs[BOUND];
    unsigned cls = class_with(1);
    for (int i = 0; i < BOUND; i++) {
        slabs[i] = hak_superslab_take_slab(cls, 0);
        *(volatile char *)slabs[i]->start = 'x';
    }
    for (int i = 0; i < BOUND; i++)
        hak_superslab_give_slab(slabs[i]);
    assert_int_equal(hak_superslab_free_dirty, BOUND * HAK_GRANULE);
    assert_int_equal(hak_superslab_purge((BOUND - 1) * HAK_GRANULE), HAK_GRANULE);
    assert_int_equal(hak_superslab_free_dirty, (BOUND - 1) * HAK_GRANULE);
    for (int i = 0; i < BOUND; i++)
        assert_int_equal(*(volatile char *)slabs[i]->start, i == 0 ? 0 : 'x');
    for (int i = 1; i < BOUND; i++)
        assert_ptr_not_equal(hak_superslab_take_slab(cls, 0), slabs[0]);
    assert_ptr_equal(hak_superslab_take_slab(cls, 0), slabs[0]);
    assert_int_equal(hak_superslab_free_dirty, 0);
}

/* A heap that goes on to another class keeps little memory of the class that it leaves, because no other class can
 * use it. */
static void bound_exchanged(void **state) {
    (void)state;
    if (!HAK_POLICY_CLASS_BOUND)
        skip(); /* the second class takes the slabs of the first there */
    enum { LEFT = 320, TAKEN = 200 };
    static hak_slab *slabs[LEFT];
    hak_release_init(true, HAK_DECOMMIT_OFF, 0);
    unsigned before = class_with(1), after = class_with(2);
    for (int i = 0; i < LEFT; i++)
        slabs[i] = hak_superslab_take_slab(before, 0);
    for (int i = 0; i < LEFT; i++)
        hak_superslab_give_slab(slabs[i]);
    assert_int_equal(hak_superslab_free_dirty, LEFT * HAK_GRANULE);
    for (int i = 0; i < TAKEN; i++)
        slabs[i] = hak_superslab_take_slab(after, 0);
    size_t live = 2 * (size_t)TAKEN * HAK_GRANULE;
    assert_int_equal(hak_superslab_live_bytes, live);
    assert_in_range(hak_superslab_free_dirty, 4 * HAK_MIB - 4 * HAK_GRANULE, hak_max(4 * HAK_MIB, live / 16));
    hak_superslab_check();
    for (int i = 0; i < TAKEN; i++)
        hak_superslab_give_slab(slabs[i]);
    (void)hak_superslab_purge(0);
}

/* True when the kernel was told to use huge pages (hg), or none (nh), for the mapping around `addr`. */
static bool is_told(uintptr_t addr, const char *flag) {
    static char line[4096];
    uintptr_t from = 0, to = 0;
    bool told = false, any = false;
    FILE *maps = fopen("/proc/self/smaps", "r");
    assert_non_null(maps);
    while (fgets(line, sizeof line, maps) != NULL) {
        uintptr_t first, last;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &first, &last) == 2)
            from = first, to = last;
        if (addr - from >= to - from || strncmp(line, "VmFlags:", 8) != 0)
            continue;
        any = true;
        told = strstr(line, flag) != NULL;
    }
    fclose(maps);
    assert_true(any);
    return told;
}

/* Huge pages are on. The first slab of wide slots has none, because it may have one object for long. The second has
 * them, and so have the slabs that take the place of the first one later. */
static void sparse_has_small_pages(void **state) {
    enum { DENSE = 640 };
    (void)state;
    size_t from = hak_region_huge_from;
    hak_region_huge_from = 4 * HAK_MIB;
    hak_release_init(true, HAK_DECOMMIT_OFF, 0);
    hak_slab *last = NULL, *wide[3];
    for (int i = 0; i < DENSE; i++) {
        last = hak_superslab_take_slab(class_with(1), 0);
        touch(last, 'x');
    }
    bool has_huge = is_told(last->start, " hg");
    for (int i = 0; i < 3; i++)
        wide[i] = hak_superslab_take_slab(class_with(HAK_SUPERSLAB_GRANULES), i == 2);
    if (has_huge) { /* otherwise this kernel, or this build, has none */
        assert_true(is_told(wide[0]->start, " nh"));
        assert_true(is_told(wide[1]->start, " hg"));
        assert_true(is_told(wide[2]->start, " nh")); /* of another shard */
    }
    uintptr_t start = wide[0]->start;
    hak_superslab_give_slab(wide[0]);
    (void)hak_superslab_purge(0);
    if (has_huge && !HAK_POLICY_CLASS_BOUND) {
        for (int i = 0; i < DENSE && last->start / HAK_SUPERSLAB != start / HAK_SUPERSLAB; i++)
            last = hak_superslab_take_slab(class_with(1), 0);
        assert_true(is_told(start, " hg"));
    }
    hak_superslab_check();
    hak_region_huge_from = from;
    if (!has_huge)
        skip();
}

static void refused_purge(void **state) {
    (void)state;
    hak_slab *slab = hak_superslab_take_slab(class_with(4), 0);
    hak_superslab_give_slab(slab);
    size_t dirty = hak_superslab_free_dirty;
    (void)hak_os_fail_at(1);
    assert_int_equal(hak_superslab_purge(0), 0);
    (void)hak_os_fail_at(0);
    assert_int_equal(hak_superslab_free_dirty, dirty);
    hak_superslab_check();
    assert_int_equal(hak_superslab_purge(0), dirty);
}

static void prewarmed(void **state) {
    (void)state;
    assert_true(hak_superslab_prewarm(3));
    hak_superslab_check();
    assert_int_equal(hak_superslab_free_dirty, 3 * HAK_SUPERSLAB);
    assert_int_equal(hak_superslabs_live, 0);
    uint64_t calls = hak_os_counts.mmap + hak_os_counts.mprotect;
    hak_slab *slab = hak_superslab_take_slab(class_with(1), 0);
    hak_superslab_check();
    assert_int_equal(hak_superslab_free_dirty, 3 * HAK_SUPERSLAB - HAK_GRANULE);
    if (!HAK_POLICY_CLASS_BOUND) /* the other policy may need memory of its own for a slab */
        assert_int_equal(hak_os_counts.mmap + hak_os_counts.mprotect, calls);
    hak_superslab_give_slab(slab);
    assert_int_equal(hak_superslab_purge(0), 3 * HAK_SUPERSLAB);
    (void)hak_os_fail_at(1 | HAK_OS_FAIL_ON);
    assert_false(hak_superslab_prewarm(100));
    (void)hak_os_fail_at(0);
    hak_superslab_check();
}

static void refusals(void **state) {
    (void)state;
    for (uint64_t k = 1;; k++) {
        hak_test_reset(HAK_RESET_FRESH);
        (void)hak_os_fail_at(k);
        hak_slab *slab = hak_superslab_take_slab(class_with(2), 0);
        if (hak_os_fail_at(0) < k)
            break;
        hak_superslab_check();
        if (slab == NULL)
            slab = hak_superslab_take_slab(class_with(2), 0);
        expect_slab(slab, class_with(2), 0);
        hak_superslab_check();
    }
}

/* A wide slab takes half of a superslab. The first of the small slabs that fill the rest may lie in any granule; in
 * the speed variant it lies in the first. */
static void every_place(void **state) {
    (void)state;
    enum { HALF = 16, ROUNDS = 400 };
    unsigned wide = class_with(HALF), small = class_with(1), counts[HALF] = {0};
    for (unsigned round = 0; round < ROUNDS; round++) {
        uintptr_t taken = hak_superslab_take_slab(wide, 0)->start;
        uintptr_t free = taken % HAK_SUPERSLAB == 0 ? taken + HALF * HAK_GRANULE : taken - HALF * HAK_GRANULE;
        for (unsigned i = 0; i < HALF; i++) {
            uintptr_t place = (hak_superslab_take_slab(small, 0)->start - free) / HAK_GRANULE;
            assert_in_range(place, 0, HALF - 1);
            counts[place] += i == 0;
        }
    }
    /* The mean is 25; a count below 3 occurs once in 10^7 runs. */
    for (unsigned i = 0; i < HALF; i++)
        assert_in_range(counts[i], HAK_POLICY_RANDOM_SLOTS ? 3 : i == 0 ? ROUNDS : 0, ROUNDS);
    hak_test_reset(HAK_RESET_FRESH);
}

/* The OS refuses all calls from call `k` on: exactly the slabs that were taken are in use, also when it was the
 * policy that had no memory. */
static void refused_from_then_on(void **state) {
    (void)state;
    enum { CALLS = 40, MOST = 200 };
    const unsigned cls = 1; /* the class with the most records */
    for (uint64_t k = 1; k <= CALLS; k++) {
        hak_slab *slabs[MOST];
        size_t had = 0;
        hak_test_reset(HAK_RESET_FRESH);
        (void)hak_os_fail_at(k | HAK_OS_FAIL_ON);
        while (had < MOST && (slabs[had] = hak_superslab_take_slab(cls, 0)) != NULL)
            had++;
        (void)hak_os_fail_at(0);
        hak_superslab_check();
        assert_int_equal(hak_superslab_live_bytes, had * hak_classes[cls].slab_bytes);
        while (had-- > 0)
            hak_superslab_give_slab(slabs[had]);
        assert_int_equal(hak_superslabs_live, 0);
    }
}

static void give_live(void *slab) {
    ((hak_slab *)slab)->free--;
    hak_superslab_give_slab(slab);
}
static void walk(void *unused) {
    (void)unused;
    hak_superslab_check();
}
static void take_64k(void *unused) {
    (void)unused;
    (void)hak_superslab_take_slab(class_with(1), 0);
}

static void corruption(void **state) {
    (void)state;
    hak_slab *slab = hak_superslab_take_slab(class_with(2), 0);
    hak_superslab *superslab = (hak_superslab *)hak_align_down((uintptr_t)slab, 4096);
    unit_expect_death(give_live, slab, "a slab with live objects was given back");
    for (unsigned bit = 0; bit < 32; bit++) { /* each bit of the masks that describe slabs in use */
        superslab->used_mask ^= (uint32_t)1 << bit;
        unit_expect_death(walk, NULL, "granules of slabs in use");
        superslab->used_mask ^= (uint32_t)1 << bit;
    }
    superslab->order ^= 1;
    unit_expect_death(walk, NULL, "corrupt metadata");
    superslab->order ^= 1;
    slab->start += HAK_GRANULE;
    unit_expect_death(walk, NULL, "slab start");
    slab->start -= HAK_GRANULE;
    hak_tag_set(slab->start, HAK_GRANULE, HAK_TAG_NONE);
    unit_expect_death(walk, NULL, "slab tag");
    hak_tag_set(slab->start, HAK_GRANULE, slab->cls);
    uint32_t mask = superslab->free_mask;
    superslab->free_mask = superslab->dirty_mask = 0; /* the list claims a free run */
    unit_expect_death(take_64k, NULL, "superslab in a list of free runs has none");
    superslab->free_mask = mask;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("the bitmaps of two slabs of a class lie apart", bitmaps_apart),
        CASE("a slab of every class is aligned, tagged, found and given back", every_class),
        CASE("slabs of random classes, taken and given back, never overlap", random_walk),
        CASE("slabs that come and go many times leave every counter right", taken_again),
        CASE("a run that is large enough is found where there is one, and a new superslab taken where not",
             dense),
        CASE("a small heap has a part of the first slab of a class of wide slots", first_in_part),
        CASE("what no slot of a slab in use has goes when memory is short", tails_go),
        CASE("a class of sixteen slabs is split", many_slabs_split),
        CASE("where a whole slab of wide slots is refused, a part of it is had", refused_whole),
        CASE("a small heap has as many slots of a class's first slab as a batch is drawn from",
             first_in_part_of_many),
        CASE("of the places that a superslab has for a slab each is as likely as the others", every_place),
        CASE("a purge gives free pages back until so many are left", purged),
        CASE("a slab that is resident in part is exchanged by what is fresh of it", resident_in_part),
        CASE("of free slabs that stay with their class the oldest is purged first and taken last",
             bound_slabs),
        CASE("free slabs that stay with their class go as another class takes fresh ones", bound_exchanged),
        CASE("a slab for which the OS has no more memory is not in use", refused_from_then_on),
        CASE("a slab that may stay mostly empty has no huge page", sparse_has_small_pages),
        CASE("a purge that the OS refuses changes nothing", refused_purge),
        CASE("prewarmed superslabs are resident, counted, and used first", prewarmed),
        CASE("a refusal of the OS at any step leaves everything consistent", refusals),
        CASE("a slab with live objects, or a corrupt descriptor, ends the process", corruption),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
