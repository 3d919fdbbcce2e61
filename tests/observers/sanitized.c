/* sanitized.c: with_tools_test.py builds it with each compiler and each sanitizer. `error`: the error that this
 * sanitizer finds. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static volatile int shared;
static void *worker(void *unused) {
    for (int i = 1; i < 1000; i++) {
        char *obj = malloc((size_t)i);
        memset(obj, 1, (size_t)i);
        free(obj);
    }
    void *aligned = NULL;
    if (posix_memalign(&aligned, 64, 256) == 0)
        free(aligned);
    return unused;
}
static void *racer(void *unused) {
    for (int i = 0; i < 100000; i++)
        shared++;
    return unused;
}

static void in_two(void *(*run)(void *)) {
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, run, NULL);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
}

#if defined(ERROR_ADDRESS)
static void error(char *volatile obj) {
    free(obj);
    obj[1] = 1;
}
#elif defined(ERROR_LEAK)
static void error(char *volatile obj) {
    for (int i = 0; i < 100; i++)
        obj = malloc(1000);
    obj = NULL;
}
#elif defined(ERROR_UNDEFINED)
static void error(char *volatile obj) {
    volatile int large = 0x7fffffff;
    printf("%d\n", large + (obj != NULL));
}
#else
static void error(char *volatile obj) {
    (void)obj;
    in_two(racer);
}
#endif

int main(int argc, char **argv) {
    (void)argv;
    in_two(worker);
    char *text = strdup("done");
    text = reallocarray(text, 1000, 100);
    text = realloc(text, 5000000);
    puts(text);
    fflush(stdout);
    if (argc > 1)
        error(malloc(10));
    free(text);
    return 0;
}
