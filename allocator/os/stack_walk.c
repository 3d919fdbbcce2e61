/* stack_walk.c: see stack_walk.h. */
#include "allocator/os/stack_walk.h"

#include "allocator/os/module.h"
#include "allocator/os/os_process.h"

#include <string.h>

/* A piece of the stack, read at once. A system call per frame would be most of the cost of a sampled object. */
typedef struct window {
    uintptr_t from, words[128];
    size_t size;
} window;

/* The frame record at `frame`: the caller's frame and the return address. False: not readable. */
static bool frame_read(window *seen, uintptr_t frame, uintptr_t record[2]) {
    const size_t bytes = 2 * sizeof(uintptr_t);
    if (seen->size < bytes || frame < seen->from || frame - seen->from > seen->size - bytes) {
        seen->from = frame;
        seen->size = hak_os_read(seen->words, frame, sizeof seen->words);
        if (seen->size < bytes)
            return false;
    }
    memcpy(record, (const char *)seen->words + (frame - seen->from), bytes);
    return true;
}

unsigned hak_stack_walk(uintptr_t frame, uintptr_t *out, unsigned most) {
    unsigned count = 0;
    window seen;
    seen.size = 0;
    for (uintptr_t record[2]; count < most && frame != 0 && frame % sizeof(void *) == 0; frame = record[0]) {
        if (!frame_read(&seen, frame, record) || record[1] < 4096)
            break;
        out[count++] = record[1];
        if (record[0] <= frame ||
            record[0] - frame > HAK_MIB) /* the stack grows down, so this is no frame pointer */
            break;
    }
    return count;
}

/* Weak: we do not pull libc's unwinder into a program that is linked with the archive. */
#pragma weak backtrace
extern int backtrace(void **out, int most);

static _Atomic bool unwinds;
static _Atomic unsigned unwinding;           /* threads inside the unwinder */
static uintptr_t unwinder_from, unwinder_to; /* its code */

/* True when the unwinder itself allocates. For code that was generated at run time it takes a lock and
 * allocates under it (libgcc: search_object, btree_insert), so it must not be asked for the stack of that
 * allocation. */
static bool is_unwinder(uintptr_t caller) {
    return caller - unwinder_from < unwinder_to - unwinder_from;
}

void hak_stack_unwind_begin(void) {
    void *some[4];
    if (backtrace == NULL || backtrace(some, 4) <= 0 ||
        !hak_module_code("libgcc_s.so", &unwinder_from, &unwinder_to))
        return;
    /* release: pairs with the acquire in hak_stack_unwind */
    atomic_store_explicit(&unwinds, true, memory_order_release);
}

/* Removes our own functions, which come before the caller. */
static unsigned from_caller(uintptr_t caller, uintptr_t *out, unsigned count) {
    unsigned first = 0;
    while (first < count && out[first] != caller)
        first++;
    if (first == count)
        return count;
    memmove(out, out + first, (count - first) * sizeof *out);
    return count - first;
}

unsigned hak_stack_unwind(uintptr_t caller, uintptr_t *out, unsigned most) {
    unsigned count = 0;
    /* acquire: pairs with the release in hak_stack_unwind_begin */
    if (atomic_load_explicit(&unwinds, memory_order_acquire) && !is_unwinder(caller)) {
        atomic_fetch_add_explicit(&unwinding, 1, memory_order_relaxed);
        int got = backtrace((void **)out, (int)most);
        atomic_fetch_sub_explicit(&unwinding, 1, memory_order_relaxed);
        count = from_caller(caller, out, got > 0 ? (unsigned)got : 0);
    }
    if (count > 1 || most == 0)
        return count;
    out[0] = caller;
    count = caller != 0;
    return count + hak_stack_walk((uintptr_t)__builtin_frame_address(0), out + count, most - count);
}

/* If other threads were in the unwinder, it is never used again: one of them may hold its lock, and does not
 * exist here. */
void hak_stack_unwind_fork_child(void) {
    if (atomic_exchange_explicit(&unwinding, 0, memory_order_relaxed) != 0)
        atomic_store_explicit(&unwinds, false, memory_order_relaxed);
}
