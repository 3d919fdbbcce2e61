/* crash_report.h: says what error was found, and ends the process.
 *
 * The first line has a fixed grammar (docs/REPORTS.md):
 *     hakmem: <error>: <call>(<address>): <what>
 * with one literal per error (HAK_ERROR_...). The lines after it begin `hakmem: ` and a word that says what they hold.
 * No allocation, no lock of the heap, little stack (its buffers belong to the thread whose turn it is), and the heap is
 * read through the kernel, so that broken memory cannot break the report. When several threads die at once the first
 * one reports and the others wait for the end (death.h). It is no cancellation point and never waits long (outlet.h). A
 * socket on descriptor 2 gets the first line only, without the address. A copy goes to the file
 * HAKMEM_REPORT_PATH.<process id>; HAKMEM_REPORT_JSON=1 adds one line of JSON. */
#ifndef HAK_CRASH_REPORT_H
#define HAK_CRASH_REPORT_H

#include "allocator/base/claim.h"
#include "hardening/error_names.h"
#include "hardening/modes.h"

/* It may stand on a small stack: no byte between its members is lost. */
typedef struct hak_error {
    const char *name;
    hak_check check; /* whose mode says whether the process ends */
    bool was_live;   /* when the call came; its record says already what becomes of it */
    bool is_fault;   /* the action of the signal says what becomes of the process */
    const char
        *call; /* what found it: a function of the program's, "read", "write", "malloc", "exit", "sweep" */
    uintptr_t addr; /* what was passed, or touched */
    const char *what;
    uintptr_t bad;          /* the first wrong byte; 0: none is */
    const hak_claim *claim; /* what was wrongly said of the object; NULL: that is not the error */
    uintptr_t caller;       /* return address of the call, 0: not known */
    uintptr_t frame;        /* frame pointer to walk from, 0: the reporting function's own */
} hak_error;

/* Ends the process, unless the check's mode is `report` or the error is a fault. The caller holds no lock. Keeps
 * errno. */
void hak_error_report(const hak_error *error);

#endif
