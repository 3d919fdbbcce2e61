/* recall_steps_test.c: what the owner of a cache may do while another thread takes from its bins, at each of the
 * barriers between that thread's steps (cache_recall.c). The barrier is a system call, at which the test does what the
 * owner does then, so nothing here depends on who is quicker. */
#include "tests/unit/bins.h"
#include "tests/unit/calls.h"
#include "tests/unit/unit.h"

#include "allocator/cache/cache_own.h"
#include "allocator/os/os.h"
#include "allocator/os/os_process.h"

#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

enum { CLS = 5, COUNT = 12 };

static pthread_barrier_t turn;
static void next_turn(void) {
    pthread_barrier_wait(&turn);
}

/* Barriers of the recall that goes on, and what happens at each. */
static unsigned barriers;
static void (*at_barrier)(unsigned number);

static bool seen(long number, const long args[6], long *answer) {
    (void)answer;
    if (number == SYS_membarrier && args[0] == MEMBARRIER_CMD_PRIVATE_EXPEDITED)
        at_barrier(++barriers);
    return false;
}

static size_t recall_with(void (*then)(unsigned number)) {
    (void)hak_os_barrier(); /* the process may have to register first */
    barriers = 0;
    at_barrier = then;
    atomic_store(&calls_seen_by, seen);
    size_t objects = hak_cache_recall(true);
    atomic_store(&calls_seen_by, NULL);
    return objects;
}

/* A kernel or a sandbox without this barrier recalls nothing. */
static void need_barrier(void) {
    if (!hak_os_barrier())
        skip();
}

