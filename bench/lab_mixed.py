#!/usr/bin/env python3
"""lab_mixed: run_mixed_10_cleanenv, the ten-run protocol: random_mixed in a scrubbed environment.

Contestants are preloaded, interleaved and shuffled.
"""
import argparse
import json
import os
import random
import statistics
import sys
import time

import lab_main
import lab_peers
import lab_run
import lab_table


def rows_of(rates):
    rows = [["random_mixed, M ops/s", "mean", "median", "sd", "CV %", "min", "max", "peak RSS MiB"]]
    for name, runs in rates.items():
        values = [run["ops_per_cpu_s"] / 1e6 for run in runs]
        deviation = statistics.stdev(values) if len(values) > 1 else 0.0
        rows.append([name] + [f"{v:.2f}" for v in (statistics.mean(values), statistics.median(values), deviation,
                                                   lab_run.spread(values), min(values), max(values))]
                    + [f"{statistics.median(run['hwm_kib'] for run in runs) / 1024:.1f}"])
    return rows


def main():
    p = argparse.ArgumentParser(prog="tools/run_mixed_10_cleanenv")
    p.add_argument("operations", nargs="*", metavar="OPS WORKING_SET SEED", help="default: 20000000 400 1")
    p.add_argument("--rounds", type=int, default=10)
    p.add_argument("--variants", default="hakmem,hakmem-speed,hakmem-hardened")
    p.add_argument("--peers", default="glibc,mimalloc2")
    p.add_argument("--with", action="append", default=[], dest="others", metavar="NAME=PATH")
    p.add_argument("--programs", metavar="DIR")
    p.add_argument("--out", default=os.path.join(lab_peers.ROOT, "bench", "out"))
    args = p.parse_args()
    args.against = None
    operations = args.operations or ["20000000", "400", "1"]
    if len(operations) != 3:
        p.error("expected OPS WORKING_SET SEED")
    programs = args.programs or lab_peers.build(os.path.join(args.out, "bin"))
    commands = {n: (os.path.join(programs, "random_mixed"), c) for n, c in lab_main.contestants_of(args, programs).items()}
    rates = {name: [] for name in commands}
    for number in range(args.rounds):
        for name in random.sample(list(commands), len(commands)):
            program, contestant = commands[name]
            run = lab_run.run_once([program, *operations], contestant)
            if "error" in run:
                raise SystemExit(f"random_mixed on {name}: {run['error']}")
            rates[name].append(run)
        print(f"round {number + 1} of {args.rounds}", file=sys.stderr, flush=True)
    os.makedirs(args.out, exist_ok=True)
    path = os.path.join(args.out, "mixed-" + time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()) + ".json")
    with open(path, "w") as f:
        json.dump({"format": 1, "operations": operations, "machine": lab_peers.machine(), "runs": rates}, f, indent=1)
    print(f"{lab_table.grid(rows_of(rates))}\n\nresults: {path}")


if __name__ == "__main__":
    main()
