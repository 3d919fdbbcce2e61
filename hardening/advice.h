/* advice.h: advice on what to do about an error, for the last line of a report. */
#ifndef HAK_ADVICE_H
#define HAK_ADVICE_H

#include "allocator/base/base.h"

/* The advice for an error of error_names.h. `sampled`: the object was a sampled one, so the report has its
 * stacks already. */
const char *hak_advice(const char *error, bool sampled);

#endif
