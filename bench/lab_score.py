"""lab_score: targets and verdicts. Compares kept results (docs/results) with the targets below; writes the scorecard.

A row is (what, target, measured, verdict). No figure of the scorecard is typed by hand: a test compares it with what
this file makes from the results. A target whose result is missing is "not measured", never "met".
"""
import lab_growth
from lab_stats import geometric_mean

DEBIAN = ("glibc", "mimalloc2", "mimalloc3", "jemalloc", "gperftools", "scudo")
LEAN_PEERS = ("mimalloc2", "mimalloc3", "jemalloc", "gperftools")

# Speed variant: ratio to the best Debian peer on that workload.
AHEAD = {"a": 1.00, "b": 1.03, "c": 1.15, "d": 1.05, "e": 1.10, "f": 1.05, "g": 1.05, "h": 3.0, "h2": 2.2, "i": 1.05, "j": 1.10}
AHEAD_OF_ALL = ("larson", "xmalloc")
OF_LIMIT = {"a": 0.97, "b": 0.95, "i": 0.88, "j": 0.90}
# Hardened variant: ratio to scudo, with everything on, and without the two passes over the bytes.
HARDENED = {"a": 1.5, "b": 1.5, "c": 1.3, "d": 1.5, "e": 1.2, "f": 3, "g": 2, "h": 3, "i": 2, "j": 3.5}
REDUCED = {"a": 2.8, "b": 2.8, "c": 2.8, "d": 20, "i": 7, "j": 5}
HARDENED_MALLOC = 1.5  # ratio to hardened_malloc, when it was measured
PAIR_INSTRUCTIONS = 28
PROGRAMS_HARDENED = 1.12  # CPU time relative to the speed variant
OS_CALLS = 5e-8
SOAK_CV = {"hakmem-speed": 1.6, "hakmem": 5.4}
LIFE = {"hakmem": 1.1, "hakmem-hardened": 1.54}  # resident memory over time, as a ratio to the lowest peer's
GROWTH = 2.0
METADATA = {"hakmem": 2.0, "hakmem-hardened": 8.0}  # percent of live bytes, from METADATA_FROM MiB on
METADATA_FROM = 64


def row(what, target, measured, met, form="{:.2f}"):
    if measured is None:
        return [what, target, "-", "not measured"]
    return [what, target, form.format(measured), "met" if met else "missed"]


def value(results, kind, *keys):
    """The entry at summary -> keys; None when it is not there."""
    found = results.get(kind, {}).get("summary", {})
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def rate(results, workload, peer):
    return value(results, "workloads", workload, peer, "rate")


def quotient(a, b):
    return a / b if a and b else None


def best(results, workload):
    """(name, rate) of the fastest Debian peer on the workload."""
    rates = {p: rate(results, workload, p) for p in DEBIAN if rate(results, workload, p)}
    return max(rates.items(), key=lambda item: item[1]) if rates else ("-", None)


def at_least(what, target, measured):
    return row(what, f"at least {target:.2f}", measured, measured is not None and measured >= target)


def speed_rows(results):
    for workload, target in AHEAD.items():
        name, reference = best(results, workload)
        ratio = quotient(rate(results, workload, "hakmem"), reference)
        yield at_least(f"workload {workload}, ratio to the best Debian peer ({name})", target, ratio)
    for workload in AHEAD_OF_ALL:
        name, reference = best(results, workload)
        ratio = quotient(rate(results, workload, "hakmem"), reference)
        yield row(f"{workload}, ratio to the best Debian peer ({name})", "above 1", ratio, ratio and ratio > 1)
    for workload, target in OF_LIMIT.items():
        ratio = quotient(rate(results, workload, "hakmem"), rate(results, workload, "limit"))
        yield at_least(f"workload {workload}, fraction of the limit allocator", target, ratio)
    for pattern in ("lifo 64 B", "mixed"):
        count = value(results, "instructions", "hakmem", pattern)
        yield row(f"instructions of a malloc and free pair, {pattern}", f"at most {PAIR_INSTRUCTIONS}", count,
                  count and count <= PAIR_INSTRUCTIONS, "{:.1f}")


