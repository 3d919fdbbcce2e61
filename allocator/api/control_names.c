/* control_names.c: the table of control.h, and the functions that read and write its values. Values that
 * describe parts of jemalloc are those of a jemalloc that was built without these parts. Source: jemalloc(3),
 * "MALLCTL NAMESPACE". docs/JEMALLOC.md says which names programs use. */
#include "allocator/api/control.h"
#include "allocator/api/usage.h"
#include "allocator/cache/cache.h"
#include "allocator/os/os.h"
#include "include/hakmem.h"

#include <errno.h>

typedef const hak_control_numbers numbers;

/* Arenas and thread caches that the program created. Bit a says that arena a exists. Arena 0 is the heap. */
enum { ARENAS = HAK_CONTROL_ALL, TCACHES = 4094 };
static _Atomic uint64_t arenas[ARENAS / 64] = {1};
static _Atomic unsigned arenas_bound = 1; /* no arena of this number or above was ever created */
static _Atomic unsigned tcaches;
static _Atomic uint64_t epoch = 1;
static _Atomic uint64_t dirty_decay = 10000, muzzy_decay = 0, background_threads = 4;
static _Atomic bool background_thread;
static _Thread_local unsigned my_arena;
static _Thread_local bool my_tcache_off;

static bool arena_is_made(size_t arena) {
    return arena < ARENAS && (atomic_load(&arenas[arena / 64]) >> arena % 64 & 1) != 0;
}

/* True for the number that means all arenas, and for its older form: the number after the last arena. */
static bool means_all(size_t arena) {
    return arena == HAK_CONTROL_ALL || arena == atomic_load(&arenas_bound);
}

bool hak_control_has_arena(size_t arena) {
    return arena <= atomic_load(&arenas_bound) || arena == HAK_CONTROL_ALL || arena == HAK_CONTROL_DESTROYED;
}

/* The classes that count as jemalloc's bins: those that always take part. A half takes part only where there
 * are many objects (size_class.h); it counts with the class above it. */
static bool is_bin(unsigned cls) {
    return hak_class_whole(cls) == cls;
}

static unsigned bins(void) {
    unsigned count = 0;
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++)
        count += is_bin(cls);
    return count;
}

/* `bin` is one. */
static unsigned class_of_bin(size_t bin) {
    unsigned cls = 1;
    for (size_t before = 0; before < bin || !is_bin(cls); cls++)
        before += is_bin(cls);
    return cls;
}

bool hak_control_has_bin(size_t bin) {
    return bin < bins();
}

static uint64_t make_arena(numbers *at) {
    (void)at;
    for (unsigned i = 0; i < ARENAS / 64; i++) {
        uint64_t had = atomic_load(&arenas[i]);
        while (had != UINT64_MAX) {
            unsigned bit = (unsigned)__builtin_ctzll(~had), arena = i * 64 + bit;
            if (!atomic_compare_exchange_weak(&arenas[i], &had, had | (uint64_t)1 << bit))
                continue;
            unsigned bound = atomic_load(&arenas_bound);
            while (bound <= arena && !atomic_compare_exchange_weak(&arenas_bound, &bound, arena + 1))
                ;
            return arena;
        }
    }
    return HAK_CONTROL_NONE_LEFT;
}

/* Objects that the program left in the arena stay: arenas do not know their objects. */
static int destroy_arena(numbers *at, uint64_t to) {
    (void)to;
    size_t arena = at->at[0];
    if (arena == 0 || !arena_is_made(arena))
        return EFAULT;
    (void)atomic_fetch_and(&arenas[arena / 64], ~((uint64_t)1 << arena % 64));
    return 0;
}

static int reset_arena(numbers *at, uint64_t to) {
    (void)to;
    return at->at[0] == 0 || !arena_is_made(at->at[0]) ? EFAULT : 0;
}

static uint64_t make_tcache(numbers *at) {
    (void)at;
    return atomic_fetch_add(&tcaches, 1) % TCACHES;
}

/* Purges arena 0 or all arenas. Arenas that the program created have no memory. */
static int purge(numbers *at, uint64_t to) {
    (void)to;
    if (at->at[0] == 0 || means_all(at->at[0]))
        (void)hak_trim(0);
    return 0;
}

static int nothing_to_do(numbers *at, uint64_t to) {
    (void)at, (void)to;
    return 0;
}

static int flush_mine(numbers *at, uint64_t to) {
    (void)at, (void)to;
    if (hak_cache_begun())
        hak_cache_flush_all();
    return 0;
}

