/* heap_api.h: one variant of the allocator as a table of functions, so that a program can drive both. */
#ifndef FUZZ_HEAP_API_H
#define FUZZ_HEAP_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hak_stats;

/* Like hak_reset of allocator/life/reset.h, which belongs to the core. */
enum { FUZZ_RESET_FRESH, FUZZ_RESET_KEPT, FUZZ_RESET_GUARDED };

/* Like HAK_OS_FAIL_ON of allocator/os/os.h. */
#define FUZZ_OS_FAIL_ON ((uint64_t)1 << 63)

typedef struct heap_api {
    const char *name; /* the variant */
    bool hardened;
    void *(*malloc)(size_t);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    void *(*reallocarray)(void *, size_t, size_t);
    void (*free)(void *);
    void (*free_sized)(void *, size_t);
    void (*free_aligned_sized)(void *, size_t, size_t);
    void *(*aligned_alloc)(size_t, size_t);
    void *(*memalign)(size_t, size_t);
    int (*posix_memalign)(void **, size_t, size_t);
    size_t (*usable_size)(const void *);
    int (*trim)(size_t);
    void (*stats_read)(struct hak_stats *);

    /* Only in debug builds of the core. */
    void (*check)(void); /* every walker; dies when a structure of the core is not sound */
    void (*check_mine)(
        void); /* only bins of the calling thread's cache that have changed since the last call */
    uint64_t (*changes)(void); /* grows whenever memory outside the calling thread's cache may have changed */
    void (*thread_end)(void);  /* the actions at the end of the calling thread */
    void (*reset)(unsigned how);      /* hak_test_reset with a hak_reset: FUZZ_RESET_ */
    uint64_t (*fail_os_at)(uint64_t); /* hak_os_fail_at */
    void (*pass_time)(uint64_t milliseconds);
    void (*exit_sweep)(void); /* the actions at the exit of the process; none in the speed variant */
    void (*set_policy)(bool lean, unsigned decommit, size_t target); /* hak_release_init */
    size_t (*capacity)(const void *); /* bytes of the object's slot or pages; 0: not an object */
    bool (*is_large)(const void *);
} heap_api;

extern const heap_api fuzz_heap_speed, fuzz_heap_hardened;

#endif
