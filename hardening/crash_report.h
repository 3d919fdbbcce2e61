/* crash_report.h: reports an error, and ends the process.
 *
 * <error> is one literal per error (HAK_ERROR_...). Each further line begins with `hakmem: ` and a word that
 * names its contents. A report makes no allocation, takes no lock of the heap and needs little stack (its
 * buffers are static and belong to the thread that reports). It reads the heap through the kernel, so broken
 * memory cannot break it. When several threads die at once the first one reports and the others wait for the
 * end (death.h). A report is no cancellation point and never waits long (outlet.h). A socket on descriptor 2
 * gets only the first line, without the address. A copy goes to the file HAKMEM_REPORT_PATH.<process id>;
 * HAKMEM_REPORT_JSON=1 adds one line of JSON. */
#ifndef HAK_CRASH_REPORT_H
#define HAK_CRASH_REPORT_H

#include "allocator/base/claim.h"
#include "hardening/error_names.h"
#include "hardening/modes.h"

/* May lie on a small stack, so its members leave no gaps. */
typedef struct hak_error {
    const char *name;
    hak_check check;  /* its mode decides whether the process ends */
    bool was_live;    /* the object was live when the call came; its record may have changed since */
    bool is_fault;    /* the action of the signal decides what happens to the process */
    const char *call; /* the call that found it, or "read", "write", "exit", "sweep" */
    uintptr_t addr;   /* the address that was passed or touched */
    const char *what;
    uintptr_t bad;          /* the first wrong byte; 0: none */
    const hak_claim *claim; /* the wrong claim; NULL: the error is another one */
    uintptr_t caller;       /* return address of the call; 0: unknown */
    uintptr_t frame;        /* frame pointer to walk from; 0: the reporting function's own */
} hak_error;

/* Reports the error and ends the process, unless the check's mode lets it go on or the error is a fault. The
 * caller holds no lock. Keeps errno. */
void hak_error_report(const hak_error *error);

#endif
