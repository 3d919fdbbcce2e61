"""lab_cli: what the commands of the laboratory have in common: the contestants, the builds, the place of the
results."""
import argparse
import json
import os
import sys
import time

import lab_page
import lab_peers
import lab_store
import lab_table


def parser(prog, description, variants, peers):
    p = argparse.ArgumentParser(prog=prog, description=description)
    p.add_argument("--variants", default=variants, help="of " + ",".join(lab_peers.VARIANTS) + ", or none")
    p.add_argument("--peers", default=peers, help="comma-separated, or all, or none; limit is one of them")
    p.add_argument("--with", action="append", default=[], dest="others", metavar="NAME=PATH[,VAR=VALUE]",
                   help="any other allocator's shared object")
    p.add_argument("--programs", metavar="DIR", help="use the programs and libraries there instead of building")
    p.add_argument("--out", default=os.path.join(lab_peers.ROOT, "bench", "out"), metavar="DIR")
    p.add_argument("--save", metavar="FILE", help="also writes the small form of the results there")
    return p


def names_of(text):
    return [n for n in text.split(",") if n and n != "none"]


def programs_of(args):
    """The folder of programs and libraries, built unless a folder was given."""
    return args.programs or lab_peers.build(os.path.join(args.out, "bin"), names_of(args.variants))


def contestants(args, programs):
    found = lab_peers.variants(names_of(args.variants), programs)
    if getattr(args, "against", None):
        old = lab_peers.build_revision(args.against, os.path.join(args.out, "old"), names_of(args.variants))
        for name, contestant in lab_peers.variants(names_of(args.variants), old).items():
            contestant.name = name + "@old"
            found[contestant.name] = contestant
    peers, missing = lab_peers.debian_peers(), lab_peers.missing_peers()
    wanted = [*peers, *missing, "limit"] if args.peers == "all" else names_of(args.peers)
    for name in wanted:
        if name == "limit":
            found[name] = lab_peers.Contestant(name, os.path.join(programs, "liblimit.so"))
        elif name in peers:
            found[name] = peers[name]
        elif name in missing:
            print(f"bench: {name} is left out: {missing[name]} is not installed (tools/setup lab, if this distribution has it)", file=sys.stderr)
        else:
            raise SystemExit(f"bench: unknown peer {name}; known: {', '.join(peers)}, limit")
    for text in args.others:
        other = lab_peers.with_argument(text)
        found[other.name] = other
    if not found:
        raise SystemExit("bench: nobody to measure")
    return found


def head(kind, peers, **more):
    """The head of every results file."""
    return {"format": 1, "kind": kind, "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "machine": lab_peers.machine(), "peers": list(peers), **more}


def write(results, args, title, tables, plots=()):
    """The results as JSON, a page, the tables on the terminal, and the small form if asked for. `plots`: parts of a page."""
    os.makedirs(args.out, exist_ok=True)
    stem = os.path.join(args.out, results["kind"] + "-" + results["date"].replace(":", ""))
    with open(stem + ".json", "w") as f:
        json.dump(results, f, indent=1)
    with open(stem + ".html", "w") as f:
        f.write(lab_page.document(title, [lab_page.provenance(results), *plots, *lab_page.tables(tables)]))
    if args.save:
        lab_store.keep(results, args.save)
    for heading, rows in tables:
        print(f"\n{heading}\n{lab_table.grid(rows)}")
    print(f"\nresults: {stem}.json\npage:    {stem}.html" + (f"\nsaved:   {args.save}" if args.save else ""))
