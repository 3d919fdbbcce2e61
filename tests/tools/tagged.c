/* tagged.c: a program for arm64 whose malloc gives memory tags; see mte_test.py. It knows no hakmem. With one argument
 * it does what a correct program may do, or looks at tags; with two it makes the error of that name with an object of
 * that size. */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MANY = 600, MOST = 40000 };

static void require(int holds, const char *what, size_t size) {
    if (!holds) {
        printf("size %zu: %s\n", size, what);
        fflush(stdout);
        _exit(1);
    }
}

static uintptr_t plain(const volatile void *obj) {
    return (uintptr_t)obj & (((uintptr_t)1 << 56) - 1);
}
static unsigned pointer_tag(const volatile void *obj) {
    return (unsigned)((uintptr_t)obj >> 56);
}
/* The tag of the memory. Only where the processor has tags. */
static unsigned memory_tag(const volatile void *obj) {
    uintptr_t addr = plain(obj);
    __asm__ volatile(".arch armv8.5-a+memtag\n\tldg %0, [%0]" : "+r"(addr));
    return pointer_tag((void *)addr);
}

static int by_address(const void *a, const void *b) {
    uintptr_t x = plain(*(char *const *)a), y = plain(*(char *const *)b);
    return (x > y) - (x < y);
}

static const size_t sizes[] = {1,   8,   9,    24,   40,   100,  120,  200,  248,  300,  504,
                               505, 700, 1000, 1016, 1500, 2000, 2600, 3000, 3500, 3900, 4088};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

/* Each object of at most a page has a tag of its own, all of its granules have it, and no neighbour has it. */
static void neighbours_of(size_t size, size_t *all_pairs, size_t *freed) {
    static char *objs[MANY];
    size_t pairs = 0, least = SIZE_MAX;
    unsigned seen = 0;
    for (int i = 0; i < MANY; i++) {
        objs[i] = malloc(size);
        require(pointer_tag(objs[i]) - 1 < 15, "no tag from 1 to 15", size);
        for (size_t at = 0; at < size; at += 16)
            require(memory_tag(objs[i] + at) == pointer_tag(objs[i]), "a granule has another tag", size);
        seen |= 1u << pointer_tag(objs[i]);
        memset(objs[i], 1, size);
    }
    qsort(objs, MANY, sizeof objs[0], by_address);
    for (int i = 1; i < MANY; i++)
        if (plain(objs[i]) - plain(objs[i - 1]) < least)
            least = plain(objs[i]) - plain(objs[i - 1]);
    for (int i = 1; i < MANY; i++)
        if (plain(objs[i]) - plain(objs[i - 1]) == least) {
            require(pointer_tag(objs[i]) != pointer_tag(objs[i - 1]), "two neighbours have one tag", size);
            pairs++;
        }
    require(pairs > MANY / 4, "too few neighbours to say anything", size);
    require(seen == 0xfffe, "some tag from 1 to 15 is never drawn", size);
    *all_pairs += pairs;
    for (int i = 0; i < MANY; i++) {
        free(objs[i]);
        for (size_t at = 0; at < size; at += 16, *freed += 1)
            require(memory_tag(objs[i] + at) == 0, "a freed granule has a tag", size);
    }
}

/* The next owner of a slot never has the tag of the last one. `stale`: tags of earlier owners than the last one, for
 * each slot that gets an owner; `missed`: how many of them are that owner's as well. */
enum { SLOTS = 1 << 16 };
static struct {
    uintptr_t slot;
    uint8_t last;
    uint16_t ever; /* tags of all owners that the slot had */
} known[SLOTS];
static void reuse_of(size_t size, size_t *stale, size_t *missed, size_t *again) {
    static char *objs[MANY];
    memset(known, 0, sizeof known);
    for (int round = 0; round < 100; round++) {
        for (int i = 0; i < MANY; i++) {
            objs[i] = malloc(size);
            size_t at = plain(objs[i]) / 16 % SLOTS;
            while (known[at].slot != 0 && known[at].slot != plain(objs[i]))
                at = (at + 1) % SLOTS;
            known[at].slot = plain(objs[i]);
            unsigned tag = pointer_tag(objs[i]);
            if (known[at].last != 0) {
                require(known[at].last != tag, "the next owner has the last one's tag", size);
                *again += 1;
            }
            for (unsigned old = 1; old < 16; old++)
                if (known[at].ever >> old & 1 && old != known[at].last) {
                    *stale += 1;
                    *missed += old == tag;
                }
            known[at].last = (uint8_t)tag;
            known[at].ever |= (uint16_t)(1u << tag);
        }
        for (int i = 0; i < MANY; i++)
            free(objs[i]);
    }
}