def hardened_rows(results):
    for variant, targets in (("hakmem-hardened", HARDENED), ("hakmem-reduced", REDUCED)):
        for workload, target in targets.items():
            ratio = quotient(rate(results, workload, variant), rate(results, workload, "scudo"))
            yield at_least(f"{variant}, workload {workload}, ratio to scudo", target, ratio)
    ratios = [quotient(rate(results, w, "hakmem-hardened"), rate(results, w, "hardened_malloc")) for w in AHEAD]
    lowest = min((r for r in ratios if r), default=None)
    yield at_least("hakmem-hardened, ratio to hardened_malloc, lowest of all workloads", HARDENED_MALLOC, lowest)
    mean = programs_mean(results, "hakmem-hardened", "hakmem")
    yield row("hakmem-hardened, real programs, CPU time relative to the speed variant", f"at most {PROGRAMS_HARDENED}", mean,
              mean and mean <= PROGRAMS_HARDENED, "{:.3f}")


def programs_mean(results, peer, base):
    """Geometric mean of CPU time relative to `base`; None unless both ran every program."""
    ratios = [quotient(by_peer.get(peer, {}).get("cpu_s"), by_peer.get(base, {}).get("cpu_s"))
              for by_peer in results.get("programs", {}).get("summary", {}).values()]
    return geometric_mean(ratios) if ratios and all(ratios) else None


def programs_rows(results):
    for peer in DEBIAN:
        mean = programs_mean(results, "hakmem", peer)
        if mean or peer != "mimalloc3":
            yield row(f"real programs, CPU time relative to {peer}, geometric mean", "below 1", mean, mean and mean < 1,
                      "{:.3f}")


def memory_rows(results):
    for workload, by_peer in results.get("workloads", {}).get("summary", {}).items():
        lowest = min((by_peer[p]["hwm_kib"] for p in LEAN_PEERS if "hwm_kib" in by_peer.get(p, {})), default=None)
        ours = by_peer.get("hakmem", {})
        if lowest:
            found = ours.get("hwm_kib")
            yield row(f"workload {workload}, peak RSS in MiB", f"at most {lowest / 1024:.1f}", found and found / 1024,
                      found and found <= lowest, "{:.1f}")
        if workload == "frag":
            yield from phase_rows(by_peer, ours.get("phase_rss_kib", []))


def phase_rows(by_peer, ours):
    phases = [by_peer[p]["phase_rss_kib"] for p in LEAN_PEERS if "phase_rss_kib" in by_peer.get(p, {})]
    for i, (least, found) in enumerate(zip(map(min, zip(*phases)), ours)):
        yield row(f"workload frag, RSS in MiB after phase {i + 1}", f"at most {least / 1024:.1f}", found / 1024, found <= least,
                  "{:.1f}")


def life_rows(results):
    """For each life the look at which we are furthest from the lowest peer."""
    for workload, by_peer in results.get("life", {}).get("summary", {}).items():
        lowest = [min(kib) for kib in zip(*(by_peer[p]["phase_rss_kib"] for p in LEAN_PEERS if "phase_rss_kib" in by_peer.get(p, {})))]
        for name, limit in LIFE.items():
            found = by_peer.get(name, {}).get("phase_rss_kib", [])
            worst = max((a / b for a, b in zip(found, lowest)), default=None)
            yield row(f"{name}, {workload}, resident, ratio to the lowest peer at the worst look", f"at most {limit}", worst, worst and worst <= limit)


def seed_rows(results):
    peer = value(results, "mixed", "Standard", "mimalloc2") or {}
    for name in ("hakmem", "hakmem-speed"):
        ours = value(results, "mixed", "Standard", name) or {}
        ratio = quotient(ours.get("mean"), peer.get("mean"))
        yield at_least(f"{name}, random_mixed, mean of ten runs, ratio to mimalloc2", 1.0, ratio)
        reference, cv = peer.get("cv"), ours.get("cv") if peer else None
        yield row(f"{name}, CV of ten runs, percent", f"at most mimalloc2's {reference or 0:.2f}", cv,
                  cv is not None and cv <= reference)
        calls = value(results, "budget", name, "own_per_op")
        yield row(f"{name}, OS calls per operation, by its own count", f"at most {OS_CALLS:.0e}", calls,
                  calls is not None and calls <= OS_CALLS, "{:.1e}")
    for name in ("hakmem", "hakmem-speed", "hakmem-hardened"):
        yield from soak_rows(results, name)


