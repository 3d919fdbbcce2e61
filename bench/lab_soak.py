#!/usr/bin/env python3
"""lab_soak: the command line of tools/soak. Long-running processes take turns, epoch by epoch, one or --jobs at a time; each is
sampled into CSV.

The analysis: RSS drift in percent, CV of epoch throughput, p50/p1/p0.1 of epoch throughput (the tail proxy) and p50 to
p99.99 of sampled latency. The first tenth of the epochs is warm-up and is left out of drift and CV.
"""
import concurrent.futures
import csv
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

import lab_cli
import lab_page
import lab_run
from lab_stats import drift, low_percentile, spread, thinned

FIELDS = ["ops", "cpu_s", "rss_kib", "hwm_kib", "minor_faults", "p50_ns", "p99_ns", "p99.9_ns", "p99.99_ns"]


class Runner:
    """One long-running process, and optionally strace beside it, which stops only the memory system calls."""

    def __init__(self, contestant, command, with_os_calls):
        self.name, env, self.trace, self.inside = contestant.name, contestant.environment(), None, False
        if with_os_calls:
            self.trace = tempfile.NamedTemporaryFile("r", suffix=".strace")
            preload = env.pop("LD_PRELOAD", None)
            command = (["strace", "-f", "--seccomp-bpf", "-e", "trace=" + lab_run.MEMORY_CALLS, "-o", self.trace.name]
                       + (["-E", "LD_PRELOAD=" + preload] if preload else []) + command)
        self.process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def epoch(self):
        self.process.stdin.write(b"x")
        self.process.stdin.flush()
        line = self.process.stdout.readline().decode()
        if not line:
            raise SystemExit(f"soak: {self.name} ended with status {self.process.wait()}")
        values = dict(zip(FIELDS, (float(v) for v in line.split(","))))
        values["ops_per_s"] = values["ops"] / values["cpu_s"]
        values["os_calls"] = self.os_calls() if self.trace else ""
        return values

    def os_calls(self):
        """Calls inside the epoch just run: epochs are bracketed by getppid calls."""
        calls = 0
        for name in re.findall(r"^\d+\s+(\w+)\(", self.trace.read(), re.M):
            self.inside ^= name == "getppid"
            calls += self.inside and name != "getppid"
        return calls

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def turns(pool, runners, number):
    """Everyone's next epoch, as many at a time as the pool has threads. The order changes from turn to turn, so that
    all run beside all others."""
    begin = number % len(runners)
    order = runners[begin:] + runners[:begin]
    return zip(order, pool.map(lambda runner: runner.epoch(), order))


def soak(contestants, command, minutes, csv_path, with_os_calls, jobs=1):
    """Epochs in turn until the contestants have had `minutes` each; {name: [epoch values]}."""
    runners = [Runner(c, command, with_os_calls) for c in contestants.values()]
    epochs, started = {r.name: [] for r in runners}, time.time()
    end = started + 60 * minutes * len(runners) / jobs
    with open(csv_path, "w", newline="") as f, concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        out = csv.DictWriter(f, ["peer", "epoch", "seconds", "ops_per_s", "os_calls"] + FIELDS)
        out.writeheader()
        while time.time() < end:
            for runner, values in turns(pool, runners, len(epochs[runners[0].name])):
                values.update(peer=runner.name, epoch=len(epochs[runner.name]), seconds=round(time.time() - started, 2))
                epochs[runner.name].append(values)
                out.writerow(values)
            f.flush()
            left = max(0, int(end - time.time()))
            if len(epochs[runners[0].name]) % 10 == 0:
                print(f"{len(epochs[runners[0].name])} epochs each, {left // 60}m{left % 60:02}s left", file=sys.stderr, flush=True)
    for runner in runners:
        runner.close()
    return epochs


