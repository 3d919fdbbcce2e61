/* fuzz_ledger.c: the words that the ledger writes against a plain struct, and the way from an address to its word
 * against division. Input: per step a kind and the fields. */
#include "allocator/life/reset.h"
#include "fuzz/bytes.h"
#include "fuzz/engine.h"
#include "hardening/ledger.h"

enum { STEPS_MAX = 1024, SLABS_MAX = 8, FAMILIES = 3, ALIGNS = 22, LOG2_ANY = 8 };

/* A slot has room for the canary as well. */
enum { SIZE_MOST = HAK_SLAB_SIZE_MAX - HAK_CANARY_BYTES };

/* The content of a word, in plain numbers. */
typedef struct plain {
    hak_family family;
    unsigned align_log2;
    uint32_t size;
} plain;

static plain read_plain(bytes_reader *in) {
    return (plain){.family = (hak_family)(bytes_u8(in) % FAMILIES),
                   .align_log2 = HAK_ALIGN_LOG2 + bytes_u8(in) % ALIGNS,
                   .size = (bytes_u16(in) | (uint32_t)bytes_u8(in) << 16) % (SIZE_MOST + 1)};
}

static uint32_t word_of(plain p) {
    return hak_record_live((hak_origin){p.family, p.align_log2, 0}) | p.size << HAK_RECORD_SIZE_SHIFT;
}

/* A live word gives back what was put in; a freed one gives the size and its owner. */
static void verify_word(bytes_reader *in) {
    plain p = read_plain(in);
    uint32_t word = word_of(p), owner = bytes_u16(in) % HAK_RECORD_OWNERS;
    BYTES_RULE(hak_record_state(word) == HAK_SLOT_LIVE, "a live word is live");
    BYTES_RULE(hak_record_size(word) == p.size, "a live word has the size");
    BYTES_RULE((word >> HAK_RECORD_FAMILY_SHIFT & 3) == (uint32_t)p.family, "a live word has the family");
    BYTES_RULE((word >> HAK_RECORD_ALIGN_SHIFT & HAK_RECORD_ALIGN_MASK) == p.align_log2,
               "a live word has the alignment");
    uint32_t freed = hak_record_freed(owner, word);
    BYTES_RULE(hak_record_state(freed) == HAK_SLOT_FREED, "a freed word is freed");
    BYTES_RULE(hak_record_size(freed) == p.size, "a freed word keeps the size");
    BYTES_RULE((freed >> HAK_RECORD_OWNER_SHIFT & (HAK_RECORD_OWNERS - 1)) == owner,
               "a freed word has its owner");
}

/* Whether a claim may end the object, as docs/REPORTS.md has it. The family must be the same. A claim of malloc's
 * family without size and alignment ends objects of every alignment. All others state size and alignment; a claim
 * without an alignment states the usual one. */
static bool may_end(plain p, hak_claim claim) {
    if ((hak_family)claim.family != p.family)
        return false;
    bool silent = claim.align_log2 == HAK_CLAIM_ANY && claim.size == HAK_CLAIM_NO_SIZE;
    if (silent && p.family == HAK_FAMILY_MALLOC)
        return true;
    unsigned said = claim.align_log2;
    if (said == HAK_CLAIM_ANY || said < HAK_ALIGN_LOG2)
        said = HAK_ALIGN_LOG2;
    return said == p.align_log2;
}

static void verify_claim(bytes_reader *in) {
    plain p = read_plain(in);
    uint8_t flags = bytes_u8(in);
    hak_claim claim = {
        .call = "fuzz", .size = HAK_CLAIM_NO_SIZE, .align_log2 = HAK_CLAIM_ANY, .family = p.family};
    if (flags & 1)
        claim.size = p.size;
    if (flags & 2)
        claim.align_log2 = flags & 8 ? p.align_log2 : bytes_u8(in) % 64; /* of any 64 bits */
    if (flags & 4)
        claim.family = bytes_u8(in) % FAMILIES;
    BYTES_RULE(hak_claim_fits(claim, word_of(p)) == may_end(p, claim),
               "a claim fits what it may end, and nothing else");
    if (!hak_claim_fits(claim, word_of(p)))
        return;
    BYTES_RULE(!hak_claim_fits(claim, hak_record_freed(1, word_of(p))), "no claim fits what is freed");
    BYTES_RULE(!hak_claim_fits(claim, 0), "no claim fits what was never given out");
}

static hak_slab *slabs[SLABS_MAX];
static unsigned slabs_count;

static void take_slab(bytes_reader *in) {
    unsigned cls = 1 + bytes_u8(in) % HAK_CLASSES;
    if (slabs_count == SLABS_MAX)
        return;
    slabs[slabs_count] = hak_superslab_take_slab(cls, 0);
    BYTES_RULE(slabs[slabs_count] != NULL, "a slab is to be had");
    slabs_count++;
}

/* A byte of a slab has a record exactly when a slot begins there, and each slot has its own: a record that was
 * written before is not overwritten through another slot. */
static void verify_place(bytes_reader *in) {
    if (slabs_count == 0)
        return;
    const hak_slab *slab = slabs[bytes_u8(in) % slabs_count];
    const hak_class_info *info = &hak_classes[slab->cls];
    uint32_t number = bytes_u16(in) | (uint32_t)bytes_u8(in) << 16;
    uint32_t offset = number % info->slab_bytes;
    if (bytes_u8(in) & 1)
        offset = number % info->slots * info->size;
    hak_place place = {0};
    bool found = hak_ledger_find((void *)(slab->start + offset), &place);
    BYTES_RULE(found == (offset % info->size == 0),
               "a place begins at multiples of the size, and nowhere else");
    if (!found || offset / info->size >= info->slots)
        return;
    BYTES_RULE(place.slot == offset / info->size && place.size == info->size, "the place says slot and size");
    /* Even: neither live nor held, because a slot of a slab in part may have no memory that a reset could clear. */
    uint32_t mark = ((uint32_t)(slab->start >> LOG2_ANY) + place.slot) << 1;
    uint32_t before = hak_record_load(place.record);
    BYTES_RULE(before == 0 || before == mark, "no two slots have one record");
    hak_record_store(place.record, mark);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    hak_test_reset(HAK_RESET_KEPT); /* what happens once per process is no part of an input */
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    bytes_reader in = {bytes, bytes + length};
    hak_test_reset(HAK_RESET_KEPT);
    slabs_count = 0;
    for (unsigned steps = 0; bytes_left(&in) && steps < STEPS_MAX; steps++) {
        static void (*const kinds[])(bytes_reader *) = {verify_word, verify_claim, take_slab, verify_place};
        kinds[bytes_u8(&in) % 4](&in);
    }
    hak_test_reset(HAK_RESET_KEPT); /* the sweep at exit would take the marks for objects */
    return 0;
}
