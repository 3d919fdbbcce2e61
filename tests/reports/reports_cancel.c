/* reports_cancel.c: cancellation of the thread that makes the error. */
#include "tests/reports/reports.h"

#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static volatile int canceled, reached;

static void *commit_when_canceled(void *type) {
    int before;
    pthread_setcanceltype((int)(intptr_t)type, &before);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    while (!canceled)
        usleep(100);
    if (type == (void *)PTHREAD_CANCEL_DEFERRED)
        pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &before);
    reports_error();
    return NULL;
}

static void cancel(int type) {
    pthread_t thread;
    NEED(pthread_create(&thread, NULL, commit_when_canceled, (void *)(intptr_t)type) == 0);
    pthread_cancel(thread);
    canceled = 1;
    pthread_join(thread, NULL);
}
static void cancel_deferred(void) {
    cancel(PTHREAD_CANCEL_DEFERRED);
}

static void cancel_in_handler(void) {
    signal(SIGABRT, reports_writes);
    cancel(PTHREAD_CANCEL_DEFERRED);
}

/* While the report waits for a full pipe. */
static void *commit_cancelable(void *type) {
    int before;
    pthread_setcanceltype((int)(intptr_t)type, &before);
    reached = 1;
    reports_error();
    return NULL;
}
static void cancel_in_report(int type) {
    pthread_t thread;
    reports_use_heap();
    NEED(pthread_create(&thread, NULL, commit_cancelable, (void *)(intptr_t)type) == 0);
    while (!reached)
        usleep(100);
    usleep(200000); /* the thread is probably in the report then; otherwise an easier case */
    pthread_cancel(thread);
    pthread_join(thread, NULL);
}
static void cancel_in_report_deferred(void) {
    cancel_in_report(PTHREAD_CANCEL_DEFERRED);
}
static void cancel_in_report_asynchronous(void) {
    cancel_in_report(PTHREAD_CANCEL_ASYNCHRONOUS);
}

/* All of malloc's functions, from a thread's first call on, with a cancellation pending. */
static void *call_everything(void *stream) {
    int before;
    pthread_cancel(pthread_self());
    reports_use_heap();
    free(calloc(10, 100000));
    free(aligned_alloc(4096, 10000));
    free(aligned_alloc(1 << 20, 3 << 20));
    free(reallocarray(NULL, 3, 7));
    (void)malloc_usable_size(NULL);
    (void)malloc_trim(0);
    (void)mallinfo2();
    malloc_stats();
    (void)malloc_info(0, stream);
    if (getenv("HAKMEM_HARDENING") != NULL) /* report: goes on */
        reports_free_twice();
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    reached = 1;
    return NULL;
}
static void no_cancellation_point(void) {
    pthread_t thread;
    FILE *stream = fopen("/dev/null", "w");
    NEED(stream != NULL && setvbuf(stream, NULL, _IONBF, 0) == 0);
    NEED(pthread_create(&thread, NULL, call_everything, stream) == 0);
    pthread_join(thread, NULL);
    NEED(reached);
    reports_say("all called\n");
    exit(0);
}

const reports_case reports_cancel[] = {
    {"cancel_deferred", cancel_deferred},
    {"cancel_in_handler", cancel_in_handler},
    {"cancel_in_report_deferred", cancel_in_report_deferred},
    {"cancel_in_report_asynchronous", cancel_in_report_asynchronous},
    {"no_cancellation_point", no_cancellation_point},
    {NULL, NULL},
};