def analyse(epochs):
    """One summary of a contestant's epochs."""
    steady = epochs[len(epochs) // 10:]
    rates, rss = [e["ops_per_s"] / 1e6 for e in steady], [e["rss_kib"] for e in steady]
    calls = [e["os_calls"] for e in epochs if e["os_calls"] != ""]
    return {"epochs": len(epochs), "mops": statistics.mean(rates), "cv": spread(rates),
            "rss_mib": statistics.median(rss) / 1024, "rss_drift": drift(rss),
            "p50_mops": statistics.median(rates), "p1_mops": low_percentile(rates, 1),
            "p0.1_mops": low_percentile(rates, 0.1),
            "calls_per_op": sum(calls) / sum(e["ops"] for e in epochs) if calls else None,
            "latency_ns": {k: epochs[-1][k] for k in FIELDS if k.startswith("p")}}


POINTS = 300  # of a plotted line


def series_of(epochs):
    """The points of one contestant's plots: minutes, and for each the mean and the lowest throughput and the highest
    RSS."""
    minutes = [e["seconds"] / 60 for e in epochs]
    line = lambda key, scale, choose: thinned([(m, e[key] / scale) for m, e in zip(minutes, epochs)], POINTS, choose)
    return {"mops": line("ops_per_s", 1e6, statistics.mean), "mops_min": line("ops_per_s", 1e6, min),
            "rss_mib": line("rss_kib", 1024, max)}


def read_csv(path):
    """{contestant: [epoch values]} of an epoch CSV."""
    epochs = {}
    with open(path, newline="") as f:
        for row in csv.DictReader(f):
            values = {k: row[k] if k == "peer" or row[k] == "" else float(row[k]) for k in row}
            epochs.setdefault(row["peer"], []).append(values)
    if not epochs:
        raise SystemExit(f"soak: no epochs in {path}")
    return epochs


def rows_of(analysis):
    rows = [["peer", "Mop/s", "CV %", "RSS MiB", "drift %", "p50", "p1", "p0.1 Mop/s", "p50", "p99", "p99.9", "p99.99 ns", "OS calls/op"]]
    for name, a in analysis.items():
        rows.append([name, f"{a['mops']:.1f}", f"{a['cv']:.2f}", f"{a['rss_mib']:.1f}", f"{a['rss_drift']:.2f}",
                     f"{a['p50_mops']:.1f}", f"{a['p1_mops']:.1f}", f"{a['p0.1_mops']:.1f}",
                     *[f"{v:.0f}" for v in a["latency_ns"].values()],
                     "-" if a["calls_per_op"] is None else f"{a['calls_per_op']:.1e}"])
    return rows


def tables(results):
    at_a_time = f", {results['jobs']} at a time" if results.get("jobs", 1) > 1 else ""
    return [(f"Soak, {results['minutes']:g} minutes each, epochs in turn{at_a_time}", rows_of(results["summary"]))]


def plots(results):
    over_time = lambda key: {name: line[key] for name, line in results["series"].items()}
    return ["<h2>Throughput over time</h2>",
            lab_page.lines(over_time("mops"), "minutes", "M operations per CPU second, mean of neighbouring epochs"),
            lab_page.lines(over_time("mops_min"), "minutes", "the same, slowest of neighbouring epochs"),
            "<h2>Resident memory over time</h2>", lab_page.lines(over_time("rss_mib"), "minutes", "RSS MiB")]


def arguments():
    p = lab_cli.parser("tools/soak", "Long runs of hakmem and peers, taking turns.", "hakmem,hakmem-speed,hakmem-hardened", "mimalloc2")
    p.add_argument("--minutes", type=float, default=1, help="of each contestant, on average: all run as many epochs")
    p.add_argument("--jobs", type=int, default=1, help="contestants that run at a time; at most one per processor of an idle machine")
    p.add_argument("--ops", type=int, default=50_000_000, help="operations of an epoch")
    p.add_argument("--working-set", type=int, default=400)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--os-calls", action="store_true", help="count system calls with strace --seccomp-bpf")
    p.add_argument("--analyse", metavar="CSV", help="only analyse the epochs of an earlier soak, which had so many --jobs")
    args = p.parse_args()
    if args.minutes <= 0:
        p.error("--minutes must be above 0")
    if not 1 <= args.jobs <= os.cpu_count():
        p.error(f"--jobs must be from 1 to {os.cpu_count()}")
    return args


def run(args):
    programs = lab_cli.programs_of(args)
    os.makedirs(args.out, exist_ok=True)
    path = os.path.join(args.out, "soak-" + time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()) + ".csv")
    command = [os.path.join(programs, "soak"), str(args.ops), str(args.working_set), str(args.seed)]
    epochs = soak(lab_cli.contestants(args, programs), command, args.minutes, path, args.os_calls, args.jobs)
    print("epochs:", path)
    return epochs, args.minutes


def main():
    args = arguments()
    if args.analyse:
        epochs = read_csv(args.analyse)
        minutes = max(e["seconds"] for es in epochs.values() for e in es) * args.jobs / 60 / len(epochs)
    else:
        epochs, minutes = run(args)
    results = lab_cli.head("soak", epochs, minutes=round(minutes, 2), jobs=args.jobs, summary={n: analyse(es) for n, es in epochs.items()},
                           series={n: series_of(es) for n, es in epochs.items()})
    lab_cli.write(results, args, "hakmem soak", tables(results), plots(results))


if __name__ == "__main__":
    main()
