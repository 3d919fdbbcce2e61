/* exits.c: see exits.h. */
#include "hardening/exits.h"

#include "allocator/os/os.h"
#include "hardening/guard.h"

enum {
    /* glibc 2.36: fopen 472 bytes, popen 488, fopencookie 280, open_memstream 264, with a lock and the state of wide
     * characters. */
    STREAM_LEAST = 216,
    STREAM_MOST = 512,
    /* Most pages that are opened: a thread touches one or two. */
    MENDED_MOST = 4096,
};

HAK_HIDDEN _Atomic bool hak_exits_over;
static uintptr_t libc_start, libc_end; /* libc's code; empty when unknown */
static bool libc_apart;                /* libc is a module of its own, not linked into the program */
static _Atomic unsigned mended;

/* Runs before any stream of libc is in use. */
__attribute__((constructor(102))) static void process_begins(void) {
    uintptr_t marks[HAK_OS_LANDMARKS], start, end;
    hak_os_landmarks(marks);
    if (!hak_os_code_of(marks[HAK_LANDMARK_LIBC], &start, &end))
        return;
    libc_apart = (uintptr_t)&process_begins - start >= end - start;
    libc_start = start;
    libc_end = end;
}

bool hak_exits_stream(uintptr_t caller, size_t size) {
    return libc_apart && caller - libc_start < libc_end - libc_start &&
           size - STREAM_LEAST <= STREAM_MOST - STREAM_LEAST;
}

bool hak_exits_mend(const hak_fault *fault) {
    if (!hak_exits_begun() || fault->at - libc_start >= libc_end - libc_start ||
        atomic_fetch_add(&mended, 1) >= MENDED_MOST)
        return false;
    uintptr_t page = hak_align_down(fault->addr, hak_os_page);
    /* A freed sampled object's page is not mapped, unless another thread has just been here. */
    return hak_guard_open(page, hak_os_page) || hak_os_map_at(page, hak_os_page) != HAK_MAP_REFUSED;
}
