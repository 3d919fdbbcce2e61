/* operators.h: finds out whether the program replaces some of C++'s operators new and delete. Layer 1.
 *
 * A program may replace any of the twenty alone ([replacement.functions]), and the others must work on top of
 * those: operator delete(void *, size_t) has to call the program's operator delete(void *). The dynamic linker
 * is asked once; a program without replacements pays for the test of one byte. */
#ifndef HAK_OPERATORS_H
#define HAK_OPERATORS_H

#include "allocator/base/base.h"

typedef struct hak_operator {
    const char *name;    /* mangled */
    const void *ours;    /* our definition */
    const void *linked;  /* what a reference to the name in this library resolved to */
    const void *library; /* the C++ library's form, if the program replaced any and the library has all */
    _Atomic(const void *) program; /* what the program calls by that name; NULL: not looked up yet */
} hak_operator;

enum { HAK_OPERATORS = 20 };

/* Defined in shim_new.c; in builds without it the address is NULL. */
extern HAK_HIDDEN hak_operator hak_operators[HAK_OPERATORS] __attribute__((weak));

/* True: not looked up yet, or forms that are not replaced must call the C++ library's form. */
extern HAK_HIDDEN _Atomic bool hak_operators_forward;

/* True when the program replaced some forms, and the others must call the C++ library's. The first call takes
 * the lock of the dynamic linker. */
bool hak_operators_look(void);

/* The next definition of the form after ours, which is the C++ library's. NULL: none, as in a static program.
 * May take the lock of the dynamic linker. */
const void *hak_operators_library(const hak_operator *one);

/* The function that the program calls by that name: its own or ours. The first call may take the lock of the
 * dynamic linker. */
const void *hak_operators_program(hak_operator *one);

/* Calls function(argument) and stops any C++ exception. In archives only; elsewhere NULL. */
extern HAK_HIDDEN void hak_operators_catch(void (*function)(void *), void *argument) __attribute__((weak));

/* True when the program replaced some forms. */
bool hak_operators_replaced(void);

/* True when another module defines an operator new, for instance because it was linked with its own C++
 * library. Its own calls of new stay inside (-Bsymbolic) and end in malloc, while a delete of such an object
 * elsewhere comes to ours. Looks at all modules until one is found, so it is called only when something else is
 * wrong already. */
bool hak_operators_elsewhere(void);

#endif
