/* fork.c: see fork.h. All locks are taken in rank order before a fork, so that no other thread is inside
 * anything that they guard. The child keeps the cache of its only thread; the objects in the caches of threads that
 * it does not have are lost to it, as their stacks are. */
#include "allocator/fork.h"

#include "allocator/cache.h"
#include "allocator/death.h"
#include "allocator/init.h"
#include "allocator/large.h"
#include "allocator/policy.h"

#include <pthread.h>

static hak_lock *const after_depots[] = {&hak_large_lock, &hak_superslab_lock, &hak_region_lock};
enum { AFTER_DEPOTS = sizeof after_depots / sizeof after_depots[0] };

/* The policy's lock is the last in rank order. */
static void policy_lock(void (*how)(hak_lock *lock)) {
    hak_lock *lock = hak_policy_lock();
    if (lock != NULL)
        how(lock);
}
static void take(hak_lock *lock) {
    hak_lock_take(lock);
}
static void give(hak_lock *lock) {
    hak_lock_give(lock);
}
static void reset(hak_lock *lock) {
    hak_lock_reset(lock);
}

static void prepare(void) {
    hak_lock_fork_begin();
    hak_init_lock_take();
    hak_lock_take(&hak_cache_lock);
    hak_depot_lock_all();
    for (int i = 0; i < AFTER_DEPOTS; i++)
        hak_lock_take(after_depots[i]);
    policy_lock(take);
}

static void parent(void) {
    policy_lock(give);
    for (int i = AFTER_DEPOTS; i-- > 0;)
        hak_lock_give(after_depots[i]);
    hak_depot_unlock_all();
    hak_lock_give(&hak_cache_lock);
    hak_init_lock_give();
    hak_lock_fork_end();
}

static void child(void) {
    policy_lock(reset);
    for (int i = AFTER_DEPOTS; i-- > 0;)
        hak_lock_reset(after_depots[i]);
    hak_depot_reset_all();
    hak_cache_alone();
    hak_lock_reset(&hak_cache_lock);
    hak_init_lock_reset();
    hak_lock_fork_end();
    hak_death_forget();
    hak_policy_fork_child();
}

void hak_fork_init(void) {
    (void)pthread_atfork(prepare, parent, child);
}
