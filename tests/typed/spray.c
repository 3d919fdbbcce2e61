/* spray.c: an attacker who knows everything except the keys wants the memory of a freed object for another type.
 * Prints the number of objects after which he got it, 0: never. `spray data`: by data without pointers, `same`: by
 * objects of the same type, `large`: by data, of 1 MiB. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct victim {
    void (*act)(struct victim *self);
    char rest[192];
} victim;
typedef struct bytes {
    unsigned char is[200];
} bytes;
typedef struct large_victim {
    void (*act)(void);
    char rest[(1 << 20) - 8];
} large_victim;

enum { SPRAYED = 200000, SPRAYED_LARGE = 3000, HELD = 64 };

/* Sprayed objects are held for a while, then freed. (volatile: the compiler assumes that no object lies where
 * another was.) */
#define SPRAY(type, count)                                                                                   \
    do {                                                                                                     \
        static type *held[HELD];                                                                             \
        for (int i = 0; i < (count) && got == 0; i++) {                                                      \
            free(held[i % HELD]);                                                                            \
            held[i % HELD] = (type *)malloc(sizeof(type));                                                   \
            if ((uintptr_t)held[i % HELD] == dangling)                                                       \
                got = i + 1;                                                                                 \
        }                                                                                                    \
    } while (0)

int main(int argc, char **argv) {
    const char *by = argc > 1 ? argv[1] : "data";
    int got = 0;
    if (strcmp(by, "large") == 0) {
        large_victim *obj = (large_victim *)malloc(sizeof(large_victim));
        volatile uintptr_t dangling = (uintptr_t)obj;
        free(obj);
        typedef struct large_bytes {
            unsigned char is[1 << 20];
        } large_bytes;
        SPRAY(large_bytes, SPRAYED_LARGE);
        printf("%d\n", got);
        return 0;
    }
    for (int i = 0; i < 10; i++) /* the first few of a call site are sampled */
        free((victim *)malloc(sizeof(victim)));
    victim *obj = (victim *)malloc(sizeof(victim));
    volatile uintptr_t dangling = (uintptr_t)obj;
    free(obj);
    if (strcmp(by, "same") == 0)
        SPRAY(victim, SPRAYED);
    else
        SPRAY(bytes, SPRAYED);
    printf("%d\n", got);
    return 0;
}
