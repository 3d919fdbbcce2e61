"""lab_count: instructions per malloc+free pair, counted by callgrind as the difference of two lengths.

A difference cancels start-up, and instructions do not depend on the noise of a machine. Counted is what runs inside
the preloaded object, or, for libc's own malloc, in the functions of its malloc; the loop around it is not.
"""
import json
import os
import re
import subprocess
import sys
import tempfile

PAIRS = 20000
PATTERNS = {"lifo 64 B": ("j", []), "mixed": ("a", [])}
LIBC_NAMES = re.compile(r"malloc|free|calloc|realloc|_int_|tcache|unlink_chunk|sysmalloc|systrim|arena")


def totals(program, work, ops, extra, library, env):
    """{object: {function: instructions}} of one run under callgrind."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "out")
        run_env = dict(env, **({"LD_PRELOAD": library} if library else {}))
        command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=" + out, "--soname-synonyms=somalloc=NONE",
                   "--compress-strings=no", "--compress-pos=no", program, work, f"ops={ops}", *extra]
        done = subprocess.run(command, env=run_env, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"valgrind failed on {work}: {done.stderr.strip()[-400:]}")
        return self_costs(out)


def self_costs(path):
    """Self cost per object and function from an uncompressed callgrind file (inclusive call lines are skipped)."""
    costs, obj, fn, skip = {}, "", "", False
    for line in open(path):
        if line.startswith("ob="):
            obj = line[3:].strip()
        elif line.startswith("fn="):
            fn = line[3:].strip()
        elif line.startswith("calls="):
            skip = True
        elif line[:1].isdigit() or line[:1] in "+-*":
            if not skip:
                by_fn = costs.setdefault(obj, {})
                by_fn[fn] = by_fn.get(fn, 0) + int(line.split()[1])
            skip = False
    return costs


def inside(costs, library):
    """Instructions inside the allocator's own object, or in libc's malloc."""
    total = 0
    for obj, by_fn in costs.items():
        for fn, cost in by_fn.items():
            if library:
                total += cost if os.path.realpath(obj) == os.path.realpath(library) else 0
            elif "libc.so" in obj and LIBC_NAMES.search(fn):
                total += cost
    return total


def per_pair(program, pattern, library, env):
    """Instructions of one malloc and one free together, as the slope between two lengths."""
    work, extra = PATTERNS[pattern]
    counts = [inside(totals(program, work, 2 * pairs, extra, library, env), library)
              for pairs in (PAIRS, 3 * PAIRS)]
    return (counts[1] - counts[0]) / (2 * PAIRS)


def report(programs, contestants, out):
    """The table of tools/bench --instructions."""
    import lab_table
    counted, rows = {}, [["instructions a pair"] + list(PATTERNS)]
    for c in contestants.values():
        print(f"counting {c.name}", file=sys.stderr, flush=True)
        env = c.environment()
        try:
            counted[c.name] = {p: per_pair(os.path.join(programs, "works"), p, c.path, env) for p in PATTERNS}
            rows.append([c.name] + [f"{counted[c.name][p]:.1f}" for p in PATTERNS])
        except RuntimeError as error:  # scudo 19 cannot reserve its region under valgrind
            counted[c.name] = {"error": str(error)}
            rows.append([c.name] + ["does not run under callgrind"] * len(PATTERNS))
    os.makedirs(out, exist_ok=True)
    with open(os.path.join(out, "instructions.json"), "w") as f:
        json.dump(counted, f, indent=1)
    print(lab_table.grid(rows))
    return 0
