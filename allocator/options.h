/* options.h: the options from the environment. They are read once at start, without an allocation, and ignored
 * when the process has raised privileges (AT_SECURE). A wrong value is reported in one line on stderr, and the
 * default stays.
 *
 *   HAKMEM_PROFILE                   speed | balanced (default); MIXED_TINYV3_C7_SAFE and .._BALANCED are old names
 *   HAKMEM_SS_MEM_LEAN               0 | 1            the gate: may memory go back to the OS at all
 *   HAKMEM_SS_MEM_LEAN_DECOMMIT      OFF | FREE | DONTNEED
 *   HAKMEM_SS_MEM_LEAN_TARGET_MB     0 to 1048576     MiB of resident memory that FREE and DONTNEED steer to
 *   HAKMEM_SS_HUGE                   OFF | AUTO (default) | ALWAYS   huge pages; AUTO: for what a heap has above
 *                                    12 MiB, and not where a decommit policy keeps resident memory low
 *   HAKMEM_SS_PREWARM                0 to 64          superslabs mapped and touched at start
 *   HAKMEM_SS_BACKGROUND             0 | 1            a thread gives back unused memory while no other one calls
 *   HAKMEM_SS_OS_STATS               0 | 1            system calls made, on stderr at exit
 *
 *   HAKMEM_HEAP_PROFILE              a path of at most 239 bytes   the heap profile at exit, in PATH.<process id>
 *   HAKMEM_HEAP_PROFILE_RATE         1 to 1073741824  bytes that are allocated for each sample
 *   HAKMEM_HEAP_LEAKS                0 | 1            what is live at exit, by the heap profile, on stderr
 *   HAKMEM_STATS                     a path of at most 239 bytes   statistics at exit, as JSON, in PATH.<process id>
 *   HAKMEM_STATS_SIGNAL              USR1 | USR2 | RTMIN+0 to RTMIN+29   statistics at that signal, too
 *
 * A profile is a preset of the other options; options.c has the table. A value that the user sets wins over it. */
#ifndef HAK_OPTIONS_H
#define HAK_OPTIONS_H

#include "allocator/os/os_process.h"
#include "allocator/pages/release.h"

typedef struct hak_options {
    bool lean;
    hak_decommit decommit;
    size_t target;    /* bytes */
    unsigned prewarm; /* superslabs */
    size_t huge_from; /* a region gets huge pages above so many bytes; SIZE_MAX: never */
    bool background;
    bool os_stats;
    const char *stats_path; /* NULL: none */
    hak_os_signal stats_signal;
    const char *heap_path; /* NULL: none */
    size_t heap_rate;      /* bytes; 0: no heap profile */
    bool heap_leaks;
    const char *profile;
    uint64_t journal_device, journal_inode; /* from JOURNAL_STREAM: systemd's socket; 0: none */
} hak_options;

extern hak_options hak_option;

void hak_options_read(void);

/* Returns the value of the option: from the environment, else from /etc/hakmem.conf (config.h). Returns NULL
 * when neither sets it. A process with raised privileges ignores the environment. Allocates nothing. */
const char *hak_options_text(const char *name);

/* True when the environment sets the option. */
bool hak_options_by_user(const char *name);

/* Writes one line to stderr: `hakmem: NAME=value: not understood; accepted: ...; using ...`. */
void hak_options_complain(const char *name, const char *value, const char *accepted, const char *used);

#endif
