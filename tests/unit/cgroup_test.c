/* cgroup_test.c: unit tests of os_cgroup.h: the limit is read from files as the kernel has them, in a folder of the
 * test's own. */
#include "tests/unit/unit.h"

#include "allocator/os/os_cgroup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char root[64];

/* Writes the file and makes its folders. */
static void put(const char *name, const char *content) {
    char path[1024];
    assert_in_range(snprintf(path, sizeof path, "%s%s", root, name), 1, sizeof path - 1);
    for (char *at = path + strlen(root) + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = 0;
        (void)mkdir(path, 0700);
        *at = '/';
    }
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(content, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void begin(const char *groups) {
    const char *base = getenv("TEST_TMPDIR");
    snprintf(root, sizeof root, "%.40s/rootXXXXXX", base != NULL && strlen(base) < 40 ? base : "/tmp");
    assert_non_null(mkdtemp(root));
    if (groups != NULL)
        put("/proc/self/cgroup", groups);
}

static void end(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s'", root);
    assert_int_equal(system(command), 0);
}

static void limits(void **state) {
    (void)state;
    const struct {
        const char *groups, *file, *content;
        size_t limit;
    } rows[] = {
        {NULL, "/sys/fs/cgroup/memory.max", "1000\n", SIZE_MAX}, /* no /proc */
        {"0::/\n", NULL, NULL, SIZE_MAX},
        {"0::/\n", "/sys/fs/cgroup/memory.max", "268435456\n", 268435456},
        {"0::/\n", "/sys/fs/cgroup/memory.max", "max\n", SIZE_MAX},
        {"0::/a/b\n", "/sys/fs/cgroup/a/b/memory.max", "268435456\n", 268435456},
        {"0::/a/b\n", "/sys/fs/cgroup/a/memory.max", "268435456\n", 268435456},
        {"0::/a/b\n", "/sys/fs/cgroup/memory.max", "268435456\n", 268435456},
        {"0::/a/b\n", "/sys/fs/cgroup/b/memory.max", "268435456\n", SIZE_MAX},
        {"0::/a/b\n", "/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "4096\n", SIZE_MAX},
        {"4:memory:/a/b\n", "/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "4096\n", 4096},
        {"5:cpuset:/a\n4:memory:/b\n0::/\n", "/sys/fs/cgroup/memory/b/memory.limit_in_bytes", "4096\n", 4096},
        {"5:cpuset:/a\n4:memory:/b\n", "/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "4096\n", SIZE_MAX},
        {"4:memory:/docker/x\n", "/sys/fs/cgroup/memory/memory.limit_in_bytes", "4096\n", 4096},
        {"nothing\n:\n\n", "/sys/fs/cgroup/memory.max", "1000\n", SIZE_MAX},
        {"0::/a", "/sys/fs/cgroup/memory.max", "1000\n", SIZE_MAX}, /* cut off */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        begin(rows[i].groups);
        if (rows[i].file != NULL)
            put(rows[i].file, rows[i].content);
        errno = 99;
        size_t limit = hak_os_cgroup_limit(root);
        assert_int_equal(errno, 99);
        if (limit != rows[i].limit)
            fail_msg("row %zu: %zu", i, limit);
        end();
    }
}

/* Of two limits the lower one counts, wherever it is. */
static void lowest_counts(void **state) {
    (void)state;
    const char *const inner[] = {"5000", "3000"}, *const outer[] = {"3000", "5000"};
    for (int i = 0; i < 2; i++) {
        begin("0::/a/b\n");
        put("/sys/fs/cgroup/a/b/memory.max", inner[i]);
        put("/sys/fs/cgroup/a/memory.max", outer[i]);
        assert_int_equal(hak_os_cgroup_limit(root), 3000);
        end();
    }
}

/* A path that is longer than any buffer is cut off, and no limit is found. */
static void long_path(void **state) {
    (void)state;
    static char groups[8000];
    memset(groups, 'a', sizeof groups - 2);
    memcpy(groups, "0::/", 4);
    groups[sizeof groups - 2] = '\n';
    begin(groups);
    put("/sys/fs/cgroup/memory.max", "3000");
    assert_int_equal(hak_os_cgroup_limit(root), SIZE_MAX);
    end();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("limits are found in both versions of control groups, and in those around", limits),
        CASE("of two limits the lower one counts", lowest_counts),
        CASE("a path that is too long has no limit", long_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
