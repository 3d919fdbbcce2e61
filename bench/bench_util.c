/* bench_util.c: clocks, resident sizes and the result line, with no allocation. Contract: bench_util.h. */
#define _GNU_SOURCE
#include "bench/bench_util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static double seconds_of(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* The number after `field` in /proc/self/status, KiB; 0 without /proc. */
static long status_kib(const char *field) {
    char text[4096];
    int file = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return 0;
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    text[length > 0 ? length : 0] = 0;
    const char *found = strstr(text, field);
    return found ? strtol(found + strlen(field), NULL, 10) : 0;
}

void bench_start(bench_result *result) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    memset(result, 0, sizeof *result);
    result->minor_faults = -usage.ru_minflt;
    result->major_faults = -usage.ru_majflt;
    syscall(SYS_getppid);
    result->cpu_seconds = -seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    result->wall_seconds = -seconds_of(CLOCK_MONOTONIC);
}

void bench_finish(bench_result *result) {
    struct rusage usage;
    result->wall_seconds += seconds_of(CLOCK_MONOTONIC);
    result->cpu_seconds += seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    syscall(SYS_getppid);
    getrusage(RUSAGE_SELF, &usage);
    result->minor_faults += usage.ru_minflt;
    result->major_faults += usage.ru_majflt;
    result->hwm_kib = status_kib("VmHWM:");
}

void bench_phase(bench_result *result) {
    if (result->phases < BENCH_PHASES_MAX)
        result->phase_rss_kib[result->phases++] = status_kib("VmRSS:");
}

void bench_print(const bench_result *result, const char *workload, uint64_t ops) {
    char line[1024];
    int length =
        snprintf(line, sizeof line,
                 "{\"workload\":\"%s\",\"ops\":%llu,\"wall_s\":%.6f,\"cpu_s\":%.6f,\"ops_per_cpu_s\":%.0f,"
                 "\"ops_per_wall_s\":%.0f,\"hwm_kib\":%ld,\"minor_faults\":%ld,\"major_faults\":%ld,"
                 "\"phase_rss_kib\":[",
                 workload, (unsigned long long)ops, result->wall_seconds, result->cpu_seconds,
                 (double)ops / result->cpu_seconds, (double)ops / result->wall_seconds, result->hwm_kib,
                 result->minor_faults, result->major_faults);
    for (int i = 0; i < result->phases; i++)
        length += snprintf(line + length, sizeof line - (size_t)length, "%s%ld", i ? "," : "",
                           result->phase_rss_kib[i]);
    if (result->live_kib)
        length += snprintf(line + length, sizeof line - (size_t)length,
                           "],\"fill_s\":%.6f,\"live_kib\":%ld,\"metadata_kib\":%ld", result->fill_seconds,
                           result->live_kib, result->metadata_kib);
    length += snprintf(line + length, sizeof line - (size_t)length, "%s%s}\n", result->live_kib ? "" : "]",
                       result->more);
    if (write(STDOUT_FILENO, line, (size_t)length) != length)
        bench_die("cannot write the result", strerror(errno));
}

void bench_die(const char *message, const char *detail) {
    dprintf(STDERR_FILENO, "bench: %s: %s\n", message, detail);
    _exit(2);
}

uint64_t bench_number(const char *text, uint64_t max) {
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (end == text || *end || errno || value > max)
        bench_die("not a number in range", text);
    return value;
}

void *bench_table(size_t bytes) {
    void *table = mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (table == MAP_FAILED)
        bench_die("no memory for a table", strerror(errno));
    return table;
}
