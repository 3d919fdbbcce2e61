/* probe.h: places that perf, bpftrace, gdb and SystemTap find by name: `hakmem:refill` and others (docs/STATS.md).
 * Layer 0. A probe is one nop in a slow path, and a note of the file, which says where the nop is and in which
 * registers its arguments are; a tool that wants to know puts a breakpoint there. Nothing asks whether one does.
 *
 * The format is that of SystemTap's <sys/sdt.h> (sourceware.org/systemtap/wiki/UserSpaceProbeImplementation), which is
 * no header of libc's: owner "stapsdt", type 3; the address, that of a section by which tools see whether the file was
 * relinked, 0 for no semaphore; the provider, the name, and the arguments as SIZE@OPERAND in the assembler's words. */
#ifndef HAK_PROBE_H
#define HAK_PROBE_H

#include "allocator/base/base.h"

#if defined(__x86_64__) || defined(__aarch64__)
/* Two arguments, whole numbers or addresses. In registers or constants: clang would store them for an operand that may
 * be memory, whether somebody looks or not. */
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
