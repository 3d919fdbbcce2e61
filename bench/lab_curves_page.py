"""lab_curves_page: the results of tools/attack_curves as tables, plots, docs/results/curves.md and a part of docs/DETECTION.md."""
import math
import os
import sys

import lab_curves
import lab_peers
from lab_page import colour, legend, svg, text

OURS, THEIRS = "hakmem-hardened", "hardened_malloc"
# Calls that an attacker needs at least, 5 % quantile, for objects of up to so many bytes.
GOALS = [(256, 1000), (1024, 400), (4096, 100), (32768, 32), (math.inf, 600)]
TITLE = "## Attack curves"


def goal(x):
    return next(calls for most, calls in GOALS if int(x.partition("@")[0]) <= most)


def has_goal(name):
    return name.startswith(("reclaim", "drain"))


def shown(calls, limit):
    return f"> {limit}" if calls is None else str(calls)


def limit_of(name):
    return lab_curves.FORGE_LIMIT if name == "forge" else lab_curves.BUSY_LIMIT if name.endswith("busy") else lab_curves.LIMIT


def size_title(x):
    size, _, align = x.partition("@")
    short = lambda n: f"{n >> 20} MiB" if n % (1 << 20) == 0 else f"{n >> 10} KiB" if n % 1024 == 0 else f"{n} B"
    return short(int(size)) + (f", aligned to {short(int(align))}" if align else "")


def cell(found, name):
    """The two quantiles."""
    if not found:
        return "-"
    if "error" in found:
        return "FAILED"
    return f"{shown(found['q5'], limit_of(name))} / {shown(found['q50'], limit_of(name))}"


def rows_of(name, by_peer):
    xs = list(dict.fromkeys(x for by_x in by_peer.values() for x in by_x))
    return [["bytes", *by_peer], *[[size_title(x), *[cell(by_peer[peer].get(x), name) for peer in by_peer]] for x in xs]]


def base_rows(by_peer):
    names = list(lab_curves.BASES)
    told = lambda by_name, name: f"{by_name[name]['bits']:.1f}" if name in by_name else "-"
    return [["allocator", *names], *[[peer, *[told(by_name, name) for name in names]] for peer, by_name in by_peer.items()]]


def title_of(name):
    kind, _, rest = name.partition(" ")
    place, _, load = rest.rpartition(" ")
    loads = {"alone": "alone", "busy": "beside five busy threads"}
    if kind == "reclaim":
        return f"Reclaim, {lab_curves.PLACES[place]}, {loads[load]}"
    if kind == "drain":
        return f"Reclaim after a drain: {lab_curves.DRAINS[rest]}"
    return {"adjacent": f"Two objects in a row, {loads.get(rest)}", "forge": "Forging what lies between two objects, leaks", "bases": "Base addresses, random bits at most"}[kind]


def tables(results):
    return [(title_of(name), base_rows(by_peer) if name == "bases" else rows_of(name, by_peer)) for name, by_peer in results["summary"].items()]


LEFT, WIDTH, HEIGHT, GAP_X, GAP_Y, TOP = 56, 400, 190, 70, 62, 60


def height_of(calls):
    """The limit and what is above it lie at the upper edge."""
    return math.log10(max(calls, 1)) / math.log10(lab_curves.LIMIT)


def panel(left, top, name, by_peer, peers):
    """The 5 % quantile as a line with points, the median as a dashed line; a hollow point: more than the limit."""
    sizes = [str(size) for size in lab_curves.SIZES]
    place = lambda i, calls: (left + i / (len(sizes) - 1) * WIDTH, top + HEIGHT * (1 - height_of(limit_of(name) if calls is None else calls)))
    yield text(left, top - 8, title_of(name).removeprefix("Reclaim, "))
    for calls in (1, 10, 100, 1000, lab_curves.LIMIT):
        y = place(0, calls)[1]
        yield f'<line x1="{left}" x2="{left + WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e4e4e4"/>' + text(left - 5, y + 4, calls, "end")
    for i, size in enumerate(sizes):
        yield text(place(i, 1)[0], top + HEIGHT + 15, size_title(size).replace(" KiB", "K").replace(" MiB", "M").replace(" B", ""), "middle")
    steps = " ".join(f"{place(i + side, 1)[0]:.1f},{place(i, goal(size))[1]:.1f}" for i, size in enumerate(sizes) for side in (-0.5, 0.5) if 0 <= i + side <= len(sizes) - 1)
    yield f'<polyline points="{steps}" fill="none" stroke="#000" stroke-width="1" stroke-dasharray="1 3"/>'
    for peer, by_x in by_peer.items():
        found = [(i, by_x[size]) for i, size in enumerate(sizes) if "q5" in by_x.get(size, {})]
        for quantile, dashes in (("q5", ""), ("q50", ' stroke-dasharray="5 4" opacity="0.5"')):
            points = " ".join("{:.1f},{:.1f}".format(*place(i, f[quantile])) for i, f in found)
            yield f'<polyline points="{points}" fill="none" stroke="{colour(peers, peer)}" stroke-width="1.6"{dashes}/>'
        for i, f in found:
            x, y = place(i, f["q5"])
            fill = "#fff" if f["q5"] is None else colour(peers, peer)
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{fill}" stroke="{colour(peers, peer)}"/>'


