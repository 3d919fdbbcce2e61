/* shim_catch.c: a function that catches C++ exceptions, for operator new in a static program. There the C++
 * library's own nothrow forms, which would catch, are replaced by ours. Layer 6. In archives only.
 *
 * C cannot catch, so the catching frame is written in assembly, and its personality routine is a C function. It
 * needs no tables from a compiler, because it catches at its only call. Forced unwinding (pthread_cancel,
 * pthread_exit) passes through. Source: Itanium C++ ABI, exception handling, 1.5 and 2.5. Every program that
 * throws contains the unwinder and the C++ library; in others the references are NULL. */
#include "allocator/os/operators.h"

#include <unwind.h>

#pragma weak _Unwind_SetGR
#pragma weak _Unwind_SetIP
extern void *__cxa_begin_catch(void *exception) __attribute__((weak));
extern void __cxa_end_catch(void) __attribute__((weak));

/* Calls function(argument). Returns NULL, or the exception that ended it. */
extern void *hak_catch_call(void (*function)(void *), void *argument) __attribute__((visibility("hidden")));
extern const char hak_catch_landing[] __attribute__((visibility("hidden")));

#if defined(__x86_64__)
#define FRAME                                                                                                \
    "    pushq %rbp\n"                                                                                       \
    "    .cfi_def_cfa_offset 16\n"                                                                           \
    "    .cfi_offset %rbp, -16\n"                                                                            \
    "    movq %rdi, %rax\n"                                                                                  \
    "    movq %rsi, %rdi\n"                                                                                  \
    "    callq *%rax\n"                                                                                      \
    "    xorl %eax, %eax\n"                                                                                  \
    "hak_catch_landing:\n"                                                                                   \
    "    popq %rbp\n"                                                                                        \
    "    .cfi_def_cfa_offset 8\n"                                                                            \
    "    retq\n"
#elif defined(__aarch64__)
#define FRAME                                                                                                \
    "    stp x29, x30, [sp, -16]!\n"                                                                         \
    "    .cfi_def_cfa_offset 16\n"                                                                           \
    "    .cfi_offset x29, -16\n"                                                                             \
    "    .cfi_offset x30, -8\n"                                                                              \
    "    mov x2, x0\n"                                                                                       \
    "    mov x0, x1\n"                                                                                       \
    "    blr x2\n"                                                                                           \
    "    mov x0, 0\n"                                                                                        \
    "hak_catch_landing:\n"                                                                                   \
    "    ldp x29, x30, [sp], 16\n"                                                                           \
    "    .cfi_def_cfa_offset 0\n"                                                                            \
    "    ret\n"
#endif

#ifdef FRAME
/* 0x1b: relative to its own address, four bytes */
__asm__(".text\n"
        ".globl hak_catch_call, hak_catch_landing\n"
        ".hidden hak_catch_call, hak_catch_landing\n"
        ".type hak_catch_call, %function\n"
        "hak_catch_call:\n"
        "    .cfi_startproc\n"
        "    .cfi_personality 0x1b, hak_catch_personality\n" FRAME "    .cfi_endproc\n"
        ".size hak_catch_call, . - hak_catch_call\n");

/* Register 0 is the one for return values on both machines. */
__attribute__((visibility("hidden"), used)) _Unwind_Reason_Code
hak_catch_personality(int version, _Unwind_Action actions, _Unwind_Exception_Class class,
                      struct _Unwind_Exception *exception, struct _Unwind_Context *context) {
    (void)version, (void)class;
    if ((actions & _UA_FORCE_UNWIND) != 0 || _Unwind_SetGR == NULL || _Unwind_SetIP == NULL)
        return _URC_CONTINUE_UNWIND;
    if ((actions & _UA_SEARCH_PHASE) != 0)
        return _URC_HANDLER_FOUND;
    if ((actions & _UA_HANDLER_FRAME) == 0)
        return _URC_CONTINUE_UNWIND;
    _Unwind_SetGR(context, 0, (uintptr_t)exception);
    _Unwind_SetIP(context, (uintptr_t)hak_catch_landing);
    return _URC_INSTALL_CONTEXT;
}

void hak_operators_catch(void (*function)(void *), void *argument) {
    void *exception = hak_catch_call(function, argument);
    if (exception == NULL || __cxa_begin_catch == NULL || __cxa_end_catch == NULL)
        return;
    (void)__cxa_begin_catch(exception);
    __cxa_end_catch();
}
#endif
