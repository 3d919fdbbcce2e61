/* stats_signal.h: statistics of a running process when it is sent a signal (HAKMEM_STATS_SIGNAL). Layer 5. */
#ifndef HAK_STATS_SIGNAL_H
#define HAK_STATS_SIGNAL_H

/* From now on the signal that the options name has a new file PATH.<process id>.<number> written, PATH being
 * HAKMEM_STATS's: what the page for other processes says (stats_json.h), as `hakmem stat --json` prints it. A signal
 * that the process handles or ignores already is left alone, with a line on stderr. libc works; no lock is held. */
void hak_stats_signal_begin(void);

#endif
