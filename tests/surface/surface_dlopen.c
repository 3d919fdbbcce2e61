/* surface_dlopen.c: a program that dlopens the allocator, with threads that were there before, closes it, and goes
 * on to use objects from it. HAKMEM_TEST_LIBRARY names the file to open. Exit 1 with a line: something is wrong. */
#include "tests/surface/want.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 4, OBJECTS = 2000 };

static struct {
    void *(*malloc)(size_t size);
    void *(*realloc)(void *obj, size_t size);
    void (*free)(void *obj);
    const char *(*variant)(void);
} hak;

static pthread_barrier_t before, opened, closed;
static unsigned char *kept[THREADS];

static void use(unsigned seed) {
    unsigned char *objs[OBJECTS];
    for (unsigned i = 0; i < OBJECTS; i++) {
        size_t size = 1 + (i * 37 + seed) % 3000;
        objs[i] = hak.malloc(size);
        WANT(objs[i] != NULL && (uintptr_t)objs[i] % 16 == 0);
        memset(objs[i], (int)i, size);
    }
    for (unsigned i = 0; i < OBJECTS; i++) {
        WANT(objs[i][0] == (unsigned char)i);
        objs[i] = hak.realloc(objs[i], 4000);
        WANT(objs[i] != NULL && objs[i][0] == (unsigned char)i);
        hak.free(objs[i]);
    }
}

static void *run(void *arg) {
    unsigned me = (unsigned)(uintptr_t)arg;
    pthread_barrier_wait(&before);
    pthread_barrier_wait(&opened);
    use(me);
    kept[me] = memset(hak.malloc(100), (int)me, 100);
    pthread_barrier_wait(&closed);
    use(me); /* its thread-local memory outlives the dlclose, and so does the code that runs when the thread ends */
    return NULL;
}

static void *open_allocator(void) {
    void *library = dlopen(getenv("HAKMEM_TEST_LIBRARY"), RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        printf("%s\n", dlerror());
    WANT(library != NULL);
    *(void **)&hak.malloc = dlsym(library, "hak_malloc");
    *(void **)&hak.realloc = dlsym(library, "hak_realloc");
    *(void **)&hak.free = dlsym(library, "hak_free");
    *(void **)&hak.variant = dlsym(library, "hak_variant");
    WANT(hak.malloc != NULL && hak.realloc != NULL && hak.free != NULL && hak.variant != NULL);
    return library;
}

int main(void) {
    pthread_t threads[THREADS];
    pthread_barrier_init(&before, NULL, THREADS + 1);
    pthread_barrier_init(&opened, NULL, THREADS + 1);
    pthread_barrier_init(&closed, NULL, THREADS + 1);
    for (uintptr_t i = 0; i < THREADS; i++)
        WANT(pthread_create(&threads[i], NULL, run, (void *)i) == 0);
    pthread_barrier_wait(&before);
    void *library = open_allocator();
    WANT(strcmp(hak.variant(), getenv("HAKMEM_TEST_VARIANT")) == 0);
    pthread_barrier_wait(&opened);
    use(99);
    WANT(dlclose(library) == 0);
    pthread_barrier_wait(&closed);
    for (unsigned i = 0; i < THREADS; i++)
        WANT(pthread_join(threads[i], NULL) == 0);
    for (unsigned i = 0; i < THREADS; i++) {
        WANT(kept[i][99] == i);
        hak.free(kept[i]);
    }
    for (int i = 0; i < 100; i++)
        WANT(dlclose(open_allocator()) == 0);
    use(7);
    puts(hak.variant());
    return 0;
}
