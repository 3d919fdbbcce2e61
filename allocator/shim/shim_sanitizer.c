/* shim_sanitizer.c: ends the process with one line of advice when its sanitizer is a library that comes after
 * this one. Layer 6. In the shared objects that are loaded before libc.
 *
 * ThreadSanitizer, LeakSanitizer, MemorySanitizer and AddressSanitizer own malloc. Where they are in the
 * executable (clang) or come first, their malloc is called and ours is not. Where they are libraries (gcc) they
 * come after preloaded ones. Then they see no object of the program, and ThreadSanitizer calls malloc before it
 * is ready and dies silently. AddressSanitizer reports the situation itself. */
#include "allocator/life/thread.h"
#include "allocator/os/report.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The start function of each; NULL when it is not loaded. */
extern void __tsan_init(void) __attribute__((weak));
extern void __lsan_init(void) __attribute__((weak));
extern void __msan_init(void) __attribute__((weak));
extern void __asan_init(void) __attribute__((weak));

/* The name of the sanitizer's library in gcc. */
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
    /* Not write and _exit: these may be the sanitizer's own, which may not work yet. */
    (void)syscall(SYS_write, STDERR_FILENO, line.text, line.used);
    (void)syscall(SYS_exit_group, 1);
}
