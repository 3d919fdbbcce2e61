/* outlet.h: where lines go: descriptor 2, or a new file. Layer 1.
 *
 * What is sent never holds the process up for long: a pipe, a terminal or a socket that takes nothing is waited for
 * PATIENCE_MS in all, and then it gets no more. The flags of the program's descriptor stay as they are: they belong
 * to every process that shares it. A socket may lead to a stranger: see hak_outlet_stranger. Between open and close
 * the thread's signals are shut, so that neither a broken pipe (SIGPIPE), a terminal (SIGTTOU), a limit (SIGXFSZ), a
 * handler that jumps away nor a pending cancellation ends a line; none of the calls is a cancellation point.
 * Async-signal-safe, allocates nothing, takes no lock, keeps errno. In a process that filters its own system calls
 * only write(2) and rt_sigprocmask are asked for, and a line may have to wait there. */
#ifndef HAK_OUTLET_H
#define HAK_OUTLET_H

#include "allocator/base/base.h"

typedef struct hak_outlet {
    int file;       /* -1: nowhere, or nowhere any more */
    bool own;       /* opened here */
    bool waits;     /* may have no room: is asked before each write */
    bool socket;    /* written to by sendto, which can be told not to wait */
    bool broken;    /* a write has raised a signal */
    uint64_t until; /* milliseconds of the monotonic clock */
    uint64_t mask;  /* the thread's signals before */
} hak_outlet;

void hak_outlet_stderr(hak_outlet *out);
/* The file at `path`, made here for this user only, or one made so before: no link, no other kind of file, nobody
 * else's. */
void hak_outlet_create(hak_outlet *out, const char *path);
void hak_outlet_send(hak_outlet *out, const char *text, size_t size);
void hak_outlet_close(hak_outlet *out);

/* True when what is sent may be read by whoever is connected: a socket that is not the one to systemd's journal. */
bool hak_outlet_stranger(const hak_outlet *out);

#endif
