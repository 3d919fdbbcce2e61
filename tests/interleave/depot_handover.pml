/* depot_handover.pml: depot.c: a thread that refills drops the depot's lock while it asks for a new slab; other
 * threads bring objects home meanwhile, and a slab whose slots are all free goes back to the superslab layer after
 * the lock. One slab of two slots, room for one more.
 *
 * Holds: no slot has two owners; a slab that goes back has all its slots free and is in no list; no slab is
 * lost.
 * Mutants: GIVES_BACK_BEFORE_UNLINK, FORGETS_TO_RELIST, COUNTS_WITHOUT_LOCK */
#define SLABS 2
#define SLOTS 2

mtype = {UNUSED, PARTIAL, FULL};
mtype state[SLABS] = UNUSED;
bool listed[SLABS];
byte free[SLABS];          /* free slots in the slab */
byte owners[SLABS];        /* slots that threads hold */
byte spare = 0;            /* slabs in the list with all slots free */
bool locked = false;       /* the depot's lock */
bool superslab[SLABS] = true; /* the superslab layer has it; the layer's own lock is the atomic step */

inline lock()   { atomic { !locked -> locked = true } }
inline unlock() { locked = false }

inline superslab_take(slab) {
    atomic {
        if
        :: superslab[0] -> slab = 0; superslab[0] = false
        :: !superslab[0] && superslab[1] -> slab = 1; superslab[1] = false
        :: else -> slab = SLABS
        fi
    }
}

inline superslab_give(slab) {
    atomic {
        assert(!listed[slab] && owners[slab] == 0 && free[slab] == SLOTS && !superslab[slab]);
        state[slab] = UNUSED;
        superslab[slab] = true
    }
}

inline first_listed(slab) {
    if
    :: listed[0] -> slab = 0
    :: !listed[0] && listed[1] -> slab = 1
    :: else -> slab = SLABS
    fi
}

/* hak_depot_take_batch of one object; slab == SLABS: there is none. */
inline take(slab) {
    lock();
    first_listed(slab);
    if
    :: slab == SLABS ->
        unlock();
        superslab_take(slab);
        lock();
        if
        :: slab != SLABS ->
            free[slab] = SLOTS; state[slab] = PARTIAL; listed[slab] = true; spare++
        :: else -> skip
        fi;
        first_listed(slab)
    :: else -> skip
    fi;
    if
    :: slab != SLABS ->
        assert(free[slab] > 0 && !superslab[slab]);
        if
        :: free[slab] == SLOTS -> assert(spare > 0); spare--
        :: else -> skip
        fi;
        free[slab]--;
        owners[slab]++;
        assert(free[slab] + owners[slab] == SLOTS);
        if
        :: free[slab] == 0 -> listed[slab] = false; state[slab] = FULL
        :: else -> skip
        fi
    :: else -> skip
    fi;
    unlock()
}

/* hak_depot_give_batch of one object. One empty slab is kept. */
inline give(slab) {
#ifndef COUNTS_WITHOUT_LOCK
    lock();
#endif
    owners[slab]--;
    free[slab]++;
    assert(free[slab] + owners[slab] == SLOTS);
    if
    :: state[slab] == FULL ->
        state[slab] = PARTIAL;
#ifndef FORGETS_TO_RELIST
        listed[slab] = true
#endif
    :: else -> skip
    fi;
    back = false;
    if
    :: free[slab] == SLOTS && spare >= 1 ->
        back = true;
#ifndef GIVES_BACK_BEFORE_UNLINK
        listed[slab] = false
#endif
    :: free[slab] == SLOTS && spare < 1 -> spare++
    :: else -> skip
    fi;
#ifndef COUNTS_WITHOUT_LOCK
    unlock();
#endif
    if
    :: back -> superslab_give(slab)
    :: else -> skip
    fi
}

byte done = 0;

proctype thread() {
    byte mine = SLABS, other = SLABS;
    bool back = false;
    take(mine);
    take(other);
    if
    :: mine != SLABS -> give(mine)
    :: else -> skip
    fi;
    if
    :: other != SLABS -> give(other)
    :: else -> skip
    fi;
    done++
}

init {
    atomic { run thread(); run thread() };
    done == 2;
    byte slab = 0;
    do
    :: slab == SLABS -> break
    :: else ->
        /* Every slab can be found again. */
        assert(owners[slab] == 0 && (superslab[slab] || (listed[slab] && free[slab] == SLOTS)));
        slab++
    od
}
