#!/usr/bin/env python3
"""lab_curves: the command line of tools/attack_curves. How many calls of malloc and free an attacker needs.

The program bench/curves makes one attack and counts its calls. Each attack has ways to go on after the error. A few scouts try
all ways on an allocator; new processes then measure the way that was best in the middle and the one that was best at its
best, so the choice does not colour the figures. A run that is not over within the limit counts as more than the limit.
"""
import collections
import concurrent.futures
import json
import math
import os
import subprocess
import sys
import time

import lab_cli
import lab_store

LIMIT = 5000
BUSY_LIMIT = 2500
FORGE_LIMIT = 1000
BUSY = 5
SCOUTS = 4
PROCESSES = 100
BASE_PERCENT = 200
BUSY_PERCENT = 40  # of the processes: these take ten times as long
SECONDS_MAX = 120
SIZES = [16, 64, 256, 512, 1024, 2048, 4096, 8192, 30000, 65536, 262144, 1 << 20, 4 << 20]
ALIGNED = [(64, 64), (1024, 256), (4096, 4096), (65536, 4096), (1 << 20, 1 << 21)]
DRAINED = [64, 1024, 4096, 30000, 1 << 20]
ADJACENT = [64, 256, 1024, 4096, 30000, 131072]
FORGED = [64, 200, 1000, 4000]
# Frees that come first: a little more than the floors of hakmem-hardened, which the attacker knows, and other numbers.
BEFORE = [24, 60, 140, 450, 640, 1064, 2400]
BUSY_SIZES = [64, 256, 1024, 4096, 30000, 65536, 1 << 20, 4 << 20]
BUSY_BESIDE = [64, 1024, 30000, 1 << 20]  # where the free is a thread's first or last call, or in a destructor
RECLAIM = [["way=pairs"], ["way=keep"], *[["way=keep", f"before={n}"] for n in BEFORE]]
BUSY_RECLAIM = [["way=pairs"], ["way=keep"], *[["way=keep", f"before={n}"] for n in (60, 450, 1064)]]
# The thread has freed and ended; the first one goes on. For allocators that keep threads' objects apart.
BY_MAIN = [["by=main", *way] for way in BUSY_RECLAIM if way != ["way=keep", "before=60"]]
SELF = ("first", "destructor")  # places where the thread that frees can go on itself
PLACES = {"main": "freed by the attacking thread", "first": "a thread's first call is the free", "last": "a thread's last call is the free",
          "destructor": "freed in the last round of destructors of thread keys"}
DRAINS = {"classes": "other sizes", "threads": "all sizes, in four other threads, which end", "large": "3,000 objects of 1 to 31 MiB", "huge": "3,000 objects of 33 to 127 MiB"}

Curve = collections.namedtuple("Curve", "attack settings xs ways limit percent", defaults=[LIMIT, 100])


def x_of(size, align):
    return f"{size}@{align}" if align else str(size)


def settings_of(x):
    size, _, align = x.partition("@")
    return ["size=" + size, *(["align=" + align] if align else [])]


def curves():
    """{name: Curve}, in the order of the page."""
    found, busy = {}, f"busy={BUSY}"
    for place in PLACES:
        xs = [x_of(size, 0) for size in SIZES] + ([x_of(*pair) for pair in ALIGNED] if place == "main" else [])
        found[f"reclaim {place} alone"] = Curve("reclaim", [f"place={place}"], xs, RECLAIM + (BY_MAIN if place in SELF else []))
    for place in PLACES:
        sizes = BUSY_SIZES if place == "main" else BUSY_BESIDE
        found[f"reclaim {place} busy"] = Curve("reclaim", [f"place={place}", busy], list(map(str, sizes)), BUSY_RECLAIM + (BY_MAIN if place in SELF else []), BUSY_LIMIT, BUSY_PERCENT)
    for drain in DRAINS:
        found[f"drain {drain}"] = Curve("reclaim", [f"drain={drain}"], list(map(str, DRAINED)), RECLAIM if drain != "threads" else BUSY_RECLAIM, LIMIT,
                                       100 if drain != "threads" else BUSY_PERCENT)
    rows, ways = list(map(str, ADJACENT)), [["way=keep"], ["way=retry"]]
    found["adjacent alone"] = Curve("adjacent", [], rows, ways)
    found["adjacent busy"] = Curve("adjacent", [busy], rows, ways, BUSY_LIMIT, BUSY_PERCENT)
    found["forge"] = Curve("forge", [], list(map(str, FORGED)), [[f"way={way}"] for way in ("copy", "sum", "xor")], FORGE_LIMIT)
    return found


