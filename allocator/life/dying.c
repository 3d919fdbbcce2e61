/* dying.c: prepares a dying thread for the program's handler of SIGABRT. Declared in death.h, whose layer may
 * not include these parts. Layer 5. */
#include "allocator/cache/cache.h"
#include "allocator/heap/large.h"
#include "allocator/heap/profile.h"
#include "allocator/life/init.h"
#include "allocator/os/death.h"
#include "allocator/policy.h"

enum { PATIENCE_MS = 100 }; /* a thread that runs gives its locks back within microseconds */

/* Breaks the locks that are still taken after a while: this thread holds them, because it found broken metadata
 * in the middle of an operation. */
static void break_locks(void) {
    unsigned patience = PATIENCE_MS;
    hak_lock *const others[] = {&hak_cache_lock, &hak_large_lock, &hak_superslab_lock, &hak_region_lock,
                                &hak_profile_lock};
    hak_lock_break(&hak_init_lock, &patience);
    hak_depot_break_all(&patience);
    for (unsigned i = 0; i < sizeof others / sizeof others[0]; i++)
        hak_lock_break(others[i], &patience);
    hak_lock *policy;
    for (unsigned i = 0; (policy = hak_policy_lock(i)) != NULL; i++)
        hak_lock_break(policy, &patience);
}

/* Abandons the cache: an interrupted flush may have given objects to depots that are still in the bin. */
void hak_dying_begin(bool locked) {
    hak_cache_forsake();
    if (locked)
        break_locks();
}
