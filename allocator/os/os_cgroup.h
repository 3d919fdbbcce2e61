/* os_cgroup.h: how much memory the process's control group may have. Layer 1. */
#ifndef HAK_OS_CGROUP_H
#define HAK_OS_CGROUP_H

#include "allocator/base/base.h"

/* The lowest limit of memory of the process's control group and of those around it, in bytes; SIZE_MAX: none, or
 * unknown. `root`: where /proc and /sys lie; "", but in tests. Opens some files. Keeps errno. */
size_t hak_os_cgroup_limit(const char *root);

/* True when that is less than 1 GiB. The first answer stays. Only where no filter of system calls may kill the process
 * for it. Tests set the answer. */
typedef enum hak_os_cgroup_size { HAK_CGROUP_UNKNOWN, HAK_CGROUP_LARGE, HAK_CGROUP_SMALL } hak_os_cgroup_size;
extern _Atomic hak_os_cgroup_size hak_os_cgroup_known;
bool hak_os_cgroup_small(void);

#endif