Base = collections.namedtuple("Base", "size settings only", defaults=[{}, ()])  # `only`: who has it; (): all
UNSAMPLED = {"HAKMEM_SAMPLE_RATE": "0"}  # the first object of a process is a sampled one otherwise
BASES = {"slot": Base(64, UNSAMPLED), "large": Base(4 << 20, UNSAMPLED), "sampled": Base(64, {"HAKMEM_SAMPLE_RATE": "1"}, ("hakmem-hardened",))}


def run_once(programs, contestant, words, more=()):
    """The program's answer; None: more than the limit. Raises RuntimeError when it fails."""
    command = [os.path.join(programs, "curves"), *words]
    try:
        done = subprocess.run(command, env={**contestant.environment(), **dict(more)}, capture_output=True, text=True, timeout=SECONDS_MAX)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"not over after {SECONDS_MAX} seconds") from None
    if done.returncode:
        raise RuntimeError(f"exit {done.returncode}: {done.stderr.strip()[-200:]}")
    return json.loads(done.stdout)["calls"]


def ordered(values):
    """From the least to the greatest; None, which is more than the limit, comes last."""
    return sorted(values, key=lambda v: math.inf if v is None else v)


def quantile(values, share):
    """The least value that a `share` of all values does not exceed."""
    return ordered(values)[math.ceil(share * len(values)) - 1]


def ranks(count, share, sure=0.9):
    """Ranks of two of `count` ordered values between which the quantile lies, when drawn again and again, `sure` of the time; 1 is the least."""
    chance = lambda k: math.comb(count, k) * share ** k * (1 - share) ** (count - k)
    below, low = 0.0, 0  # the chance that fewer than `low` values lie below the quantile
    while below + chance(low) <= (1 - sure) / 2:
        below += chance(low)
        low += 1
    total, high = 0.0, 0
    while total < 1 - (1 - sure) / 2:
        total += chance(high)
        high += 1
    return max(1, low), min(count, high)


def key(values, share):
    at = quantile(values, share)
    return math.inf if at is None else at


def best_ways(tried):
    """Of {way: answers}: the way that three of four scouts found best, and the one with the least answer."""
    middle = min(tried, key=lambda way: (key(tried[way], 0.75), key(tried[way], 0.5)))
    least = min(tried, key=lambda way: (key(tried[way], 0.01), key(tried[way], 0.5)))
    return list(dict.fromkeys([middle, least]))


def summary(by_way):
    """Of {way: answers}: the quantiles, each by the way that has the least one."""
    best = lambda share: min(by_way, key=lambda way: key(by_way[way], share))
    often, seldom = best(0.5), best(0.05)
    low, high = ranks(len(by_way[seldom]), 0.05)
    return {"processes": len(by_way[seldom]), "q50": quantile(by_way[often], 0.5), "q50_way": often, "q5": quantile(by_way[seldom], 0.05), "q5_way": seldom,
            "q5_range": [ordered(by_way[seldom])[rank - 1] for rank in (low, high)]}


def cell(pool, programs, contestant, curve, x, processes):
    """One figure of a curve."""
    words = lambda way: [curve.attack, *settings_of(x), *curve.settings, f"limit={curve.limit}", *way]
    many = lambda way, count: list(pool.map(lambda _: run_once(programs, contestant, words(way)), range(count)))
    name = lambda way: " ".join(setting.partition("=")[2] for setting in way)
    try:
        tried = {}
        for way in curve.ways:
            tried[name(way)] = many(way, SCOUTS)
            if key(tried[name(way)], 1) <= 2:
                break  # nothing is better
        ways = {name(way): way for way in curve.ways}
        return summary({way: many(ways[way], processes) for way in best_ways(tried)})
    except RuntimeError as error:
        return {"error": str(error)}


