/* regions_test.c: a thread that finds a region without a lock sees everything that was written before the region was
 * published. --config=tsan checks the order of the stores. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "allocator/pages/region.h"
#include "include/hakmem.h"

#include <pthread.h>
#include <sched.h>

enum { ROUNDS = 16 };

/* Relaxed: these variables say where to look and when to stop, and order nothing. */
static _Atomic uintptr_t begun;
static _Atomic int done;

static void *looks(void *unused) {
    for (int round = 1; round <= ROUNDS; round++) {
        uintptr_t addr;
        while ((addr = atomic_exchange_explicit(&begun, 0, memory_order_relaxed)) == 0)
            sched_yield();
        hak_region *region = hak_region_around(addr);
        if (region == NULL || region->kind != HAK_REGION_LARGE || region->records == 0 ||
            region->unit_shift != HAK_GRANULE_SHIFT || region->record_size == 0)
            unused = &begun; /* wrong */
        atomic_store_explicit(&done, round, memory_order_relaxed);
    }
    return unused;
}

/* Each region's room is used up, so that another region begins. */
static void found_whole(void **state) {
    (void)state;
    pthread_t thread;
    hak_free(hak_malloc(1));
    assert_int_equal(pthread_create(&thread, NULL, looks, NULL), 0);
    for (int round = 1; round <= ROUNDS; round++) {
        hak_region *region = NULL;
        uintptr_t addr = hak_region_take(HAK_REGION_LARGE, HAK_GRANULE, &region);
        assert_int_not_equal(addr, 0);
        hak_lock_take(&hak_region_lock);
        region->body.room = region->used; /* as when another mapping lies behind it */
        hak_lock_give(&hak_region_lock);
        atomic_store_explicit(&begun, addr, memory_order_relaxed);
        while (atomic_load_explicit(&done, memory_order_relaxed) != round)
            sched_yield();
    }
    void *wrong;
    assert_int_equal(pthread_join(thread, &wrong), 0);
    assert_null(wrong);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        {"a region that is found without a lock is whole", found_whole, NULL, NULL, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
