#!/usr/bin/env python3
"""lab_main: the command line of tools/bench. Measures allocators against each other; writes JSON, tables and a page."""
import os
import subprocess
import sys
import tempfile

import lab_cli
import lab_count
import lab_page
import lab_programs
import lab_run
import lab_table


def arguments():
    p = lab_cli.parser("tools/bench", "Measures hakmem against its peers, interleaved.", "hakmem,hakmem-hardened", "all")
    p.add_argument("--workloads", default=",".join(lab_run.ANCHOR_WORKLOADS), help="comma-separated; all, life, latency: those of a group; see bench/README.md")
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--base", default="mimalloc2", help="the peer that ratios refer to")
    p.add_argument("--against", metavar="REV", help="also builds and measures this revision, as NAME@old")
    p.add_argument("--quick", action="store_true", help="3 rounds of a tenth of the workload: to see that all is well")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting for every workload (slots=...)")
    p.add_argument("--traces", metavar="DIR", help="the traces there (tools/traces makes them) instead of workloads: replay and sizes")
    p.add_argument("--real", nargs="?", const="", metavar="NAMES", help="real programs (all, or comma-separated) instead of workloads")
    p.add_argument("--os-calls", action="store_true", help="also counts system calls, with strace")
    p.add_argument("--instructions", action="store_true", help="instruction counts by callgrind instead of times")
    p.add_argument("--seed", type=int, help="of the shuffle")
    args = p.parse_args()
    args.rounds = 3 if args.quick else args.rounds
    if args.rounds < 1:
        p.error("--rounds must be at least 1")
    return args


def workloads_of(args, programs):
    listed = subprocess.run([os.path.join(programs, "workloads"), "--list"], capture_output=True, text=True, check=True).stdout
    known = [line.split()[0] for line in listed.splitlines()]
    groups = {"all": [w for w in known if w not in lab_run.OWN_WORKLOADS], "life": lab_run.LIFE_WORKLOADS,
              "latency": lab_run.LATENCY_WORKLOADS}
    workloads = [workload for word in args.workloads.split(",") for workload in groups.get(word, [word])]
    for workload in workloads:
        if workload not in known or workload in lab_run.TRACE_WORKLOADS:
            hint = "; needs a trace, see --traces" if workload in lab_run.TRACE_WORKLOADS else ""
            raise SystemExit(f"bench: unknown workload {workload}{hint}; known: {', '.join(known)}")
    return workloads


def trace_workloads(folder, common):
    """{workload: settings}: replay and sizes of every trace in the folder."""
    files = sorted(f for f in os.listdir(folder) if f.endswith(".trace")) if os.path.isdir(folder) else []
    if not files:
        raise SystemExit(f"bench: no *.trace in {folder}; tools/traces makes them")
    return {f"{kind}:{f[:-len('.trace')]}": ["file=" + os.path.join(folder, f), *common]
            for kind in lab_run.TRACE_WORKLOADS for f in files}


OS_CALLS_SCALE = "scale=5"  # percent: strace stops the program at each call, and some allocators make one in every operation


def os_calls(programs, contestants, workloads, extra):
    out = {}
    for workload in workloads:
        for c in contestants.values():
            if c.name != "limit" or workload in lab_run.LIMIT_WORKLOADS:
                print(f"counting the system calls of {workload} on {c.name}", file=sys.stderr, flush=True)
                command = lab_run.command_of(programs, workload, extra) + [OS_CALLS_SCALE]
                out.setdefault(workload, {})[c.name] = lab_run.count_os_calls(command, c)
    return out


def os_call_rows(counts, peers):
    cell = lambda found: f"{found['calls_per_op']:.1e}" if "calls_per_op" in found else "-"
    return [["OS calls per operation"] + peers] + [[workload] + [cell(by_peer.get(p, {})) for p in peers]
                                                   for workload, by_peer in counts.items()]


def os_call_tables(results):
    found = results.get("os_calls")
    return [("System calls in the measured part, over a twentieth of the workload", os_call_rows(found, results["peers"]))] if found else []


def measure_workloads(args, programs, contestants):
    extra = list(args.set) + (["scale=10"] if args.quick else [])
    if args.traces:
        extra = trace_workloads(args.traces, extra)
        workloads = list(extra)
    else:
        workloads = workloads_of(args, programs)
    runs = lab_run.run_rounds(programs, contestants, workloads, args.rounds, extra, args.seed)
    results = results_of(args, "traces" if args.traces else "workloads", contestants, runs, lab_run.summarise(runs, workloads))
    results["settings"] = list(args.set)
    tables = lab_table.all_tables(results)
    if args.os_calls:
        results["os_calls"] = os_calls(programs, contestants, workloads, extra)
        tables += os_call_tables(results)
    return results, tables


def results_of(args, kind, contestants, runs, summary):
    base = args.base if args.base in contestants else next(iter(contestants))
    return lab_cli.head(kind, contestants, base=base, rounds=args.rounds, summary=summary, runs=runs)


def measure_programs(args, contestants):
    contestants.pop("limit", None)
    with tempfile.TemporaryDirectory() as folder:
        runs = lab_programs.run_rounds(contestants, [n for n in args.real.split(",") if n], args.rounds, folder)
    results = results_of(args, "programs", contestants, runs, lab_programs.summarise(runs))
    return results, lab_programs.tables(results["summary"], results["peers"], results["base"])


def main():
    args = arguments()
    programs = lab_cli.programs_of(args)
    contestants = lab_cli.contestants(args, programs)
    if args.instructions:
        results = lab_cli.head("instructions", contestants, summary=lab_count.count(programs, contestants))
        lab_cli.write(results, args, "Instructions of hakmem and its peers", [lab_count.table(results["summary"])])
        return 0
    results, tables = measure_programs(args, contestants) if args.real is not None else measure_workloads(args, programs, contestants)
    lab_cli.write(results, args, "hakmem against its peers", tables, lab_page.comparison(results))
    return 1 if any("error" in run for run in results["runs"]) else 0


if __name__ == "__main__":
    sys.exit(main())
