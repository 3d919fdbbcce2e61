#!/usr/bin/env python3
"""lab_mixed: run_mixed_10_cleanenv, the ten-run protocol: random_mixed in a scrubbed environment, interleaved and shuffled.

Standard: the ordinary program, the allocator preloaded. FAST: the program that is linked statically with the allocator
and optimised as a whole. The two are never mixed in one table. --os-calls counts the system calls of one run.
"""
import os
import random
import re
import subprocess
import sys

import lab_cli
import lab_peers
import lab_run
from lab_stats import described

DEFAULT = ["200000000", "400", "1"]  # like the described system; a tenth takes 0.15 s: too noisy


class Entry:
    """One program with one contestant."""

    def __init__(self, name, build, program, contestant):
        self.name, self.build, self.program, self.contestant = name, build, program, contestant


def fast_entries(names, programs):
    """The FAST builds of our variants, with their profiles, and of the limit allocator."""
    for name in names:
        library, preset = lab_peers.VARIANTS[name]
        program = os.path.join(programs, "random_mixed_fast_" + library[len("lib"):-len(".so")])
        yield Entry(name, "FAST", program, lab_peers.Contestant(name, None, lab_peers.PRESETS[preset]))
    yield Entry("limit", "FAST", os.path.join(programs, "random_mixed_fast_limit"), lab_peers.Contestant("limit", None))


def entries_of(args, programs):
    standard = os.path.join(programs, "random_mixed")
    entries = [Entry(n, "Standard", standard, c) for n, c in lab_cli.contestants(args, programs).items()]
    return entries + list(fast_entries(lab_cli.names_of(args.variants), programs) if args.fast else [])


def run_rounds(entries, operations, rounds):
    """{build: {name: [runs]}}"""
    runs = {}
    for number in range(rounds):
        for entry in random.sample(entries, len(entries)):
            run = lab_run.run_once([entry.program, *operations], entry.contestant)
            if "error" in run:
                raise SystemExit(f"random_mixed on {entry.name}, {entry.build}: {run['error']}")
            runs.setdefault(entry.build, {}).setdefault(entry.name, []).append(run)
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return runs


def summarise(runs):
    """{build: {name: the figures of the ten-run protocol, in M operations per CPU second, and peak memory}}"""
    figures = lambda group: dict(described([run["ops_per_cpu_s"] / 1e6 for run in group]),
                                 rates=[run["ops_per_cpu_s"] / 1e6 for run in group],
                                 hwm_kib=described([run["hwm_kib"] for run in group])["median"])
    return {build: {name: figures(group) for name, group in by_name.items()} for build, by_name in runs.items()}


def rows_of(by_name):
    rows = [["M operations per CPU second", "mean", "median", "sd", "CV %", "min", "max", "peak RSS MiB"]]
    for name, found in by_name.items():
        rows.append([name, *(f"{found[key]:.2f}" for key in ("mean", "median", "sd", "cv", "min", "max")), f"{found['hwm_kib'] / 1024:.1f}"])
    return rows


def own_count(entry, operations):
    """The system calls that HAKMEM_SS_OS_STATS=1 reports at exit: the allocator's, from start to end; None for
    another allocator."""
    if entry.name not in lab_peers.VARIANTS:
        return None
    env = dict(entry.contestant.environment(), HAKMEM_SS_OS_STATS="1")
    done = subprocess.run([entry.program, *operations], env=env, capture_output=True, text=True)
    found = re.search(r"OS statistics: .*?total (\d+)", done.stderr)
    return int(found[1]) if found else None


def budget(entries, operations):
    """{name: system calls}, each counted by strace, and by the allocator itself where it can."""
    counts = {}
    for entry in (e for e in entries if e.build == "Standard"):
        print(f"counting the system calls of {entry.name}", file=sys.stderr, flush=True)
        found = lab_run.count_os_calls([entry.program, *operations], entry.contestant)
        own = own_count(entry, operations)
        counts[entry.name] = dict(found, own_calls=own, own_per_op=own / int(operations[0]) if own is not None else None)
    return counts


def budget_rows(counts):
    rows = [["OS calls", "in the steps", "per operation", "whole process", "by its own count", "per operation"]]
    for name, found in counts.items():
        if "error" in found:
            rows.append([name, "FAILED", "", "", "", ""])
            continue
        own = ["-", "-"] if found["own_calls"] is None else [str(found["own_calls"]), f"{found['own_per_op']:.2e}"]
        rows.append([name, str(sum(found["calls"].values())), f"{found['calls_per_op']:.2e}", str(found["process_calls"]), *own])
    return rows


def arguments():
    p = lab_cli.parser("tools/run_mixed_10_cleanenv", "The ten-run protocol of random_mixed.",
                       "hakmem,hakmem-speed,hakmem-hardened", "glibc,mimalloc2")
    p.add_argument("operations", nargs="*", metavar="OPS WORKING_SET SEED", help="default: " + " ".join(DEFAULT))
    p.add_argument("--rounds", type=int, default=10)
    p.add_argument("--no-fast", dest="fast", action="store_false", help="without the FAST builds")
    p.add_argument("--os-calls", action="store_true", help="system calls of one run each, instead of ten runs' times")
    args = p.parse_args()
    args.operations = args.operations or DEFAULT
    if len(args.operations) != 3 or not all(o.isdigit() for o in args.operations):
        p.error("expected OPS WORKING_SET SEED, three numbers")
    if args.rounds < 1:
        p.error("--rounds must be at least 1")
    return args


def main():
    args = arguments()
    programs = lab_cli.programs_of(args)
    entries = entries_of(args, programs)
    names = list(dict.fromkeys(e.name for e in entries))
    if args.os_calls:
        counts = budget(entries, args.operations)
        results = lab_cli.head("budget", names, operations=args.operations, summary=counts)
        lab_cli.write(results, args, "hakmem: system calls", [("System calls of random_mixed " + " ".join(args.operations), budget_rows(counts))])
        return
    runs = run_rounds(entries, args.operations, args.rounds)
    results = lab_cli.head("mixed", names, operations=args.operations, rounds=args.rounds, summary=summarise(runs), runs=runs)
    lab_cli.write(results, args, "hakmem: the ten-run protocol", tables(results))


def tables(results):
    words = {"Standard": "the allocator preloaded", "FAST": "linked statically with the allocator"}
    return [(f"random_mixed {' '.join(results['operations'])}, {build} build: {words[build]}", rows_of(by_name))
            for build, by_name in results["summary"].items()]


if __name__ == "__main__":
    main()
