/* valgrind.c: see valgrind.h. Uses a client request (Valgrind's manual, "The Client Request mechanism", and
 * valgrind.h): rotations without an effect on a processor, which Valgrind's translator recognises. The answer
 * comes back in the register of the default answer. */
#include "allocator/os/valgrind.h"

bool hak_valgrind_runs(void) {
#if defined(__x86_64__) || defined(__aarch64__)
    enum { RUNNING_ON_VALGRIND = 0x1001 };
    volatile uint64_t request[6] = {RUNNING_ON_VALGRIND};
#endif
#if defined(__x86_64__)
    uint64_t answer = 0;
    __asm__ volatile("rolq $3, %%rdi\n\t"
                     "rolq $13, %%rdi\n\t"
                     "rolq $61, %%rdi\n\t"
                     "rolq $51, %%rdi\n\t"
                     "xchgq %%rbx, %%rbx"
                     : "+d"(answer)
                     : "a"(request)
                     : "cc", "memory");
    return answer != 0;
#elif defined(__aarch64__)
    register uint64_t answer __asm__("x3") = 0;
    register volatile uint64_t *its __asm__("x4") = request;
    __asm__ volatile("ror x12, x12, #3\n\t"
                     "ror x12, x12, #13\n\t"
                     "ror x12, x12, #51\n\t"
                     "ror x12, x12, #61\n\t"
                     "orr x10, x10, x10"
                     : "+r"(answer)
                     : "r"(its)
                     : "cc", "memory");
    return answer != 0;
#else
    return false;
#endif
}
