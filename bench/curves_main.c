/* curves_main.c: `curves ATTACK [key=value ...]`: one attack on the allocator of this process; curves.h has the keys
 * and the attacks. Prints one JSON line: how many calls it took, null if more than the limit; of `base`, an address. */
#include "bench/curves.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MOST = 1 << 30 };

static const struct {
    const char *name;
    long (*run)(const curves_attack *attack);
} attacks[] = {{"reclaim", curves_reclaim},
               {"adjacent", curves_adjacent},
               {"forge", curves_forge},
               {"base", curves_base}};

static void set(curves_attack *attack, const char *setting) {
    const char *value = strchr(setting, '=');
    if (value == NULL)
        bench_die("expected key=value", setting);
    size_t length = (size_t)(value++ - setting);
#define IS(key) (length == strlen(key) && memcmp(setting, key, length) == 0)
    if (IS("place"))
        attack->place = value;
    else if (IS("by"))
        attack->by = value;
    else if (IS("way"))
        attack->way = value;
    else if (IS("drain"))
        attack->drain = value;
    else if (IS("size"))
        attack->size = bench_number(value, MOST);
    else if (IS("align"))
        attack->align = bench_number(value, MOST);
    else if (IS("before"))
        attack->before = (long)bench_number(value, MOST);
    else if (IS("limit"))
        attack->limit = (long)bench_number(value, MOST);
    else if (IS("busy"))
        attack->busy = (long)bench_number(value, MOST);
    else
        bench_die("unknown setting", setting);
#undef IS
}

int main(int argc, char **argv) {
    curves_attack attack = {
        .size = 64, .place = "main", .by = "self", .way = "pairs", .drain = "none", .limit = 5000};
    if (argc < 2)
        bench_die("usage: curves reclaim|adjacent|forge|base [key=value ...]", "");
    for (int i = 2; i < argc; i++)
        set(&attack, argv[i]);
    for (size_t i = 0; i < sizeof attacks / sizeof attacks[0]; i++)
        if (strcmp(argv[1], attacks[i].name) == 0) {
            long calls = attacks[i].run(&attack);
            if (calls == CURVES_MORE)
                puts("{\"calls\": null}");
            else
                printf("{\"calls\": %ld}\n", calls);
            fflush(stdout);
            _exit(0); /* other threads are still busy */
        }
    bench_die("unknown attack", argv[1]);
}
