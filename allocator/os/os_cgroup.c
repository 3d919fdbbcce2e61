/* os_cgroup.c: see os_cgroup.h. Source: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst of Linux. */
#include "allocator/os/os_cgroup.h"

#include "allocator/base/bits.h"
#include "allocator/os/os_process.h"

#include <string.h>

enum { TEXT_MOST = 2048, PATH_MOST = TEXT_MOST + 128 };
static const size_t SMALL_BELOW = (size_t)1 << 30;

_Atomic hak_os_cgroup_size hak_os_cgroup_known;

/* A text of limited length, with a NUL at its end. What does not fit is left out. */
typedef struct text {
    size_t length;
    char at[PATH_MOST];
} text;

static void add(text *to, const char *what, size_t length) {
    length = hak_min(length, sizeof to->at - 1 - to->length);
    memcpy(to->at + to->length, what, length);
    to->length += length;
    to->at[to->length] = 0;
}

static bool load(const char *path, char *out, size_t size) {
    int file = hak_os_open(path);
    if (file < 0)
        return false;
    size_t got = hak_os_load(file, out, size - 1);
    hak_os_close(file);
    out[got] = 0;
    return true;
}

/* The number in the file; SIZE_MAX where it says "max", or there is none. */
static size_t number_in(const char *path) {
    char digits[24] = {0};
    size_t number = 0;
    if (!load(path, digits, sizeof digits) || digits[0] < '0' || digits[0] > '9')
        return SIZE_MAX;
    for (const char *at = digits; *at >= '0' && *at <= '9'; at++)
        number = number * 10 + (size_t)(*at - '0');
    return number;
}

/* The lowest number in files of that name in the group's folder and those above it, up to `base`. */
static size_t lowest(const char *root, const char *base, const char *group, size_t length, const char *name) {
    size_t least = SIZE_MAX;
    for (;;) {
        text path = {0};
        add(&path, root, strlen(root));
        add(&path, base, strlen(base));
        add(&path, group, length);
        add(&path, name, strlen(name));
        least = hak_min(least, number_in(path.at));
        if (length == 0)
            return least;
        while (length > 0 && group[--length] != '/')
            ;
    }
}

/* A line of /proc/self/cgroup is NUMBER:CONTROLLERS:PATH. In version 2 of control groups there are no names of
 * controllers. */
static size_t limit_of_line(const char *root, const char *line, size_t length) {
    const char *end = line + length, *names = memchr(line, ':', length);
    const char *group = names != NULL ? memchr(names + 1, ':', (size_t)(end - names - 1)) : NULL;
    if (group == NULL)
        return SIZE_MAX;
    group++;
    size_t of_names = (size_t)(group - names) - 2, of_group = (size_t)(end - group);
    if (of_names == 0)
        return lowest(root, "/sys/fs/cgroup", group, of_group, "/memory.max");
    if (of_names != strlen("memory") || memcmp(names + 1, "memory", of_names) != 0)
        return SIZE_MAX;
    return lowest(root, "/sys/fs/cgroup/memory", group, of_group, "/memory.limit_in_bytes");
}

size_t hak_os_cgroup_limit(const char *root) {
    char lines[TEXT_MOST] = {0}; /* MemorySanitizer does not see what a raw call writes */
    text path = {0};
    size_t least = SIZE_MAX;
    add(&path, root, strlen(root));
    add(&path, "/proc/self/cgroup", strlen("/proc/self/cgroup"));
    (void)load(path.at, lines, sizeof lines);
    for (const char *line = lines, *end; (end = strchr(line, '\n')) != NULL; line = end + 1)
        least = hak_min(least, limit_of_line(root, line, (size_t)(end - line)));
    return least;
}

bool hak_os_cgroup_small(void) {
    hak_os_cgroup_size size = atomic_load_explicit(&hak_os_cgroup_known, memory_order_relaxed);
    if (size == HAK_CGROUP_UNKNOWN) {
        size = hak_os_cgroup_limit("") < SMALL_BELOW ? HAK_CGROUP_SMALL : HAK_CGROUP_LARGE;
        atomic_store_explicit(&hak_os_cgroup_known, size, memory_order_relaxed);
    }
    return size == HAK_CGROUP_SMALL;
}