def picture(results):
    """A panel for each place of the free, alone and beside busy threads."""
    names = [name for name in results["summary"] if name.startswith("reclaim")]
    peers = list(dict.fromkeys(peer for name in names for peer in results["summary"][name]))
    width, height = LEFT + 2 * WIDTH + GAP_X + 24, TOP + math.ceil(len(names) / 2) * (HEIGHT + GAP_Y) + 10
    parts = [f'<rect width="{width}" height="{height}" fill="white"/>', *legend(peers, LEFT, 18),
             text(width - 16, 18, "calls by size in bytes; dotted: goal; dashed: median", "end")]
    for i, name in enumerate(names):
        parts += panel(LEFT + i % 2 * (WIDTH + GAP_X), TOP + i // 2 * (HEIGHT + GAP_Y), name, results["summary"][name], peers)
    return svg(width, height, parts) + "\n"


def plots(results):
    return ["<h2>Calls until a stale pointer has a new owner, 5 % quantile</h2>", picture(results)] if any(map(has_goal, results["summary"])) else []


def below(a, b):
    """None is more than the limit."""
    return a is not None and (b is None or a < b)


def misses(results):
    """[(title, [what is missed])]: figures of ours below the goals, and below those of hardened_malloc; an entry for each attack."""
    goals, behind = [], []
    for name, by_peer in results["summary"].items():
        ours, theirs = by_peer.get(OURS, {}), by_peer.get(THEIRS, {})
        told = lambda x, ours=ours, name=name: f"{size_title(x)} {cell(ours[x], name).partition(' / ')[0]}"
        short = [x for x, found in ours.items() if has_goal(name) and ("error" in found or below(found["q5"], goal(x)))]
        less = [x for x, found in ours.items() if "q5" in found and "q5" in theirs.get(x, {}) and below(found["q5"], theirs[x]["q5"])]
        if short:
            goals.append(f"{title_of(name)}: " + "; ".join(f"{told(x)} ({goal(x)})" for x in short))
        if less:
            behind.append(f"{title_of(name)}: " + "; ".join(f"{told(x)} ({shown(theirs[x]['q5'], limit_of(name))})" for x in less))
    return [("Below the goal, which stands in brackets", goals), (f"Behind {THEIRS}, whose figure stands in brackets", behind)]


def row(cells):
    return "| " + " | ".join(map(str, cells)) + " |"


def grid(rows):
    return [row(rows[0]), row(["---"] * len(rows[0])), *map(row, rows[1:])]


def goal_rows(results):
    """Our 5 % quantiles beside the goals; stars: missed."""
    sizes = [str(size) for size in lab_curves.SIZES]
    rows = [["5 % quantile, calls", *map(size_title, sizes)], ["goal, at least", *map(goal, sizes)]]
    for name, by_peer in results["summary"].items():
        if not has_goal(name) or OURS not in by_peer:
            continue
        cells = []
        for x in sizes:
            told = cell(by_peer[OURS].get(x), name).partition(" / ")[0]
            found = by_peer[OURS].get(x, {})
            cells.append(f"**{told}**" if "error" in found or ("q5" in found and below(found["q5"], goal(x))) else told)
        rows.append([title_of(name).removeprefix("Reclaim, ").removeprefix("Reclaim "), *cells])
    return rows


def processes_of(results):
    """The numbers of processes that figures are made of, from the greatest to the least."""
    return sorted({found["processes"] for name, by_peer in results["summary"].items() if name != "bases"
                   for by_x in by_peer.values() for found in by_x.values() if "processes" in found}, reverse=True)


SECTION = """{title}

How many calls of malloc and free an attacker needs until an object of his lies where a stale pointer points, made by
`tools/attack_curves`; {counts} processes for each figure, other attacks, and what the figures do not say:
[results/curves.md](results/curves.md). Lines with points: one attack in twenty needs no more; dashed: one in two; hollow points: more
than {limit}, where runs end; dotted: the goal.

![Calls until a stale pointer has a new owner, by size and allocator](results/curves.svg)

hakmem-hardened beside its goals; what is missed has stars:
"""


def section(results):
    """The part of docs/DETECTION.md."""
    lines = [SECTION.format(title=TITLE, counts=" or ".join(map(str, processes_of(results))), limit=lab_curves.LIMIT), *grid(goal_rows(results))]
    for title, missed in misses(results):
        lines += ["", f"{title}:" + ("" if missed else " none."), *(["", *[f"- {m}." for m in missed]] if missed else [])]
    return "\n".join(lines) + "\n"


def with_section(page, results):
    """docs/DETECTION.md with the part as the results give it, in its place."""
    sys.path.insert(0, os.path.join(lab_peers.ROOT, "tools", "build"))
    from wrap_markdown import wrapped  # pylint: disable=import-outside-toplevel
    made = wrapped(section(results))
    before, found, after = page.partition(TITLE + "\n")
    if found:
        return before + made + "\n## " + after.partition("\n## ")[2]
    for title in ("## Memory tags of arm64\n", "## Every program\n"):
        before, found, after = page.partition(title)
        if found:
            return before + made + "\n" + found + after
    return page + "\n" + made


MARKDOWN = """# How many calls an attacker needs

Made by `tools/attack_curves` and `tools/results --page`; do not edit. Measured {date}, revision {revision}, on {cpu}, kernel
{kernel}, {libc}. Allocators as they are by default: scudo as clang 19 packages it; mimalloc-secure is Debian's source package
built with MI_SECURE=ON, hardened_malloc its own source with its default configuration, both by hand (`--with NAME=LIB`).

Each figure is of {counts} processes. {ranks} So the quantile is known to about the factor by
which these two differ, and nothing is said about attacks that succeed once in a hundred or more rarely. The scouts, {scouts} processes for each way of
going on, choose; new processes measure. Tables show the 5 % quantile / the median. `> N`: not within N calls, when a run ends; that
is no success of anybody, and two such figures are not compared.

The attacker compares addresses, so he knows at once when he has won; a real one may not. He knows each allocator's source and not
its random numbers. Every malloc and free of his after the error counts as one call, so malloc and free of one object are two. What
he prepares before the error is free, such as the objects that he frees right after it; what others do is not counted.

## What is attacked

- Reclaim: he makes objects of the size of the freed one until one overlaps it. Ways: pairs (malloc, look, free); keep (malloc
  only); keep N (N frees of prepared objects of the size, then malloc only), for N of {before}. The thread that
  freed goes on, or, where it ends or can end, the first thread of the process ("main"), whatever is better for him. He does not wait:
  what an allocator does after some seconds is not measured. "Busy": five threads of the process malloc and free all sizes from 16 bytes to 4 MiB all the time, 100 objects each, each doubling
  as often as the others.
- Drain: the same, after others did what the title says: a thousand to a hundred thousand calls. The same for all allocators, so not
  the least that drains each. 0: an object of another size lay
  there.
- Two objects in a row: calls until the second of two objects, made one after the other, lies right behind the first, so near that
  no third one fits between. Every way of placing at random loses this soon; what helps is that he cannot see it.
- Forging: an overflow that is to reach the next object without a trace has to write what lies between as it is: canaries, slack,
  headers. He has read it behind N objects, whose addresses he knows, and tells it behind another one. Three ways: the bytes behind
  the nearest object (constants of a process or slab); sums, where what changes by a distance changes so elsewhere; and linear algebra over
  bits of the address, which solves xor, shifts and a CRC. Wrong answers before the right one cost nothing here. `>` says that
  these three fail, not that there is no way: why hakmem's canary has none is argued in hardening/canary.h. 0: nothing lies
  between. Who can read the canary that he overwrites needs none of this.
- Base addresses, of the first object of each of many processes: how many bits are random at most. The lesser of two bounds: the logarithm of how far
  the addresses of all processes spread, divided by the largest number that divides all distances; and how many bits change
  independently of each other. A draw that is not even has fewer. An attacker guesses at best one time in two to the power of the
  bits. By design, a sampled object of hakmem-hardened has 23 bits for its pool, and others for its place in it.
"""


def markdown(results):
    """docs/results/curves.md"""
    sys.path.insert(0, os.path.join(lab_peers.ROOT, "tools", "build"))
    from wrap_markdown import wrapped  # pylint: disable=import-outside-toplevel
    counts = processes_of(results)
    told = [f"Of {n} values the 5 % quantile is number {math.ceil(0.05 * n)} from below; with 90 % certainty the true one lies between numbers {{}} and {{}}.".format(
        *lab_curves.ranks(n, 0.05)) for n in counts]
    machine = results["machine"]
    head = MARKDOWN.format(date=results["date"][:10], revision=machine["revision"][:12], cpu=machine["cpu"], kernel=machine["kernel"], libc=machine["libc"], counts=" or ".join(map(str, counts)), ranks=" ".join(told),
                           scouts=lab_curves.SCOUTS, before=", ".join(map(str, lab_curves.BEFORE)))
    lines = [head]
    for title, rows in tables(results):
        lines += [f"## {title}", "", *grid(rows), ""]
    ours = {name: by_peer[OURS] for name, by_peer in results["summary"].items() if OURS in by_peer and name != "bases"}
    lines += [f"## How sure the 5 % quantile is, and the ways: {OURS}", "", "Range: between which the true quantile lies.", "",
              *grid([["attack", "bytes", "5 % quantile", "range", "by", "median by"], *[
                  [title_of(name), size_title(x), shown(f["q5"], limit_of(name)), " to ".join(shown(v, limit_of(name)) for v in f["q5_range"]), f["q5_way"], f["q50_way"]]
                  for name, by_x in ours.items() for x, f in by_x.items() if "q5" in f]])]
    return wrapped("\n".join(lines).rstrip("\n") + "\n")
