/* surface_plugins.c PLUGIN: loads and unloads a plug-in written in C++, whose objects outlive it and whose threads
 * end. */
#include "tests/surface/want.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 200 };

static const char *path;
static char *outlives[ROUNDS];

typedef char *give(size_t size);
typedef void take(char *obj);

static void *symbol(void *plugin, const char *name) {
    void *found = dlsym(plugin, name);
    WANT(found != NULL);
    return found;
}

static void *give_one(void *plugin) {
    give *function;
    *(void **)&function = symbol(plugin, "plugin_give");
    return function(1000);
}

/* Another load of the plug-in takes the objects of this one. */
static void round_trip(int i) {
    void *plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    WANT(plugin != NULL);
    void *from_thread;
    pthread_t thread;
    WANT(pthread_create(&thread, NULL, give_one, plugin) == 0 && pthread_join(thread, &from_thread) == 0);
    take *function;
    *(void **)&function = symbol(plugin, "plugin_take");
    function(from_thread);
    outlives[i] = give_one(plugin);
    if (i > 0) {
        WANT(outlives[i - 1][999] == 'p');
        function(outlives[i - 1]);
    }
    WANT(dlclose(plugin) == 0);
    WANT(outlives[i][0] == 'p');
}

/* dlopen serves its caller's request. */
static void modes(void) {
    WANT(dlsym(RTLD_DEFAULT, "plugin_give") == NULL);
    void *local = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
    WANT(local != NULL && dlsym(RTLD_DEFAULT, "plugin_give") == NULL);
    void *global = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    WANT(global == local && dlsym(RTLD_DEFAULT, "plugin_give") != NULL);
    WANT(dlopen(path, RTLD_NOW | RTLD_NOLOAD) == local);
    WANT(dlopen("/no/such/file.so", RTLD_NOW) == NULL && dlerror() != NULL);
}

int main(int argc, char **argv) {
    WANT(argc == 2);
    path = realpath(argv[1], NULL);
    WANT(path != NULL);
    for (int i = 0; i < ROUNDS; i++)
        round_trip(i);
    modes();
    puts("done");
    return 0;
}
