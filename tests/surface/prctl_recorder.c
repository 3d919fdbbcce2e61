/* prctl_recorder.c: a library whose prctl comes between the allocator's and libc's, as a wrapper's does: it records
 * its arguments. */
#include <string.h>

unsigned long prctl_recorded[5];

__attribute__((visibility("default"))) int prctl(int operation, unsigned long a, unsigned long b,
                                                 unsigned long c, unsigned long d) {
    const unsigned long words[5] = {(unsigned long)operation, a, b, c, d};
    memcpy(prctl_recorded, words, sizeof words);
    return 77;
}
