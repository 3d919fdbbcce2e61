/* stats.h: the counters as one line on stderr. include/hakmem.h declares hak_stats_read. */
#ifndef HAK_STATS_H
#define HAK_STATS_H

#include "allocator/base/base.h"

/* Prints what HAKMEM_SS_OS_STATS=1 asks for at exit: system calls by kind, operations, and calls per operation. */
void hak_stats_report_os(void);

#endif
