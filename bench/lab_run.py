"""lab_run: runs workloads on contestants, interleaved: each round runs every pair once (of short workloads: three times), in a new
random order.

Memory is touched before each large workload, because a virtual machine may pay far more for the first touch of memory
that it gave back to its host than any allocator costs. Results are plain dictionaries, ready for JSON.
"""
import contextlib
import json
import mmap
import multiprocessing
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time

from lab_stats import spread

WALL_WORKLOADS = {"f", "g", "larson", "xmalloc", "storm", "scratch", "thrash"}  # compared by wall time: they have threads
LARGE_WORKLOADS = {"c": 256, "h": 512, "h2": 768, "grow": 128, "frag": 512, "burst": 768}  # MiB to touch first
LIMIT_WORKLOADS = {"a", "b", "c", "d", "e", "i", "j"}  # where the limit allocator is right: one thread, small objects
ANCHOR_WORKLOADS = ["a", "b", "c", "d", "e", "f", "g", "h", "h2", "i", "j"]
TRACE_WORKLOADS = ["replay", "sizes"]  # need a recorded trace
LIFE_WORKLOADS = ["life_phases", "life_drift", "life_idle", "life_streams", "life_sparse", "life_calloc", "life_freed", "life_quiet", "life_powers"]
LATENCY_WORKLOADS = ["latency_soak", "latency_burst"]
# Not among "all": tools/growth, tools/bench --workloads life or latency, and --traces run them.
OWN_WORKLOADS = ["heap", *LIFE_WORKLOADS, *LATENCY_WORKLOADS, *TRACE_WORKLOADS]
LATENCY_KEYS = ("malloc_ns", "free_ns", "slow")
UNSCALED = {"frag", "burst", *LIFE_WORKLOADS}  # a fixed number of objects, not of steps
# A contestant that is a hundred times slower than the others would take hours: it does a share of the workload instead,
# which is found by a trial of PROBE_PERCENT of it.
SECONDS_MAX = 10
PROBE_PERCENT = 5
# Short workloads need more rounds on a noisy machine, and can have them: where no contestant takes longer than QUICK_SECONDS,
# every round runs the workload QUICK_TIMES.
QUICK_SECONDS = 3
QUICK_TIMES = 3
MADV_POPULATE_WRITE = 23


def touch(mib):
    for huge in (False, True):
        with mmap.mmap(-1, mib << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as area:
            if huge:
                with contextlib.suppress(OSError):  # a kernel without them
                    area.madvise(mmap.MADV_HUGEPAGE)
            area.madvise(MADV_POPULATE_WRITE)


def pretouch(mib):
    """Makes the machine have `mib` MiB of ready memory: touches as much and gives it back, in pages and in huge pages,
    which the kernel takes from elsewhere. Otherwise a contestant that asks for huge pages would pay for memory that
    the others' pages do not come from. Runs in a process of its own: a program starts with the peak RSS of the
    process that starts it."""
    process = multiprocessing.get_context("fork").Process(target=touch, args=(mib,))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"bench: {mib} MiB of memory could not be touched, which large workloads need first")


def run_once(command, contestant):
    """One run; the program's own JSON line, or an explanation in "error"."""
    done = subprocess.run(command, env=contestant.environment(), capture_output=True, text=True)
    if done.returncode:
        return {"error": f"exit {done.returncode}: {done.stderr.strip()[-200:]}"}
    return json.loads(done.stdout.splitlines()[-1])


def rate(run):
    """Operations per second, by the clock that fits the workload."""
    return run["ops_per_wall_s"] if run["workload"] in WALL_WORKLOADS else run["ops_per_cpu_s"]


def show_progress(done, total, started, text):
    left = (time.time() - started) / done * (total - done) if done else 0
    line = f"[{done:4}/{total}] {text}, about {int(left) // 60}m{int(left) % 60:02}s left"
    end = "\r" if sys.stderr.isatty() else "\n"
    if sys.stderr.isatty() or done % 25 == 0:
        print(line.ljust(78), end=end, file=sys.stderr, flush=True)


def command_of(programs, workload, extra=()):
    """The command of a workload; for "replay:NAME" and "sizes:NAME" `extra` has the file as {workload: settings}."""
    settings = extra.get(workload, []) if isinstance(extra, dict) else extra
    return [os.path.join(programs, "workloads"), workload.partition(":")[0], *settings]


def share_of(seconds, probed=PROBE_PERCENT):
    """How many percent of the workload take at most SECONDS_MAX, when `probed` percent took `seconds`."""
    return max(1, min(100, int(SECONDS_MAX * probed / seconds))) if seconds > 0 else 100


