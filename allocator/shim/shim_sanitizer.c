/* shim_sanitizer.c: a process whose sanitizer is a library that comes after this one ends with one line that says what
 * to do. Layer 6. In the shared objects that are loaded before libc.
 *
 * ThreadSanitizer, LeakSanitizer, MemorySanitizer and AddressSanitizer own malloc. Where they are in the executable,
 * as clang has it, or come first, their malloc is called and ours is not. As libraries, as gcc has it, they come
 * after what is preloaded: then they see no object of the program's, and ThreadSanitizer calls malloc before it
 * works itself and dies of that without a word. AddressSanitizer says so by itself. */
#include "allocator/life/thread.h"
#include "allocator/os/report.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Each one's first function; NULL where it is not loaded. */
extern void __tsan_init(void) __attribute__((weak));
extern void __lsan_init(void) __attribute__((weak));
extern void __msan_init(void) __attribute__((weak));
extern void __asan_init(void) __attribute__((weak));

/* What its library is called, as gcc has it. */
static const char *library(void) {
    return __tsan_init != NULL   ? "libtsan"
           : __msan_init != NULL ? "libmsan"
           : __asan_init != NULL ? "libasan"
           : __lsan_init != NULL ? "liblsan"
                                 : NULL;
}

void hak_sanitizer_refuse(void) {
    const char *name = library();
    if (name == NULL || dlsym(RTLD_DEFAULT, "malloc") != (void *)malloc)
        return;
    hak_line line;
    hak_line_begin(&line);
    hak_line_text(&line, "this program's sanitizer owns malloc: name ");
    hak_line_text(&line, name);
    hak_line_text(&line, " (see ldd) before hakmem in LD_PRELOAD, or run it without hakmem");
    line.text[line.used++] = '\n';
    /* Not write and _exit, which may be the sanitizer's and not work yet. */
    (void)syscall(SYS_write, STDERR_FILENO, line.text, line.used);
    (void)syscall(SYS_exit_group, 1);
}
