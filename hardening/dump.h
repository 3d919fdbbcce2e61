/* dump.h: bytes around an address for a report, and which of them nobody may see: those of canaries, and of what
 * surrounds sampled objects, which comes from the same keys. A report may end in a log that many read, and the keys
 * hold for the process and its children. Bytes of a canary that were overwritten are shown. Async-signal-safe; the
 * memory is read through the kernel. */
#ifndef HAK_DUMP_H
#define HAK_DUMP_H

#include "allocator/base/base.h"

enum { HAK_DUMP_BEFORE = 16, HAK_DUMP_BYTES = 48 };

typedef struct hak_dump {
    uintptr_t from;
    size_t got; /* bytes that could be read, from the front */
    unsigned char bytes[HAK_DUMP_BYTES];
    uint64_t hidden; /* bit i: bytes[i] is not to be shown */
} hak_dump;

void hak_dump_read(hak_dump *out, uintptr_t around);

#endif
