/* seal.h: what does not change after start becomes read-only, for good where the kernel has mseal (Linux 6.10). */
#ifndef HAK_SEAL_H
#define HAK_SEAL_H

/* The page of modes and keys (relax.h). Once. */
void hak_seal_start(void);

#endif
