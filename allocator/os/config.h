/* config.h: /etc/hakmem.conf, by which the owner of a machine sets options for programs, one by one. Layer 1. Read once
 * at start, before any option.
 *
 *     # PATTERN OF THE EXECUTABLE'S PATH    SETTINGS
 *     /usr/bin/rustc                        family:off
 *     /usr/sbin/squid                       size:off,family:off  HAKMEM_SAMPLE_RATE=0
 *     /opt/legacy/?*                        off
 *
 * A line is a pattern and settings, between blanks; `#` begins a comment. In a pattern `*` stands for any characters,
 * `/` too, `?` for one. A setting is NAME:MODE,... (as HAKMEM_HARDENING), `off` (all:off), or HAKMEM_...=VALUE. All
 * lines count that match; of a variable or a check that is set twice the later one.
 *
 * The environment wins, except in a process with raised privileges, for which the file is honoured, and the environment
 * is not. What is no regular file, a link, not root's, writable by others or larger than HAK_CONFIG_MOST is not read,
 * and a line on stderr says so. Nothing is said of wrong lines: every process would say it. `hakmem check-config` does.
 *
 * Raw system calls, no allocation, no lock; async-signal-safe once it has been read. */
#ifndef HAK_CONFIG_H
#define HAK_CONFIG_H

#include "allocator/base/base.h"

#define HAK_CONFIG_PATH "/etc/hakmem.conf"
enum { HAK_CONFIG_MOST = 32 * 1024 };

/* For the process's executable as the kernel knows it; where nobody says what that is (no /proc), for "", which `*`
 * stands for, too. */
void hak_config_read(void);

/* The value that the file gives the variable; NULL: none. */
const char *hak_config_text(const char *name);

/* What hak_config_read does with the file's text, which it writes to and keeps. `text` ends in a 0; `path` is the
 * executable's. */
void hak_config_parse(char *text, const char *path);

/* Whether the pattern stands for the path. */
bool hak_config_matches(const char *pattern, const char *path);

#endif
