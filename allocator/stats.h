/* stats.h: counters, as a line on stderr. hak_stats_read is in include/hakmem.h. */
#ifndef HAK_STATS_H
#define HAK_STATS_H

#include "allocator/base/base.h"

/* What HAKMEM_SS_OS_STATS=1 prints at exit: system calls by kind, operations, calls per operation. */
void hak_stats_report_os(void);

#endif
