// surface_unwinder.cc: a program makes code at run time and throws through it. With a heap profile it does not wait for
// itself, although the unwinder allocates under a lock of its own. Existing unwind tables stand for such code.
#include "tests/surface/want.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <link.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

extern "C" void __register_frame(void *);
extern "C" void __deregister_frame(void *);

enum { ROUNDS = 3000, CHILDREN = 100, SECONDS = 60 };

// The header's second word says how far behind it the tables begin. Source: Linux Standard Base, .eh_frame_hdr.
static int find(dl_phdr_info *module, size_t, void *out) {
    for (int i = 0; i < module->dlpi_phnum; i++) {
        if (module->dlpi_phdr[i].p_type != PT_GNU_EH_FRAME)
            continue;
        char *header = reinterpret_cast<char *>(module->dlpi_addr + module->dlpi_phdr[i].p_vaddr);
        int32_t distance;
        memcpy(&distance, header + 4, sizeof distance);
        *static_cast<void **>(out) = header + 4 + distance;
        return 1;
    }
    return 0;
}

static void throw_often(void *tables) {
    for (int i = 0; i < ROUNDS; i++) {
        __register_frame(tables);
        try {
            throw i;
        } catch (int thrown) {
            WANT(thrown == i);
        }
        __deregister_frame(tables);
    }
}

static void allocate_often() {
    for (int i = 0; i < ROUNDS; i++)
        free(malloc(static_cast<size_t>(i)));
}

// Threads are in the unwinder at any moment; a child has none of them, and allocates.
static void fork_often(void *tables) {
    __register_frame(tables);
    volatile bool over = false;
    std::thread other([&] {
        while (!over)
            allocate_often();
    });
    for (int i = 0; i < CHILDREN; i++) {
        pid_t child = fork();
        WANT(child >= 0);
        if (child == 0) {
            alarm(SECONDS);
            allocate_often();
            _exit(0);
        }
        int status;
        WANT(waitpid(child, &status, 0) == child && status == 0);
    }
    over = true;
    other.join();
    __deregister_frame(tables);
}

int main(int, char **argv) {
    if (getenv("HAKMEM_HEAP_PROFILE") == nullptr) {
        setenv("HAKMEM_HEAP_PROFILE", "/no/such/folder/profile", 1);
        setenv("HAKMEM_HEAP_PROFILE_RATE", "300", 1);
        execv("/proc/self/exe", argv);
    }
    alarm(SECONDS);
    void *tables = nullptr;
    WANT(dl_iterate_phdr(find, &tables) == 1);
    throw_often(tables);
    alarm(0);
    fork_often(tables);
    return 0;
}
