/* ops.c: decoding and lowering; see ops.h. Pure: no allocation, no state. */
#include "fuzz/ops.h"

#include <string.h>

enum {
    BURST_SIZE_MASK = 0x1fff, /* many objects, or big ones */
    PHASE_MOST = 1 << 20,     /* bytes of a large object of PHASE and DRAIN */
};

ops_record ops_decode(const uint8_t bytes[OPS_RECORD]) {
    return (ops_record){.code = (ops_code)(bytes[0] & (OPS_CODES - 1)),
                        .mod = bytes[0] >> 5,
                        .slot = bytes[1],
                        .arg = (uint16_t)(bytes[2] | bytes[3] << 8)};
}

void ops_encode(ops_record record, uint8_t bytes[OPS_RECORD]) {
    bytes[0] = (uint8_t)(record.code | record.mod << 5);
    bytes[1] = record.slot;
    bytes[2] = (uint8_t)record.arg;
    bytes[3] = (uint8_t)(record.arg >> 8);
}

const char *ops_name(ops_code code) {
    static const char *const names[] = {
#define X(name) #name,
        OPS_TABLE(X) OPS_LIFE_TABLE(X)
#undef X
    };
    _Static_assert((int)OPS_CHECK == OPS_CODES, "five bits name every operation");
    _Static_assert(OPS_STEP_CODES - OPS_CODES == OPS_MODS, "a mod names every operation of LIFE");
    return names[code];
}

bool ops_is_error(ops_code code) {
    return code >= OPS_BAD_FREE && code <= OPS_USE_FREED;
}

/* Sizes at the edges: 8 to 15 eighths of a power of two from 16 bytes to 256 KiB, a little more or less. Allocators
 * have their class bounds there; 8 and 16 less because a hardened allocator adds so many bytes of its own. */
static size_t edge_size(unsigned v) {
    static const int off[8] = {0, 1, -1, -7, -8, -9, -16, 8};
    size_t size = (size_t)(8 + (v & 7)) << (1 + (v >> 3 & 15));
    return size + (size_t)off[v >> 7 & 7];
}

/* No allocator can meet these. */
static size_t impossible_size(unsigned v) {
    switch (v >> 11) {
    case 0:
        return SIZE_MAX - (v & 0x7ff);
    case 1:
        return (size_t)PTRDIFF_MAX + (v & 0x7ff);
    case 2:
        return (size_t)PTRDIFF_MAX - (v & 0x7ff);
    default:
        return ((size_t)1 << OPS_IMPOSSIBLE_SHIFT) << (v & 15);
    }
}

size_t ops_size(uint16_t arg) {
    unsigned v = arg & 0x1fff;
    switch (arg >> 13) {
    case 0:
        return v & 0x7f;
    case 1:
        return v & 0x3ff;
    case 2:
        return v;
    case 3:
    case 4:
        return edge_size(v);
    case 5:
        return (size_t)v << 5; /* up to 256 KiB */
    case 6:
        return (size_t)v << 9; /* up to 4 MiB */
    default:
        return impossible_size(v);
    }
}

bool ops_is_impossible(size_t count, size_t size) {
    size_t total;
    return __builtin_mul_overflow(count, size, &total) || total >> OPS_IMPOSSIBLE_SHIFT != 0;
}

void ops_program_init(ops_program *program, const uint8_t *bytes, size_t length) {
    memset(program, 0, sizeof *program);
    program->bytes = bytes;
    program->length = length;
    if (length > (size_t)OPS_RECORDS_MAX * OPS_RECORD)
        program->length = (size_t)OPS_RECORDS_MAX * OPS_RECORD;
    program->budget = OPS_BUDGET;
    program->steps_left = OPS_STEPS_MAX;
    program->purges_left = OPS_PURGES_MAX;
    program->forks_left = OPS_FORKS_MAX;
}

