/* stats_signal.h: writes the statistics of a process when it receives a signal (HAKMEM_STATS_SIGNAL). Layer 5. */
#ifndef HAK_STATS_SIGNAL_H
#define HAK_STATS_SIGNAL_H

/* From now on, the signal that the options name writes a new file PATH.<process id>.<number>, where PATH is the
 * value of HAKMEM_STATS. The file has the counters of the page for other processes (stats_json.h), in the form
 * that `hakmem stat --json` prints. A signal that the process already handles or ignores is left alone, and a
 * line on stderr says so. Needs a working libc; no lock is held. */
void hak_stats_signal_begin(void);

#endif
