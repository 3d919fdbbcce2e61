/* forks.h: what the cases of forks.c share. A case is one run of the program. */
#ifndef HAK_TESTS_FORKS_H
#define HAK_TESTS_FORKS_H

#include "tests/fork/forks_library.h"
#include "tests/surface/want.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FORKS = 30, THREADS = 3, SECONDS = 100 };

/* The threads of `work` end when it is true. */
extern _Atomic bool stop;

pthread_t begin_thread(void *(*body)(void *));

/* Allocates until `stop`, under the library's lock and without. */
void *work(void *unused);

/* Number of thread caches in use. */
unsigned caches(void);

/* Forks many times; `in_child` runs in each child, which exits. */
void fork_often(void (*in_child)(void));

/* Cases of forks_handlers.c. */
void handlers(void);
void nested(void);
void registrations(void);
/* Cases of forks_exits.c. */
void exits(void);
void exits_meanwhile(void);

#endif
