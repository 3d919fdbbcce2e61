/* want.h: what the programs of tests/surface ask for, in C and in C++. */
#ifndef HAK_TESTS_WANT_H
#define HAK_TESTS_WANT_H

#include <stdio.h>
#include <stdlib.h>

/* Else the program ends with status 1 and a line that says where it is not so. */
#define WANT(cond)                                                                                           \
    do {                                                                                                     \
        if (!(cond)) {                                                                                       \
            printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #cond);                                        \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

#endif
