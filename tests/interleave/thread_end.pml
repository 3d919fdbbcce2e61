/* thread_end.pml: cache.c: a thread that ends empties its bins, leaves its cache to the next thread, and may free once more after that,
 * from a destructor that runs later. A new thread takes the waiting cache. One object, two threads, one cache.
 *
 * Holds: the object is in one place; no two threads use one cache; an object that is freed after the end is not lost.
 * Mutants: WAITS_BEFORE_EMPTY, LATE_FREE_INTO_OLD_CACHE, NO_STATIC_AT_END */
byte depot = 0;      /* objects in the depot */
byte cached = 0;     /* objects in the bins of the only cache */
bool waiting = false; /* the cache waits for a new thread */
byte users = 1;      /* threads that use the cache */
byte held = 2;       /* objects that the ending thread still holds */

proctype ending() {
    bool mine = true; /* hak_cache_mine is the cache, not the static one */
    cached++;
    held--; /* a free before the end */
#ifdef WAITS_BEFORE_EMPTY
    atomic { users--; waiting = true };
    depot = depot + cached;
    cached = 0;
#else
    depot = depot + cached;
    cached = 0;
    atomic { users--; waiting = true };
#endif
#ifndef NO_STATIC_AT_END
    mine = false;
#endif
    /* The late free. */
    if
    :: mine -> assert(users == 0 || users == 1); cached++; held--
    :: else ->
#ifdef LATE_FREE_INTO_OLD_CACHE
        cached++;
#else
        atomic { depot++ };
#endif
        held--
    fi
}

proctype beginning() {
    atomic { waiting -> waiting = false; users++ };
    assert(users == 1);
    assert(cached == 0); /* bins_init forgets what is there */
    cached = 0
}

init {
    atomic { run ending(); run beginning() };
    (_nr_pr == 1);
    assert(held == 0 && depot == 2 && cached == 0)
}
