/* forks_library.h: a library with a lock of its own. Its handlers of fork take the lock, and the lock's holder
 * allocates, as in many libraries. */
#ifndef HAK_TESTS_FORKS_LIBRARY_H
#define HAK_TESTS_FORKS_LIBRARY_H

/* Allocates and frees objects of many sizes, under the library's lock. */
void library_work(void);

/* How many times the handlers ran in this process: before a fork, after it. */
extern int library_before, library_after;

/* Of forks_recorder.c, which a static program has not. The first handler that was registered with libc, to be called
 * before a fork; and what is called in each registration, at the place where libc holds its lock of all handlers. */
extern void *recorder_first;
extern void (*recorder_hook)(void);

#endif
