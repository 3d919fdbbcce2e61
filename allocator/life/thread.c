/* thread.c: see thread.h. The loader, which calls the library's constructor, or any thread may come first. */
#include "allocator/life/thread.h"

#include "allocator/api/profile_save.h"
#include "allocator/api/stats_json.h"
#include "allocator/api/stats_signal.h"
#include "allocator/cache/cache.h"
#include "allocator/heap/profile.h"
#include "allocator/life/fork.h"
#include "allocator/life/idle.h"
#include "allocator/life/init.h"
#include "allocator/life/thread_end.h"
#include "allocator/options.h"
#include "allocator/os/death.h"
#include "allocator/os/stack_walk.h"
#include "allocator/stats.h"

#include <errno.h>

__attribute__((weak)) void hak_sanitizer_refuse(void) {}

static HAK_COLD HAK_NOINLINE bool begin_slow(void) {
    hak_sanitizer_refuse();
    if (hak_death_near())
        hak_death_look();
    if (!hak_init())
        return false;
    hak_cache *before = hak_cache_mine;
    int saved = errno;
    if (hak_cache_begin() && hak_cache_mine != before) {
        hak_fork_init();
        hak_thread_end_watch();
    }
    errno = saved;
    return true;
}

/* A thread that has a cache needs no further start. */
bool hak_thread_begin(void) {
    return HAK_LIKELY(hak_cache_begun()) || begin_slow();
}

/* The library is loaded and libc works. malloc may have been called already, also in other threads. */
__attribute__((constructor(101))) static void loaded(void) {
    (void)hak_init();
    hak_fork_init();
    hak_idle_loaded();
    hak_stats_signal_begin();
    if (hak_profile_rate != 0)
        hak_stack_unwind_begin();
}

__attribute__((destructor(101))) static void unloaded(void) {
    bool dying = hak_death_at_exit();
    if (!dying && hak_option.os_stats)
        hak_stats_report_os();
    if (!dying && hak_option.stats_path != NULL)
        hak_stats_save(hak_option.stats_path);
    if (!dying && hak_profile_rate != 0)
        hak_profile_at_exit();
}
