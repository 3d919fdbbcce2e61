/* trace_recorder.c: a preload that records every allocation of a program: LD_PRELOAD=librecorder.so.
 *
 * HAKMEM_TRACE_FILE names the file; the process number is appended, so programs that start others leave one file
 * each. Format: trace_format.h. glibc serves the calls. One lock orders the events of all threads; a free is written
 * before it happens and an allocation after, so no object is live twice. The file is a shared mapping: nothing is
 * lost when a program leaves by _exit or dies. After fork the child records nothing, unless it executes a program.
 * Objects that were allocated before recording began are not part of the trace, nor are calls for them. */
#define _GNU_SOURCE
#include "bench/trace_format.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *obj, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *obj);

enum { WINDOW = 1 << 20, PAGE = 4096, MAP_FIRST = 1 << 16, MAP_LOAD_PERCENT = 60 };

static atomic_flag lock = ATOMIC_FLAG_INIT;
static _Atomic int recording;
static _Atomic uint32_t threads;
static __thread uint32_t this_thread; /* counted from 1 */

/* The part of the file that is mapped for writing. */
static struct {
    char path[4096];
    uint8_t *window, *at;
    off_t offset; /* of the window */
    uint32_t thread;
} file;

static trace_slots slots;

/* Live objects: address to slot, by linear probing; an empty place has key 0. */
typedef struct place {
    uintptr_t key;
    uint32_t slot;
} place;
static struct {
    place *places;
    size_t size, used; /* size: a power of two */
} live;

static void lock_take(void) {
    while (atomic_flag_test_and_set_explicit(&lock, memory_order_acquire))
        sched_yield();
}

static void lock_give(void) {
    atomic_flag_clear_explicit(&lock, memory_order_release);
}

static void *pages(size_t bytes) {
    void *mapped =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return mapped == MAP_FAILED ? NULL : mapped;
}

/* Without memory or disk space the trace ends here; the program goes on. */
static void stop(const char *why) {
    recording = 0;
    dprintf(STDERR_FILENO, "recorder: %s: %s; the trace ends here\n", file.path, why);
}

/* Maps the window at `offset`. The file is opened anew each time: a program may close descriptors that it does not
 * know. */
static int window_open(off_t offset, int flags) {
    int descriptor = open(file.path, O_RDWR | O_CLOEXEC | flags, 0644);
    if (descriptor < 0)
        return 0;
    void *mapped = MAP_FAILED;
    if (!ftruncate(descriptor, offset + WINDOW))
        mapped = mmap(NULL, WINDOW, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, offset);
    close(descriptor);
    if (mapped == MAP_FAILED)
        return 0;
    file.window = mapped;
    file.offset = offset;
    return 1;
}

static int window_has_room(void) {
    size_t filled = (size_t)(file.at - file.window);
    if (WINDOW - filled >= 2 * TRACE_EVENT_BYTES_MAX)
        return 1;
    uint8_t *before = file.window;
    if (!window_open(file.offset + (off_t)(filled / PAGE * PAGE), 0))
        return 0;
    munmap(before, WINDOW);
    file.at = file.window + filled % PAGE;
    return 1;
}

static void put(trace_kind kind, uint64_t slot, uint64_t size) {
    if (!window_has_room()) {
        stop("cannot write");
        return;
    }
    if (!this_thread)
        this_thread = ++threads;
    if (this_thread != file.thread)
        file.at = trace_put(file.at, &(trace_event){TRACE_THREAD, this_thread, 0});
    file.thread = this_thread;
    file.at = trace_put(file.at, &(trace_event){kind, slot, size});
}

static size_t live_home(uintptr_t key) {
    return (size_t)((key * 0x9E3779B97F4A7C15u) >> 20) & (live.size - 1);
}

static size_t live_find(uintptr_t key) {
    size_t i = live_home(key);
    while (live.places[i].key && live.places[i].key != key)
        i = (i + 1) & (live.size - 1);
    return i;
}

static int live_grow(size_t size) {
    place *before = live.places;
    size_t had = live.size;
    place *fresh = pages(size * sizeof *fresh);
    if (!fresh)
        return 0;
    live.places = fresh;
    live.size = size;
    for (size_t i = 0; i < had; i++)
        if (before[i].key)
            live.places[live_find(before[i].key)] = before[i];
    if (before)
        munmap(before, had * sizeof *before);
    return 1;
}

static int live_add(const void *obj, uint32_t slot) {
    if (live.used * 100 >= live.size * MAP_LOAD_PERCENT && !live_grow(live.size * 2))
        return 0;
    live.places[live_find((uintptr_t)obj)] = (place){(uintptr_t)obj, slot};
    live.used++;
    return 1;
}

/* Returns and forgets the slot of `obj`; 0 when it is not known. Later entries move up, so no gap ends a probe too
 * early. */
