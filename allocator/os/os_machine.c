/* os_machine.c: os.h except memory (os_linux.c): random numbers, clocks, the processors, and what the kernel
 * gave the process. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "allocator/os/os.h"

#include "allocator/os/os_keep.h"

#include <errno.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__) && defined(__GLIBC__) /* musl does not know the next line's macro */
#if __GLIBC_PREREQ(2, 33)
#include <sys/platform/x86.h>
#define HAK_KNOWS_CPU
#endif
#endif

static _Atomic uint64_t fixed_random, fixed_places; /* states of hak_os_random_fix; 0: off */

/* splitmix64 (Steele et al. 2014). Relaxed: each step is taken once, in any order of the threads. */
static void mix(_Atomic uint64_t *state, void *out, size_t size) {
    const uint64_t step = 0x9e3779b97f4a7c15u;
    for (size_t i = 0; i < size; i++) {
        uint64_t now = atomic_fetch_add_explicit(state, step, memory_order_relaxed) + step;
        uint64_t mixed = (now ^ (now >> 30)) * 0xbf58476d1ce4e5b9u;
        mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
        ((unsigned char *)out)[i] = (unsigned char)(mixed >> 33);
    }
}

void hak_os_random_fix(uint64_t seed) {
    fixed_random = fixed_places = seed;
}

void hak_os_random(void *out, size_t size) {
    if (HAK_DEBUG_BUILD && fixed_random != 0) {
        mix(&fixed_random, out, size);
        return;
    }
    int saved = errno;
    /* libc's getrandom is a cancellation point */
    long got = syscall(SYS_getrandom, out, size, GRND_NONBLOCK);
    errno = saved;
    if (got == (long)size)
        return;
    /* The kernel's pool is not ready, or a sandbox forbids the call. Mixes the 16 bytes that the kernel gave
     * this process at exec with the clock. */
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const uint64_t *given = (const uint64_t *)getauxval(AT_RANDOM);
    _Atomic uint64_t state = (uint64_t)now.tv_nsec ^ ((uint64_t)now.tv_sec << 32) ^ (uintptr_t)&now;
    if (given != NULL)
        state ^= given[0] + given[1];
    mix(&state, out, size);
}

uint64_t hak_os_random_place(void) {
    uint64_t number = 0; /* MemorySanitizer does not see what the kernel writes */
    if (HAK_DEBUG_BUILD && fixed_places != 0)
        mix(&fixed_places, &number, sizeof number);
    else
        hak_os_random(&number, sizeof number);
    return number;
}

_Atomic uint8_t hak_os_filter = HAK_FILTER_NONE;

void hak_os_filter_raise(hak_filter level) {
    if (hak_os_filter < level)
        hak_os_filter = (uint8_t)level;
}

void hak_os_landmarks(uintptr_t out[HAK_OS_LANDMARKS]) {
    int on_stack = 0;
    out[HAK_LANDMARK_PROGRAM] = getauxval(AT_PHDR);
    out[HAK_LANDMARK_LIBRARY] = (uintptr_t)&hak_os_counts;
    out[HAK_LANDMARK_LIBC] = (uintptr_t)&clock_gettime;
    out[HAK_LANDMARK_STACK] = (uintptr_t)&on_stack;
}

unsigned hak_os_cpus(void) {
    cpu_set_t set;
    int saved = errno;
    int cpus = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    errno = saved;
    return cpus > 0 ? (unsigned)cpus : 1;
}

/* glibc asked the processor when the process began. __builtin_cpu_supports of the compiler would ask again: a
 * dozen CPUID instructions, each of which leaves a virtual machine, in all 4 us. */
#if defined(__x86_64__) && defined(HAK_KNOWS_CPU)
/* As CPU_FEATURE_ACTIVE of libc's header, whose shift of a signed 1 by 31 places is undefined. */
static bool is_active(unsigned feature) {
    const struct cpuid_feature *leaf = __x86_get_cpuid_feature_leaf(feature / 128);
    return (leaf->active_array[feature % 128 / 32] >> feature % 32 & 1) != 0;
}
#define HAS(feature) is_active(x86_cpu_##feature)
unsigned hak_os_vector_bytes(void) {
    if (!HAS(AVX2))
        return 16;
    return HAS(AVX512F) && HAS(AVX512VL) && HAS(AVX512DQ) && HAS(AVX512BW) ? 64 : 32;
}
#elif defined(__x86_64__)
#define HAS(feature) (__builtin_cpu_supports(feature) != 0)
unsigned hak_os_vector_bytes(void) {
    __builtin_cpu_init();
    if (!HAS("avx2"))
        return 16;
    return HAS("avx512f") && HAS("avx512vl") && HAS("avx512dq") && HAS("avx512bw") ? 64 : 32;
}
#else
unsigned hak_os_vector_bytes(void) {
    return 16;
}
#endif

uint64_t hak_os_milliseconds(void) {
    uint64_t kept;
    if (HAK_DEBUG_BUILD && hak_os_keep_clock(&kept))
        return kept;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

bool hak_os_secure(void) {
    return getauxval(AT_SECURE) != 0;
}

char **hak_os_environment(void) {
    return environ;
}
