"""fuzz_finds.py: what tools/fuzz does with inputs that break a rule: it names the rule, makes the input smaller, and prints it."""
import os
import re
import shutil
import subprocess
import time

from fuzz_engines import ROOT


def say(text):
    print(time.strftime("%H:%M:%S ") + text, flush=True)


class Told:
    """Reports each broken rule once, as soon as an input breaks it."""

    def __init__(self, name, checker):
        self.name, self.checker, self.paths, self.rules = name, checker, set(), set()

    def look(self, engines):
        for path in sorted({path for engine in engines for path in engine.crashes()} - self.paths)[:8]:  # the rest at the next look
            self.paths.add(path)
            rule = what_broke(self.checker, path)
            if rule is not None and rule not in self.rules:
                self.rules.add(rule)
                print()
                say(f"{self.name}: found: {rule}\n   input: {os.path.relpath(path, ROOT)}")


def what_broke(binary, path):
    """The line that names the broken rule, without addresses and numbers: equal for equal bugs. None: it does not fail."""
    done = subprocess.run([binary, "-timeout=30", path], capture_output=True, text=True, errors="replace")
    if done.returncode == 0:
        return None
    for pattern in (r"^(fuzz_\w+,.*|hakmem: .*|\S+\.c:\d+: .*)$", r"^SUMMARY: (.*)$", r"^==\d+==\s*(ERROR.*)$"):
        found = re.search(pattern, done.stderr, re.M)
        if found:
            rule = re.sub(r"0x[0-9a-f]+|\d+", "N", found[1])
            return re.sub(r", step N, .*\): ", ": ", rule)  # by whichever call
    return f"status {done.returncode}"


def has_bytes(path):
    return os.path.exists(path) and os.path.getsize(path) != 0


def triage(name, binary, row, home, paths, tool):
    """Smallest input per broken rule; printed. Returns how many."""
    bugs = {}
    for path in paths:
        rule = what_broke(binary, path)
        if rule is not None and (rule not in bugs or os.path.getsize(path) < os.path.getsize(bugs[rule])):
            bugs[rule] = path
    for number, (rule, path) in enumerate(sorted(bugs.items()), 1):
        small = os.path.join(home, "finds", f"bug{number}")
        shutil.copy(path, small)
        done = subprocess.run([binary, "-minimize_crash=1", "-runs=20000", "-max_total_time=60", f"-exact_artifact_path={small}.small", small],
                       capture_output=True)
        if has_bytes(small + ".small") and what_broke(binary, small + ".small") == rule:
            os.replace(small + ".small", small)
        elif os.path.exists(small + ".small"):
            os.remove(small + ".small")
        if done.returncode and b"CRASHED" not in done.stderr and b"cannot minimize" not in done.stderr:
            print(f"\n{name}: what makes inputs smaller has failed itself:\n" + done.stderr.decode(errors="replace")[-2000:])
        print(f"\n== {name}, bug {number}: {rule}\n   input: {os.path.relpath(small, ROOT)}")
        if row["kind"] != "part":
            subprocess.run([tool, "print", small])
            with open(small + ".c", "wb") as file:
                subprocess.run([tool, "c", small], stdout=file)
            print(f"   as a C program: {os.path.relpath(small, ROOT)}.c")
    return len(bugs)


def merge(binary, row, home):
    """The project's corpus gets as few inputs as have all the edges that are new to it; how often an edge is passed
    does not count."""
    mine, project = os.path.join(home, "corpus"), os.path.join(ROOT, "fuzz/corpus", row["corpus"])
    subprocess.run([binary, "-set_cover_merge=1", "-use_counters=0", project, mine], capture_output=True)
