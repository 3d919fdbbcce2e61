/* operators.h: whether the program brought some of C++'s operators new and delete itself. Layer 1.
 *
 * Any of the twenty may be replaced alone ([replacement.functions]), and those that are not must work on top of
 * those that are: operator delete(void *, size_t) has to call the program's operator delete(void *). Who finds that
 * out asks the dynamic linker, once; in a program without replacements it costs one byte that is looked at. */
#ifndef HAK_OPERATORS_H
#define HAK_OPERATORS_H

#include "allocator/base/base.h"

typedef struct hak_operator {
    const char *name;    /* mangled */
    const void *ours;    /* our definition */
    const void *linked;  /* what a reference to the name became when this library was linked */
    const void *library; /* the C++ library's, if the program replaced any and the library has all */
    _Atomic(const void *) program; /* what the program calls by that name; NULL: nobody has asked yet */
} hak_operator;

enum { HAK_OPERATORS = 20 };

/* Defined by shim_new.c; in what is built without it the address is NULL. */
extern HAK_HIDDEN hak_operator hak_operators[HAK_OPERATORS] __attribute__((weak));

/* True: nobody has looked yet, or what is not replaced must go to the C++ library's form. */
extern HAK_HIDDEN _Atomic bool hak_operators_forward;

/* True when the program replaced some, and the C++ library's forms are to be called for the rest. Looks only once;
 * takes the lock of the dynamic linker then. */
bool hak_operators_look(void);

/* The next definition of that form after ours: the C++ library's own. NULL: there is none, as in a static program.
 * May take the lock of the dynamic linker. */
const void *hak_operators_library(const hak_operator *one);

/* What a call of that name in the program is: ours, if it has none of its own. May take the lock of the dynamic
 * linker, the first time. */
const void *hak_operators_program(hak_operator *one);

/* Calls function(argument), and lets no exception of C++ out of it. In archives only; elsewhere NULL. */
extern HAK_HIDDEN void hak_operators_catch(void (*function)(void *), void *argument) __attribute__((weak));

/* True when the program replaced some. */
bool hak_operators_replaced(void);

/* True when another module has an operator new of its own, as one that was linked with a C++ library of its own:
 * what that makes by malloc may end in our operator delete, for the module's own calls stay in it (-Bsymbolic) and
 * those of others come here. Looks at all modules as long as there is none: only when something else is wrong
 * already. */
bool hak_operators_elsewhere(void);

#endif