static int count_epoch(numbers *at, uint64_t to) {
    (void)at, (void)to;
    (void)atomic_fetch_add(&epoch, 1);
    return 0;
}

/* Values that can be written and are read back, without another effect. */
#define KEPT(name, variable)                                                                                 \
    static uint64_t read_##name(numbers *at) {                                                               \
        (void)at;                                                                                            \
        return (uint64_t)(variable);                                                                         \
    }                                                                                                        \
    static int write_##name(numbers *at, uint64_t to) {                                                      \
        (void)at;                                                                                            \
        (variable) = to;                                                                                     \
        return 0;                                                                                            \
    }
KEPT(dirty_decay, dirty_decay)
KEPT(muzzy_decay, muzzy_decay)
KEPT(background_thread, background_thread)
KEPT(background_threads, background_threads)

static uint64_t read_epoch(numbers *at) {
    (void)at;
    return atomic_load(&epoch);
}
static uint64_t read_arenas(numbers *at) {
    (void)at;
    return atomic_load(&arenas_bound);
}
static uint64_t read_arena_is_made(numbers *at) {
    return arena_is_made(at->at[0]);
}
static uint64_t read_page(numbers *at) {
    (void)at;
    return hak_os_page;
}
static uint64_t read_my_arena(numbers *at) {
    (void)at;
    return my_arena;
}
static int write_my_arena(numbers *at, uint64_t to) {
    (void)at;
    if (!arena_is_made(to))
        return EFAULT;
    my_arena = (unsigned)to;
    return 0;
}
static uint64_t read_my_tcache(numbers *at) {
    (void)at;
    return !my_tcache_off;
}
static int write_my_tcache(numbers *at, uint64_t to) {
    (void)at;
    my_tcache_off = to == 0;
    return 0;
}

/* Classes. */
static uint64_t bin_count(numbers *at) {
    (void)at;
    return bins();
}
static uint64_t bin_size(numbers *at) {
    return hak_classes[class_of_bin(at->at[0])].size;
}
static uint64_t bin_slots(numbers *at) {
    return hak_classes[class_of_bin(at->at[0])].slots;
}
static uint64_t bin_slab(numbers *at) {
    return hak_classes[class_of_bin(at->at[0])].slab_bytes;
}

/* Figures, read anew on each call. allocated <= active <= resident <= mapped. */
typedef struct figures {
    uint64_t small, large, active, dirty, resident, mapped, retained, metadata, caches;
    uint64_t small_count, large_count, aside;
} figures;

static figures figures_now(void) {
    hak_usage usage;
    hak_stats stats;
    hak_usage_read(&usage);
    hak_stats_read(&stats);
    figures now = {.small = usage.used.bytes,
                   .small_count = usage.used.count,
                   .large = usage.large.bytes,
                   .large_count = usage.large.count,
                   .aside = usage.set_aside.bytes,
                   .active = hak_max(stats.live_slab_bytes, usage.used.bytes) + usage.large.bytes,
                   .dirty = stats.free_dirty_bytes,
                   .metadata = stats.metadata_bytes,
                   .caches = stats.caches};
    now.resident = hak_max(usage.arena + usage.large.bytes, now.active) + now.metadata;
    now.mapped = hak_max(stats.committed_bytes, now.resident);
    now.retained = stats.mapped_bytes > now.mapped ? stats.mapped_bytes - now.mapped : 0;
    return now;
}

/* Figures of the process. */
#define FIGURE(name, expression)                                                                             \
    static uint64_t total_##name(numbers *at) {                                                              \
        figures now = figures_now();                                                                         \
        (void)at;                                                                                            \
        return expression;                                                                                   \
    }
FIGURE(allocated, now.small + now.large)
FIGURE(active, now.active)
FIGURE(resident, now.resident)
FIGURE(mapped, now.mapped)
FIGURE(retained, now.retained)
FIGURE(metadata, now.metadata)

/* Figures of an arena. Arena 0 has all of them, the others 0, so their sum is right. */
#define ARENA_FIGURE(name, expression)                                                                       \
    static uint64_t arena_##name(numbers *at) {                                                              \
        if (at->at[0] != 0 && at->at[0] != HAK_CONTROL_ALL)                                                  \
            return 0;                                                                                        \
        figures now = figures_now();                                                                         \
        return expression;                                                                                   \
    }