def shares(programs, order, extra):
    """({(workload, contestant's name): percent of the workload}, the quick workloads): less than all for those that would take too long."""
    found, slow, started = {}, set(), time.time()
    for workload, contestant in order:
        show_progress(len(found), len(order), started, f"trying {workload} on {contestant.name}")
        run = {} if workload in UNSCALED else run_once(command_of(programs, workload, extra) + [f"scale={PROBE_PERCENT}"], contestant)
        seconds = run.get("wall_s", 0)
        found[workload, contestant.name] = share_of(seconds)
        if seconds * 100 / PROBE_PERCENT > QUICK_SECONDS:
            slow.add(workload)
    return found, {workload for workload, _ in order} - slow - UNSCALED


def run_share(programs, workload, contestant, extra, percent):
    """One run of `percent` of the workload; page faults are scaled to all of it."""
    run = run_once(command_of(programs, workload, extra) + ([f"scale={percent}"] if percent < 100 else []), contestant)
    if percent < 100 and "error" not in run:
        run.update(share=percent, minor_faults=run["minor_faults"] * 100 // percent)
    return run


def run_rounds(programs, contestants, workloads, rounds, extra=(), seed=None):
    """Every workload on every contestant, `rounds` times, shuffled; returns the list of runs. `extra`: settings of all workloads,
    or {workload: settings}."""
    order = [(w, c) for w in workloads for c in contestants.values()]
    order = [(w, c) for w, c in order if c.name != "limit" or w.partition(":")[0] in LIMIT_WORKLOADS]
    percent, quick = shares(programs, order, extra)
    order += [pair for pair in order if pair[0] in quick] * (QUICK_TIMES - 1)
    shuffle, runs, started = random.Random(seed), [], time.time()
    for number in range(rounds):
        shuffle.shuffle(order)
        for workload, contestant in order:
            show_progress(len(runs), rounds * len(order), started, f"round {number + 1}: {workload} on {contestant.name}")
            if workload in LARGE_WORKLOADS:
                pretouch(LARGE_WORKLOADS[workload])
            run = run_share(programs, workload, contestant, extra, percent[workload, contestant.name])
            run.update(workload=workload, peer=contestant.name, round=number)
            if "error" in run:
                print(f"\n{workload} on {contestant.name}: {run['error']}", file=sys.stderr)
            runs.append(run)
    return runs


def summarise(runs, workloads):
    """{workload: {peer: {...medians...}}}; a contestant with a failed run shows the failure instead of figures."""
    groups = {workload: {} for workload in workloads}
    for run in runs:
        groups[run["workload"]].setdefault(run["peer"], []).append(run)
    return {workload: {peer: summary(group) for peer, group in peers.items()} for workload, peers in groups.items()}


def summary(group):
    errors = [run["error"] for run in group if "error" in run]
    if errors:
        return {"error": errors[0], "failed": len(errors), "runs": len(group)}
    rates = [rate(run) for run in group]
    median = lambda key: statistics.median(run[key] for run in group)
    out = {"runs": len(group), "rate": statistics.median(rates), "rates": rates, "cv": spread(rates), "cpu_s": median("cpu_s"), "wall_s": median("wall_s"),
           "hwm_kib": median("hwm_kib"), "faults": median("minor_faults")}
    if "share" in group[0]:
        out["share"] = group[0]["share"]
    for key in LATENCY_KEYS:
        if key in group[0]:
            out[key] = [statistics.median(values) for values in zip(*(run[key] for run in group))]
    phases = [run["phase_rss_kib"] for run in group]
    if phases[0]:
        out["phase_rss_kib"] = [statistics.median(values) for values in zip(*phases)]
    return out


MEMORY_CALLS = "mmap,munmap,mremap,madvise,mprotect,brk,getppid"


def count_os_calls(command, contestant):
    """System calls about memory of one run, in the measured part (between the program's two getppid calls) and in all."""
    env = contestant.environment()
    preload = env.pop("LD_PRELOAD", None)
    with tempfile.NamedTemporaryFile("r", suffix=".strace") as trace:
        strace = ["strace", "-f", "--seccomp-bpf", "-e", "trace=" + MEMORY_CALLS, "-o", trace.name]
        if preload:
            strace += ["-E", "LD_PRELOAD=" + preload]
        done = subprocess.run(strace + command, env=env, capture_output=True, text=True)
        if done.returncode:
            return {"error": done.stderr.strip()[-200:]}
        calls, process = split_calls(trace)
    ops = json.loads(done.stdout.splitlines()[-1])["ops"]
    return {"calls": calls, "ops": ops, "calls_per_op": sum(calls.values()) / ops, "process_calls": process}


def split_calls(lines):
    """({call: count} between the getppid calls, number of calls in all) of strace's lines."""
    calls, inside, process = {}, False, 0
    for line in lines:
        found = re.match(r"\d+\s+(\w+)\(", line)
        if found and found[1] == "getppid":
            inside = not inside
        elif found:
            process += 1
            if inside:
                calls[found[1]] = calls.get(found[1], 0) + 1
    return calls, process