/* What running the steps of one record needs. */
typedef struct lowering {
    ops_program *program;
    ops_run_step run;
    void *context;
    bool going;
} lowering;

static void emit(lowering *to, ops_step step) {
    if (!to->going)
        return;
    to->going = to->program->steps_left-- > 1 && to->run(to->context, &step);
}

/* Takes a size from the budget. */
static size_t afford(ops_program *program, size_t size) {
    if (size <= OPS_BIG || ops_is_impossible(1, size))
        return size;
    if (size > program->budget)
        return size % OPS_BIG;
    program->budget -= size;
    return size;
}

/* An operation that makes an object ends the slot's present one. */
static void vacate(lowering *to, unsigned slot) {
    if (to->program->slots[slot].live)
        emit(to, (ops_step){.code = OPS_FREE, .slot = slot});
}

/* calloc and reallocarray: the size as a product, by mod: 1 x n, n x 1, 2^mod members, or products that overflow. */
static ops_step product(ops_record r, size_t size) {
    ops_step step = {.code = r.code, .slot = r.slot, .count = 1, .size = size, .detail = r.mod, .arg = r.arg};
    if (r.mod == 1) {
        step.count = size;
        step.size = 1;
    } else if (r.mod >= 2 && r.mod < 6) {
        step.count = (size_t)1 << r.mod;
        step.size = size >> r.mod;
    } else if (r.mod >= 6) {
        step.count = ((size_t)1 << (64 - r.mod)) + (r.arg & 3);
        step.size = size + ((size_t)1 << r.mod);
    }
    return step;
}

/* The alignments that a record's mod chooses from, per operation; ALIGNED_ANY has them all. */
static size_t alignment_of(ops_record r) {
    static const size_t aligned[8] = {8, 32, 64, 256, 4096, 16384, 65536, 1 << 21};
    static const size_t posix[8] = {8, 16, 64, 128, 4096, 8192, 1 << 17, 1 << 20};
    static const size_t rounded[8] = {0, 1, 3, 24, 48, 100, 4097, 65537};
    if (r.code == OPS_ALIGNED_ALLOC)
        return aligned[r.mod];
    return r.code == OPS_POSIX_MEMALIGN ? posix[r.mod] : rounded[r.mod];
}

static void lower_make(lowering *to, ops_record r) {
    ops_step step = {.code = r.code, .slot = r.slot, .count = 1, .detail = r.mod, .arg = r.arg};
    step.size = ops_size(r.arg);
    vacate(to, r.slot);
    if (r.code == OPS_CALLOC)
        step = product(r, afford(to->program, step.size));
    else if (r.code != OPS_MALLOC)
        step.alignment = alignment_of(r);
    emit(to, step);
}

/* Every power of two as alignment, and some other numbers; small sizes. */
static void lower_aligned_any(lowering *to, ops_record r) {
    size_t alignment = (size_t)1 << (r.arg & 31);
    if (r.arg & 31 && r.mod == 7)
        alignment -= 1;
    if ((r.arg & 31) > 24)
        alignment <<= 24; /* so large that no call can serve it */
    vacate(to, r.slot);
    emit(to, (ops_step){.code = r.mod & 1 ? OPS_POSIX_MEMALIGN : OPS_ALIGNED_ALLOC,
                        .slot = r.slot,
                        .count = 1,
                        .size = (size_t)(r.arg >> 5) << (r.mod >> 1),
                        .alignment = alignment,
                        .detail = r.mod});
}

static void lower_resize(lowering *to, ops_record r) {
    size_t size = ops_size(r.arg);
    if (r.code == OPS_RESIZE_BY) {
        size = to->program->slots[r.slot].size + (size_t)((int16_t)r.arg * (1 << r.mod));
        if (size > 16u << 20)
            size = 0;
        r.code = OPS_REALLOC;
    }
    size = afford(to->program, size);
    ops_step step = {.code = r.code, .slot = r.slot, .count = 1, .size = size, .detail = r.mod, .arg = r.arg};
    emit(to, r.code == OPS_REALLOCARRAY ? product(r, size) : step);
}