ARENA_FIGURE(small, now.small)
ARENA_FIGURE(small_count, now.small_count)
ARENA_FIGURE(large, now.large)
ARENA_FIGURE(large_count, now.large_count)
ARENA_FIGURE(pactive, now.active / hak_os_page)
ARENA_FIGURE(pdirty, now.dirty / hak_os_page)
ARENA_FIGURE(resident, now.resident)
ARENA_FIGURE(mapped, now.mapped)
ARENA_FIGURE(retained, now.retained)
ARENA_FIGURE(metadata, now.metadata)
ARENA_FIGURE(threads, now.caches)
ARENA_FIGURE(aside, now.aside)

static uint64_t of_class(const hak_usage *usage, unsigned cls, bool slabs) {
    size_t all = usage->used_of[cls] + usage->free_of[cls], slots = hak_classes[cls].slots;
    return slabs ? (all + slots - 1) / slots : usage->used_of[cls];
}
static uint64_t of_bin(numbers *at, bool slabs) {
    hak_usage usage;
    unsigned cls = class_of_bin(at->at[1]);
    if (at->at[0] != 0 && at->at[0] != HAK_CONTROL_ALL)
        return 0;
    hak_usage_read(&usage);
    bool has_half = cls > 1 && hak_class_whole(cls - 1) == cls;
    return of_class(&usage, cls, slabs) + (has_half ? of_class(&usage, cls - 1, slabs) : 0);
}
static uint64_t bin_objects(numbers *at) {
    return of_bin(at, false);
}
static uint64_t bin_slabs(numbers *at) {
    return of_bin(at, true);
}

/* Rows. */
#define TEXT(its_name, its_text)    {.name = (its_name), .type = HAK_CONTROL_TEXT, .text = (its_text)}
#define IS(its_type, its_name, its) {.name = (its_name), .type = HAK_CONTROL_##its_type, .value = (its)}
#define READ(its_type, its_name, f) {.name = (its_name), .type = HAK_CONTROL_##its_type, .read = (f)}
#define MAKE(its_name, f)           {.name = (its_name), .type = HAK_CONTROL_UNSIGNED, .read = (f), .makes = true}
#define DO(its_name, f)             {.name = (its_name), .type = HAK_CONTROL_NOTHING, .write = (f)}
#define TOLD(its_type, its_name, f)                                                                          \
    {.name = (its_name),                                                                                     \
     .type = HAK_CONTROL_##its_type,                                                                         \
     .read = read_##f,                                                                                       \
     .write = write_##f,                                                                                     \
     .written = true}
/* Can be written, without an effect. */
#define ANY(its_name) {.name = (its_name), .type = HAK_CONTROL_UNSIGNED, .written = true}

