"""lab_page: one HTML page with tables and SVG plots, complete in itself: it opens offline in any browser."""
import html
import math

from lab_stats import geometric_mean

COLOURS = ["#b0588e", "#5c6b2f", "#a9733d", "#d3b417", "#1f2a6b", "#94c23d"]  # for allocators that are not in KNOWN
STYLE = """body{font:15px/1.45 sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:.5em 0 2em}td,th{padding:.2em .7em;text-align:right;border-bottom:1px solid #ddd}
td:first-child,th:first-child{text-align:left}h2{margin-top:2em}svg{max-width:100%;height:auto}
small{color:#666}"""


def esc(text):
    return html.escape(str(text))


# An allocator has the same colour in every plot.
KNOWN = {"hakmem": "#0b6e4f", "hakmem-speed": "#59b48e", "hakmem-hardened": "#c1272d", "hakmem-reduced": "#ec8f86", "glibc": "#8a8a8a",
         "mimalloc2": "#3066be", "jemalloc": "#e08e1d", "gperftools": "#7b4bb7", "scudo": "#2aa7a0", "limit": "#444444", "mimalloc3": "#7fa8ea"}


def colour(peers, peer):
    others = [p for p in peers if p not in KNOWN]
    return KNOWN.get(peer) or COLOURS[others.index(peer) % len(COLOURS)]


def table(rows):
    head, *body = rows
    cells = lambda row, tag: "".join(f"<{tag}>{esc(c)}</{tag}>" for c in row)
    return "<table><tr>" + cells(head, "th") + "</tr>" + "".join(f"<tr>{cells(r, 'td')}</tr>" for r in body) + "</table>"


def svg(width, height, parts):
    return (f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
            f'font-family="sans-serif" font-size="12" xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>')


def text(x, y, what, anchor="start", fill="#222"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}">{esc(what)}</text>'


def legend(peers, x, y):
    parts = []
    for peer in peers:
        parts.append(f'<rect x="{x}" y="{y - 10}" width="10" height="10" fill="{colour(peers, peer)}"/>')
        parts.append(text(x + 14, y, peer))
        x += 30 + 7 * len(peer)
    return parts


WORKLOADS_PER_PLOT = 6


def bars(summary, peers, base, cap=4.0):
    """Speed relative to the base, a group of bars for each workload, a few workloads a plot; longer bars are cut and labelled."""
    workloads = list(summary)
    return "".join(bars_of({w: summary[w] for w in workloads[i:i + WORKLOADS_PER_PLOT]}, peers, base, cap)
                   for i in range(0, len(workloads), WORKLOADS_PER_PLOT))


def bars_of(summary, peers, base, cap):
    group, height, left = 14 * len(peers) + 16, 260, 40
    width = max(left + group * WORKLOADS_PER_PLOT + 10, left + sum(30 + 7 * len(p) for p in peers))
    scale = height / cap
    parts = legend(peers, left, 16)
    for tick in range(int(cap) + 1):
        y = 30 + height - tick * scale
        parts.append(f'<line x1="{left}" x2="{width}" y1="{y:.1f}" y2="{y:.1f}" stroke="{"#888" if tick == 1 else "#ddd"}"/>')
        parts.append(text(left - 6, y + 4, tick, "end"))
    for g, (workload, by_peer) in enumerate(summary.items()):
        reference = by_peer.get(base, {}).get("rate")
        parts.append(text(left + g * group + group / 2, 30 + height + 16, workload, "middle"))
        for i, peer in enumerate(peers):
            rate = by_peer.get(peer, {}).get("rate")
            if rate and reference:
                parts += bar(left + g * group + 8 + 14 * i, rate / reference, cap, 30 + height, scale,
                             colour(peers, peer), f"{peer} on {workload}")
    parts.append(text(width, 30 + height + 34, f"speed, 1 = {base}", "end"))
    return svg(width, height + 70, parts)


def bar(x, ratio, cap, floor, scale, fill, title):
    size = min(ratio, cap) * scale
    yield (f'<rect x="{x}" y="{floor - size:.1f}" width="12" height="{size:.1f}" fill="{fill}">'
           f"<title>{esc(title)}: {ratio:.2f}</title></rect>")
    if ratio > cap:
        yield text(x + 6, floor - cap * scale + 12, f"{ratio:.0f}", "middle", "#fff")


def memory_against_speed(summary, peers, base):
    """One point per contestant: geometric means of speed and of peak memory relative to the base, over the workloads that
    every shown contestant finished; to the right is faster, down is smaller."""
    points = {}
    for peer in peers:
        ratios = [(s[peer]["rate"] / s[base]["rate"], s[peer]["hwm_kib"] / s[base]["hwm_kib"])
                  for s in summary.values() if "rate" in s.get(peer, {}) and "rate" in s.get(base, {})]
        if len(ratios) == len(summary):
            points[peer] = [geometric_mean(column) for column in zip(*ratios)]
    if not points:
        return ""
    top_x = max(p[0] for p in points.values()) * 1.15
    top_y = max(p[1] for p in points.values()) * 1.15
    at = lambda p: (60 + p[0] / top_x * 600, 320 - p[1] / top_y * 290)
    parts = ['<line x1="60" x2="670" y1="320" y2="320" stroke="#888"/><line x1="60" x2="60" y1="20" y2="320" stroke="#888"/>',
             text(670, 340, f"speed, 1 = {base} (right is faster)", "end"), text(64, 16, f"peak memory, 1 = {base} (down is smaller)")]
    labels = []
    for peer, point in sorted(points.items(), key=lambda item: item[1]):
        x, y = at(point)
        free = y + 4
        while any(abs(free - other) < 13 and abs(x - left) < 190 for left, other in labels):
            free -= 13
        labels.append((x, free))
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{colour(peers, peer)}"><title>{esc(peer)}: '
                     f'{point[0]:.2f} speed, {point[1]:.2f} memory</title></circle>')
        parts.append(text(x + 9, free, f"{peer} {point[0]:.2f} / {point[1]:.2f}"))
    return svg(860, 350, parts)


