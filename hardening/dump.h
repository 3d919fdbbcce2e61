/* dump.h: the bytes around an address for a report, without the bytes of canaries and of the surroundings of
 * sampled objects, which come from the same keys. A report may end in a log that many people read, and the keys
 * stay the same for the process and its children. Bytes of a canary that were overwritten are shown.
 * Async-signal-safe; reads memory through the kernel. */
#ifndef HAK_DUMP_H
#define HAK_DUMP_H

#include "allocator/base/base.h"

enum { HAK_DUMP_BEFORE = 16, HAK_DUMP_BYTES = 48 };

typedef struct hak_dump {
    uintptr_t from;
    size_t got; /* bytes that were readable, from the front */
    unsigned char bytes[HAK_DUMP_BYTES];
    uint64_t hidden; /* bit i: bytes[i] must not be shown */
} hak_dump;

void hak_dump_read(hak_dump *out, uintptr_t around);

#endif
