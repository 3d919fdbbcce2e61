/* curves_reclaim.c: an attacker who holds a stale pointer, and makes objects of its size until one of them lies there;
 * curves.h has the contract.
 *
 * Calls are counted from the free of the stale object on, without it: every malloc and every free of the attacker. What
 * he prepares before, and what others do, is not counted. */
#include "bench/curves.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    WARM = 16,   /* pairs first: a call site's first objects may be sampled ones */
    BESIDE = 64, /* objects made beside the victim, half of them before it */
    KEPT_LEAST = 16,
    ROUND_LAST = 4, /* of destructors of thread keys: PTHREAD_DESTRUCTOR_ITERATIONS */
};
static const size_t kept_bytes = (size_t)1 << 30; /* address space that the attacker holds at most */

typedef struct hunt {
    const curves_attack *attack;
    void *victim;
    void **prepared; /* attack->before of them */
    long calls;      /* the result */
} hunt;

/* One call site for all objects. */
__attribute__((noinline)) void *curves_make(const curves_attack *attack) {
    void *obj = attack->align != 0 ? aligned_alloc(attack->align, attack->size) : malloc(attack->size);
    if (obj == NULL)
        bench_die("out of memory", "curves");
    return obj;
}

static bool is_there(const curves_attack *attack, const void *obj, uintptr_t stale) {
    return curves_overlap((uintptr_t)obj, attack->size, stale, attack->size);
}

/* malloc, a look, free. */
static long by_pairs(const curves_attack *attack, uintptr_t stale, long calls) {
    while (calls < attack->limit) {
        void *obj = curves_make(attack);
        calls++;
        if (is_there(attack, obj, stale))
            return calls;
        free(obj);
        calls++;
    }
    return CURVES_MORE;
}

/* malloc only; when he can hold no more, he frees all of it. */
static long by_keeping(const curves_attack *attack, uintptr_t stale, long calls) {
    size_t most = kept_bytes / attack->size + KEPT_LEAST, held = 0;
    most = most < (size_t)attack->limit ? most : (size_t)attack->limit;
    void **kept = bench_table(most * sizeof(void *));
    while (calls < attack->limit) {
        void *obj = curves_make(attack);
        calls++;
        if (is_there(attack, obj, stale))
            return calls;
        kept[held++] = obj;
        if (held == most) {
            for (; held > 0; calls++)
                free(kept[--held]);
        }
    }
    return CURVES_MORE;
}

/* What others do after the free, and the attacker's calls. */
static void go_on(hunt *the, uintptr_t stale) {
    const curves_attack *attack = the->attack;
    the->calls = 0;
    if (curves_drain(attack, stale))
        return;
    for (long i = 0; i < attack->before; i++)
        free(the->prepared[i]);
    the->calls = strcmp(attack->way, "pairs") == 0 ? by_pairs(attack, stale, attack->before)
                                                   : by_keeping(attack, stale, attack->before);
}

static bool goes_on_itself(const curves_attack *attack) {
    return strcmp(attack->by, "self") == 0;
}

static void go(hunt *the) {
    uintptr_t stale = (uintptr_t)the->victim;
    free(the->victim);
    if (goes_on_itself(the->attack))
        go_on(the, stale);
}

static void *goes_first(void *the) {
    go(the);
    return NULL;
}

static void *frees_and_ends(void *hunted) {
    hunt *the = hunted;
    for (int i = 0; i < WARM; i++)
        free(curves_make(the->attack));
    free(the->victim);
    return NULL;
}

/* In the last round of destructors, where the allocator's own have run. */
static pthread_key_t key;
static void goes_last(void *the) {
    static _Thread_local int round;
    if (++round == ROUND_LAST)
        go(the);
    else
        pthread_setspecific(key, the);
}

static void *ends(void *the) {
    for (int i = 0; i < WARM; i++)
        free(curves_make(((hunt *)the)->attack));
    pthread_setspecific(key, the);
    return NULL;
}

static void in_a_thread(void *(*body)(void *), hunt *the) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, body, the) != 0 || pthread_join(thread, NULL) != 0)
        bench_die("no thread", the->attack->place);
}

/* The free, and perhaps all that follows, is in a thread that ends. */
static void with_a_thread(void *(*body)(void *), hunt *the, bool goes_on_there) {
    uintptr_t stale = (uintptr_t)the->victim;
    in_a_thread(body, the);
    if (!goes_on_there)
        go_on(the, stale);
}

static void prepare(hunt *the) {
    const curves_attack *attack = the->attack;
    for (int i = 0; i < WARM; i++)
        free(curves_make(attack));
    the->prepared = bench_table((size_t)(attack->before + 1) * sizeof(void *));
    for (long i = 0; i < attack->before; i++)
        the->prepared[i] = curves_make(attack);
    for (int i = 0; i < BESIDE; i++) {
        void *obj = curves_make(attack);
        if (i == BESIDE / 2)
            the->victim = obj;
    }
}

long curves_reclaim(const curves_attack *attack) {
    hunt the = {.attack = attack, .calls = CURVES_MORE};
    prepare(&the);
    curves_busy_start(attack->busy);
    if (strcmp(attack->place, "main") == 0)
        go(&the);
    else if (strcmp(attack->place, "first") == 0)
        with_a_thread(goes_first, &the, goes_on_itself(attack));
    else if (strcmp(attack->place, "last") == 0)
        with_a_thread(frees_and_ends, &the, false);
    else if (strcmp(attack->place, "destructor") == 0 && pthread_key_create(&key, goes_last) == 0)
        with_a_thread(ends, &the, goes_on_itself(attack));
    else
        bench_die("unknown place", attack->place);
    return the.calls;
}
