/* death.c: see death.h. Uses the kernel's signal calls, not libc's: a program or a library may have replaced
 * sigaction and raise with functions of its own. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "allocator/os/death.h"

#include "allocator/base/bits.h"
#include "allocator/os/os.h"
#include "allocator/os/os_process.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    /* How long a thread waits for another one's report and death: ten times the longest report. */
    TURN_MS = 10000,
    CANCEL = 32,        /* the signal with which glibc cancels a thread */
    HANDLER_ROOM = 512, /* least bytes of stack for a handler, without the kernel's frame */
    MARKS = 8,
    STACK_BYTES = 16 << 10, /* a report takes 1 KiB */
};

/* What rt_sigaction(2) takes, on x86-64 and aarch64. `restorer` is libc's. */
typedef struct kernel_action {
    void *handler;
    unsigned long flags;
    void *restorer;
    uint64_t mask;
} kernel_action;

_Atomic uint64_t hak_death_of;
static _Atomic uint64_t turn_of;
/* State of the thread that has the turn. */
static uint64_t mask_before;
static kernel_action program; /* the program's action for SIGABRT */
/* Known words in the frame that has called the program's handler. A thread that has left the handler is above
 * that frame, or has overwritten the words. */
static const volatile uint64_t *marks_at;
static bool handler_on_alternate;
/* Value of hak_death_of in a process that was forked by a handler of a death: no thread dies here. No process
 * has that number. */
static const uint64_t HEIR = UINT64_MAX;
static const uint64_t MARK = 0x9d2e8f4ba7c61350;

static uint64_t this_thread(void) {
    return (uint64_t)hak_os_pid() << 32 | hak_os_tid();
}

static uint64_t bit_of(int number) {
    return (uint64_t)1 << (number - 1);
}

static bool action_get(kernel_action *out) {
    return syscall(SYS_rt_sigaction, SIGABRT, NULL, out, sizeof out->mask) == 0;
}
static bool action_set(const kernel_action *action) {
    return syscall(SYS_rt_sigaction, SIGABRT, action, NULL, sizeof action->mask) == 0;
}

static void default_set(void) {
    static const kernel_action none;
    (void)action_set(&none);
}

static void send_to_self(void) {
    (void)syscall(SYS_tgkill, hak_os_pid(), hak_os_tid(), SIGABRT);
}

/* Ends the process by the default action of SIGABRT, whatever the program set. The first process of a container
 * ignores a signal that it sends itself, but not an invalid instruction. */
static _Noreturn void end_now(void) {
    const uint64_t others = ~bit_of(SIGABRT);
    default_set();
    hak_os_signals_open(&others);
    send_to_self();
    __builtin_trap();
}

/* True when that thread does not exist any more, or belongs to the parent process. */
static bool is_gone(uint64_t who) {
    if (who >> 32 != hak_os_pid()) /* also true for 0 */
        return true;
    return hak_os_filter != HAK_FILTER_OWN && syscall(SYS_tgkill, who >> 32, (uint32_t)who, 0) != 0 &&
           errno == ESRCH;
}

bool hak_death_turn(void) {
    int saved = errno;
    uint64_t self = this_thread(), has = 0, mask;
    for (unsigned waited = 0; waited < TURN_MS; waited++) {
        hak_os_signals_shut(&mask);
        if (has == self)
            end_now();
        if (is_gone(has) && atomic_compare_exchange_strong(&turn_of, &has, self)) {
            mask_before = mask;
            errno = saved;
            return true;
        }
        hak_os_signals_open(&mask);
        has = atomic_load(&turn_of);
        if (has != self && has != 0)
            hak_os_sleep(1);
    }
    errno = saved;
    return false;
}

void hak_death_pass(void) {
    const uint64_t mask = mask_before;
    atomic_store(&turn_of, 0);
    hak_os_signals_open(&mask);
}

/* Calls function(argument) on another stack. Clobbers what any call clobbers. The frame address is used so that
 * the function has a frame pointer, by which a debugger finds its way back. */
static HAK_NOINLINE void call_on(void *top, void (*function)(const void *), const void *argument) {
    (void)*(volatile char *)__builtin_frame_address(0);
#if defined(__x86_64__)
    __asm__ volatile("movq %%rsp, %%rbx\n\t"
                     "movq %0, %%rsp\n\t"
                     "callq *%1\n\t"
                     "movq %%rbx, %%rsp"
                     : "+r"(top), "+r"(function), "+D"(argument)
                     :
                     : "rbx", "rax", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "xmm0", "xmm1", "xmm2",
                       "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
                       "xmm13", "xmm14", "xmm15", "cc", "memory");
#elif defined(__aarch64__)
    register const void *first __asm__("x0") = argument;
    __asm__ volatile("mov x19, sp\n\t"
                     "mov sp, %1\n\t"
                     "blr %2\n\t"
                     "mov sp, x19"
                     : "+r"(first)
                     : "r"(top), "r"(function)
                     : "x19", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12",
                       "x13", "x14", "x15", "x16", "x17", "x18", "x30", "v0", "v1", "v2", "v3", "v4", "v5",
                       "v6", "v7", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25",
                       "v26", "v27", "v28", "v29", "v30", "v31", "cc", "memory");
#else
    (void)top;
    function(argument);
#endif
}

