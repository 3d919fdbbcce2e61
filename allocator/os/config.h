/* config.h: /etc/hakmem.conf, in which the owner of a machine sets options per program. Layer 1. Read once at
 * start, before any option.
 *
 *     # PATTERN OF THE EXECUTABLE'S PATH    SETTINGS
 *     /usr/bin/rustc                        family:off
 *     /usr/sbin/squid                       size:off,family:off  HAKMEM_SAMPLE_RATE=0
 *     /opt/legacy/?*                        off
 *
 * A line has a pattern and settings, separated by blanks; `#` begins a comment. In a pattern `*` stands for any
 * characters, `/` included, and `?` for one character. A setting is NAME:MODE,... (as in HAKMEM_HARDENING),
 * `off` (all:off), or HAKMEM_...=VALUE. All matching lines apply; if they set a variable or a check twice, the
 * later one wins.
 *
 * The environment wins over the file. A process with raised privileges uses the file and ignores the
 * environment. The file is not read, and a line on stderr says so, when it is no regular file, a symbolic link,
 * not owned by root, writable by others or larger than HAK_CONFIG_MOST. Wrong lines are ignored silently,
 * because every process would report them; `hakmem check-config` reports them.
 *
 * Uses raw system calls, no allocation and no lock; async-signal-safe once the file has been read. */
#ifndef HAK_CONFIG_H
#define HAK_CONFIG_H

#include "allocator/base/base.h"

#define HAK_CONFIG_PATH "/etc/hakmem.conf"
enum { HAK_CONFIG_MOST = 32 * 1024 };

/* Reads the file for the path of the process's executable as the kernel knows it. Without /proc the path is "",
 * which only `*` matches. */
void hak_config_read(void);

/* The value of the variable in the file; NULL: none. */
const char *hak_config_text(const char *name);

/* Parses the text of the file for the executable `path`. Writes to `text`, which must end in a 0 and stay
 * valid. */
void hak_config_parse(char *text, const char *path);

/* True when the pattern matches the path. */
bool hak_config_matches(const char *pattern, const char *path);

#endif
