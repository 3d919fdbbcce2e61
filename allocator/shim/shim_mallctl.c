/* shim_mallctl.c: jemalloc's mallctl and related calls, with the names of control.h. Layer 6. Source:
 * jemalloc(3). */
#include "allocator/alloc.h"
#include "allocator/api/control.h"
#include "allocator/api/usage.h"
#include "allocator/life/init.h"
#include "allocator/os/outlet.h"
#include "include/hakmem.h"
#include "include/hakmem_jemalloc.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Weak: a program that contains the archive may have functions of these names. */
#define EXPORT __attribute__((visibility("default"), weak))

EXPORT int mallctlnametomib(const char *name, size_t *mib, size_t *mib_len) {
    return hak_init() ? hak_control_find(name, mib, mib_len) : EAGAIN;
}

EXPORT int mallctlbymib(const size_t *mib, size_t mib_len, void *old, size_t *old_len, void *new_value,
                        size_t new_len) {
    return hak_init() ? hak_control_do(mib, mib_len, old, old_len, new_value, new_len) : EAGAIN;
}

EXPORT int mallctl(const char *name, void *old, size_t *old_len, void *new_value, size_t new_len) {
    size_t mib[HAK_CONTROL_WORDS], count = HAK_CONTROL_WORDS;
    int found = mallctlnametomib(name, mib, &count);
    return found != 0 ? found : mallctlbymib(mib, count, old, old_len, new_value, new_len);
}

static void to_stderr(void *opaque, const char *text) {
    (void)opaque;
    hak_outlet to;
    hak_outlet_stderr(&to);
    hak_outlet_send(&to, text, strlen(text));
    hak_outlet_close(&to);
}

/* The program may set it, to NULL as well. */
EXPORT void (*malloc_message)(void *opaque, const char *text);

typedef struct figures_text {
    char text[1024];
} figures_text;

/* The totals that readers of jemalloc's statistics look for: `form` with each name and figure, separated by
 * `between`. */
static figures_text totals(const char *form, const char *between) {
    static const char *const names[] = {"allocated", "active", "metadata", "resident", "mapped", "retained"};
    figures_text out;
    size_t used = 0;
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[32];
        size_t value = 0, length = sizeof value;
        (void)snprintf(path, sizeof path, "stats.%s", names[i]);
        (void)mallctl(path, &value, &length, NULL, 0);
        used += (size_t)snprintf(out.text + used, sizeof out.text - used, "%s", i == 0 ? "" : between);
        used += (size_t)snprintf(out.text + used, sizeof out.text - used, form, names[i], value);
    }
    return out;
}

static void print_json(void (*write)(void *opaque, const char *text), void *opaque) {
    figures_text total = totals("\"%s\":%zu", ",");
    write(opaque, "{\"jemalloc\":{\"version\":\"5.3.0-hakmem-" HAK_VERSION_STRING "\",\"stats\":{");
    write(opaque, total.text);
    write(opaque, "}}}\n");
}

static void print_classes(void (*write)(void *opaque, const char *text), void *opaque) {
    hak_usage now;
    char line[128];
    hak_usage_read(&now);
    for (unsigned cls = 1; cls <= HAK_CLASSES; cls++) {
        if (now.used_of[cls] + now.free_of[cls] == 0)
            continue;
        (void)snprintf(line, sizeof line, "%12u %12u %12u %12u\n", cls - 1, hak_classes[cls].size,
                       now.used_of[cls], now.free_of[cls]);
        write(opaque, line);
    }
    (void)snprintf(line, sizeof line, "large: %zu objects, %zu bytes\n", now.large.count, now.large.bytes);
    write(opaque, line);
}

EXPORT void malloc_stats_print(void (*write)(void *opaque, const char *text), void *opaque,
                               const char *opts) {
    int saved = errno;
    if (write == NULL)
        write = malloc_message != NULL ? malloc_message : to_stderr;
    if (!hak_init())
        return;
    if (opts != NULL && strchr(opts, 'J') != NULL) {
        print_json(write, opaque);
    } else {
        figures_text total = totals("%s: %zu", ", ");
        write(opaque, "___ Begin jemalloc statistics ___\nVersion: \"5.3.0-hakmem-" HAK_VERSION_STRING
                      "\", variant: ");
        write(opaque, hak_variant());
        write(opaque, "\n");
        write(opaque, total.text);
        write(opaque, "\n         bin         size         live         free\n");
        print_classes(write, opaque);
        write(opaque, "--- End jemalloc statistics ---\n");
    }
    errno = saved;
}
