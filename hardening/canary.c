/* canary.c: see canary.h. */
#include "hardening/canary.h"

#include "allocator/os.h"

void hak_canary_init(void) {
    uint64_t keys[2];
    hak_os_random(keys, sizeof keys);
    hak_hardening.canary_multiplier = keys[0] | 1;
    hak_hardening.canary_mask = keys[1];
}

HAK_PEEKS const unsigned char *hak_canary_find(const void *obj, size_t size) {
    const unsigned char *end = (const unsigned char *)obj + size;
    uint64_t right = hak_canary_at(end);
    for (unsigned i = 0; i < HAK_CANARY_BYTES; i++)
        if (end[i] != (unsigned char)(right >> (8 * i)))
            return end + i;
    return NULL;
}