/* Pairs of live objects of one size that are no neighbours, and how many have one tag. */
static void far_of(size_t size, size_t *pairs, size_t *alike) {
    static char *objs[MANY];
    for (int i = 0; i < MANY; i++)
        objs[i] = malloc(size);
    for (int i = 0; i < MANY; i++)
        for (int j = 0; j < i; j++) {
            uintptr_t x = plain(objs[i]), y = plain(objs[j]), apart = x > y ? x - y : y - x;
            *pairs += apart > 8192;
            *alike += apart > 8192 && pointer_tag(objs[i]) == pointer_tag(objs[j]);
        }
    for (int i = 0; i < MANY; i++)
        free(objs[i]);
}

static void tags(void) {
    size_t next = 0, freed = 0, stale = 0, missed = 0, again = 0, pairs = 0, alike = 0;
    for (int i = 0; i < SIZES; i++)
        neighbours_of(sizes[i], &next, &freed);
    require(pointer_tag(malloc(20000)) == 0, "an object that may have whole pages has a tag", 20000);
    require(pointer_tag(malloc(1 << 20)) == 0, "a large object has a tag", 1 << 20);
    for (int i = 10; i < SIZES; i++) /* their quarantines are short enough */
        reuse_of(sizes[i], &stale, &missed, &again);
    require(again > 10000, "too few slots had a second owner", again);
    for (int i = 0; i < SIZES; i++)
        far_of(sizes[i], &pairs, &alike);
    printf("next 0 of %zu, freed 0 of %zu, last 0 of %zu, earlier %zu of %zu, far %zu of %zu\n", next, freed,
           again, missed, stale, alike, pairs);
}

/* No pointer and no memory has a tag. */
static void untagged(void) {
    for (int i = 0; i < SIZES; i++)
        require(pointer_tag(malloc(sizes[i])) == 0, "has a tag", sizes[i]);
    puts("untagged");
}

static uint64_t seed = 1;
static uint64_t draw(uint64_t below) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % below;
}

static void work_on(void **objs, int count, int steps) {
    uint64_t state = (uintptr_t)objs;
    for (int step = 0; step < steps; step++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        int i = (int)(state >> 33) % count;
        size_t size = (state >> 20) % 64 == 0 ? (state >> 40) % 100000 : (state >> 40) % 3000;
        unsigned char *obj = objs[i];
        switch (state >> 60) {
        case 0:
        case 1:
        case 2:
            obj = realloc(obj, size + 1);
            break;
        case 3:
            free(obj);
            obj = calloc(1, size + 1);
            for (size_t at = 0; at <= size; at++)
                require(obj[at] == 0, "calloc gave bytes that are not zero", size);
            break;
        case 4:
            free(obj);
            obj = aligned_alloc(64, size + 64);
            require(obj != NULL && plain(obj) % 64 == 0, "aligned_alloc", size);
            break;
        default:
            free(obj);
            obj = malloc(size + 1);
        }
        require(obj != NULL && malloc_usable_size(obj) > size, "too few bytes", size);
        obj[0] = obj[size] = (unsigned char)step;
        objs[i] = obj;
    }
}

static void *thread(void *unused) {
    void *objs[200] = {NULL};
    work_on(objs, 200, 20000);
    for (int i = 0; i < 200; i++)
        free(objs[i]);
    return unused;
}

static volatile sig_atomic_t caught;
static void handler(int number) {
    caught += number != 0;
    char *obj = malloc(100); /* not allowed by POSIX, but no thread is inside malloc here */
    obj[99] = 1;
    free(obj);
}

static void child_checks(void **objs, int count) {
    pid_t pid = fork();
    require(pid >= 0, "fork", 0);
    if (pid == 0) {
        work_on(objs, count, 5000);
        _exit(0);
    }
    int status = 1;
    waitpid(pid, &status, 0);
    require(status == 0, "the child died", (size_t)status);
}