/* While the other thread waits, a case that has failed must not begin the next one. */
#define EXPECT(what)                                                                                         \
    do {                                                                                                     \
        if (!(what)) {                                                                                       \
            print_error("line %d: %s\n", __LINE__, #what);                                                   \
            _exit(1);                                                                                        \
        }                                                                                                    \
    } while (0)

/* A thread that has one bin with COUNT objects, and sleeps. --------------------------------------------- */

static hak_cache *its;

static void *sleeper(void *arg) {
    (void)arg;
    void *objs[COUNT];
    EXPECT(hak_cache_begin());
    for (int i = 0; i < COUNT; i++)
        objs[i] = bin_take(CLS);
    hak_cache_flush_all();
    for (int i = 0; i < COUNT; i++)
        bin_give(objs[i], CLS);
    its = hak_cache_mine;
    next_turn();
    next_turn();
    hak_cache_check();
    hak_cache_end();
    return NULL;
}

static pthread_t begin(void *(*body)(void *arg)) {
    pthread_t thread;
    EXPECT(hak_cache_begin());
    hak_cache_flush_all();
    pthread_barrier_init(&turn, NULL, 2);
    EXPECT(pthread_create(&thread, NULL, body, NULL) == 0);
    next_turn();
    return thread;
}

static void end(pthread_t thread) {
    next_turn();
    pthread_join(thread, NULL);
    hak_cache_flush_all();
    EXPECT(hak_cache_objects() == 0);
    hak_depot_check();
    hak_superslab_check();
}

static void **top_before;
static void *second; /* the object below the topmost */

static pthread_t begin_asleep(void) {
    pthread_t thread = begin(sleeper);
    top_before = its->top[CLS];
    second = top_before[-1];
    EXPECT(top_before - hak_cache_base(its, CLS) == COUNT);
    return thread;
}

/* The second barrier: the entry below the top is NULL. */
static void nothing(unsigned number) {
    if (number == 2)
        EXPECT(top_before[-1] == NULL);
}
/* The owner has popped the topmost object, and then the one below, which it read before the entry became NULL. */
static void pops_two(unsigned number) {
    if (number == 2)
        HAK_SHOW(its->top[CLS], top_before - 2);
}
/* The same, and then it has given both back. */
static void pops_two_and_pushes(unsigned number) {
    if (number != 2)
        return;
    void *first = *top_before;
    __atomic_store_n(top_before - 1, first, __ATOMIC_RELEASE);
    __atomic_store_n(top_before, second, __ATOMIC_RELEASE);
}
/* It does something else than to pop and push: it began before the barrier, or will wait. */
static void at_work(unsigned number) {
    if (number == 1)
        atomic_store(&its->busy, 1);
}

static void nobody_in_between(void **state) {
    (void)state;
    need_barrier();
    pthread_t thread = begin_asleep();
    EXPECT(recall_with(nothing) == COUNT - 1);
    EXPECT(barriers == 3);
    end(thread);
}

static void an_owner_that_has_passed(void **state) {
    (void)state;
    need_barrier();
    pthread_t thread = begin_asleep();
    EXPECT(recall_with(pops_two) == 0);
    EXPECT(barriers == 3);
    EXPECT(top_before[-1] == second); /* in its place, which does no harm */
    EXPECT(its->gone[CLS] == 0);
    HAK_SHOW(its->top[CLS], top_before); /* it gives them back */
    end(thread);
}

static void an_owner_that_came_back(void **state) {
    (void)state;
    need_barrier();
    pthread_t thread = begin_asleep();
    void *first = *top_before;
    EXPECT(recall_with(pops_two_and_pushes) == 0);
    EXPECT(top_before[-1] == first && *top_before == second);
    EXPECT(its->gone[CLS] == 0);
    end(thread);
}

static void an_owner_at_work(void **state) {
    (void)state;
    need_barrier();
    pthread_t thread = begin_asleep();
    EXPECT(recall_with(at_work) == 0);
    EXPECT(barriers == 1);
    EXPECT(top_before[-1] == second);
    atomic_store(&its->busy, 0);
    end(thread);
}

/* An owner that closes its gaps when the next recall begins. ---------------------------------------------- */

static char *shut; /* the page of the bin with the gap: the owner stops where it closes that */
static unsigned gap_cls;
static _Atomic bool stopped, goes_on, through;
static bool waited;

static void at_gap(int number) {
    (void)number;
    atomic_store(&stopped, true);
    while (!atomic_load(&goes_on))
        sched_yield();
    (void)mprotect(shut, hak_os_page, PROT_READ | PROT_WRITE);
}

/* The lowest class whose bin begins in a page of its own: the other thread writes to the cache itself. */
static unsigned class_apart(hak_cache *cache) {
    unsigned cls = CLS + 1;
    while ((uintptr_t)hak_cache_base(cache, cls) / hak_os_page <=
           ((uintptr_t)hak_cache_base(cache, CLS) + 1024) / hak_os_page)
        cls++;
    return cls;
}

static void *closer(void *arg) {
    (void)arg;
    enum { FEW = 4 };
    void *objs[FEW], *more[FEW];
    EXPECT(hak_cache_begin());
    its = hak_cache_mine;
    gap_cls = class_apart(its);
    for (int i = 0; i < FEW; i++) {
        objs[i] = bin_take(gap_cls);
        more[i] = bin_take(CLS);
    }
    hak_cache_flush_all();
    for (int i = 0; i < FEW; i++)
        bin_give(objs[i], gap_cls);
    bin_give(more[0], CLS);
    next_turn(); /* the gap is made meanwhile */
    next_turn();
    for (int i = 1; i < FEW; i++)
        EXPECT(hak_cache_push(its, more[i], CLS)); /* there is something to recall again */
    next_turn();
    hak_cache_work_end(its, hak_cache_work_begin(its)); /* a slow call */
    atomic_store(&through, true);
    next_turn();
    hak_cache_check();
    hak_cache_end();
    return NULL;
}

/* The thread that recalls holds the lock, and the owner goes on: it must wait, though it has closed its gaps. */
static void owner_goes_on(unsigned number) {
    if (number != 1)
        return;
    atomic_store(&goes_on, true);
    while (!atomic_load(&through) && atomic_load(&hak_cache_lock.word) != 2)
        sched_yield();
    waited = !atomic_load(&through);
}

static void an_owner_that_closes_gaps(void **state) {
    (void)state;
    if (HAK_TSAN)
        skip(); /* whose own code would fault */
    need_barrier();
    pthread_t thread = begin(closer);
    EXPECT(hak_cache_recall(true) != 0);
    EXPECT(its->gone[gap_cls] != 0);
    next_turn();
    struct sigaction before, action = {.sa_handler = at_gap};
    shut = (char *)hak_align_down((uintptr_t)(hak_cache_base(its, gap_cls) + 1), hak_os_page);
    EXPECT((uintptr_t)shut >= (uintptr_t)its + sizeof *its);
    EXPECT(sigaction(SIGSEGV, &action, &before) == 0);
    EXPECT(mprotect(shut, hak_os_page, PROT_READ) == 0);
    next_turn();
    while (!atomic_load(&stopped))
        sched_yield();
    EXPECT(recall_with(owner_goes_on) == 0); /* the owner was busy */
    EXPECT(waited);
    EXPECT(barriers == 1);
    EXPECT(sigaction(SIGSEGV, &before, NULL) == 0);
    end(thread);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE("while the owner sleeps, all but the topmost object is taken", nobody_in_between),
        CASE("nothing is taken from an owner that has passed the entry that was made NULL",
             an_owner_that_has_passed),
        CASE("nor from one that has pushed there again", an_owner_that_came_back),
        CASE("nor from one that is in a slow call", an_owner_at_work),
        CASE("an owner that closes its gaps waits for the next recall", an_owner_that_closes_gaps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
