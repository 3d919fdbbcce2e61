/* advice.h: what to do next about an error, for the report's last line. */
#ifndef HAK_ADVICE_H
#define HAK_ADVICE_H

#include "allocator/base/base.h"

/* Of an error of error_names.h. What a sampled object would tell is there already when the object was one. */
const char *hak_advice(const char *error, bool sampled);

#endif
