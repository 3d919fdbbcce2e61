/* said.c: said WHAT...: errors whose report contains known facts: the expected ones go to stdout, as NAME=VALUE
 * lines. */
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

enum { BROKEN = 78, MANY = 4000 };

#define NEED(cond)                                                                                           \
    do {                                                                                                     \
        if (!(cond)) {                                                                                       \
            dprintf(STDOUT_FILENO, "line %d: %s\n", __LINE__, #cond);                                        \
            _exit(BROKEN);                                                                                   \
        }                                                                                                    \
    } while (0)

static void tell(const char *name, uintptr_t value) {
    dprintf(STDOUT_FILENO, "%s=%#lx\n", name, (unsigned long)value);
}
static void tell_bytes(const char *name, const void *from, size_t count) {
    dprintf(STDOUT_FILENO, "%s=", name);
    for (size_t i = 0; i < count; i++)
        dprintf(STDOUT_FILENO, "%s%02x", i == 0 ? "" : " ", ((const unsigned char *)from)[i]);
    dprintf(STDOUT_FILENO, "\n");
}

/* The function that makes the object, and the one that ends it. */
static void by(const char *make, const char *end) {
    void *(*makes)(size_t) = (void *(*)(size_t))dlsym(RTLD_DEFAULT, make);
    void (*ends)(void *) = (void (*)(void *))dlsym(RTLD_DEFAULT, end);
    NEED(makes != NULL && ends != NULL);
    char *object = makes(24);
    tell("object", (uintptr_t)object);
    object[24] ^= 1;
    ends(object);
}

/* With HAKMEM_SAMPLE_RATE=1: who made the object, who freed it, and how it is used then. */
static char *volatile sampled;
__attribute__((noinline)) static void makes_it(void) {
    sampled = malloc(40);
    tell("made", (uintptr_t)makes_it);
}
__attribute__((noinline)) static void frees_it(void) {
    free(sampled);
    tell("freed", (uintptr_t)frees_it);
}
__attribute__((noinline)) static void uses_it(const char *how) {
    tell("used", (uintptr_t)uses_it);
    if (strcmp(how, "read") == 0)
        (void)*(volatile char *)sampled;
    else
        *(volatile char *)sampled = 1;
}
static void guarded_object(const char *how) {
    makes_it();
    if (strcmp(how, "before") == 0)
        ((volatile char *)sampled)[-1] ^= 1;
    frees_it();
    uses_it(how);
}

static int by_address(const void *a, const void *b) {
    uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;
    return (x > y) - (x < y);
}

/* Two slots side by side: the lower one's end is damaged, the higher one is freed. */
static void neighbour(void) {
    static uintptr_t objects[MANY];
    enum { SIZE = 40, SLOT = 48 };
    for (int i = 0; i < MANY; i++)
        objects[i] = (uintptr_t)malloc(SIZE);
    qsort(objects, MANY, sizeof objects[0], by_address);
    int i = 0;
    while (i + 1 < MANY && objects[i + 1] - objects[i] != SLOT)
        i++;
    NEED(i + 1 < MANY);
    tell("object", objects[i]);
    ((char *)objects[i])[SIZE] ^= 1;
    free((void *)objects[i + 1]);
    _exit(BROKEN);
}

/* Overwrites one byte behind the object. The expected facts are printed before, because printing may allocate, and
 * any call may find the error. */
static void behind(size_t size, size_t at) {
    unsigned char *object = malloc(size);
    memset(object, 'S', size);
    tell("object", (uintptr_t)object);
    tell("bad", (uintptr_t)object + size + at);
    tell_bytes("secret", object + size, 8);
    unsigned char wrong = object[size + at] ^ 0x10;
    tell_bytes("wrong", &wrong, 1);
    object[size + at] = wrong;
    free(object);
}

/* A freed pointer close to live objects; a reader of the report must not learn their canaries. */
static void beside(size_t size) {
    unsigned char *objects[64];
    for (int i = 0; i < 64; i++) {
        objects[i] = malloc(size);
        tell_bytes("secret", objects[i] + size, 8);
    }
    free(objects[40] + size); /* the place of the canary itself */
}

/* Signals. ----------------------------------------------------------------------------------------------- */

static volatile char *guarded, *nowhere;

static void on_segv(int number) {
    sigset_t now;
    sigprocmask(SIG_BLOCK, NULL, &now);
    dprintf(STDOUT_FILENO, "SIGSEGV handler %d, shut %d %d\n", number, sigismember(&now, SIGSEGV),
            sigismember(&now, SIGUSR1));
    _exit(4);
}
static void on_bus(int number, siginfo_t *info, void *context) {
    (void)context;
    dprintf(STDOUT_FILENO, "SIGBUS handler %d %d\n", number, info->si_signo);
    _exit(5);
}
/* Returns, so the access is tried again; after the first time without this handler. */
static void on_segv_once(int number) {
    static int calls;
    (void)number;
    if (++calls > 1)
        _exit(6);
    dprintf(STDOUT_FILENO, "once\n");
}
/* Runs before the library's own; libc is not ready either. */
static void first(int count, char **arguments, char **environment) {
    struct sigaction action = {.sa_handler = on_segv};
    (void)count, (void)arguments;
    while (*environment != NULL && strncmp(*environment, "SAID_HANDLERS=", 14) != 0)
        environment++;
    if (*environment == NULL)
        return;
    if (strcmp(*environment, "SAID_HANDLERS=once") == 0) {
        action = (struct sigaction){.sa_handler = on_segv_once, .sa_flags = (int)SA_RESETHAND};
        sigaction(SIGSEGV, &action, NULL);
        return;
    }
    sigaddset(&action.sa_mask, SIGUSR1);
    sigaction(SIGSEGV, &action, NULL);
    action = (struct sigaction){.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO};
    sigaction(SIGBUS, &action, NULL);
}
__attribute__((section(".preinit_array"), used)) static void (*const at_first)(int, char **, char **) = first;

static void fault_segv(void) {
    guarded[-1] = 1;
}
static void fault_bus(void) {
    char name[] = "/tmp/said.XXXXXX";
    int file = mkstemp(name);
    NEED(file >= 0 && unlink(name) == 0);
    nowhere = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0); /* behind its end */
    NEED(nowhere != MAP_FAILED);
    nowhere[0] = 1;
}

