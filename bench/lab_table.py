"""lab_table: results as tables for the terminal and for Markdown pages."""


def grid(rows, left=1):
    """Aligned columns; the first `left` columns to the left, the others to the right."""
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [str(c).ljust(w) if i < left else str(c).rjust(w) for i, (c, w) in enumerate(zip(row, widths))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def markdown(rows):
    head, *body = [[str(c) for c in row] for row in rows]
    return "\n".join("| " + " | ".join(r) + " |" for r in [head, ["---"] * len(head)] + body)


def speed_rows(summaries, peers, base):
    """Ratio of medians to `base` (higher is better) with the spread (CV) of the runs in brackets."""
    rows = [["workload", f"{base} Mop/s"] + peers]
    for workload, by_peer in summaries.items():
        reference = by_peer.get(base, {}).get("rate")
        row = [workload, f"{reference / 1e6:.2f}" if reference else "failed"]
        for peer in peers:
            row.append(speed_cell(by_peer.get(peer), reference))
        rows.append(row)
    return rows


def speed_cell(found, reference):
    if found is None:
        return "-"
    if "error" in found:
        return "FAILED"
    return f"{found['rate'] / reference:.2f} ({found['cv']:.1f}%)" if reference else f"{found['rate'] / 1e6:.1f}M"


def value_rows(summaries, peers, title, cell):
    rows = [[title] + peers]
    for workload, by_peer in summaries.items():
        rows.append([workload] + [cell(by_peer[p]) if p in by_peer and "error" not in by_peer[p] else "-" for p in peers])
    return rows


def memory_rows(summaries, peers):
    return value_rows(summaries, peers, "peak RSS MiB", lambda s: f"{s['hwm_kib'] / 1024:.1f}")


def fault_rows(summaries, peers):
    return value_rows(summaries, peers, "page faults", lambda s: f"{s['faults']:.0f}")


def limit_rows(summaries, peers):
    """Speed as a fraction of the limit allocator, on the workloads where it is right."""
    with_limit = {w: s for w, s in summaries.items() if "rate" in s.get("limit", {})}
    rows = [["of the limit"] + peers]
    for workload, by_peer in with_limit.items():
        cells = [by_peer.get(p, {}).get("rate") for p in peers]
        rows.append([workload] + [f"{c / by_peer['limit']['rate']:.2f}" if c else "-" for c in cells])
    return rows if len(rows) > 1 else []


def phase_rows(summaries, peers):
    rows = [["RSS MiB after phase"] + peers]
    for workload, by_peer in summaries.items():
        lists = {p: by_peer[p]["phase_rss_kib"] for p in peers if "phase_rss_kib" in by_peer.get(p, {})}
        for i in range(max((len(v) for v in lists.values()), default=0)):
            rows.append([f"{workload} {i + 1}"] + [f"{lists[p][i] / 1024:.1f}" if p in lists else "-" for p in peers])
    return rows if len(rows) > 1 else []


def share_rows(summaries, peers):
    """The contestants that did less than the whole workload, in percent; nothing when there are none."""
    rows = value_rows(summaries, peers, "percent of the workload", lambda s: str(s.get("share", 100)))
    cut = [row for row in rows[1:] if set(row[1:]) - {"100", "-"}]
    return [rows[0]] + cut if cut else []


PERCENTILES = ("50 %", "99 %", "99.9 %", "99.99 %", "longest")


def latency_rows(summaries, peers):
    """The nanoseconds that so many of a workload's calls do not exceed, the clock's own included."""
    rows = [["ns"] + peers]
    for workload, by_peer in summaries.items():
        for key, call in (("malloc_ns", "malloc"), ("free_ns", "free")):
            lists = {p: by_peer[p][key] for p in peers if key in by_peer.get(p, {})}
            for i, name in enumerate(PERCENTILES if lists else ()):
                rows.append([f"{workload}, {call}, {name}"] + [f"{lists[p][i]:.0f}" if p in lists else "-" for p in peers])
    return rows if len(rows) > 1 else []


def slow_rows(summaries, peers):
    """Calls above 100 us in a fifth of the workload, and the number of them that no page fault and no other thread
    explains."""
    rows = [["calls above 100 us (unexplained)"] + peers]
    for workload, by_peer in summaries.items():
        if any("slow" in found for found in by_peer.values()):
            rows.append([workload] + ["{:.0f} ({:.0f})".format(*by_peer[p]["slow"]) if "slow" in by_peer.get(p, {}) else "-" for p in peers])
    return rows if len(rows) > 1 else []


def all_tables(results):
    """[(title, rows)] of every table of a results file."""
    sums, peers, base = results["summary"], results["peers"], results["base"]
    shown = [p for p in peers if p != "limit"]
    tables = [(f"Speed, ratio to {base} (higher is better; spread of the runs in brackets)", speed_rows(sums, peers, base)),
              ("Speed as a fraction of the limit allocator", limit_rows(sums, shown)),
              ("Peak resident memory", memory_rows(sums, shown)),
              ("Latency of single calls, nanoseconds", latency_rows(sums, shown)),
              ("Slow calls", slow_rows(sums, shown)),
              ("Resident memory after each phase", phase_rows(sums, shown)),
              ("Page faults in the measured part", fault_rows(sums, shown)),
              ("Done of the workload by those who would have taken more than 20 seconds", share_rows(sums, shown))]
    return [(title, rows) for title, rows in tables if rows]
