/* reports.h: what the cases of reports.c share. */
#ifndef REPORTS_H
#define REPORTS_H

#include <stdio.h>
#include <sys/types.h>
#include <unistd.h>

enum { SURVIVED = 77, BROKEN = 78 };

#define NEED(cond)                                                                                           \
    do {                                                                                                     \
        if (!(cond)) {                                                                                       \
            dprintf(STDOUT_FILENO, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                                \
            _exit(BROKEN);                                                                                   \
        }                                                                                                    \
    } while (0)

typedef struct reports_case {
    const char *name;
    void (*run)(void);
} reports_case;

/* Each ends with a name that is NULL. */
extern const reports_case reports_cancel[], reports_handlers[], reports_forks[], reports_stacks[];
void reports_small_stack(const char *room);

/* The error that is made: one of the three. */
extern void (*reports_error)(void);
void reports_free_twice(void);
void reports_free_foreign(void);
void reports_overflow(void);

void reports_say(const char *text);

/* Objects for reports_free_twice, to be made before it is called. */
void reports_take_all(void);

/* What a crash handler may allocate: every size, and of the error's size more than a cache has. */
void reports_use_heap(void);

/* Waits for the child; returns its exit status, or minus the number of the signal that ended it. */
int reports_end_of(pid_t child);

/* A handler: a cancellation point. */
void reports_writes(int number);

#endif
