"""lab_overview: the picture of README.md: an allocator's cost and what it detects, one point for each allocator that
has both figures."""
import re

from lab_page import KNOWN, svg, text
from lab_stats import geometric_mean

# The name in docs/DETECTION.md of allocators that have another name among the results.
DETECTED_AS = {"hakmem (speed)": "hakmem", "mimalloc": "mimalloc2"}


def detected(markdown):
    """{allocator: percent of the runs of all misuse programs that were detected} of docs/DETECTION.md's first table."""
    table = re.search(r"^## Detected.*?\n\n(.*?)\n\n", markdown, re.DOTALL | re.MULTILINE)[1]
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in table.splitlines()]
    return {DETECTED_AS.get(row[0], row[0]): int(row[-1]) for row in rows[2:] if row[0] != "programs"}


def times(programs):
    """{allocator: CPU time of real programs, geometric mean of the ratios to glibc's}."""
    found = {}
    for peer in programs["peers"]:
        ratios = [by_peer[peer]["cpu_s"] / by_peer["glibc"]["cpu_s"] for by_peer in programs["summary"].values()
                  if "cpu_s" in by_peer.get(peer, {}) and "cpu_s" in by_peer.get("glibc", {})]
        if len(ratios) == len(programs["summary"]):
            found[peer] = geometric_mean(ratios)
    return found


def picture(programs, markdown):
    """CPU time to the right, detection upwards: the best place is the upper left corner."""
    time, percent = times(programs), detected(markdown)
    both = sorted(set(time) & set(percent))
    left, right, top, bottom, most = 60, 700, 40, 330, max(1.2, *(time[p] * 1.15 for p in both))
    at = lambda peer: (left + time[peer] / most * (right - left), bottom - percent[peer] / 100 * (bottom - top))
    parts = [f'<rect width="760" height="390" fill="white"/><line x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}" stroke="#888"/>'
             f'<line x1="{left}" x2="{left}" y1="{top}" y2="{bottom}" stroke="#888"/>']
    for share in (0, 25, 50, 75, 100):
        y = bottom - share / 100 * (bottom - top)
        parts += [f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#eee"/>', text(left - 6, y + 4, f"{share} %", "end")]
    for tick in (0.5, 1.0):
        x = left + tick / most * (right - left)
        parts += [f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}" stroke="#eee"/>', text(x, bottom + 16, f"{tick:g}", "middle")]
    for peer in both:
        x, y = at(peer)
        side, anchor = (-11, "end") if x > (left + right) / 2 else (11, "start")
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="7" fill="{KNOWN.get(peer, "#666")}"/>',
                  text(x + side, y + 4, f"{peer}: {time[peer]:.2f}, {percent[peer]} %", anchor)]
    parts += [text(right, bottom + 34, "CPU time of real programs, glibc's is 1 (left is faster)", "end"),
              text(left, top - 16, "misuse that is detected, of all programs of docs/DETECTION.md (up is more)")]
    return svg(760, 390, parts) + "\n"
