/* outlet.c: see outlet.h. Uses syscall(2), because libc's functions for the same calls are cancellation points. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "allocator/os/outlet.h"

#include "allocator/base/bits.h"
#include "allocator/options.h"
#include "allocator/os/os.h"
#include "allocator/os/os_process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    /* For one whole report: long enough for a busy reader, short against what the clients of a dying server
     * wait. */
    PATIENCE_MS = 1000,
    PIECE = 512, /* bytes per write: POSIX lets a pipe with room take this many at once */
};

/* Descriptor 2 took nothing the last time. Until it takes something, it is not waited for again. */
static _Atomic bool deaf;

static uint64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int open_raw(const char *path, int flags) {
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
}

/* Opens pipes and terminals again as files of our own that never block: between the test for room and the write
 * another process may take the room. Where that fails, the test must suffice. */
static HAK_NOINLINE void look_at(hak_outlet *out) {
    struct stat seen;
    if (fstat(out->file, &seen) != 0) {
        out->file = -1;
        return;
    }
    out->socket = S_ISSOCK(seen.st_mode);
    out->waits = !S_ISREG(seen.st_mode);
    if (!out->waits || out->socket)
        return;
    int own = open_raw("/proc/thread-self/fd/2", O_WRONLY);
    out->own = own >= 0;
    if (out->own)
        out->file = own;
}

void hak_outlet_stderr(hak_outlet *out) {
    int saved = errno;
    *out = (hak_outlet){.file = STDERR_FILENO};
    hak_os_signals_shut(&out->mask);
    if (hak_os_filter != HAK_FILTER_OWN)
        look_at(out);
    if (out->waits)
        out->until = now_ms() + (atomic_load_explicit(&deaf, memory_order_relaxed) ? 0 : PATIENCE_MS);
    errno = saved;
}

/* True for a regular file of ours with one name. Another file may be an attempt to make us write elsewhere. */
static HAK_NOINLINE bool is_private(int file) {
    struct stat seen;
    return fstat(file, &seen) == 0 && S_ISREG(seen.st_mode) && seen.st_nlink == 1 && seen.st_uid == geteuid();
}

void hak_outlet_create(hak_outlet *out, const char *path) {
    const int flags = O_WRONLY | O_APPEND | O_NOFOLLOW;
    int saved = errno;
    *out = (hak_outlet){.file = -1};
    hak_os_signals_shut(&out->mask);
    int file = open_raw(path, flags | O_CREAT | O_EXCL);
    if (file < 0 && errno == EEXIST) {
        file = open_raw(path, flags);
        if (file >= 0 && !is_private(file)) {
            hak_os_close(file);
            file = -1;
        }
    }
    out->file = file;
    out->own = file >= 0;
    errno = saved;
}

/* Waits for room. False: there was none until the time was over. When waiting is not possible, returns true. */
static bool has_room(const hak_outlet *out) {
    for (;;) {
        uint64_t now = now_ms(), left = now < out->until ? out->until - now : 0;
        struct timespec time = {(time_t)(left / 1000), (long)(left % 1000) * 1000000};
        struct pollfd one = {out->file, POLLOUT, 0};
        long found = syscall(SYS_ppoll, &one, 1, &time, NULL, 0);
        if (found == 0)
            return false;
        if (found > 0 || errno != EINTR)
            return true;
    }
}

static long write_some(const hak_outlet *out, const char *text, size_t size) {
    if (out->socket)
        return syscall(SYS_sendto, out->file, text, size, MSG_DONTWAIT | MSG_NOSIGNAL, NULL, 0);
    return syscall(SYS_write, out->file, text, size);
}

/* True when the write should be tried again. */
static bool goes_on(hak_outlet *out, int error) {
    out->broken |= error == EPIPE || error == EFBIG;
    if (error == EAGAIN && out->waits && now_ms() < out->until) {
        hak_os_sleep(1); /* another process took the room, or the room is less than this piece */
        return true;
    }
    return error == EINTR;
}

void hak_outlet_send(hak_outlet *out, const char *text, size_t size) {
    int saved = errno;
    while (size != 0 && out->file >= 0) {
        bool room = !out->waits || has_room(out);
        long done = room ? write_some(out, text, hak_min(size, PIECE)) : 0;
        if (done > 0) {
            text += done;
            size -= (size_t)done;
            continue;
        }
        if (done < 0 && goes_on(out, errno))
            continue;
        if (out->own)
            hak_os_close(out->file);
        out->file = -1; /* the reader is gone; there is no better place to report that */
    }
    if (out->waits)
        atomic_store_explicit(&deaf, out->file < 0, memory_order_relaxed);
    errno = saved;
}

void hak_pieces_flush(hak_pieces *to) {
    hak_outlet_send(&to->file, to->text, to->used);
    to->used = 0;
}

void hak_pieces_put(hak_pieces *to, const char *bytes, size_t length) {
    for (size_t i = 0; i < length; i++) {
        if (to->used == to->size)
            hak_pieces_flush(to);
        to->text[to->used++] = bytes[i];
    }
}

void hak_pieces_text(hak_pieces *to, const char *text) {
    hak_pieces_put(to, text, strlen(text));
}

void hak_outlet_close(hak_outlet *out) {
    if (out->own && out->file >= 0)
        hak_os_close(out->file);
    if (out->broken)
        hak_os_signals_drop();
    hak_os_signals_open(&out->mask);
}

/* True for the socket that JOURNAL_STREAM names, by which systemd says what it made descriptor 2. Source:
 * systemd.exec(5). */
static HAK_NOINLINE bool is_journal(int file) {
    struct stat seen;
    return hak_option.journal_inode != 0 && fstat(file, &seen) == 0 &&
           seen.st_dev == hak_option.journal_device && seen.st_ino == hak_option.journal_inode;
}

bool hak_outlet_stranger(const hak_outlet *out) {
    int saved = errno;
    bool stranger = out->socket && !is_journal(out->file);
    errno = saved;
    return stranger;
}
