/* ring_block.c: blocks of frees of a ring, and the stamps of its slots; see tally.h. A ring stops after each block.
 *
 * A stamp is kept for each line, a constant number of frees of the class in this state. What was freed since the last
 * line has the stamp with which the last block began, up to the first slot of the block, or that of its end. The later
 * frees of the state itself are subtracted. So where blocks are one free long, stamps are exact. */
#include "hardening/ring_own.h"

#include "hardening/tally.h"

hak_tally hak_tallies[HAK_KINDS][HAK_TAGS];

enum {
    LINES_PART = 13, /* of a floor: frees of a line */
    LINE_LEAST = 2,
    BLOCKS_PART = 2,  /* of a floor: what all threads together may have promised at once */
    LINES_MORE = 2,   /* lines beyond a floor: the newest may be short */
    INTERRUPTED = 32, /* frees: a fork in a signal handler may meet a block between its two counts */
};

uint32_t hak_ring_line(unsigned cls) {
    return hak_max(LINE_LEAST, hak_min(hak_ring_floor(cls) / LINES_PART, HAK_TALLY_LINE));
}

uint32_t hak_ring_lines(unsigned cls) {
    return hak_ring_floor(cls) / hak_ring_line(cls) + LINES_MORE;
}

uint32_t hak_ring_block(const hak_guarded *mine, unsigned cls) {
    size_t states = atomic_load_explicit(&hak_quarantine_states, memory_order_relaxed);
    size_t line = mine->line[cls];
    if (hak_ring_is_bare(cls))
        return 1;
    if (HAK_LIKELY(states * line * BLOCKS_PART <= mine->floors[cls]))
        return (uint32_t)line;
    return (uint32_t)hak_max(1, mine->floors[cls] / (BLOCKS_PART * states));
}

uint32_t hak_ring_open(hak_guarded *mine, unsigned cls, uint32_t count, bool front) {
    hak_ring *ring = &mine->rings[cls];
    uint32_t before = mine->block[cls], undone = (uint32_t)(ring->stop - ring->in);
    uint32_t in_line = mine->in_line[cls] + before - undone;
    uint32_t made = before - undone;
    bool full = in_line == mine->line[cls];
    if (full || front)
        in_line = 0;
    if (!front)
        count = hak_min(count, mine->line[cls] - in_line);
    ring->stop = ring->in + count;
    if (before + count == 0)
        return 0;
    uint32_t at = hak_tally_add(mine->typed, cls, made, (int32_t)(count - undone)) - undone;
    if (front)
        mine->lines[cls] = 0;
    else if (full)
        mine->stamps[cls][mine->lines[cls]++ % mine->line_count[cls]] = made == 1 ? mine->opened[cls] : at;
    if (count != 0)
        mine->opened[cls] = at + count;
    mine->last[cls] = at;
    mine->made[cls] = (uint8_t)made;
    mine->in_line[cls] = (uint8_t)in_line;
    mine->block[cls] = (uint8_t)count;
    return count;
}

void hak_ring_close(hak_guarded *mine, unsigned cls) {
    (void)hak_ring_open(mine, cls, 0, false);
}

uint32_t hak_ring_stamp(const hak_guarded *mine, unsigned cls, uint32_t later) {
    uint32_t in_line = mine->in_line[cls], line = mine->line[cls], lines = mine->lines[cls];
    uint32_t known = hak_min(lines, mine->line_count[cls]);
    uint32_t in_block = hak_max(mine->made[cls], 1) - 1;
    if (later < in_block)
        return mine->last[cls] - later;
    if (later < in_line || known == 0)
        return mine->opened[cls] - (later - in_block);
    uint32_t back = hak_min((later - in_line) / line, known - 1);
    return mine->stamps[cls][(lines - 1 - back) % mine->line_count[cls]] - (later - in_line - back * line);
}

void hak_tally_again(bool typed, unsigned cls, uint32_t open) {
    _Atomic uint64_t *both = &hak_tallies[typed][cls].both;
    uint32_t least = (uint32_t)atomic_load_explicit(both, memory_order_relaxed);
    uint64_t most = least + open + INTERRUPTED;
    atomic_store_explicit(both, (most & UINT32_MAX) << 32 | least, memory_order_relaxed);
}
