/* mapped_limit.c: see mapped_limit.h. */
#include "allocator/pages/mapped_limit.h"

#include "allocator/base/bits.h"
#include "allocator/os/os.h"
#include "allocator/os/os_process.h"

enum {
    /* The share of the limit, for slabs and large spans each. With a thirty-second, a process that has freed all could
     * not start nine tenths of the threads that it could start with glibc. At least SHARE_MIN, so that few objects that
     * come and go cost no system calls. */
    SHARE_PART = 64,
    SHARE_MIN = HAK_MIB,
    /* The limit of vm.overcommit_memory 2 is one for all processes, which leaves no share to reckon with. */
    SHARE_STRICT = 2 * HAK_MIB,
    /* Of what is live as much may stay besides: what comes and goes in a steady state is a part of it. Measure again
     * with the calls of the OS per operation in kernel_steady. */
    LIVE_PART = 16,
    GAPS_PART = 20, /* of the mappings that the process may have */
};

_Atomic size_t hak_limit_share = SIZE_MAX;

static size_t share_of(size_t bytes) {
    return bytes == SIZE_MAX ? SIZE_MAX : hak_max(SHARE_MIN, bytes / SHARE_PART);
}

static bool set_share(size_t share) {
    return share < atomic_exchange_explicit(&hak_limit_share, share, memory_order_relaxed);
}

static bool fixed; /* by hak_limit_set */
bool hak_limit_set(size_t bytes) {
    fixed = bytes != SIZE_MAX;
    return set_share(share_of(bytes));
}

bool hak_limit_look(void) {
    if (atomic_load_explicit(&hak_os_filter, memory_order_relaxed) == HAK_FILTER_OWN ||
        (HAK_DEBUG_BUILD && fixed))
        return false;
    size_t share = share_of(hak_os_limit());
    return set_share(hak_os_strict() ? hak_min(share, SHARE_STRICT) : share);
}

size_t hak_limit_most(size_t live) {
    size_t share = atomic_load_explicit(&hak_limit_share, memory_order_relaxed);
    return share == SIZE_MAX ? SIZE_MAX : hak_max(share, live / LIVE_PART);
}

/* Asked of the OS once. */
static size_t gaps_most(void) {
    static _Atomic size_t known;
    size_t most = atomic_load_explicit(&known, memory_order_relaxed);
    if (most == 0) {
        most = hak_os_maps_allowed() / GAPS_PART;
        atomic_store_explicit(&known, most, memory_order_relaxed);
    }
    return most;
}

bool hak_limit_unmaps(size_t gaps) {
    return HAK_UNLIKELY(hak_limit_is_there()) && gaps < gaps_most();
}
