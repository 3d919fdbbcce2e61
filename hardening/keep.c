/* keep.c: see keep.h. */
#include "hardening/keep.h"

#include "allocator/large.h"

enum {
    KEPT_MOST = 64,
    KEPT_LEAST = 2, /* of any size, when they are guarded */
    KEPT_BYTES = 64 * HAK_MIB,
    KEPT_RESIDENT = 32 * HAK_MIB,
};

typedef struct kept {
    void *obj;
    size_t capacity;
    bool guarded;
} kept;

static kept ring[KEPT_MOST];
static unsigned first, count;
static size_t bytes, resident;

/* The oldest, NULL when there is none. */
static void *leave(void) {
    if (count == 0)
        return NULL;
    const kept *oldest = &ring[first];
    bytes -= oldest->capacity;
    resident -= oldest->guarded ? 0 : oldest->capacity;
    first = (first + 1) % KEPT_MOST;
    count--;
    return oldest->obj;
}

/* One that has to leave before so much may come in; NULL when there is room. */
static void *leave_for(size_t capacity, bool guarded) {
    bool full = count == KEPT_MOST || (bytes + capacity > KEPT_BYTES && count >= KEPT_LEAST) ||
                (!guarded && resident + capacity > KEPT_RESIDENT);
    return full ? leave() : NULL;
}

bool hak_keep_take(void *obj, size_t capacity, bool guarded) {
    if (!hak_hardening.quarantine || (!guarded && capacity > KEPT_RESIDENT / 2))
        return false;
    for (;;) {
        hak_lock_take(&hak_hardening_lock);
        void *oldest = leave_for(capacity, guarded);
        if (oldest == NULL) {
            ring[(first + count++) % KEPT_MOST] = (kept){obj, capacity, guarded};
            bytes += capacity;
            resident += guarded ? 0 : capacity;
        }
        hak_lock_give(&hak_hardening_lock);
        if (oldest == NULL)
            return true;
        (void)hak_large_give(oldest);
    }
}

void hak_keep_reset(void) {
    first = count = 0;
    bytes = resident = 0;
}