static void lower_free(lowering *to, ops_record r) {
    const ops_slot *slot = &to->program->slots[r.slot];
    ops_step step = {.code = r.code, .slot = r.slot, .size = slot->size, .alignment = slot->alignment};
    if (r.code != OPS_FREE) /* C23 restricts which object may end how */
        step.code = slot->unsized ? OPS_FREE : slot->alignment != 0 ? OPS_FREE_ALIGNED_SIZED : OPS_FREE_SIZED;
    emit(to, step);
}

/* 2^(mod+1) slots from `slot` on: each empty one gets an object. */
static void lower_burst(lowering *to, ops_record r) {
    size_t size = ops_size(r.arg) & BURST_SIZE_MASK;
    for (unsigned i = 0; i < 2u << r.mod; i++) {
        unsigned slot = (r.slot + i) % OPS_SLOTS;
        if (!to->program->slots[slot].live)
            emit(to, (ops_step){.code = OPS_MALLOC, .slot = slot, .count = 1, .size = size});
    }
}

/* 2^(mod+1) slots are emptied: arg bit 0 downwards, bit 1 every second one. */
static void lower_sweep(lowering *to, ops_record r) {
    unsigned count = 2u << r.mod, stride = r.arg & 2 ? 2 : 1;
    for (unsigned i = 0; i < count; i += stride) {
        unsigned slot = (r.slot + (r.arg & 1 ? count - 1 - i : i)) % OPS_SLOTS;
        if (to->program->slots[slot].live)
            emit(to, (ops_step){.code = OPS_FREE, .slot = slot});
    }
}

/* calloc must return memory zeroed that was just in use. */
static void lower_recycle(lowering *to, ops_record r) {
    size_t size = to->program->slots[r.slot].size;
    vacate(to, r.slot);
    emit(to, (ops_step){.code = OPS_CALLOC, .slot = r.slot, .count = 1, .size = afford(to->program, size)});
}

/* Page faults are the largest cost of an input, so few operations of a program may give memory back to the OS. */
static bool may_purge(ops_program *program) {
    return program->purges_left != 0 && program->purges_left-- != 0;
}

static size_t trim_keep(lowering *to, ops_record r) {
    bool little = r.mod == 0 && may_purge(to->program);
    return little ? ops_size(r.arg) : (size_t)r.arg << 16;
}

/* All objects end, and others take their place: of sizes up to 8 KiB 1 to 128 objects, of larger sizes at most four. */
static void lower_phase(lowering *to, ops_record r) {
    size_t size = ops_size(r.arg);
    bool small = size <= BURST_SIZE_MASK;
    unsigned count = 1 + r.slot % (small ? OPS_SLOTS / 2 : 4);
    for (unsigned slot = 0; slot < OPS_SLOTS; slot++)
        vacate(to, slot);
    for (unsigned slot = 0; slot < count; slot++)
        emit(to, (ops_step){.code = OPS_MALLOC,
                            .slot = slot,
                            .count = 1,
                            .size = small ? size : afford(to->program, size % PHASE_MOST)});
}

/* 4 to 512 pairs of malloc and free, fewer for large sizes: the content of quarantines and caches has to leave. */
static void lower_drain(lowering *to, ops_record r) {
    size_t size = ops_size(r.arg);
    bool small = size <= BURST_SIZE_MASK;
    unsigned pairs = 4u << (small ? r.slot % 8 : 0);
    vacate(to, r.slot);
    for (unsigned i = 0; i < pairs; i++) {
        emit(to, (ops_step){.code = OPS_MALLOC,
                            .slot = r.slot,
                            .count = 1,
                            .size = small ? size : afford(to->program, size % PHASE_MOST)});
        vacate(to, r.slot); /* where it was met */
    }
}

