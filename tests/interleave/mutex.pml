/* mutex.pml: allocator/base/lock.h and lock.c: a mutex of one word (0 free, 1 taken, 2 taken and a thread may sleep, 3 taken by a thread that
 * forks) over a futex. Two threads of two rounds each and one that forks, without the loop that spins before it sleeps. Holds: mutual
 * exclusion, although the thread that forks takes and gives once more meanwhile; no thread sleeps for ever.
 *
 * Mutants: UNLOCK_STORES_ZERO_WITHOUT_WAKE, SLEEPS_AS_ONE, SLEEPS_WITHOUT_LOOKING, FORK_FORGETS_SLEEPERS, FORK_LEAVES_ONE */
#define THREADS 3
#define ROUNDS  2

byte word = 0;
byte inside = 0;
bool sleeping[THREADS];

/* FUTEX_WAIT: sleeps only if the word still has the value, in one step; FUTEX_WAKE: wakes one of the sleepers. */
inline futex_wait(me, value) {
    atomic {
#ifdef SLEEPS_WITHOUT_LOOKING
        sleeping[me] = true
#else
        if
        :: word == value -> sleeping[me] = true
        :: else -> skip
        fi
#endif
    };
    !sleeping[me] /* blocks until another thread wakes this one */
}

inline futex_wake() {
    atomic {
        if
        :: sleeping[0] -> sleeping[0] = false
        :: sleeping[1] -> sleeping[1] = false
        :: sleeping[2] -> sleeping[2] = false
        :: else -> skip
        fi
    }
}

inline take(me) {
    atomic { /* compare and exchange 0 -> 1 */
        if
        :: word == 0 -> word = 1; got = true
        :: else -> got = false
        fi
    };
    do
    :: got -> break
    :: else ->
#ifdef SLEEPS_AS_ONE
        atomic { old = word; word = 1 };
#else
        atomic { old = word; word = 2 }; /* exchange */
#endif
        if
        :: old == 0 -> got = true
#ifdef SLEEPS_AS_ONE
        :: else -> futex_wait(me, 1)
#else
        :: else -> futex_wait(me, 2)
#endif
        fi
    od
}

inline give_and_wake() {
    atomic { old = word; word = 0 }; /* exchange */
#ifndef UNLOCK_STORES_ZERO_WITHOUT_WAKE
    if
    :: old == 2 -> futex_wake()
    :: else -> skip
    fi
#endif
}

inline give() {
    atomic { /* compare and exchange 1 -> 0 */
        if
        :: word == 1 -> word = 0; got = true
        :: else -> got = false
        fi
    };
    if
    :: got -> skip
    :: else -> give_and_wake()
    fi
}

inline fork_take(me) {
    take(me);
#ifndef FORK_LEAVES_ONE
    atomic { old = word; word = 3 }; /* exchange */
#ifndef FORK_FORGETS_SLEEPERS
    if
    :: old == 2 -> word = 2
    :: else -> skip
    fi
#endif
#endif
}

/* Neither compare and exchange of a handler that allocates finds the value that it expects; the slow halves do
 * nothing. */
inline take_and_give() {
    atomic { assert(word != 0) };
    atomic {
        if
        :: word == 1 -> word = 0
        :: else -> skip
        fi
    }
}

proctype forker(byte me) {
    byte old = 0;
    bool got = false;
    fork_take(me);
    inside++;
    assert(inside == 1);
    take_and_give();
    assert(inside == 1);
    inside--;
    give_and_wake()
}

proctype thread(byte me) {
    byte round = 0, old = 0;
    bool got = false;
    do
    :: round == ROUNDS -> break
    :: else ->
        take(me);
        inside++;
        assert(inside == 1);
        inside--;
        give();
        round++
    od
}

init {
    atomic { run thread(0); run thread(1); run forker(2) }
}
