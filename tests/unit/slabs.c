/* slabs.c: see slabs.h. */
#include "tests/unit/slabs.h"

#include "allocator/os/os_process.h"
#include "allocator/pages/tag.h"

#include <string.h>

unsigned slab_wide_class(void) {
    return hak_class_of(160 * HAK_KIB);
}

unsigned slab_class_with(unsigned granules) {
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        if (hak_classes[cls].slab_bytes == granules * (unsigned)HAK_GRANULE)
            return cls;
    fail_msg("no class has slabs of %u granules", granules);
    return 0;
}

void slab_touch(const hak_slab *slab, int byte) {
    size_t size = hak_classes[slab->cls].size;
    memset((void *)(slab->start + hak_slab_part_slots(slab).from * size), byte, hak_slab_all(slab) * size);
}

void slab_expect(const hak_slab *slab, unsigned cls, unsigned shard) {
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

size_t slab_mapped_bytes(const hak_slab *slab) {
    size_t bytes = 0;
    for (uintptr_t at = slab->start; at < slab->start + hak_classes[slab->cls].slab_bytes; at += HAK_GRANULE)
        bytes += hak_os_is_mapped(at, HAK_GRANULE) ? HAK_GRANULE : 0;
    return bytes;
}

unsigned slabs_take(hak_slab **slabs, unsigned count, unsigned cls) {
    for (unsigned i = 0; i < count; i++) {
        slabs[i] = hak_superslab_take_slab(cls, 0);
        assert_non_null(slabs[i]);
        slab_touch(slabs[i], 1);
    }
    return count;
}