def lines(series, x_title, y_title, doubling=False):
    """{name: [(x, y)]} as lines, for soak over time and for how cost grows; `doubling`: x grows by factors."""
    width, height, names = 900, 260, list(series)
    stretch = math.log2 if doubling else float
    points = [(stretch(x), y) for line in series.values() for x, y in line]
    if not points:
        return ""
    low, high, top = min(x for x, _ in points), max(x for x, _ in points), max(y for _, y in points) * 1.1 or 1
    place = lambda x, y: (60 + (stretch(x) - low) / ((high - low) or 1) * (width - 80), 30 + height - y / top * height)
    parts = legend(names, 60, 16)
    for i in range(5):
        y = 30 + height - height * i / 4 / 1.1
        parts.append(f'<line x1="60" x2="{width - 20}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(text(54, y + 4, f"{top / 1.1 * i / 4:.3g}", "end"))
    for x in sorted({x for line in series.values() for x, _ in line}) if doubling else ():
        parts.append(text(place(x, 0)[0], height + 44, f"{x:g}", "middle"))
    for name, line in series.items():
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in (place(x, y) for x, y in line))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour(names, name)}" stroke-width="1.6"/>')
    ends = () if doubling else ((60, f"{low:.3g}", "start"), (width - 20, f"{high:.3g}", "end"))
    parts += [text(x, height + 44, what, anchor) for x, what, anchor in ends]
    parts += [text(width - 20, height + 60, x_title, "end"), text(60, height + 60, y_title)]
    return svg(width, height + 72, parts)


def document(title, parts):
    return (f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{esc(title)}</title>'
            f"<style>{STYLE}</style></head><body><h1>{esc(title)}</h1>{''.join(parts)}</body></html>\n")


def with_rate(found):
    """Real programs have CPU seconds only; their rate is runs per CPU second."""
    return dict(found, rate=1 / found["cpu_s"]) if "cpu_s" in found and "rate" not in found else found


def provenance(results):
    """When and where the figures were made."""
    machine = ", ".join(f"{k}: {v}" for k, v in results["machine"].items())
    rounds = f"; {results['rounds']} interleaved rounds in shuffled order, medians" if "rounds" in results else ""
    return f"<p>{esc(results['date'])}{esc(rounds)}. <small>{esc(machine)}</small></p>"


def tables(titled):
    """Parts of a page: every (title, rows)."""
    return [part for title, rows in titled for part in (f"<h2>{esc(title)}</h2>", table(rows))]


def phases(summary, peers):
    """Parts of a page: for each workload with phases the resident size after each phase, a line for each contestant."""
    for workload, by_peer in summary.items():
        series = {p: list(enumerate((kib / 1024 for kib in by_peer[p]["phase_rss_kib"]), 1)) for p in peers if "phase_rss_kib" in by_peer.get(p, {})}
        if series:
            yield f"<h3>{esc(workload)}</h3>" + lines(series, "phase", "MiB resident")


def latencies(summary, peers):
    """Parts of a page: for each latency workload the times that 9 of 10 calls do not exceed, 99 of 100, and so on: each
    step to the right is ten times as rare a call, each line up ten times as long."""
    for workload, by_peer in summary.items():
        for key, call in (("malloc_ns", "malloc"), ("free_ns", "free")):
            series = {p: list(zip((0.3, 2, 3, 4, 5), (math.log10(max(ns, 1)) for ns in by_peer[p][key]))) for p in peers if key in by_peer.get(p, {})}
            if series:
                yield f"<h3>{esc(workload)}, {call}</h3>" + lines(series, "0.3: half of the calls; 2: 99 %; 3: 99.9 %; 4: 99.99 %; 5: the longest",
                                                                 "log10 of nanoseconds: 2 is 100 ns, 5 is 100 us")


def comparison(results):
    """Parts of a page: the plots of workloads or of real programs."""
    peers, base = results["peers"], results["base"]
    lives = list(phases(results["summary"], peers))
    if len(lives) == len(results["summary"]):
        return ["<h2>Resident memory over time</h2>", *lives]
    speed = {workload: {p: with_rate(s) for p, s in by_peer.items()} for workload, by_peer in results["summary"].items()}
    times = list(latencies(results["summary"], peers))
    return [*(["<h2>Latency of single calls</h2>", *times] if times else []),
            "<h2>Speed by workload</h2>", bars(speed, peers, base), "<h2>Memory against speed</h2>",
            memory_against_speed(speed, [p for p in peers if p != "limit"], base)]