static void lower_life(lowering *to, ops_record r) {
    r.code = (ops_code)(OPS_CODES + r.mod);
    if (r.code == OPS_PHASE)
        return lower_phase(to, r);
    if (r.code == OPS_DRAIN)
        return lower_drain(to, r);
    if (r.code == OPS_FORK && (to->program->forks_left == 0 || to->program->forks_left-- == 0))
        return;
    emit(to, (ops_step){.code = r.code,
                        .slot = r.slot,
                        .size = ops_size(r.arg) & BURST_SIZE_MASK,
                        .detail = r.mod,
                        .arg = r.arg});
}

static void lower_plain(lowering *to, ops_record r) {
    if (r.code == OPS_POLICY && r.mod >> 1 == 3 && !may_purge(to->program))
        r.mod &= 1;
    emit(to, (ops_step){.code = r.code,
                        .slot = r.slot,
                        .size = r.code == OPS_TRIM ? trim_keep(to, r) : to->program->slots[r.slot].size,
                        .alignment = to->program->slots[r.slot].alignment,
                        .detail = r.mod,
                        .arg = r.arg});
}

static void lower(lowering *to, ops_record r) {
    switch (r.code) {
    case OPS_MALLOC:
    case OPS_CALLOC:
    case OPS_ALIGNED_ALLOC:
    case OPS_POSIX_MEMALIGN:
    case OPS_MEMALIGN:
        return lower_make(to, r);
    case OPS_ALIGNED_ANY:
        return lower_aligned_any(to, r);
    case OPS_REALLOC:
    case OPS_REALLOCARRAY:
    case OPS_RESIZE_BY:
        return lower_resize(to, r);
    case OPS_FREE:
    case OPS_FREE_SIZED:
    case OPS_FREE_ALIGNED_SIZED:
        return lower_free(to, r);
    case OPS_BURST:
        return lower_burst(to, r);
    case OPS_SWEEP:
        return lower_sweep(to, r);
    case OPS_RECYCLE_ZEROED:
        return lower_recycle(to, r);
    case OPS_LIFE:
        return lower_life(to, r);
    default:
        return lower_plain(to, r);
    }
}

bool ops_program_next(ops_program *program, ops_run_step run, void *context) {
    if (program->at + OPS_RECORD > program->length)
        return false;
    lowering to = {program, run, context, true};
    ops_record record = ops_decode(program->bytes + program->at);
    program->at += OPS_RECORD;
    lower(&to, record);
    return to.going;
}

ops_slot ops_slot_made(const ops_step *step, bool live) {
    bool unsized = step->code == OPS_POSIX_MEMALIGN || step->code == OPS_MEMALIGN;
    return (ops_slot){live, step->count * step->size, step->alignment, unsized};
}

static bool is_pow2(size_t n) {
    return n != 0 && (n & (n - 1)) == 0;
}

void ops_program_assume(ops_program *program, const ops_step *step) {
    ops_slot *slot = &program->slots[step->slot];
    bool fails = ops_is_impossible(step->count, step->size);
    switch (step->code) {
    case OPS_ALIGNED_ALLOC:
    case OPS_POSIX_MEMALIGN:
        fails = fails || !is_pow2(step->alignment) || step->alignment >> 40 ||
                (step->code == OPS_POSIX_MEMALIGN && step->alignment % sizeof(void *) != 0);
        /* fall through */
    case OPS_MALLOC:
    case OPS_CALLOC:
    case OPS_MEMALIGN:
        *slot = ops_slot_made(step, !fails);
        break;
    case OPS_REALLOC:
    case OPS_REALLOCARRAY:
        if (!fails)
            *slot = ops_slot_made(step, !slot->live || step->count * step->size != 0);
        break;
    case OPS_FREE:
    case OPS_FREE_SIZED:
    case OPS_FREE_ALIGNED_SIZED:
        slot->live = false;
        break;
    default:
        break;
    }
}
