/* verify_fault.h: reports faults of the processor at guards. Runs in the signal handler. */
#ifndef HAK_VERIFY_FAULT_H
#define HAK_VERIFY_FAULT_H

#include "allocator/os/os_process.h"

/* Reports the fault when the address is ours. */
hak_fault_verdict hak_verify_fault(const hak_fault *fault);

#endif
