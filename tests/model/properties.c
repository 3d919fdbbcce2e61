/* properties.c: the properties, their generators and what verifies them; see properties.h. */
#include "tests/model/properties.h"

#include <string.h>

#include "fuzz/mutator.h"

/* The parameters of a generator's programs. */
typedef struct recipe {
    unsigned records;  /* from half of it to it */
    unsigned slots;    /* how many are used */
    uint16_t size_min; /* args of sizes are drawn from size_min to size_max */
    uint16_t size_max;
    ops_code codes[12]; /* each as likely as another; ends at the second MALLOC */
} recipe;

/* Args by the scale of sizes that they mean, see ops.c. */
#define SMALL(n)   ((uint16_t)(0x4000 | (n)))
#define EDGES      0x6000
#define EDGES_END  0x9fff
#define BIG        0xa000
#define BIG_END    0xdfff
#define IMPOSSIBLE 0xe000

static unsigned codes_of(const recipe *r) {
    unsigned count = 1;
    while (count < 12 && r->codes[count] != OPS_MALLOC)
        count++;
    return count;
}

static size_t cook(const recipe *r, uint8_t *bytes, uint64_t seed) {
    unsigned codes = codes_of(r), span = r->size_max - r->size_min + 1u;
    unsigned records = r->records / 2 + (unsigned)(mutator_random(&seed) % (r->records / 2 + 1));
    for (unsigned i = 0; i < records; i++) {
        uint64_t bits = mutator_random(&seed);
        ops_encode((ops_record){.code = r->codes[bits % codes],
                                .mod = bits >> 16 & 7,
                                .slot = (uint8_t)((bits >> 24) % r->slots),
                                .arg = (uint16_t)(r->size_min + (bits >> 32) % span)},
                   bytes + i * OPS_RECORD);
    }
    return (size_t)records * OPS_RECORD;
}

#define GENERATOR(name, ...)                                                                                 \
    static size_t name(uint8_t bytes[PROPERTY_ROOM], uint64_t seed) {                                        \
        static const recipe made_of = __VA_ARGS__;                                                           \
        return cook(&made_of, bytes, seed);                                                                  \
    }

/* clang-format off: a table, name {records, slots, least and greatest arg, {operations}} */
GENERATOR(anything_small, {120,
                           24,
                           0,
                           EDGES_END,
                           {OPS_MALLOC, OPS_CALLOC, OPS_REALLOC, OPS_RESIZE_BY, OPS_FREE, OPS_ALIGNED_ALLOC,
                            OPS_SWEEP, OPS_VERIFY, OPS_USABLE_SIZE}})
GENERATOR(edges, {20, 12, EDGES, EDGES_END, {OPS_MALLOC, OPS_FREE, OPS_CALLOC, OPS_REALLOC}})
GENERATOR(alignments, {12,
                       8,
                       0,
                       EDGES_END,
                       {OPS_MALLOC, OPS_ALIGNED_ALLOC, OPS_POSIX_MEMALIGN, OPS_MEMALIGN, OPS_ALIGNED_ANY,
                        OPS_ALIGNED_ANY, OPS_FREE, OPS_REALLOC}})
GENERATOR(recycling,
          {120, 6, 0, EDGES_END, {OPS_MALLOC, OPS_RECYCLE_ZEROED, OPS_CALLOC, OPS_FREE, OPS_WRITE}})
GENERATOR(
    resizing,
    {10, 4, 0, BIG_END, {OPS_MALLOC, OPS_REALLOC, OPS_RESIZE_BY, OPS_RESIZE_BY, OPS_REALLOCARRAY, OPS_FREE}})
GENERATOR(impossible, {16,
                       6,
                       IMPOSSIBLE,
                       0xffff,
                       {OPS_MALLOC, OPS_CALLOC, OPS_REALLOC, OPS_REALLOCARRAY, OPS_ALIGNED_ALLOC,
                        OPS_POSIX_MEMALIGN, OPS_MEMALIGN, OPS_RESIZE_BY, OPS_VERIFY}})
GENERATOR(crowds, {5, 255, 0, 0x3fff, {OPS_MALLOC, OPS_BURST, OPS_BURST, OPS_SWEEP, OPS_SWEEP}})
GENERATOR(big,
          {6, 4, BIG, BIG_END, {OPS_MALLOC, OPS_FREE, OPS_CALLOC, OPS_REALLOC, OPS_ALIGNED_ALLOC, OPS_TRIM}})
GENERATOR(policies,
          {5, 3, BIG, BIG_END, {OPS_MALLOC, OPS_POLICY, OPS_CALLOC, OPS_CALLOC, OPS_FREE, OPS_TRIM}})
GENERATOR(sized_frees, {14,
                        8,
                        0,
                        EDGES_END,
                        {OPS_MALLOC, OPS_FREE_SIZED, OPS_ALIGNED_ALLOC, OPS_FREE_ALIGNED_SIZED, OPS_CALLOC,
                         OPS_REALLOC, OPS_RESIZE_BY, OPS_ALIGNED_ANY}})
GENERATOR(os_failures, {8,
                        4,
                        0,
                        BIG_END,
                        {OPS_MALLOC, OPS_FAIL_OS, OPS_FAIL_OS, OPS_CALLOC, OPS_REALLOC, OPS_FREE, OPS_BURST,
                         OPS_ALIGNED_ALLOC, OPS_TRIM}})
