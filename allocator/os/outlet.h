/* outlet.h: writes lines to descriptor 2 or to a new file. Layer 1.
 *
 * Writing never holds the process up for long. A pipe, terminal or socket that takes nothing is waited for
 * PATIENCE_MS in all, and then gets no more. The flags of the program's descriptor stay unchanged, because
 * other processes may share it. A socket may lead to a stranger: see hak_outlet_stranger. Between open and
 * close the thread's signals are blocked, so that no broken pipe (SIGPIPE), terminal (SIGTTOU), limit
 * (SIGXFSZ), handler that jumps away or pending cancellation cuts a line short; no call here is a cancellation
 * point. Async-signal-safe, allocates nothing, takes no lock, keeps errno. In a process that filters its own
 * system calls only write(2) and rt_sigprocmask are used, and a write may block. */
#ifndef HAK_OUTLET_H
#define HAK_OUTLET_H

#include "allocator/base/base.h"

typedef struct hak_outlet {
    int file;       /* -1: none, or closed after a failure */
    bool own;       /* opened here */
    bool waits;     /* may have no room: asked before each write */
    bool socket;    /* written by sendto, which can be told not to wait */
    bool broken;    /* a write has raised a signal that is pending */
    uint64_t until; /* milliseconds of the monotonic clock */
    uint64_t mask;  /* the thread's signal mask before */
} hak_outlet;

void hak_outlet_stderr(hak_outlet *out);
/* Opens a new file at `path`, accessible to this user only, or an existing one of this kind. Refuses links,
 * other kinds of files, and files of other users. */
void hak_outlet_create(hak_outlet *out, const char *path);
void hak_outlet_send(hak_outlet *out, const char *text, size_t size);
void hak_outlet_close(hak_outlet *out);

/* Text that goes to an outlet by pieces, because the stack may be small. `text` has room for `size` bytes. */
typedef struct hak_pieces {
    hak_outlet file;
    char *text;
    size_t size, used;
} hak_pieces;

/* Adds `length` bytes; whenever the room is full, it is sent. */
void hak_pieces_put(hak_pieces *to, const char *bytes, size_t length);
void hak_pieces_text(hak_pieces *to, const char *text);
/* Sends the rest. */
void hak_pieces_flush(hak_pieces *to);

/* True when a stranger may read the output: the descriptor is a socket, and not the one to systemd's journal. */
bool hak_outlet_stranger(const hak_outlet *out);

#endif
