/* verify_fault.h: faults of the processor, which guards make. In the handler of the signal. */
#ifndef HAK_VERIFY_FAULT_H
#define HAK_VERIFY_FAULT_H

#include "allocator/os/os_process.h"

/* A fault of the processor: reports it when the address is ours. */
hak_fault_verdict hak_verify_fault(const hak_fault *fault);

#endif