/* Until there is no room for the kernel's frame. */
static void at_the_end_of_the_stack(void) {
    uintptr_t here = (uintptr_t)__builtin_frame_address(0), page = here & ~(uintptr_t)4095;
    volatile char *rest = __builtin_alloca(here - page > 1024 ? here - page - 512 : 16);
    rest[0] = 1;
    guarded[-1] = 1;
}
static void stack_is_full(void) {
    static ucontext_t there, here;
    static char alternate[64 << 10];
    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
    NEED(sigaltstack(&stack, NULL) == 0);
    char *low = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    NEED(low != MAP_FAILED && mprotect(low, 4096, PROT_NONE) == 0);
    getcontext(&there);
    there.uc_stack.ss_sp = low + 4096;
    there.uc_stack.ss_size = 4096;
    there.uc_link = &here;
    makecontext(&there, at_the_end_of_the_stack, 0);
    swapcontext(&here, &there);
}

int main(int count, char **arguments) {
    NEED(count >= 2);
    const char *what = arguments[1];
    guarded = malloc(1 << 20);
    if (strcmp(what, "by") == 0)
        by(arguments[2], arguments[3]);
    else if (strcmp(what, "sampled") == 0)
        guarded_object(arguments[2]);
    else if (strcmp(what, "neighbour") == 0)
        neighbour();
    else if (strcmp(what, "behind") == 0)
        behind((size_t)atol(arguments[2]), (size_t)atol(arguments[3]));
    else if (strcmp(what, "beside") == 0)
        beside((size_t)atol(arguments[2]));
    else if (strcmp(what, "segv") == 0)
        fault_segv();
    else if (strcmp(what, "bus") == 0)
        fault_bus();
    else if (strcmp(what, "sent") == 0)
        kill(getpid(), SIGSEGV);
    else if (strcmp(what, "full") == 0)
        stack_is_full();
    return BROKEN;
}
