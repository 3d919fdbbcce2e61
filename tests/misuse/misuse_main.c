/* misuse_main.c: the program around the misuse cases.
 *
 * misuse list          one line per case: cwe, name, errors, needs, sure; separated by tabs
 * misuse error NAME    makes the error
 * misuse twin NAME     the same without the error
 * Exit status: 0 undisturbed, 42 a primitive was won, 77 the allocator does not offer the call, 2 bad usage.
 */
#include "misuse.h"

#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

void *(*volatile take)(size_t) = malloc;
void *(*volatile take_zeroed)(size_t, size_t) = calloc;
void *(*volatile take_aligned)(size_t, size_t) = aligned_alloc;
void *(*volatile resize)(void *, size_t) = realloc;
void (*volatile drop)(void *) = free;
size_t (*volatile usable)(void *) = malloc_usable_size;

static const misuse_group *const groups[] = {
    &cwe415_double_free, &cwe416_use_after_free, &cwe122_heap_overflow, &cwe122_overflow_found,
    &cwe124_underwrite,  &cwe126_overread,       &cwe127_underread,     &cwe590_not_heap,
    &cwe761_not_start,   &cwe762_mismatch_c,     &cwe762_mismatch_cc,   &attack_free_list,
    &attack_double_free, &attack_headers,        &attack_reuse,         &attack_bounds,
};

static void *find_call(const char *name) {
    void *call = dlsym(RTLD_DEFAULT, name);
    if (!call)
        _exit(77);
    return call;
}

void drop_sized(void *obj, size_t size) {
    ((void (*)(void *, size_t))find_call("free_sized"))(obj, size);
}

void drop_aligned_sized(void *obj, size_t alignment, size_t size) {
    ((void (*)(void *, size_t, size_t))find_call("free_aligned_sized"))(obj, alignment, size);
}

void *hide(const volatile void *pointer) {
    const volatile void *volatile hidden = pointer;
    return (void *)(uintptr_t)hidden;
}

void put(void *obj, ptrdiff_t offset, int value) {
    ((volatile unsigned char *)obj)[offset] = (unsigned char)value;
}

int get(const void *obj, ptrdiff_t offset) {
    return ((const volatile unsigned char *)obj)[offset];
}

void fill(void *obj, ptrdiff_t from, ptrdiff_t to, int value) {
    for (ptrdiff_t at = from; at < to; at++)
        put(obj, at, value);
}

void churn(size_t size, size_t rounds) {
    for (size_t i = 0; i < rounds; i++)
        drop(take(size));
}

typedef struct job {
    void (*fn)(void *);
    void *arg;
} job;

static void *start(void *arg) {
    job *todo = arg;
    todo->fn(todo->arg);
    return NULL;
}

void in_thread(void (*fn)(void *), void *arg) {
    job todo = {fn, arg};
    pthread_t thread;
    if (pthread_create(&thread, NULL, start, &todo))
        _exit(3);
    pthread_join(thread, NULL);
}

void in_child(void (*fn)(void *), void *arg) {
    pid_t child = fork();
    int status = 0;
    if (child < 0)
        _exit(3);
    if (child == 0) {
        fn(arg);
        exit(0);
    }
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) {
        signal(WTERMSIG(status), SIG_DFL);
        raise(WTERMSIG(status));
    }
}

void take_many(void **objs, size_t count, size_t size) {
    for (size_t i = 0; i < count; i++)
        objs[i] = take(size);
}

void drop_many(void **objs, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (objs[i])
            drop(objs[i]);
}

misuse_pair closest(void **objs, size_t count) {
    misuse_pair best = {0, 1};
    uintptr_t least = UINTPTR_MAX;
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < count; j++) {
            uintptr_t gap = (uintptr_t)objs[j] - (uintptr_t)objs[i];
            if (i != j && gap < least) {
                least = gap;
                best = (misuse_pair){i, j};
            }
        }
    return best;
}

void primitive(const char *what) {
    static const char head[] = "PRIMITIVE: ";
    if (write(1, head, sizeof head - 1) < 0 || write(1, what, strlen(what)) < 0 || write(1, "\n", 1) < 0)
        _exit(3);
    _exit(42);
}

void check_overlap(void **objs, size_t count, size_t size) {
    for (size_t i = 0; i < count; i++)
        for (size_t j = i + 1; j < count; j++) {
            uintptr_t a = (uintptr_t)objs[i], b = (uintptr_t)objs[j];
            if (a && b && (a < b ? b - a : a - b) < size)
                primitive("two live objects overlap");
        }
}

void check_placed(void **objs, size_t count, const void *start, size_t length) {
    for (size_t i = 0; i < count; i++)
        if ((uintptr_t)objs[i] - (uintptr_t)start < length)
            primitive("an allocation at the chosen address");
}

static int list_cases(void) {
    static const char *const sures[] = {"sure", "sampled", "chance", "not won"};
    for (size_t g = 0; g < sizeof groups / sizeof groups[0]; g++)
        for (size_t i = 0; i < groups[g]->count; i++) {
            const misuse_case *it = &groups[g]->cases[i];
            printf("%s\t%s\t%s\t%s\t%s\n", groups[g]->cwe, it->name, it->errors, it->needs, sures[it->sure]);
        }
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 2 && !strcmp(argv[1], "list"))
        return list_cases();
    bool error = argc == 3 && !strcmp(argv[1], "error");
    if (!error && !(argc == 3 && !strcmp(argv[1], "twin")))
        return 2;
    for (size_t g = 0; g < sizeof groups / sizeof groups[0]; g++)
        for (size_t i = 0; i < groups[g]->count; i++)
            if (!strcmp(groups[g]->cases[i].name, argv[2])) {
                groups[g]->cases[i].run(error, groups[g]->cases[i].arg);
                return 0;
            }
    return 2;
}
