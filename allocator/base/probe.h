/* probe.h: probes that perf, bpftrace, gdb and SystemTap find by name: `hakmem:refill` and others
 * (docs/STATS.md). Layer 0. A probe is one nop in a slow path, and a note in the file that says where the nop
 * is and which registers hold its arguments. A tool puts a breakpoint there. The code does not test whether a
 * tool is attached.
 *
 * The format is that of SystemTap's <sys/sdt.h>, which libc does not have
 * (sourceware.org/systemtap/wiki/UserSpaceProbeImplementation). Owner "stapsdt", type 3; the address of the
 * nop; the address of a section by which tools notice that the file was relinked; 0 for no semaphore; provider,
 * name, and the arguments as SIZE@OPERAND in the assembler's syntax. */
#ifndef HAK_PROBE_H
#define HAK_PROBE_H

#include "allocator/base/base.h"

#if defined(__x86_64__) || defined(__aarch64__)
/* Takes two integers or addresses. The constraint allows registers and constants only: for an operand that may
 * be memory, clang would store the value on every call. */
#define HAK_PROBE(name, first, second)                                                                       \
    __asm__ volatile("990: nop\n"                                                                            \
                     ".pushsection .note.stapsdt,\"?\",\"note\"\n"                                           \
                     ".balign 4\n"                                                                           \
                     ".4byte 992f-991f, 994f-993f, 3\n"                                                      \
                     "991: .asciz \"stapsdt\"\n"                                                             \
                     "992: .balign 4\n"                                                                      \
                     "993: .8byte 990b, _.stapsdt.base, 0\n"                                                 \
                     ".asciz \"hakmem\"\n"                                                                   \
                     ".asciz \"" #name "\"\n"                                                                \
                     ".asciz \"8@%0 8@%1\"\n"                                                                \
                     "994: .balign 4\n"                                                                      \
                     ".popsection\n"                                                                         \
                     ".ifndef _.stapsdt.base\n"                                                              \
                     ".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n"                 \
                     ".weak _.stapsdt.base\n"                                                                \
                     ".hidden _.stapsdt.base\n"                                                              \
                     "_.stapsdt.base: .space 1\n"                                                            \
                     ".size _.stapsdt.base, 1\n"                                                             \
                     ".popsection\n"                                                                         \
                     ".endif\n" ::"nr"((uint64_t)(first)),                                                   \
                     "nr"((uint64_t)(second)))
#else
#define HAK_PROBE(name, first, second) ((void)(first), (void)(second))
#endif

#endif
