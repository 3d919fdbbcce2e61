#!/usr/bin/env python3
"""lab_main: the command line of tools/bench. Measures allocators against each other; writes JSON, a table and a page."""
import argparse
import json
import os
import sys
import tempfile
import time

import lab_page
import lab_peers
import lab_programs
import lab_run
import lab_table


def arguments():
    p = argparse.ArgumentParser(prog="tools/bench", description="Measures hakmem against its peers, interleaved.")
    p.add_argument("--works", default=",".join(lab_run.ANCHOR_WORKS), help="comma-separated; see bench/README.md; all")
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--variants", default="hakmem,hakmem-hardened", help="of " + ",".join(lab_peers.VARIANTS))
    p.add_argument("--peers", default="all", help="comma-separated, or all, or none")
    p.add_argument("--with", action="append", default=[], dest="others", metavar="NAME=PATH[,VAR=VALUE]")
    p.add_argument("--base", default="mimalloc2", help="the peer that ratios refer to")
    p.add_argument("--against", metavar="REV", help="also builds and measures this revision, as NAME@old")
    p.add_argument("--quick", action="store_true", help="3 rounds of a tenth of the work: to see that all is well")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting for every work (slots=...)")
    p.add_argument("--real", nargs="?", const="", metavar="NAMES", help="real programs (all, or comma-separated) instead of works")
    p.add_argument("--os-calls", action="store_true", help="also counts system calls, with strace")
    p.add_argument("--instructions", action="store_true", help="instruction counts by callgrind instead of times")
    p.add_argument("--seed", type=int, help="of the shuffle")
    p.add_argument("--programs", metavar="DIR", help="use the programs and libraries there instead of building")
    p.add_argument("--out", default=os.path.join(lab_peers.ROOT, "bench", "out"))
    return p.parse_args()


def contestants_of(args, programs):
    names = [n for n in args.variants.split(",") if n and n != "none"]
    found = lab_peers.variants(names, programs)
    if args.against:
        old = lab_peers.build_revision(args.against, os.path.join(args.out, "old"))
        for name, contestant in lab_peers.variants(names, old).items():
            contestant.name = name + "@old"
            found[contestant.name] = contestant
    peers = lab_peers.debian_peers() if args.peers != "none" else {}
    wanted = list(peers) if args.peers in ("all", "none") else args.peers.split(",")
    for name in wanted:
        if name != "limit" and name not in peers:
            raise SystemExit(f"bench: unknown peer {name}; known: {', '.join(peers)}, limit")
        found[name] = peers[name] if name in peers else None
    if args.peers == "all" or "limit" in wanted:
        found["limit"] = lab_peers.Contestant("limit", os.path.join(programs, "liblimit.so"))
    for text in args.others:
        other = lab_peers.with_argument(text)
        found[other.name] = other
    if not found:
        raise SystemExit("bench: nobody to measure")
    return found


def works_of(args, programs):
    listed = os.popen(f"'{programs}/works' --list").read().split("\n")
    known = [line.split()[0] for line in listed if line]
    works = known if args.works == "all" else args.works.split(",")
    for work in works:
        if work not in known:
            raise SystemExit(f"bench: unknown work {work}; known: {', '.join(known)}")
    return works


def os_calls(programs, contestants, works, extra):
    out = {}
    for work in works:
        for c in contestants.values():
            if c.name == "limit" and work not in lab_run.LIMIT_WORKS:
                continue
            command = [os.path.join(programs, "works"), work, *extra]
            out.setdefault(work, {})[c.name] = lab_run.count_os_calls(command, c)
    return out


def os_call_rows(counts, peers):
    rows = [["OS calls per operation"] + peers]
    for work, by_peer in counts.items():
        rows.append([work] + [f"{by_peer[p]['calls_per_op']:.1e}" if "calls_per_op" in by_peer.get(p, {}) else "-"
                              for p in peers])
    return rows


def measure(args):
    programs = args.programs or lab_peers.build(os.path.join(args.out, "bin"))
    contestants, works = contestants_of(args, programs), works_of(args, programs)
    if args.instructions:
        import lab_count
        return lab_count.report(programs, contestants, args.out)
    rounds = 3 if args.quick else args.rounds
    if args.real is not None:
        return real_programs(args, contestants, rounds)
    extra = list(args.set) + (["scale=10"] if args.quick else [])
    runs = lab_run.run_rounds(programs, contestants, works, rounds, extra, args.seed)
    results = results_of(args, contestants, rounds, runs, lab_run.summarise(runs, works))
    results["settings"] = extra
    tables = lab_table.all_tables(results)
    if args.os_calls:
        results["os_calls"] = os_calls(programs, contestants, works, extra)
        tables.append(("System calls in the measured part", os_call_rows(results["os_calls"], results["peers"])))
    return write(results, args.out, "bench", tables)


def real_programs(args, contestants, rounds):
    contestants.pop("limit", None)
    with tempfile.TemporaryDirectory() as folder:
        runs = lab_programs.run_rounds(contestants, [n for n in args.real.split(",") if n], rounds, folder)
    results = results_of(args, contestants, rounds, runs, lab_programs.summarise(runs))
    return write(results, args.out, "programs", lab_programs.tables(results["summary"], results["peers"], results["base"]))


def results_of(args, contestants, rounds, runs, summary):
    base = args.base if args.base in contestants else next(iter(contestants))
    return {"format": 1, "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "machine": lab_peers.machine(),
            "peers": list(contestants), "base": base, "rounds": rounds, "summary": summary, "runs": runs}


def write(results, out, kind, tables):
    os.makedirs(out, exist_ok=True)
    stem = os.path.join(out, kind + "-" + results["date"].replace(":", ""))
    with open(stem + ".json", "w") as f:
        json.dump(results, f, indent=1)
    with open(stem + ".html", "w") as f:
        f.write(lab_page.page(results, tables))
    for title, rows in tables:
        print(f"\n{title}\n{lab_table.grid(rows)}")
    print(f"\nresults: {stem}.json\npage:    {stem}.html")
    return 1 if any("error" in run for run in results["runs"]) else 0


if __name__ == "__main__":
    sys.exit(measure(arguments()))
