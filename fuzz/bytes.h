/* bytes.h: reads numbers from an input; past its end everything is zero, so that every input is complete. For the
 * component targets, whose operations are too few for the operation language. */
#ifndef FUZZ_BYTES_H
#define FUZZ_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct bytes_reader {
    const uint8_t *at, *end;
} bytes_reader;

static inline bool bytes_left(const bytes_reader *reader) {
    return reader->at < reader->end;
}

static inline uint8_t bytes_u8(bytes_reader *reader) {
    return reader->at < reader->end ? *reader->at++ : 0;
}

static inline uint32_t bytes_u16(bytes_reader *reader) {
    uint32_t low = bytes_u8(reader);
    return low | (uint32_t)bytes_u8(reader) << 8;
}

static inline uint64_t bytes_u64(bytes_reader *reader) {
    uint64_t n = 0;
    for (unsigned i = 0; i < 8; i++)
        n |= (uint64_t)bytes_u8(reader) << (8 * i);
    return n;
}

/* Ends the process and prints the rule when it does not hold. */
#define BYTES_RULE(holds, rule)                                                                              \
    do {                                                                                                     \
        if (!(holds)) {                                                                                      \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, rule);                                        \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

#endif