def independent_bits(numbers):
    """How many bits of the numbers change on their own: those that are an exclusive or of others do not count."""
    basis = {}
    for number in numbers:
        while number and number.bit_length() in basis:
            number ^= basis[number.bit_length()]
        if number:
            basis[number.bit_length()] = number
    return len(basis)


def bits(addresses):
    """A draw has at most so many random bits: the lesser of two bounds. The width, in units of which all distances are
    multiples (100 numbers spread over 98/100 of it on average), and the bits that change independently."""
    unit = math.gcd(*(a - addresses[0] for a in addresses[1:]))
    if not unit:
        return 0.0
    return min(math.log2((max(addresses) - min(addresses)) / unit), independent_bits([a ^ addresses[0] for a in addresses]))


def bases(pool, programs, contestants, processes):
    found = {}
    for name, base in BASES.items():
        for peer, contestant in contestants.items():
            if not base.only or peer in base.only:
                one = lambda _, base=base, contestant=contestant: run_once(programs, contestant, ["base", f"size={base.size}"], base.settings)
                addresses = list(pool.map(one, range(processes)))
                found.setdefault(peer, {})[name] = {"processes": processes, "bits": bits(addresses), "different": len(set(addresses))}
    return found


def results_of(args, contestants, old, found):
    order = [*curves(), "bases"]
    return lab_cli.head("curves", dict.fromkeys([*contestants, *old["peers"]]), processes=args.processes,
                        summary={name: found[name] for name in sorted(found, key=order.index)})


def measure(args, programs, contestants, so_far, kept):
    """`kept` is called with what there is before each step, so that an interrupted run leaves that."""
    found, all_curves, started = dict(so_far), curves(), time.time()
    wanted = {name: curve for name, curve in all_curves.items() if any(part in name for part in args.curves.split(","))}
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for name, curve in wanted.items():
            for peer, contestant in contestants.items():
                print(f"{time.time() - started:5.0f} s: {name} on {peer}", file=sys.stderr, flush=True)
                kept(found)
                found.setdefault(name, {})[peer] = {x: cell(pool, programs, contestant, curve, x, max(1, args.processes * curve.percent // 100)) for x in curve.xs}
        if any(part in "bases" for part in args.curves.split(",")):
            found.setdefault("bases", {}).update(bases(pool, programs, contestants, BASE_PERCENT * args.processes // 100))
    return found


def arguments():
    p = lab_cli.parser("tools/attack_curves", "How many calls of malloc and free an attacker needs.", "hakmem-hardened", "glibc,scudo")
    p.add_argument("--processes", type=int, default=PROCESSES, help="for each figure")
    p.add_argument("--jobs", type=int, default=min(2, os.cpu_count()), help="processes at a time")
    p.add_argument("--curves", default="", metavar="PART,...", help="only those whose name has one of these parts: " + ", ".join([*curves(), "bases"]))
    p.add_argument("--add", action="store_true", help="keep what else the file of --save has")
    args = p.parse_args()
    if args.processes < 1 or args.jobs < 1:
        p.error("--processes and --jobs must be at least 1")
    return args


def main():
    import lab_curves_page as page  # pylint: disable=import-outside-toplevel
    args = arguments()
    programs = lab_cli.programs_of(args)
    contestants = lab_cli.contestants(args, programs)
    old = lab_store.load(args.save) if args.add and args.save and os.path.exists(args.save) else {"summary": {}, "peers": []}
    keep = lambda found: args.save and lab_store.keep(results_of(args, contestants, old, found), args.save)
    results = results_of(args, contestants, old, measure(args, programs, contestants, old["summary"], keep))
    lab_cli.write(results, args, "hakmem: how many calls an attacker needs", page.tables(results), page.plots(results))


if __name__ == "__main__":
    main()
