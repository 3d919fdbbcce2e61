/* operators.c: see operators.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "allocator/os/operators.h"

#include "allocator/os/module.h"

#include <dlfcn.h>

_Atomic bool hak_operators_forward = true;

enum { NOT_KNOWN, NONE, SOME };
static _Atomic uint8_t replaced = NOT_KNOWN;

/* A static program has no dlsym and needs none: all its names are resolved. */
#pragma weak dlsym

/* True when the program's form is not ours. A name that the dynamic linker does not know is referred to by no
 * other module. */
static bool is_replaced(const hak_operator *one) {
    if (one->linked != one->ours)
        return true;
    const void *seen = dlsym != NULL ? dlsym(RTLD_DEFAULT, one->name) : NULL;
    return seen != NULL && seen != one->ours;
}

static bool any_replaced(void) {
    for (unsigned i = 0; hak_operators != NULL && i < HAK_OPERATORS; i++)
        if (is_replaced(&hak_operators[i]))
            return true;
    return false;
}

const void *hak_operators_library(const hak_operator *one) {
    return dlsym != NULL ? dlsym(RTLD_NEXT, one->name) : NULL;
}

const void *hak_operators_program(hak_operator *one) {
    const void *program = atomic_load_explicit(&one->program, memory_order_relaxed);
    if (program != NULL)
        return program;
    program = dlsym != NULL ? dlsym(RTLD_DEFAULT, one->name) : NULL;
    if (program == NULL)
        program = one->linked;
    atomic_store_explicit(&one->program, program, memory_order_relaxed); /* other threads find the same */
    return program;
}

/* True when the C++ library, which comes after this one, has every form. */
static bool find_library(void) {
    bool all = true;
    for (unsigned i = 0; all && i < HAK_OPERATORS; i++) {
        hak_operators[i].library = hak_operators_library(&hak_operators[i]);
        all = hak_operators[i].library != NULL;
    }
    return all;
}

/* Two threads at once store the same results. */
static HAK_COLD void look(void) {
    bool some = any_replaced();
    bool forward = some && find_library();
    /* release: makes the `library` fields visible; pairs with the acquires below */
    atomic_store_explicit(&hak_operators_forward, forward, memory_order_release);
    atomic_store_explicit(&replaced, some ? SOME : NONE, memory_order_release);
}

bool hak_operators_replaced(void) {
    if (atomic_load_explicit(&replaced, memory_order_acquire) == NOT_KNOWN)
        look();
    return atomic_load_explicit(&replaced, memory_order_acquire) == SOME;
}

bool hak_operators_look(void) {
    return hak_operators_replaced() && atomic_load_explicit(&hak_operators_forward, memory_order_acquire);
}

bool hak_operators_elsewhere(void) {
    static _Atomic bool found; /* stays true: objects outlive the module that made them */
    if (!atomic_load_explicit(&found, memory_order_relaxed) &&
        (hak_module_defines("_Znwm") || hak_module_defines("_Znam")))
        atomic_store_explicit(&found, true, memory_order_relaxed);
    return atomic_load_explicit(&found, memory_order_relaxed);
}