const hak_control hak_controls[] = {
    TEXT("version", "5.3.0-hakmem-" HAK_VERSION_STRING),
    {.name = "epoch",
     .type = HAK_CONTROL_SIZE,
     .read = read_epoch,
     .write = count_epoch,
     .written = true,
     .after = true},
    TOLD(BOOL, "background_thread", background_thread),
    TOLD(SIZE, "max_background_threads", background_threads),
    IS(BOOL, "config.cache_oblivious", 0),
    IS(BOOL, "config.debug", 0),
    IS(BOOL, "config.fill", 0),
    IS(BOOL, "config.lazy_lock", 0),
    TEXT("config.malloc_conf", ""),
    IS(BOOL, "config.opt_safety_checks", 0),
    IS(BOOL, "config.prof", 0),
    IS(BOOL, "config.prof_libgcc", 0),
    IS(BOOL, "config.prof_libunwind", 0),
    IS(BOOL, "config.stats", 1),
    IS(BOOL, "config.utrace", 0),
    IS(BOOL, "config.xmalloc", 0),
    IS(BOOL, "opt.abort", 0),
    IS(BOOL, "opt.abort_conf", 0),
    IS(BOOL, "opt.background_thread", 0),
    IS(BOOL, "opt.cache_oblivious", 0),
    IS(BOOL, "opt.confirm_conf", 0),
    IS(SIZE, "opt.dirty_decay_ms", 10000),
    TEXT("opt.dss", "disabled"),
    TEXT("opt.junk", "false"),
    IS(SIZE, "opt.lg_extent_max_active_fit", 6),
    IS(SIZE, "opt.lg_tcache_max", 18),
    IS(SIZE, "opt.max_background_threads", 4),
    TEXT("opt.metadata_thp", "disabled"),
    IS(SIZE, "opt.muzzy_decay_ms", 0),
    IS(UNSIGNED, "opt.narenas", 1),
    IS(SIZE, "opt.oversize_threshold", 0),
    TEXT("opt.percpu_arena", "disabled"),
    IS(BOOL, "opt.prof", 0),
    IS(BOOL, "opt.retain", 1),
    IS(BOOL, "opt.stats_print", 0),
    TEXT("opt.stats_print_opts", ""),
    IS(BOOL, "opt.tcache", 1),
    IS(SIZE, "opt.tcache_max", HAK_SLAB_SIZE_MAX),
    TEXT("opt.thp", "default"),
    IS(BOOL, "opt.trust_madvise", 1),
    IS(BOOL, "opt.utrace", 0),
    IS(BOOL, "opt.xmalloc", 0),
    IS(BOOL, "opt.zero", 0),
    TEXT("opt.zero_realloc", "free"),
    TOLD(UNSIGNED, "thread.arena", my_arena),
    DO("thread.idle", flush_mine),
    TOLD(BOOL, "thread.tcache.enabled", my_tcache),
    DO("thread.tcache.flush", flush_mine),
    MAKE("tcache.create", make_tcache),
    ANY("tcache.destroy"),
    ANY("tcache.flush"),
    READ(BOOL, "arena.*.initialized", read_arena_is_made),
    DO("arena.*.decay", nothing_to_do),
    DO("arena.*.destroy", destroy_arena),
    {.name = "arena.*.dss", .type = HAK_CONTROL_TEXT, .text = "disabled", .written = true},
    TOLD(SIZE, "arena.*.dirty_decay_ms", dirty_decay),
    TOLD(SIZE, "arena.*.muzzy_decay_ms", muzzy_decay),
    DO("arena.*.purge", purge),
    DO("arena.*.reset", reset_arena),
    MAKE("arenas.create", make_arena),
    TOLD(SIZE, "arenas.dirty_decay_ms", dirty_decay),
    TOLD(SIZE, "arenas.muzzy_decay_ms", muzzy_decay),
    READ(UNSIGNED, "arenas.narenas", read_arenas),
    READ(UNSIGNED, "arenas.nbins", bin_count),
    READ(UNSIGNED, "arenas.nhbins", bin_count),
    IS(UNSIGNED, "arenas.nlextents", 0),
    READ(SIZE, "arenas.page", read_page),
    IS(SIZE, "arenas.quantum", HAK_MIN_ALIGN),
    IS(SIZE, "arenas.tcache_max", HAK_SLAB_SIZE_MAX),
    READ(UNSIGNED, "arenas.bin.*.nregs", bin_slots),
    IS(UNSIGNED, "arenas.bin.*.nshards", 1),
    READ(SIZE, "arenas.bin.*.size", bin_size),
    READ(SIZE, "arenas.bin.*.slab_size", bin_slab),
    READ(SIZE, "stats.active", total_active),
    READ(SIZE, "stats.allocated", total_allocated),
    IS(SIZE, "stats.background_thread.num_runs", 0),
    IS(SIZE, "stats.background_thread.num_threads", 0),
    IS(SIZE, "stats.background_thread.run_interval", 0),
    READ(SIZE, "stats.mapped", total_mapped),
    READ(SIZE, "stats.metadata", total_metadata),
    IS(SIZE, "stats.metadata_thp", 0),
    READ(SIZE, "stats.resident", total_resident),
    READ(SIZE, "stats.retained", total_retained),
    IS(SIZE, "stats.zero_reallocs", 0),
    READ(SIZE, "stats.arenas.*.base", arena_metadata),
    TEXT("stats.arenas.*.dss", "disabled"),
    IS(SIZE, "stats.arenas.*.internal", 0),
    READ(SIZE, "stats.arenas.*.large.allocated", arena_large),
    READ(SIZE, "stats.arenas.*.large.curobjs", arena_large_count),
    READ(SIZE, "stats.arenas.*.mapped", arena_mapped),
    READ(UNSIGNED, "stats.arenas.*.nthreads", arena_threads),
    READ(SIZE, "stats.arenas.*.pactive", arena_pactive),
    READ(SIZE, "stats.arenas.*.pdirty", arena_pdirty),
    IS(SIZE, "stats.arenas.*.pmuzzy", 0),
    READ(SIZE, "stats.arenas.*.resident", arena_resident),
    READ(SIZE, "stats.arenas.*.retained", arena_retained),
    READ(SIZE, "stats.arenas.*.small.allocated", arena_small),
    READ(SIZE, "stats.arenas.*.small.curobjs", arena_small_count),
    READ(SIZE, "stats.arenas.*.tcache_bytes", arena_aside),
    READ(SIZE, "stats.arenas.*.bins.*.curregs", bin_objects),
    READ(SIZE, "stats.arenas.*.bins.*.curslabs", bin_slabs),
};
const unsigned hak_controls_count = sizeof hak_controls / sizeof hak_controls[0];
