"""lab_count: instructions per malloc+free pair, counted by callgrind as the difference of two lengths.

The difference cancels start-up, and the noise of a machine does not change instructions. Only instructions outside the
program itself are counted, so the loop around the allocator is not.
"""
import os
import subprocess
import sys
import tempfile

PAIRS = 20000
PATTERNS = {"lifo 64 B": ("j", []), "mixed": ("a", [])}


def without_debug(path, folder):
    """A copy without debug information: valgrind 3.19 cannot read that of clang 19 (DWARF 5). The folder is named after
    the original, so that a library and a program of one name do not meet."""
    copy = os.path.join(tempfile.mkdtemp(dir=folder), os.path.basename(path))
    subprocess.run(["objcopy", "--strip-debug", path, copy], check=True)
    return copy


def totals(program, workload, ops, extra, library, env):
    """{object: {function: instructions}} of one run under callgrind."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "out")
        run_env = dict(env, **({"LD_PRELOAD": library} if library else {}))
        command = ["valgrind", "--tool=callgrind", "--vgdb=no", "--callgrind-out-file=" + out, "--soname-synonyms=somalloc=NONE",
                   "--compress-strings=no", "--compress-pos=no", program, workload, f"ops={ops}", *extra]
        done = subprocess.run(command, env=run_env, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"valgrind failed on {workload}: {done.stderr.strip()[-400:]}")
        return self_costs(out)


def self_costs(path):
    """Self cost per object and function from an uncompressed callgrind file (inclusive call lines are skipped)."""
    costs, obj, fn, skip = {}, "", "", False
    with open(path, encoding="utf-8") as lines:
        for line in lines:
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


def outside(costs, program):
    """Instructions outside the program itself: the allocator's, and those of the memset and locks that it calls."""
    return sum(sum(by_fn.values()) for obj, by_fn in costs.items() if os.path.realpath(obj) != program)


def per_pair(program, pattern, library, env):
    """Instructions of one malloc and one free together, as the slope between two lengths."""
    workload, extra = PATTERNS[pattern]
    with tempfile.TemporaryDirectory() as folder:
        bare, preload = without_debug(os.path.realpath(program), folder), library and without_debug(library, folder)
        counts = [outside(totals(bare, workload, 2 * pairs, extra, preload, env), os.path.realpath(bare)) for pairs in (PAIRS, 3 * PAIRS)]
    return (counts[1] - counts[0]) / (2 * PAIRS)


def count(programs, contestants):
    """{contestant: {pattern: instructions a pair}}, or {"error": ...} for one that callgrind cannot run."""
    counted, program = {}, os.path.join(programs, "workloads")
    for c in contestants.values():
        print(f"counting {c.name}", file=sys.stderr, flush=True)
        env = c.environment()
        env.pop("LD_PRELOAD", None)
        try:
            counted[c.name] = {p: per_pair(program, p, c.path, env) for p in PATTERNS}
        except RuntimeError as error:  # scudo 19 cannot reserve its region under valgrind
            print(error, file=sys.stderr)
            counted[c.name] = {"error": "does not run under callgrind"}
    return counted


def table(counted):
    rows = [["instructions a pair"] + list(PATTERNS)]
    for name, counts in counted.items():
        rows.append([name] + [f"{counts[p]:.1f}" if p in counts else counts["error"] for p in PATTERNS])
    return "Instructions of one malloc and one free together", rows