def soak_rows(results, name):
    found = value(results, "soak", name) or {}
    drift = found.get("rss_drift")
    yield row(f"{name}, soak, RSS drift in percent", "0", drift, drift is not None and drift <= 0, "{:.4f}")
    if name not in SOAK_CV:
        return
    cv, peer = found.get("cv"), value(results, "soak", "mimalloc2", "cv")
    target = f"at most {SOAK_CV[name]}" + (f", or below mimalloc2's {peer:.2f}" if peer else "")
    met = cv is not None and (cv <= SOAK_CV[name] or (peer is not None and cv < peer))
    yield row(f"{name}, soak, CV in percent", target, cv, met)


def growth_rows(results):
    for name in METADATA:
        for workload, title in lab_growth.TITLES.items():
            by_x = value(results, "growth", workload, name)
            measured = lab_growth.growth(by_x) if by_x else None
            yield row(f"{name}, growth of time per operation: {title}", f"at most {GROWTH}", measured,
                      measured and measured <= GROWTH)
        heap = value(results, "growth", "heap", name) or {}
        shares = [f["metadata_share"] for x, f in heap.items() if float(x) >= METADATA_FROM and "metadata_share" in f]
        highest = max(shares, default=None)
        yield row(f"{name}, metadata from {METADATA_FROM} MiB on, percent of live bytes", f"at most {METADATA[name]}", highest,
                  highest and highest <= METADATA[name])


GROUPS = [("Speed variant", speed_rows), ("Hardened variant", hardened_rows), ("Real programs", programs_rows),
          ("Resident memory, balanced profile", memory_rows), ("Resident memory over time", life_rows), ("The described system's figures", seed_rows), ("How cost grows", growth_rows)]


def profile_rows(results):
    """The results by profile, in one table."""
    rows = [["profile", "mixed M op/s, Standard", "CV %", "FAST", "peak RSS MiB", "OS calls/op", "soak M op/s", "soak CV %", "p1", "p0.1", "p99.9 ns", "drift %"]]
    cell = lambda found, form: form.format(found) if found is not None else "-"
    for name, title in (("hakmem-speed", "speed"), ("hakmem", "balanced"), ("hakmem-hardened", "hardened"), ("mimalloc2", "mimalloc2"), ("glibc", "glibc")):
        mixed, soak = value(results, "mixed", "Standard", name) or {}, value(results, "soak", name) or {}
        hwm, calls = mixed.get("hwm_kib"), value(results, "budget", name, "own_per_op") or value(results, "budget", name, "calls_per_op")
        rows.append([title, cell(mixed.get("mean"), "{:.2f}"), cell(mixed.get("cv"), "{:.2f}"), cell(value(results, "mixed", "FAST", name, "mean"), "{:.2f}"),
                     cell(hwm and hwm / 1024, "{:.1f}"), cell(calls, "{:.1e}"), cell(soak.get("mops"), "{:.2f}"), cell(soak.get("cv"), "{:.2f}"),
                     cell(soak.get("p1_mops"), "{:.1f}"), cell(soak.get("p0.1_mops"), "{:.1f}"), cell(soak.get("latency_ns", {}).get("p99.9_ns"), "{:.0f}"),
                     cell(soak.get("rss_drift"), "{:.2f}")])
    return rows


def tables(results):
    """[(title, rows)] of the scorecard; the first row of each is its head."""
    groups = [(title, [["what", "target", "measured", "verdict"], *make(results)]) for title, make in GROUPS]
    counts = {}
    for _, rows in groups:
        for *_, verdict in rows[1:]:
            counts[verdict] = counts.get(verdict, 0) + 1
    summary = [["verdict", "targets"]] + [[v, counts[v]] for v in ("met", "missed", "not measured") if v in counts]
    return [("Targets in all", summary), ("By profile", profile_rows(results)), *[(t, r) for t, r in groups if len(r) > 1]]


def markdown(results):
    import lab_table
    lines = ["# Scorecard", "", "Made by `tools/results --page` from the results in this folder; a test compares the two. Targets: bench/lab_score.py.",
             "The plots are in [index.html](index.html), which opens offline.", ""]
    for kind, found in results.items():
        lines.append(f"- {kind}: {found['date']}, revision {found['machine']['revision'][:12]}, {found['machine']['cpu']}, {found['machine']['cores']} cores")
    for title, rows in tables(results):
        lines += ["", f"## {title}", "", lab_table.markdown(rows)]
    return "\n".join(lines) + "\n"
