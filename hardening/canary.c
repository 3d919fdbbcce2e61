/* canary.c: see canary.h. */
#include "hardening/canary.h"

#include "allocator/os/os.h"

void hak_canary_init(void) {
    uint64_t *keys = hak_hardening.canary_keys;
    hak_os_random(keys, sizeof hak_hardening.canary_keys);
    keys[1] |= 1; /* a factor of zero would make every product zero */
    keys[3] |= 1;
}

HAK_PEEKS const unsigned char *hak_canary_find(const void *obj, uint32_t word) {
    const unsigned char *end = (const unsigned char *)obj + hak_record_size(word);
    uint64_t right = hak_canary_of(end, word);
    for (unsigned i = 0; i < HAK_CANARY_BYTES; i++)
        if (end[i] != (unsigned char)(right >> (8 * i)))
            return end + i;
    return NULL;
}