static int live_remove(const void *obj, uint32_t *slot) {
    size_t gap = live_find((uintptr_t)obj), mask = live.size - 1;
    if (!live.places[gap].key)
        return 0;
    *slot = live.places[gap].slot;
    live.used--;
    for (size_t i = (gap + 1) & mask; live.places[i].key; i = (i + 1) & mask) {
        size_t home = live_home(live.places[i].key);
        if (((i - home) & mask) >= ((i - gap) & mask)) {
            live.places[gap] = live.places[i];
            gap = i;
        }
    }
    live.places[gap].key = 0;
    return 1;
}

static void record_new(const void *obj, trace_kind kind, unsigned alignment_log2, size_t size) {
    if (!obj || !recording)
        return;
    lock_take();
    if (recording && slots.used - slots.freed_count < TRACE_SLOTS_MAX) {
        put(kind, alignment_log2, size);
        if (recording && !live_add(obj, trace_slot_take(&slots)))
            stop("out of memory");
    }
    lock_give();
}

static void record_free(const void *obj) {
    uint32_t slot;
    if (!obj || !recording)
        return;
    lock_take();
    if (recording && live_remove(obj, &slot)) {
        put(TRACE_FREE, slot, 0);
        trace_slot_give(&slots, slot);
    }
    lock_give();
}

EXPORT void *malloc(size_t size) {
    void *obj = __libc_malloc(size);
    record_new(obj, TRACE_MALLOC, 0, size);
    return obj;
}

EXPORT void free(void *obj) {
    record_free(obj);
    __libc_free(obj);
}

EXPORT void *calloc(size_t count, size_t size) {
    void *obj = __libc_calloc(count, size);
    record_new(obj, TRACE_CALLOC, 0, count * size);
    return obj;
}

/* The lock is held throughout: no other thread may get the old address before the move is written. */
static void *resize(void *obj, size_t size) {
    uint32_t slot;
    lock_take();
    void *moved = __libc_realloc(obj, size);
    if (moved && recording && live_remove(obj, &slot)) {
        put(TRACE_REALLOC, slot, size);
        if (recording && !live_add(moved, slot))
            stop("out of memory");
    }
    lock_give();
    return moved;
}

EXPORT void *realloc(void *obj, size_t size) {
    if (!obj)
        return malloc(size);
    if (size)
        return resize(obj, size);
    free(obj);
    return NULL;
}

EXPORT void *reallocarray(void *obj, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(obj, bytes);
}

EXPORT void *memalign(size_t alignment, size_t size) {
    void *obj = __libc_memalign(alignment, size);
    record_new(obj, TRACE_ALIGNED, alignment > 1 ? 64 - (unsigned)__builtin_clzl(alignment - 1) : 0, size);
    return obj;
}

EXPORT void *aligned_alloc(size_t alignment, size_t size) {
    return memalign(alignment, size);
}

EXPORT int posix_memalign(void **out, size_t alignment, size_t size) {
    if (alignment % sizeof(void *) || !alignment || alignment & (alignment - 1))
        return EINVAL;
    int before = errno;
    void *obj = memalign(alignment, size);
    errno = before;
    if (!obj)
        return ENOMEM;
    *out = obj;
    return 0;
}

EXPORT void *valloc(size_t size) {
    return memalign(PAGE, size);
}

/* glibc's own one by name: a program may be linked to another allocator, whose function would meet glibc's objects. */
EXPORT size_t malloc_usable_size(void *obj) {
    static size_t (*_Atomic usable)(void *);
    if (!usable) {
        void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
        usable = (size_t (*)(void *))dlsym(libc, "malloc_usable_size");
    }
    return obj ? usable(obj) : 0;
}

static void fork_child(void) {
    recording = 0;
    lock_give();
}

__attribute__((constructor(101))) static void recorder_start(void) {
    const char *name = getenv("HAKMEM_TRACE_FILE");
    char folder[2048] = "";
    if (!name)
        return;
    if (*name != '/' && !getcwd(folder, sizeof folder))
        return;
    snprintf(file.path, sizeof file.path, "%s%s%s.%d", folder, *folder ? "/" : "", name, (int)getpid());
    slots.freed = pages(TRACE_SLOTS_MAX * sizeof *slots.freed);
    if (!slots.freed || !live_grow(MAP_FIRST) || !window_open(0, O_CREAT | O_TRUNC)) {
        stop("cannot start");
        return;
    }
    memcpy(file.window, TRACE_MAGIC, TRACE_MAGIC_BYTES);
    file.at = file.window + TRACE_MAGIC_BYTES;
    pthread_atfork(lock_take, lock_give, fork_child);
    recording = 1;
}

/* Cuts off the unused rest of the last window. */
__attribute__((destructor(101))) static void recorder_finish(void) {
    lock_take();
    if (recording && truncate(file.path, file.offset + (file.at - file.window)))
        stop("cannot be cut to its length");
    recording = 0;
    lock_give();
}
