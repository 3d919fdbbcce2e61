/* once.c: see once.h. A hash table with open addressing. An entry is written once and never removed. */
#include "hardening/once.h"

#include <stdatomic.h>

enum { ENTRIES = 256, PROBES = 16, LOG2_ENTRIES = 8 };
static _Atomic uint64_t entries[ENTRIES];

/* Never 0. User addresses are below 2^57, so no bit is lost. */
static uint64_t key_of(hak_check check, uintptr_t caller) {
    return ((uint64_t)caller << 5) | (uint64_t)check << 1 | 1;
}

/* The entry that has the key or is free for it; NULL: no room. */
static _Atomic uint64_t *entry_of(uint64_t key) {
    uint64_t hash = key * UINT64_C(0x9e3779b97f4a7c15) >> (64 - LOG2_ENTRIES);
    for (unsigned i = 0; i < PROBES; i++) {
        _Atomic uint64_t *entry = &entries[(hash + i) % ENTRIES];
        uint64_t has = atomic_load_explicit(entry, memory_order_relaxed);
        if (has == 0 || has == key)
            return entry;
    }
    return NULL;
}

bool hak_once_seen(hak_check check, uintptr_t caller) {
    _Atomic uint64_t *entry = entry_of(key_of(check, caller));
    return entry == NULL || atomic_load_explicit(entry, memory_order_relaxed) != 0;
}

bool hak_once_first(hak_check check, uintptr_t caller) {
    uint64_t key = key_of(check, caller);
    for (;;) {
        _Atomic uint64_t *entry = entry_of(key);
        uint64_t none = 0;
        if (entry == NULL || atomic_load_explicit(entry, memory_order_relaxed) == key)
            return false;
        if (atomic_compare_exchange_strong_explicit(entry, &none, key, memory_order_relaxed,
                                                    memory_order_relaxed))
            return true; /* else another thread took the entry: look again */
    }
}
