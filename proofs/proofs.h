/* proofs.h: what the harnesses share. A function without a body whose name begins with nondet_ returns any value;
 * only CBMC reads these files. */
#ifndef HAK_PROOFS_H
#define HAK_PROOFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool nondet_bool(void);
unsigned nondet_unsigned(void);
uint16_t nondet_u16(void);
uint32_t nondet_u32(void);
uint64_t nondet_u64(void);
size_t nondet_size(void);

#define ASSUME(cond) __CPROVER_assume(cond)
#define PROVE(cond)  __CPROVER_assert(cond, #cond)

#endif