void hak_death_speak(void (*report)(const void *about), const void *about) {
    static _Alignas(16) char stack[STACK_BYTES];
    if (HAK_DEBUG_BUILD)
        report(about); /* sanitizers know only the normal stacks */
    else
        call_on(stack + sizeof stack, report, about);
}

void hak_death_forget(void) {
    atomic_store(&turn_of, 0);
    if (atomic_load(&hak_death_of) != 0)
        atomic_store(&hak_death_of, HEIR);
}

static bool on_alternate(stack_t *out) {
    return sigaltstack(NULL, out) == 0 && (out->ss_flags & SS_ONSTACK) != 0;
}

/* True when the stack has room for the handler. Without room the kernel would end the process by SIGSEGV. */
static bool room_for_handler(void) {
    stack_t stack;
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    size_t need = hak_max(getauxval(AT_MINSIGSTKSZ), 2048) + HANDLER_ROOM;
    return !on_alternate(&stack) || here - (uintptr_t)stack.ss_sp >= need;
}

/* Runs in the place of the program's handler, with all signals blocked. On return the mask is as before, so the
 * pending SIGABRT ends the process. */
static void on_abort(int number, siginfo_t *info, void *context) {
    volatile uint64_t marks[MARKS];
    stack_t stack;
    for (int i = 0; i < MARKS; i++)
        marks[i] = MARK;
    handler_on_alternate = on_alternate(&stack);
    marks_at = marks;
    default_set();
    send_to_self();
    uint64_t mask = mask_before | program.mask | bit_of(SIGABRT) | bit_of(CANCEL);
    hak_os_signals_open(&mask);
    if ((program.flags & SA_SIGINFO) != 0)
        ((void (*)(int, siginfo_t *, void *))program.handler)(number, info, context);
    else
        ((void (*)(int))program.handler)(number);
    marks_at = NULL;
    marks[0] = 0; /* this store keeps the marks in the frame while the handler runs */
}

/* Returns only when there is no handler, or no way to call it. */
static void call_handler(bool locked) {
    if (!action_get(&program) || program.handler == (void *)SIG_DFL || program.handler == (void *)SIG_IGN ||
        !room_for_handler())
        return;
    int unused;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE,
                                 &unused); /* else a cancellation in the handler could end the thread */
    hak_dying_begin(locked);
    kernel_action ours = program;
    ours.handler = (void *)on_abort;
    ours.flags = (ours.flags | SA_SIGINFO) & ~(unsigned long)(SA_NODEFER | SA_RESETHAND);
    ours.mask = ~(uint64_t)0;
    if (!action_set(&ours))
        return;
    const uint64_t others = ~bit_of(SIGABRT);
    send_to_self();
    hak_os_signals_open(&others);
}

void hak_death_end(bool locked) {
    if (HAK_DEBUG_BUILD) {
        hak_death_pass();
        abort();
    }
    uint64_t nobody = 0, self = this_thread();
    if (atomic_load(&turn_of) == self && atomic_compare_exchange_strong(&hak_death_of, &nobody, self))
        call_handler(locked);
    end_now();
}

static bool in_handler(void) {
    stack_t stack;
    bool alternate = on_alternate(&stack);
    if (alternate != handler_on_alternate)
        return alternate;
    bool inside = (uintptr_t)__builtin_frame_address(0) < (uintptr_t)marks_at;
    for (int i = 0; inside && i < MARKS; i++)
        inside = marks_at[i] == MARK;
    return inside;
}

void hak_death_look(void) {
    if (atomic_load(&hak_death_of) == this_thread() && !in_handler())
        end_now();
}

/* The other thread of this process that `word` names; 0: none. */
static uint64_t other_of(const _Atomic uint64_t *word) {
    uint64_t who = atomic_load(word);
    return who == this_thread() || is_gone(who) ? 0 : who;
}

bool hak_death_at_exit(void) {
    int saved = errno;
    unsigned waited = 0;
    if (atomic_load(&turn_of) == 0 && atomic_load(&hak_death_of) == 0)
        return false;
    for (; waited < TURN_MS && (other_of(&turn_of) != 0 || other_of(&hak_death_of) != 0); waited++)
        hak_os_sleep(1);
    errno = saved;
    uint64_t who = atomic_load(&hak_death_of);
    if (who >> 32 == hak_os_pid() && (other_of(&hak_death_of) != 0 || !in_handler()))
        end_now();
    return who != 0;
}
