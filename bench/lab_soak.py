#!/usr/bin/env python3
"""lab_soak: the command line of tools/soak. Long-running processes take turns, epoch by epoch; each is sampled into CSV.

The analysis: RSS drift in percent, CV of epoch throughput, p50/p1/p0.1 of epoch throughput (the tail proxy) and p50 to
p99.99 of sampled latency. The first tenth of the epochs is warm-up and is left out of drift and CV.
"""
import argparse
import csv
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

import lab_main
import lab_page
import lab_peers
import lab_run
import lab_table

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


def soak(contestants, command, minutes, csv_path, with_os_calls):
    """Epochs in turn until every contestant has had `minutes`; {name: [epoch values]}."""
    runners = [Runner(c, command, with_os_calls) for c in contestants.values()]
    epochs, started = {r.name: [] for r in runners}, time.time()
    end = started + 60 * minutes * len(runners)
    with open(csv_path, "w", newline="") as f:
        out = csv.DictWriter(f, ["peer", "epoch", "seconds", "ops_per_s", "os_calls"] + FIELDS)
        out.writeheader()
        while time.time() < end:
            for runner in runners:
                values = runner.epoch()
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


def low_percentile(values, percent):
    """The value below which `percent` of the epochs fall (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def analyse(epochs):
    """One summary of a contestant's epochs."""
    steady = epochs[len(epochs) // 10:]
    rates, rss = [e["ops_per_s"] for e in steady], [e["rss_kib"] for e in steady]
    part = max(1, len(steady) // 10)
    first, last = statistics.mean(rss[:part]), statistics.mean(rss[-part:])
    calls = [e["os_calls"] for e in epochs if e["os_calls"] != ""]
    return {"epochs": len(epochs), "mops": statistics.mean(rates) / 1e6, "cv": lab_run.spread(rates),
            "rss_mib": last / 1024, "rss_drift": 100 * (last - first) / first,
            "p50_mops": statistics.median(rates) / 1e6, "p1_mops": low_percentile(rates, 1) / 1e6,
            "p0.1_mops": low_percentile(rates, 0.1) / 1e6,
            "calls_per_op": sum(calls) / sum(e["ops"] for e in epochs) if calls else None,
            "latency_ns": {k: epochs[-1][k] for k in FIELDS if k.startswith("p")}}


def rows_of(analysis):
    rows = [["peer", "Mop/s", "CV %", "RSS MiB", "drift %", "p50", "p1", "p0.1 Mop/s", "p50", "p99", "p99.9", "p99.99 ns", "OS calls/op"]]
    for name, a in analysis.items():
        rows.append([name, f"{a['mops']:.1f}", f"{a['cv']:.2f}", f"{a['rss_mib']:.1f}", f"{a['rss_drift']:.2f}",
                     f"{a['p50_mops']:.1f}", f"{a['p1_mops']:.1f}", f"{a['p0.1_mops']:.1f}",
                     *[f"{v:.0f}" for v in a["latency_ns"].values()],
                     "-" if a["calls_per_op"] is None else f"{a['calls_per_op']:.1e}"])
    return rows


def page(results, epochs, rows):
    over_time = lambda key, scale: {n: [(e["seconds"] / 60, e[key] / scale) for e in es] for n, es in epochs.items()}
    machine = ", ".join(f"{k}: {v}" for k, v in results["machine"].items())
    return lab_page.document("hakmem soak", [
        f"<p>{results['date']}; {results['minutes']} minutes each, epochs in turn. <small>{lab_page.esc(machine)}</small></p>",
        lab_page.table(rows), "<h2>Throughput over time</h2>",
        lab_page.lines(over_time("ops_per_s", 1e6), "minutes", "M operations per CPU second, by epoch"),
        "<h2>Resident memory over time</h2>", lab_page.lines(over_time("rss_kib", 1024), "minutes", "RSS MiB")])


def main():
    p = argparse.ArgumentParser(prog="tools/soak", description="Long runs of hakmem and peers, taking turns.")
    p.add_argument("--minutes", type=float, default=1, help="of each contestant")
    p.add_argument("--variants", default="hakmem,hakmem-speed,hakmem-hardened")
    p.add_argument("--peers", default="mimalloc2")
    p.add_argument("--with", action="append", default=[], dest="others", metavar="NAME=PATH")
    p.add_argument("--ops", type=int, default=50_000_000, help="operations of an epoch")
    p.add_argument("--working-set", type=int, default=400)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--os-calls", action="store_true", help="count system calls with strace --seccomp-bpf")
    p.add_argument("--programs", metavar="DIR")
    p.add_argument("--out", default=os.path.join(lab_peers.ROOT, "bench", "out"))
    args = p.parse_args()
    args.against = None
    programs = args.programs or lab_peers.build(os.path.join(args.out, "bin"))
    os.makedirs(args.out, exist_ok=True)
    stem = os.path.join(args.out, "soak-" + time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))
    command = [os.path.join(programs, "soak"), str(args.ops), str(args.working_set), str(args.seed)]
    epochs = soak(lab_main.contestants_of(args, programs), command, args.minutes, stem + ".csv", args.os_calls)
    analysis = {name: analyse(es) for name, es in epochs.items()}
    results = {"format": 1, "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "minutes": args.minutes,
               "machine": lab_peers.machine(), "analysis": analysis}
    with open(stem + ".json", "w") as f:
        json.dump(results, f, indent=1)
    rows = rows_of(analysis)
    with open(stem + ".html", "w") as f:
        f.write(page(results, epochs, rows))
    print(f"{lab_table.grid(rows)}\n\nepochs:  {stem}.csv\nresults: {stem}.json\npage:    {stem}.html")


if __name__ == "__main__":
    main()
