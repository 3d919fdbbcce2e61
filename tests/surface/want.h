/* want.h: the check that the programs of tests/surface use, in C and in C++. */
#ifndef HAK_TESTS_WANT_H
#define HAK_TESTS_WANT_H

#include <stdio.h>
#include <stdlib.h>

/* If the condition does not hold, the program ends with status 1 and prints the place. */
#define WANT(cond)                                                                                           \
    do {                                                                                                     \
        if (!(cond)) {                                                                                       \
            printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #cond);                                        \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

#endif
