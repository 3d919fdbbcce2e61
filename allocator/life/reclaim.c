/* reclaim.c: see reclaim.h. */
#include "allocator/life/reclaim.h"

#include "allocator/cache/cache.h"
#include "allocator/heap/large.h"
#include "allocator/os/os.h"
#include "allocator/pages/mapped_limit.h"
#include "allocator/policy.h"

/* A larger request may be refused for its size alone: more than memory and swap. Input of the program may choose it,
 * and where address space is scarce mitigations end for good. A limit that can be asked for is known anyway. */
static const size_t TELLING = 256 * HAK_MIB;

/* Unmaps what no slab, object, cache or quarantine has. Returns bytes. */
static size_t give_free(void) {
    hak_superslab_split_all();
    hak_depot_trim();
    size_t given = hak_large_hollow() + hak_superslab_hollow();
    return given + hak_region_trim();
}

static bool give_idle(void) {
    size_t held = hak_cache_held();
    hak_cache_flush_all();
    held += hak_cache_recall(true);
    return give_free() + held != 0;
}

void hak_reclaim_limited(void) {
    if (!hak_limit_look())
        return;
    hak_policy_limited();
    hak_cache_trim();
    (void)give_free();
}

/* True when so many bytes can be mapped, with the pages around them. */
static bool is_there(size_t size) {
    uintptr_t addr = hak_os_map_between(hak_align_up(size, hak_os_page));
    if (addr != 0)
        hak_os_unmap_between(addr, hak_align_up(size, hak_os_page));
    return addr != 0;
}

bool hak_reclaim_for_others(size_t size) {
    if (size >> HAK_ADDRESS_BITS != 0 || is_there(size))
        return false;
    hak_reclaim_limited();
    if (!hak_limit_is_there())
        return false;
    if (is_there(size))
        return true;
    (void)give_idle();
    return is_there(size) || (hak_policy_reclaim(size) && (give_idle(), is_there(size)));
}

/* Turns guards at slab ends into slots of the requested class, and unmaps unused ends. Ends are a part of the
 * mapped memory, so they cannot serve a larger request than all of it. */
static bool cut_edges(size_t size) {
    if (size > atomic_load_explicit(&hak_region_mapped, memory_order_relaxed))
        return false;
    size_t need = hak_policy_request(size);
    bool longer = need <= HAK_SLAB_SIZE_MAX && hak_depot_lengthen(hak_class_of(need));
    return hak_large_cut_tails() + hak_superslab_cut_tails() != 0 || longer;
}

/* Objects that leave the quarantine are idle memory, so give_idle follows. */
bool hak_reclaim_memory(size_t size, hak_reclaim how) {
    if (size >> HAK_ADDRESS_BITS != 0)
        return false; /* larger than the address space: nothing helps */
    if (size <= TELLING)
        hak_policy_scarce();
    if (how == HAK_RECLAIM_IDLE)
        return give_idle();
    if (how == HAK_RECLAIM_EDGES)
        return cut_edges(size);
    if (!hak_policy_reclaim(size))
        return false;
    (void)give_idle();
    return true;
}
