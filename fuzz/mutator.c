/* mutator.c: see mutator.h. */
#include "fuzz/mutator.h"

#include <string.h>

#include "fuzz/ops.h"

enum { RUN_MAX = 16, SLOTS_NEAR = 8 };

uint64_t mutator_random(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static size_t below(uint64_t *random, size_t bound) {
    return mutator_random(random) % bound;
}

/* Half of the slots are among the first few, so that operations meet; few requests are impossible or of megabytes. */
static void random_record(uint8_t *record, uint64_t *random) {
    uint64_t r = mutator_random(random);
    uint16_t arg = (uint16_t)(r >> 16);
    if (arg >> 13 >= 6 && (r >> 48 & 3) != 0)
        arg &= 0x7fff;
    ops_encode((ops_record){.code = (ops_code)(r & (OPS_CODES - 1)),
                            .mod = r >> 5 & 7,
                            .slot = (uint8_t)(r >> 40 & 1 ? r >> 8 & (SLOTS_NEAR - 1) : r >> 8),
                            .arg = arg},
               record);
}

typedef struct edit {
    uint8_t *bytes;
    size_t records, room; /* in records */
    uint64_t random;
} edit;

static uint8_t *at(edit *e, size_t record) {
    return e->bytes + record * OPS_RECORD;
}

static void insert(edit *e, size_t where) {
    if (e->records == e->room)
        return;
    memmove(at(e, where + 1), at(e, where), (e->records - where) * OPS_RECORD);
    random_record(at(e, where), &e->random);
    e->records++;
}

static void remove_run(edit *e, size_t from) {
    size_t count = 1 + below(&e->random, RUN_MAX) % (e->records - from);
    memmove(at(e, from), at(e, from + count), (e->records - from - count) * OPS_RECORD);
    e->records -= count;
}

static void copy_run(edit *e, size_t from, size_t to) {
    uint8_t run[RUN_MAX * OPS_RECORD];
    size_t count = 1 + below(&e->random, RUN_MAX) % (e->records - from);
    if (e->records + count > e->room)
        return;
    memcpy(run, at(e, from), count * OPS_RECORD);
    memmove(at(e, to + count), at(e, to), (e->records - to) * OPS_RECORD);
    memcpy(at(e, to), run, count * OPS_RECORD);
    e->records += count;
}

static void swap(edit *e, size_t i, size_t j) {
    uint8_t record[OPS_RECORD];
    memcpy(record, at(e, i), OPS_RECORD);
    memmove(at(e, i), at(e, j), OPS_RECORD);
    memcpy(at(e, j), record, OPS_RECORD);
}

static void change_field(edit *e, size_t i) {
    ops_record r = ops_decode(at(e, i));
    uint64_t bits = mutator_random(&e->random);
    switch (bits & 7) {
    case 0:
        r.code = (ops_code)(bits >> 8 & (OPS_CODES - 1));
        break;
    case 1:
        r.mod = bits >> 8 & 7;
        break;
    case 2:
        r.slot += (uint8_t)((bits >> 8 & 3) - 1);
        break;
    case 3:
        r.arg ^= (uint16_t)(1u << (bits >> 8 & 15));
        break;
    case 4:
        r.arg += (uint16_t)((bits >> 8 & 31) - 16);
        break;
    case 5: /* another scale of the same number */
        r.arg = (uint16_t)((r.arg & 0x1fff) | (bits & 0xe000));
        break;
    default:
        r.arg = (uint16_t)(bits >> 8);
        break;
    }
    ops_encode(r, at(e, i));
}

static void mutate_once(edit *e) {
    if (e->records == 0) {
        insert(e, 0);
        return;
    }
    size_t i = below(&e->random, e->records), j = below(&e->random, e->records);
    switch (below(&e->random, 10)) {
    case 0:
    case 1:
        insert(e, i);
        break;
    case 2:
        remove_run(e, i);
        break;
    case 3:
        copy_run(e, i, j);
        break;
    case 4:
        swap(e, i, j);
        break;
    case 5: /* the slot of another record: chains of calls on one object */
        at(e, i)[1] = at(e, j)[1];
        break;
    case 6: /* its number */
        memcpy(at(e, i) + 2, at(e, j) + 2, 2);
        break;
    default:
        change_field(e, i);
        break;
    }
}

size_t mutator_mutate(uint8_t *bytes, size_t length, size_t room, uint64_t seed) {
    if (length > room) /* as libFuzzer does when it makes an input shorter */
        length = room;
    edit e = {bytes, length / OPS_RECORD, room / OPS_RECORD, seed};
    if (e.room == 0)
        return length;
    for (size_t times = (size_t)1 << below(&e.random, 4); times > 0; times--)
        mutate_once(&e);
    return e.records * OPS_RECORD;
}

size_t mutator_cross(const uint8_t *a, size_t a_length, const uint8_t *b, size_t b_length, uint8_t *out,
                     size_t room, uint64_t seed) {
    size_t front = below(&seed, a_length / OPS_RECORD + 1) * OPS_RECORD;
    size_t skip = below(&seed, b_length / OPS_RECORD + 1) * OPS_RECORD;
    size_t back = b_length / OPS_RECORD * OPS_RECORD - skip;
    room -= room % OPS_RECORD;
    if (front > room)
        front = room;
    if (back > room - front)
        back = room - front;
    memcpy(out, a, front);
    memcpy(out + front, b + skip, back);
    return front + back;
}

size_t mutator_generate(uint8_t *bytes, size_t records, uint64_t seed) {
    for (size_t i = 0; i < records; i++)
        random_record(bytes + i * OPS_RECORD, &seed);
    return records * OPS_RECORD;
}
