/* surface_prctl.c: prctl passes all five words unchanged to the next prctl, and returns its answer. Its first call
 * leaves dlerror's error. */
#include "tests/surface/want.h"

#include <dlfcn.h>
#include <string.h>

extern unsigned long prctl_recorded[5];
int prctl(int operation, ...);

int main(void) {
    const unsigned long words[5] = {38 /* PR_SET_NO_NEW_PRIVS */, 0x1111111111111111, 0x2222222222222222,
                                    0x3333333333333333, 0x4444444444444444};
    WANT(dlsym(NULL, "no_function_has_this_name") == NULL);
    WANT(prctl(1, words[1], words[2], words[3], words[4]) == 77);
    WANT(dlerror() != NULL);
    for (unsigned long operation = 1; operation <= words[0]; operation++) {
        WANT(prctl((int)operation, words[1], words[2], words[3], words[4]) == 77);
        WANT(prctl_recorded[0] == operation);
        WANT(memcmp(prctl_recorded + 1, words + 1, sizeof words - sizeof words[0]) == 0);
    }
    puts("done");
    return 0;
}