GENERATOR(lives, {120,
                  32,
                  0,
                  EDGES_END,
                  {OPS_MALLOC, OPS_LIFE, OPS_LIFE, OPS_CALLOC, OPS_REALLOC, OPS_FREE, OPS_BURST, OPS_SWEEP,
                   OPS_ALIGNED_ALLOC, OPS_WRITE}})
GENERATOR(large_lives,
          {80, 6, BIG, BIG_END, {OPS_MALLOC, OPS_LIFE, OPS_LIFE, OPS_CALLOC, OPS_FREE, OPS_REALLOC}})
/* clang-format on */

static size_t anything(uint8_t bytes[PROPERTY_ROOM], uint64_t seed) {
    return mutator_generate(bytes, 1 + seed % 12, seed);
}

static const char *plain(const heap_api *heap, const uint8_t *bytes, size_t length) {
    static play game;
    return play_all(&game, heap, bytes, length);
}

static const char *counted(const heap_api *heap, const uint8_t *bytes, size_t length) {
    static play game;
    heap->reset(FUZZ_RESET_KEPT);
    play_begin(&game, heap, bytes, length);
    while (ops_program_next(&game.program, play_step, &game))
        (void)play_verify(&game, &(ops_step){.code = OPS_STATS}, shadow_verify_stats(&game.model));
    (void)play_end(&game);
    return game.broken;
}

static const char *without_os(const heap_api *heap, const uint8_t *bytes, size_t length) {
    static play game;
    bool fresh =
        length != 0 && bytes[1] == 0; /* sometimes without any memory: that costs ten times as much */
    heap->reset(fresh ? FUZZ_RESET_FRESH : FUZZ_RESET_KEPT);
    play_begin(&game, heap, bytes, length);
    game.os_fails = true;
    while (ops_program_next(&game.program, play_step, &game))
        ;
    (void)play_end(&game);
    return game.broken;
}

/* A process that has children, ends, and is sometimes refused memory by the OS; nothing is reported. */
static const char *lived(const heap_api *heap, const uint8_t *bytes, size_t length) {
    static play game;
    bool forks = length / OPS_RECORD % 4 == 0; /* a child costs as much as a hundred records */
    heap->reset(FUZZ_RESET_KEPT);
    return play_life(&game, heap, bytes, length, forks);
}

/* What a program observed at each step. */
typedef struct trace {
    play *game;
    unsigned count;
    play_answer answers[OPS_STEPS_MAX];
} trace;

static bool trace_step(void *context, const ops_step *step) {
    trace *t = context;
    bool going = play_step(t->game, step);
    t->answers[t->count++] = t->game->answer;
    return going;
}

static const char *traced(const heap_api *heap, const uint8_t *bytes, size_t length, trace *t, bool noise) {
    static play game, other;
    heap->reset(FUZZ_RESET_KEPT);
    t->game = &game;
    t->count = 0;
    play_begin(&game, heap, bytes, length);
    play_begin(&other, heap, bytes, noise ? length : 0);
    other.program.budget /= 2; /* so that the two do not do the same at the same time */
    while (ops_program_next(&game.program, trace_step, t))
        if (noise)
            (void)ops_program_next(&other.program, play_step, &other);
    const char *broken = game.broken != NULL ? game.broken : other.broken;
    if (broken == NULL && play_free_all(&other))
        (void)play_end(&game);
    return broken != NULL ? broken : game.broken;
}

static const char *same_answers(const heap_api *heap, const uint8_t *bytes, size_t length, bool noise) {
    static trace first, second;
    const char *broken = traced(heap, bytes, length, &first, false);
    if (broken == NULL)
        broken = traced(heap, bytes, length, &second, noise);
    if (broken != NULL)
        return broken;
    if (first.count != second.count)
        return "the program took another way";
    for (unsigned i = 0; i < first.count; i++)
        if (first.answers[i].made != second.answers[i].made ||
            first.answers[i].error != second.answers[i].error ||
            first.answers[i].usable != second.answers[i].usable)
            return "the program saw other answers";
    return NULL;
}

static const char *twice(const heap_api *heap, const uint8_t *bytes, size_t length) {
    return same_answers(heap, bytes, length, false);
}

static const char *beside_another(const heap_api *heap, const uint8_t *bytes, size_t length) {
    return same_answers(heap, bytes, length, true);
}

const property properties[] = {
    {"any program finds its objects as it left them", anything, plain},
    {"small objects of any history do not touch each other", anything_small, plain, 4},
    {"sizes at the bounds of classes get objects that are large enough and apart", edges, plain},
    {"an aligned call gives the alignment that was asked for", alignments, plain},
    {"calloc gives zeros also where an object just was", recycling, plain, 4},
    {"realloc keeps the first min(old, new) bytes, whatever the sizes", resizing, plain},
    {"what cannot be met is refused with the right error and changes nothing", impossible, plain},
    {"when all is freed, nothing is counted as live", crowds, plain},
    {"large objects are apart, and trim keeps no more than it may", big, plain},
    {"fresh zeros are zeros under every release policy", policies, plain},
    {"a free that says the right size is a free", sized_frees, plain},
    {"statistics fit what the program holds, after every call", anything_small, counted, 4},
    {"an OS that refuses a call takes no object away", os_failures, without_os},
    {"the same program sees the same answers a second time", anything, twice},
    {"a program sees the same answers when another runs beside it", anything_small, beside_another, 4},
    {"phases, time, children, exits and limits take no object away, and nobody is reported", lives, lived,
     10},
    {"the same holds for large objects: none is taken away, and nobody is reported", large_lives, lived, 10},
};
const unsigned properties_count = sizeof properties / sizeof properties[0];
