/* advice.c: see advice.h. */
#include "hardening/advice.h"

#include "hardening/error_names.h"

#include <string.h>

static const struct {
    const char *error, *text, *sampled;
} table[] = {
    {HAK_ERROR_DOUBLE_FREE,
     "two owners end one object; find who freed it first: HAKMEM_SAMPLE_RATE=1 adds both stacks",
     "two owners end one object: `freed` is the first to do so, `stack` the second"},
    {HAK_ERROR_INVALID_FREE, "the pointer never came from malloc; look at where it was last assigned", NULL},
    {HAK_ERROR_INTERIOR_FREE,
     "the pointer was moved since malloc returned it; free the one that malloc returned", NULL},
    {HAK_ERROR_MISALIGNED_FREE,
     "the pointer was moved since malloc returned it; free the one that malloc returned", NULL},
    {HAK_ERROR_REALLOC,
     "the pointer is not that of a live object; HAKMEM_SAMPLE_RATE=1 adds who made and who freed it",
     "the pointer is not that of a live object: see `allocated` and `freed`"},
    {HAK_ERROR_USABLE,
     "the pointer is not that of a live object; HAKMEM_SAMPLE_RATE=1 adds who made and who freed it",
     "the pointer is not that of a live object: see `allocated` and `freed`"},
    {HAK_ERROR_FAMILY,
     "use the function that belongs to the one that made the object; where a library hides operators new "
     "and delete of "
     "its own (-static-libstdc++), there is nothing to mend; HAKMEM_HARDENING=family:off says nothing",
     NULL},
    {HAK_ERROR_SIZE,
     "the size is not what was asked for; with delete: a wrong static type; "
     "HAKMEM_HARDENING=size:off says nothing",
     NULL},
    {HAK_ERROR_ALIGNMENT,
     "use the delete with the same alignment; HAKMEM_HARDENING=alignment:off says nothing", NULL},
    {HAK_ERROR_OVERFLOW, "HAKMEM_SAMPLE_RATE=1 stops at the very instruction that writes",
     "the write did not reach the guard; look at what writes to the object that `allocated` made"},
    {HAK_ERROR_UNDERFLOW, "HAKMEM_SAMPLE_RATE=1 stops at the very instruction that writes",
     "the write did not reach the guard; look at what writes to the object that `allocated` made"},
    {HAK_ERROR_WRITE,
     "HAKMEM_SAMPLE_RATE=1 stops at the very instruction that writes, and says who freed the object", NULL},
    {HAK_ERROR_BOUNDS,
     "`stack` begins with the very instruction; HAKMEM_SAMPLE_RATE=1 adds who made the object",
     "`stack` begins with the very instruction, `allocated` says who made the object"},
    {HAK_ERROR_USE,
     "`stack` begins with the very instruction; HAKMEM_SAMPLE_RATE=1 adds who freed the object",
     "`stack` begins with the very instruction, `freed` says who ended the object before"},
};

const char *hak_advice(const char *error, bool sampled) {
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strcmp(table[i].error, error) == 0)
            return sampled && table[i].sampled != NULL ? table[i].sampled : table[i].text;
    return "tools/explain turns this report into names of functions";
}
