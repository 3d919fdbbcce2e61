#!/usr/bin/env python3
"""lab_growth: the command line of tools/growth. How cost grows: with the heap, 1 MiB to 8 GiB, and with threads, 1 to
64.

Heap: workload "heap", which is workload a wandering over the heap; the limit allocator shows the cost of the machine's
caches. Threads: workloads f and g, the same number of operations in all, in CPU time per operation. Metadata is the
figure of hak_stats_read when the heap is full, as a share of the live bytes.
"""
import statistics
import sys
import time

import lab_cli
import lab_page
import lab_run

HEAP_MIB = [1, 4, 16, 64, 256, 1024, 4096, 8192]
THREADS = [1, 2, 4, 8, 16, 32, 64]
BYTES_PER_SLOT = 260  # every second slot has an object of 16 to 1024 bytes
HEAP_OPS = 20_000_000
THREAD_OPS = {"f": 40_000_000, "g": 20_000_000}  # of all threads together


def points(max_mib, max_threads, percent):
    """[(workload, x, settings of the program)]"""
    heap = [("heap", mib, [f"slots={max(1, (mib << 20) // BYTES_PER_SLOT)}", f"ops={HEAP_OPS * percent // 100}"])
            for mib in HEAP_MIB if mib <= max_mib]
    return heap + [(workload, n, [f"threads={n}", f"ops={ops * percent // 100 // n}"])
                   for workload, ops in THREAD_OPS.items() for n in THREADS if n <= max_threads]


def run_rounds(programs, contestants, wanted, rounds):
    """{workload: {contestant: {x: [runs]}}}, interleaved: each round runs each point on all contestants, one after the other."""
    runs, done, started = {}, 0, time.time()
    for number in range(rounds):
        for workload, x, settings in wanted:
            for c in contestants.values():
                if c.name == "limit" and workload != "heap":
                    continue
                lab_run.show_progress(done, rounds * len(wanted) * len(contestants), started, f"round {number + 1}: {workload} {x} on {c.name}")
                done += 1
                if workload == "heap" and x >= 16:
                    lab_run.pretouch(x + x // 4)
                run = lab_run.run_once(lab_run.command_of(programs, workload, settings), c)
                if "error" in run:
                    print(f"\n{workload} {x} on {c.name}: {run['error']}", file=sys.stderr)
                runs.setdefault(workload, {}).setdefault(c.name, {}).setdefault(x, []).append(run)
    return runs


def summary(group):
    """Medians of one point."""
    failed = [run["error"] for run in group if "error" in run]
    if failed:
        return {"error": failed[0]}
    median = lambda of: statistics.median(of(run) for run in group)
    out = {"ns": median(lambda r: 1e9 * r["cpu_s"] / r["ops"]), "hwm_kib": median(lambda r: r["hwm_kib"])}
    if group[0].get("live_kib"):
        out["live_kib"] = group[0]["live_kib"]
        out["rss_share"] = 100 * (median(lambda r: r["phase_rss_kib"][0]) / out["live_kib"] - 1)
        if group[0]["metadata_kib"]:
            out["metadata_share"] = 100 * median(lambda r: r["metadata_kib"]) / out["live_kib"]
    return out


def summarise(runs):
    return {workload: {name: {str(x): summary(group) for x, group in by_x.items()} for name, by_x in by_name.items()}
            for workload, by_name in runs.items()}


def line(by_x, key):
    return [(float(x), found[key]) for x, found in by_x.items() if key in found]


def growth(by_x):
    """The highest time per operation, divided by that of the first point; None without two points."""
    times = [ns for _, ns in line(by_x, "ns")]
    return max(times) / times[0] if len(times) > 1 and len(times) == len(by_x) else None


UNITS = {"heap": "MiB live", "f": "threads", "g": "threads"}
TITLES = {"heap": "a heap of 1 MiB to 8 GiB", "f": "threads with slots of their own (f)", "g": "threads that share slots (g)"}


def rows_of(workload, by_name, key, digits):
    names = list(by_name)
    xs = list(dict.fromkeys(x for by_x in by_name.values() for x in by_x))
    cell = lambda found: f"{found[key]:.{digits}f}" if key in found else "FAILED" if "error" in found else "-"
    return [[UNITS[workload]] + names] + [[x] + [cell(by_name[n].get(x, {})) for n in names] for x in xs]


def tables(results):
    out = []
    for workload, by_name in results["summary"].items():
        rows = rows_of(workload, by_name, "ns", 1)
        rows.append(["growth"] + [f"{growth(by_x):.2f}" if growth(by_x) else "-" for by_x in by_name.values()])
        out.append((f"CPU nanoseconds per operation, {TITLES[workload]}", rows))
    heap = results["summary"].get("heap", {})
    told = {n: by_x for n, by_x in heap.items() if any("metadata_share" in found for found in by_x.values())}
    out.append(("Resident memory above what is live, percent of it", rows_of("heap", heap, "rss_share", 1)))
    if told:
        out.append(("The allocator's own tables, percent of what is live", rows_of("heap", told, "metadata_share", 2)))
    return [(title, rows) for title, rows in out if len(rows) > 1]


def plots(results):
    heap = results["summary"].get("heap", {})
    named = lambda by_name, key: {n: line(by_x, key) for n, by_x in by_name.items() if line(by_x, key)}
    parts = ["<h2>How cost grows</h2>"]
    for workload, by_name in results["summary"].items():
        parts.append(lab_page.lines(named(by_name, "ns"), UNITS[workload], f"CPU ns per operation: {TITLES[workload]}", doubling=True))
    large = {n: {x: f for x, f in by_x.items() if float(x) >= 16} for n, by_x in heap.items()}
    parts.append(lab_page.lines(named(large, "metadata_share"), "MiB live", "metadata, percent of live bytes", doubling=True))
    return parts


def main():
    p = lab_cli.parser("tools/growth", "How cost grows with the heap and with threads.", "hakmem,hakmem-hardened", "glibc,mimalloc2,limit")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--max-mib", type=int, default=8192, help="the largest heap; it must fit into memory with room to spare")
    p.add_argument("--max-threads", type=int, default=64)
    p.add_argument("--quick", action="store_true", help="one round of a tenth of the workload, heaps to 64 MiB")
    args = p.parse_args()
    programs = lab_cli.programs_of(args)
    contestants = lab_cli.contestants(args, programs)
    rounds, mib = (1, min(64, args.max_mib)) if args.quick else (args.rounds, args.max_mib)
    runs = run_rounds(programs, contestants, points(mib, args.max_threads, 10 if args.quick else 100), rounds)
    results = lab_cli.head("growth", contestants, rounds=rounds, summary=summarise(runs))
    lab_cli.write(results, args, "hakmem: how cost grows", tables(results), plots(results))


if __name__ == "__main__":
    main()
