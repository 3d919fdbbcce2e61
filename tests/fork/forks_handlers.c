/* forks_handlers.c: cases of forks.c: handlers of fork, their order, and what they may do. */
#include "tests/fork/forks.h"
#include "tests/unit/asleep.h"

#include <dlfcn.h>
#include <sys/syscall.h>

#pragma weak recorder_first
#pragma weak recorder_hook

/* A child works, and may start threads. It has its own caches, and those of the parent's threads. */
static void child_works(void) {
    WANT(caches() == 1);
    library_work();
    atomic_store(&stop, true);
    pthread_join(begin_thread(work), NULL);
    library_work();
    WANT(caches() == 1);
}

/* Handlers that were registered before all others allocate, and take locks whose owners allocate. */
void handlers(void) {
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        threads[i] = begin_thread(work);
    fork_often(child_works);
    WANT(library_before == FORKS && library_after == FORKS);
    atomic_store(&stop, true);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

/* A handler that itself forks: the inner child goes on, in the handler and after it. */
static bool nest;
static void fork_again(void) {
    int status;
    if (!nest)
        return;
    nest = false;
    pid_t child = fork();
    WANT(child >= 0 && (child == 0 || (waitpid(child, &status, 0) == child && status == 0)));
    library_work();
    if (child == 0)
        _exit(0);
    nest = true;
}
void nested(void) {
    pthread_t works = begin_thread(work);
    WANT(pthread_atfork(fork_again, NULL, NULL) == 0);
    nest = true;
    fork_often(library_work);
    atomic_store(&stop, true);
    pthread_join(works, NULL);
}

/* The allocator's handlers are the first that libc has, whichever constructor ran first. A thread that registers
 * handlers allocates, and a fork waits for it: the hook goes on once the fork waits, or is over. */
static _Atomic bool registering, forking, fork_over, overtaken;
static pid_t forker;

static void register_slowly(void) {
    recorder_hook = NULL;
    atomic_store(&registering, true);
    while (!atomic_load(&forking) || !(atomic_load(&fork_over) || thread_is_asleep(forker)))
        usleep(100);
    atomic_store(&overtaken, atomic_load(&fork_over));
    void *volatile obj = malloc(1000000);
    free(obj);
    atomic_store(&registering, false);
}
static void *registers_one(void *unused) {
    WANT(pthread_atfork(NULL, NULL, NULL) == 0);
    return unused;
}
void registrations(void) {
    Dl_info first, ours;
    WANT(recorder_first != NULL && dladdr(recorder_first, &first) != 0);
    WANT(dladdr(dlsym(RTLD_DEFAULT, "malloc"), &ours) != 0 && first.dli_fbase == ours.dli_fbase);
    int status;
    forker = (pid_t)syscall(SYS_gettid);
    recorder_hook = register_slowly;
    pthread_t thread = begin_thread(registers_one);
    while (!atomic_load(&registering))
        usleep(100);
    atomic_store(&forking, true);
    pid_t child = fork();
    atomic_store(&fork_over, true);
    if (child == 0) {
        alarm(SECONDS);
        library_work();
        WANT(pthread_atfork(NULL, NULL, NULL) == 0);
        _exit(0);
    }
    pthread_join(thread, NULL);
    WANT(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    WANT(!overtaken);
}