/* What programs do with objects beside reading and writing them. */
static void correct(void) {
    static void *objs[300];
    pthread_t threads[4];
    int ends[2];
    work_on(objs, 300, 50000);
    child_checks(objs, 300);
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, thread, NULL);
    for (int i = 0; i < 20; i++)
        child_checks(objs, 300);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    /* the kernel reads and writes tagged memory */
    require(pipe(ends) == 0, "pipe", 0);
    char *from = malloc(1000), *to = calloc(1, 1000);
    memset(from, 'x', 1000);
    require(write(ends[1], from, 1000) == 1000 && read(ends[0], to, 1000) == 1000, "read and write",
            (size_t)errno);
    require(memcmp(from, to, 1000) == 0, "other bytes", 0);
    struct sigaction action = {.sa_handler = handler};
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    require(caught == 1, "no signal", 0);
    /* a program may purge the pages that its object has as a whole */
    char *wide = aligned_alloc(4096, 65536);
    memset(wide, 1, 65536);
    require(madvise(wide, 65536, MADV_DONTNEED) == 0 && wide[5000] == 0, "purge", 0);
    wide[5000] = 1;
    require(write(ends[1], wide, 100) == 100 && read(ends[0], wide + 8192, 100) == 100, "purged",
            (size_t)errno);
    free(wide);
    free(from);
    char *line = NULL;
    size_t room = 0;
    FILE *file = fopen("/proc/self/maps", "r");
    while (file != NULL && getline(&line, &room, file) > 0) {
    }
    fclose(file);
    free(line);
    malloc_trim(0);
    work_on(objs, 300, 20000);
    /* memory of its own that has tags: a fault there is not the allocator's */
    if (prctl(56 /* PR_GET_TAGGED_ADDR_CTRL */, 0, 0, 0, 0) > 1) {
        char *own = mmap(NULL, 4096, PROT_READ | PROT_WRITE | 0x20, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        require(own != MAP_FAILED && memory_tag(own) == 0, "own memory", 0);
    }
    puts("correct");
}

static volatile char sink;

/* One error each. */
static void misuse(const char *name, size_t size) {
    static char *objs[64];
    for (int i = 0; i < 64; i++)
        objs[i] = malloc(size);
    volatile char *obj = objs[draw(64)];
    size_t room = malloc_usable_size((void *)obj) + 8, step = (room + 15) / 16 * 16;
    if (strcmp(name, "read after free") == 0) {
        free((void *)obj);
        sink = obj[size / 2];
    } else if (strcmp(name, "write after free") == 0) {
        free((void *)obj);
        obj[size - 1] = 0; /* a zero: bytes do not tell */
    } else if (strcmp(name, "read past the end") == 0) {
        for (size_t i = 0; i < 2 * step; i++)
            sink = obj[i];
    } else if (strcmp(name, "write past the end") == 0) {
        for (size_t i = 0; i < 2 * step; i++)
            obj[i] = 0;
    } else if (strcmp(name, "read before the start") == 0) {
        sink = obj[-1];
    } else if (strcmp(name, "write before the start") == 0) {
        obj[-1] = 0;
    } else if (strcmp(name, "free twice") == 0) {
        free((void *)obj);
        free((void *)obj);
    } else if (strcmp(name, "read through a stripped pointer") == 0) {
        sink = *(char *)plain(obj);
    } else if (strcmp(name, "free of a stripped pointer") == 0) {
        free((void *)plain(obj));
    } else {
        /* the slot has a new owner */
        char *again = NULL;
        free((void *)obj);
        for (int i = 0; i < 2000000 && again != obj; i++) {
            again = malloc(size);
            if (plain(again) == plain(obj))
                break;
            free(again);
        }
        require(plain(again) == plain(obj), "the slot did not come back", size);
        require(pointer_tag(again) != pointer_tag(obj), "the same tag", size);
        if (strcmp(name, "read of another owner") == 0)
            sink = obj[0];
        else if (strcmp(name, "write to another owner") == 0)
            obj[0] = 0;
        else if (strcmp(name, "free of another owner") == 0)
            free((void *)obj);
        else if (strcmp(name, "realloc of another owner") == 0)
            sink = *(char *)realloc((void *)obj, size + 100);
        else if (strcmp(name, "usable size of another owner") == 0)
            sink = (char)malloc_usable_size((void *)obj);
    }
}

int main(int count, char **words) {
    for (char *at = words[1];
         (at = strchr(at, '_')) != NULL;) /* a plan of tests/kernels has no names with spaces */
        *at = ' ';
    if (count == 3)
        misuse(words[1], (size_t)atol(words[2]));
    else if (strcmp(words[1], "tags") == 0)
        tags();
    else if (strcmp(words[1], "untagged") == 0)
        untagged();
    else
        correct();
    fflush(stdout);
    return 0;
}
