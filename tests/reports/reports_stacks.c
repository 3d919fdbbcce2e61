/* reports_stacks.c: errors on a small stack, and how much of one a report takes. */
#include "tests/reports/reports.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LARGEST = 64 << 10, PAINT = 0xa5 };

static unsigned char *stack_end; /* one past its highest byte; a page that faults lies below the lowest */
static volatile uintptr_t *handler_at;

/* A small frame: the kernel's frame on the stack ends about here. */
static void commits(int number) {
    (void)number;
    *handler_at = (uintptr_t)__builtin_frame_address(0);
    reports_error();
    _exit(SURVIVED);
}

static void stack_make(size_t size) {
    unsigned char *low =
        mmap(NULL, LARGEST + 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    NEED(low != MAP_FAILED);
    handler_at = (uintptr_t *)low;
    stack_end = low + 8192 + LARGEST;
    memset(low + 8192, PAINT, LARGEST);
    NEED(mprotect(low + 4096, 4096, PROT_NONE) == 0);
    stack_t stack = {.ss_sp = stack_end - size, .ss_size = size};
    NEED(sigaltstack(&stack, NULL) == 0);
}

/* How many bytes of the stack the report took below its handler's frame, in a child; and how the child ended. */
static void measure(int number, void (*handler)(int), void (*what)(void)) {
    stack_make(LARGEST);
    reports_use_heap();
    reports_take_all();
    pid_t child = fork();
    NEED(child >= 0);
    if (child == 0) {
        struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
        sigaction(number, &action, NULL);
        what();
        _exit(SURVIVED);
    }
    int end = reports_end_of(child);
    unsigned char *at = stack_end - LARGEST;
    while (at < stack_end && *at == PAINT)
        at++;
    printf("end %d, bytes %zu, frame of the kernel %zu\n", end, (size_t)(*handler_at - (uintptr_t)at),
           (size_t)((uintptr_t)stack_end - *handler_at));
    exit(0);
}
static void raise_usr1(void) {
    raise(SIGUSR1);
}
static void stack_of_error(void) {
    measure(SIGUSR1, commits, raise_usr1);
}

static void notes(int number) {
    (void)number;
    *handler_at = (uintptr_t)__builtin_frame_address(0);
}
/* The hardened variant only: measured from its own handler on. The first signal shows where that begins. */
static void touch_guard(void) {
    char *volatile object = malloc(1 << 20);
    raise(SIGUSR1);
    object[-1] = 1;
}
static void stack_of_fault(void) {
    measure(SIGUSR1, notes, touch_guard);
}

/* On a stack with `room` bytes besides the kernel's frame, without a handler of SIGABRT, which would need more of
 * it. */
void reports_small_stack(const char *room) {
    stack_make(getauxval(AT_MINSIGSTKSZ) + (size_t)atoi(room));
    reports_use_heap();
    reports_take_all();
    struct sigaction action = {.sa_handler = commits, .sa_flags = SA_ONSTACK};
    sigaction(SIGUSR1, &action, NULL);
    action.sa_handler = reports_writes;
    sigaction(SIGABRT, &action, NULL);
    raise(SIGUSR1);
}

const reports_case reports_stacks[] = {
    {"stack_of_error", stack_of_error},
    {"stack_of_fault", stack_of_fault},
    {NULL, NULL},
};
