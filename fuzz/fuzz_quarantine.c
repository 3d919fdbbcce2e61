/* fuzz_quarantine.c: compares the rings of one thread with a plain list of their contents. Input: each step has a
 * class and the number of objects to free, or resets the rings. Objects are numbers that look like addresses;
 * nothing reads memory there. */
#include <string.h>

#include "allocator/life/reset.h"
#include "fuzz/bytes.h"
#include "fuzz/engine.h"
#include "hardening/common.h"
#include "hardening/ring_own.h"
#include "hardening/tally.h"

enum {
    OBJECTS_MAX = 1 << 15,
    STEPS_MAX = 512,
    SPACING = 1 << 18, /* bytes between two objects: above every size */
};

/* No region lies at these addresses: regions lie below. */
static const uintptr_t FIRST = (uintptr_t)1 << 48;

typedef struct waiting {
    uint8_t cls;      /* 0: not inside */
    uint32_t entered; /* count of its class when it entered */
} waiting;

static waiting objects[OBJECTS_MAX];
static unsigned made;
static uint32_t entered[HAK_TAGS], inside[HAK_TAGS];
static uint32_t lap[HAK_TAGS]; /* places of the ring when its round began, less those removed since */

static waiting *leave(void *obj, unsigned cls) {
    uintptr_t number = ((uintptr_t)obj - FIRST) / SPACING;
    BYTES_RULE((uintptr_t)obj >= FIRST && number < made, "only what came in goes out");
    BYTES_RULE(objects[number].cls == cls, "an object leaves once, and in its class");
    objects[number].cls = 0;
    inside[cls]--;
    return &objects[number];
}

/* Receives the slots that leave a ring when it is made shorter. */
static void home(void *obj, unsigned cls) {
    (void)leave(obj, cls);
    lap[cls] = 0; /* the class of the shorter ring: its round no longer counts */
}

static void free_one(unsigned cls) {
    hak_guarded *mine = hak_guarded_mine;
    hak_ring *ring = &mine->rings[cls];
    void *obj = (void *)(FIRST + (uintptr_t)made * SPACING);
    objects[made++] = (waiting){(uint8_t)cls, entered[cls]++};
    inside[cls]++;
    void **at = ring->in;
    void *out = hak_ring_exchange(mine, obj, cls, hak_classes[cls].size);
    if (ring->in <= at) /* a new round */
        lap[cls] = ring->limit;
    if (out == NULL)
        return;
    const waiting *was = leave(out, cls);
    BYTES_RULE(out != obj, "an object does not come back at once");
    BYTES_RULE(entered[cls] - was->entered >= hak_ring_floor(cls),
               "an object waits as long as the floor says");
    BYTES_RULE(entered[cls] - was->entered > lap[cls] || lap[cls] == 0, "an object waits a whole round");
}

/* Checks that the rings hold exactly the objects on the list, and count them. */
static void verify(void) {
    const hak_guarded *mine = hak_guarded_mine;
    size_t held = 0, swapped = 0;
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        const hak_ring *ring = &mine->rings[cls];
        uint32_t count = 0;
        bool bare = hak_classes[cls].size > HAK_RING_BARE;
        void **end = ring->slots + ring->limit;
        BYTES_RULE(ring->in <= ring->stop && ring->stop <= end && ring->limit <= mine->most[cls],
                   "a ring's bounds");
        BYTES_RULE(ring->stop - ring->in <= mine->block[cls] && (!bare || ring->in == ring->stop),
                   "a ring stops where its block ends");
        uint64_t both = atomic_load(&hak_tallies[0][cls].both);
        uint32_t least = (uint32_t)both, most = (uint32_t)(both >> 32);
        BYTES_RULE(least <= entered[cls] && entered[cls] <= most && most - least == mine->block[cls],
                   "what was freed lies between the bounds, which an open block parts");
        for (uint32_t i = 0; i < ring->limit; i++)
            count += ring->slots[i] != NULL;
        BYTES_RULE(ring->limit == 0 || ring->limit + HAK_RING_AHEAD <= mine->mapped[cls],
                   "what is in use is mapped");
        for (uint32_t i = 0; i < HAK_RING_AHEAD && ring->limit != 0 && ring->limit != mine->most[cls]; i++)
            BYTES_RULE(ring->slots[ring->limit + i] == NULL, "nothing lies past a ring's end");
        for (uint32_t i = 0; i < HAK_SWAP_PLACES; i++)
            count += mine->swaps[cls][i] != NULL;
        count += (uint32_t)hak_common_count(cls);
        BYTES_RULE(count == inside[cls], "what came in and did not go out is there");
        BYTES_RULE(inside[cls] <= hak_ring_floor(cls) ||
                       ring->limit + hak_common_count(cls) >= hak_ring_floor(cls),
                   "a class has its floor");
        size_t cost = hak_ring_cost(cls);
        held += ring->limit * cost;
        swapped += ring->limit != 0 ? (ring->swap_mask + 1) * cost : 0;
    }
    BYTES_RULE(mine->held == held, "the bytes that the thread's rings may hold");
    BYTES_RULE(mine->swapped == swapped, "the bytes that its swaps may hold");
    BYTES_RULE(atomic_load(&hak_quarantine_held) == held + swapped, "the bytes that all rings may hold");
}

static void begin(void) {
    hak_test_reset(HAK_RESET_KEPT);
    made = 0;
    memset(entered, 0, sizeof entered);
    memset(inside, 0, sizeof inside);
    memset(lap, 0, sizeof lap);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    hak_test_reset(HAK_RESET_KEPT); /* one-time effects belong to no input */
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    bytes_reader in = {bytes, bytes + length};
    begin();
    hak_quarantine_home = home;
    for (unsigned steps = 0; bytes_left(&in) && steps < STEPS_MAX; steps++) {
        unsigned cls = bytes_u8(&in), log2 = bytes_u8(&in);
        unsigned count = (1u << log2 % 13) + log2 / 13;
        if (cls == 255)
            begin();
        for (unsigned i = 0; i < count && made < OBJECTS_MAX; i++)
            free_one(1 + cls % HAK_CLASSES);
        verify();
    }
    begin(); /* so that no other code finds these objects */
    hak_quarantine_home = NULL;
    return 0;
}
