/* background.c: see background.h. */
#include "allocator/life/background.h"

#include "allocator/base/bits.h"
#include "allocator/base/lock.h"
#include "allocator/os/module.h"
#include "allocator/os/os.h"
#include "allocator/os/os_process.h"

#include <errno.h>
#include <pthread.h>
#include <sys/prctl.h>

enum {
    STACK = 256 * HAK_KIB, /* without the modules' thread-local variables, which also lie there */
    PAUSE_MS = 250,
    PAUSE_MOST_MS = 8000,
};

static _Atomic bool begun;
/* The process that may create the thread; 0: none yet. */
static _Atomic unsigned process;

/* The pause doubles while nothing happens, so an idle process is woken every eight seconds. */
static void *live(void *pass) {
    bool (*has_changed)(void) = (bool (*)(void))pass;
    (void)prctl(PR_SET_NAME, "hakmem-idle", 0, 0, 0);
    for (unsigned pause = PAUSE_MS;; pause = hak_min(2 * pause, (unsigned)PAUSE_MOST_MS)) {
        hak_os_sleep(pause);
        if (has_changed())
            pause = PAUSE_MS / 2;
    }
    return NULL;
}

/* Blocks the signals first: a new thread inherits the mask of its creator. */
static bool begin(bool (*pass)(void)) {
    pthread_t thread;
    pthread_attr_t how;
    if (pthread_attr_init(&how) != 0)
        return false;
    bool done = pthread_attr_setdetachstate(&how, PTHREAD_CREATE_DETACHED) == 0 &&
                pthread_attr_setstacksize(&how, hak_align_up(STACK + hak_module_tls(), hak_os_page)) == 0;
    uint64_t signals;
    hak_os_signals_shut(&signals);
    hak_os_signals_libc(); /* else setuid would wait for this thread for ever */
    done = done && pthread_create(&thread, &how, live, (void *)pass) == 0;
    hak_os_signals_open(&signals);
    (void)pthread_attr_destroy(&how);
    return done;
}

void hak_background_allow(void) {
    atomic_store_explicit(&process, hak_os_pid(), memory_order_relaxed);
}

bool hak_background_is_own_process(void) {
    return atomic_load_explicit(&process, memory_order_relaxed) == hak_os_pid();
}

/* The child of a vfork, or of a clone with shared memory, is another process. A thread created there would
 * belong to that process and keep it from ending, and the parent would take the thread for its own. A process
 * that filters its own system calls may be killed for creating a thread. */
static bool may_begin(void) {
    return hak_os_filter != HAK_FILTER_OWN && !(HAK_ALONE() && hak_os_secure()) &&
           hak_background_is_own_process();
}

void hak_background_begin(bool (*pass)(void)) {
    if (atomic_load_explicit(&begun, memory_order_relaxed) || !may_begin() ||
        atomic_exchange_explicit(&begun, true, memory_order_relaxed))
        return;
    int saved = errno;
    if (!begin(pass)) /* a limit, perhaps a temporary one */
        atomic_store_explicit(&begun, false, memory_order_relaxed);
    errno = saved;
}

void hak_background_forget(void) {
    atomic_store_explicit(&begun, false, memory_order_relaxed);
    if (atomic_load_explicit(&process, memory_order_relaxed) != 0)
        hak_background_allow();
}
