/* surface_refused.c: a process that goes on without one of the system calls that the allocator makes, because a
 * filter answers for the kernel, with ENOSYS or EPERM. Its objects stay unchanged, and it gets more memory. */
#include "tests/surface/want.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const int refused[] = {SYS_madvise,   SYS_mremap,  SYS_mprotect,         SYS_munmap,
                              SYS_getrandom, SYS_mincore, SYS_process_vm_readv, SYS_membarrier};
enum { CALLS = sizeof refused / sizeof refused[0], OBJECTS = 64, STEPS = 2000, MOST = 3000000 };

static unsigned char *objects[OBJECTS];
static size_t sizes[OBJECTS];

static unsigned next(unsigned *state) {
    return *state = *state * 1664525 + 1013904223;
}

/* Large objects come and go, grow and shrink; each keeps its first and last byte. */
static void work(unsigned state) {
    for (int step = 0; step < STEPS; step++) {
        unsigned i = next(&state) >> 8 & (OBJECTS - 1);
        size_t size = 1 + (next(&state) >> 4) % (step % 16 == 0 ? MOST : 2000);
        if (objects[i] != NULL)
            WANT(objects[i][0] == i && objects[i][sizes[i] - 1] == i);
        if (next(&state) >> 30 == 0) {
            free(objects[i]);
            objects[i] = malloc(size);
        } else
            objects[i] = realloc(objects[i], size);
        WANT(objects[i] != NULL);
        memset(objects[i], (int)i, size);
        sizes[i] = size;
    }
}

/* By system calls alone, as a library for filters does; or by prctl, which the allocator intercepts. */
static void refuse(int call, int error, bool heard) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof code[0], code};
    if (heard) {
        WANT(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
        WANT(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
    } else {
        WANT(syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
        WANT(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0);
    }
}

static void live(int call, int error, bool heard) {
    work(1);
    refuse(call, error, heard);
    work(2);
    for (int i = 0; i < OBJECTS; i++)
        free(objects[i]);
    exit(0); /* sweeps, in the hardened variant */
}

int main(void) {
    for (int i = 0; i < CALLS; i++)
        for (int how = 0; how < 4; how++) {
            int status = 0;
            pid_t child = fork();
            if (child == 0)
                live(refused[i], how & 1 ? EPERM : ENOSYS, (how & 2) != 0);
            WANT(waitpid(child, &status, 0) == child);
            if (status != 0)
                fprintf(stderr, "without system call %d, way %d: status %#x\n", refused[i], how,
                        (unsigned)status);
            WANT(status == 0);
        }
    return 0;
}
