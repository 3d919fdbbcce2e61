"""misuse_table.py: what each allocator detects, as docs/DETECTION.md.

Builds the corpus and both variants with Bazel, runs every error and every twin several times on hakmem and on the peers that
Debian packages, and writes the page. Start it as tools/python tests/misuse/misuse_table.py.
"""
import argparse
import contextlib
import glob
import os
import re
import subprocess
import sys
import tempfile

import misuse_cases as misuse

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILT = ["tests/misuse/misuse", "allocator/libhakmem-hardened.so", "allocator/libhakmem.so"]
CWES = {
    "415": "double free", "416": "use after free", "122": "heap overflow", "124": "underwrite", "126": "overread",
    "127": "underread", "590": "free of memory not on the heap", "761": "free not at the start",
    "762": "mismatched routines", "attack": "attacks",
}
SCUDO_ALL = ("dealloc_type_mismatch=1:delete_size_mismatch=1:zero_contents=1:"
             "thread_local_quarantine_size_kb=64:quarantine_size_kb=256")
SCUDO_SAMPLED = "GWP_ASAN_Enabled=1:GWP_ASAN_SampleRate=1:GWP_ASAN_MaxSimultaneousAllocations=10000"
# How every object of hakmem-hardened becomes a sampled one, and how none does. Used once "sample" is in.
HAKMEM_SAMPLE_ALL = {"HAKMEM_SAMPLE_RATE": "1"}
HAKMEM_SAMPLE_NONE = {"HAKMEM_SAMPLE_RATE": "0"}
MARKS = {"detected": "yes", "silent": "-", "won": "WON", "n/a": "n/a", "wrong": "other", "broken": "broken"}


def the_one(*patterns):
    """The newest of the files that match the first pattern with a match. None: this distribution lacks it, or
    tools/setup lab never ran."""
    found = [sorted(glob.glob(pattern))[-1] for pattern in patterns if glob.glob(pattern)]
    if not found:
        print(f"misuse_table: {' and '.join(patterns)} is left out: not installed (tools/setup lab)", file=sys.stderr)
    return found[0] if found else None


def peers():
    mimalloc = the_one("/usr/lib/*/libmimalloc.so.2*", "/usr/lib/*/libmimalloc.so.3*")
    scudo = the_one("/usr/lib/llvm-19/lib/clang/19/lib/linux/libclang_rt.scudo_standalone-*64.so")
    found = [misuse.Allocator("glibc", {}, False)]
    if mimalloc:
        found.append(misuse.Allocator("mimalloc", {"LD_PRELOAD": mimalloc}, False))
    if scudo:
        found += [misuse.Allocator("scudo", {"LD_PRELOAD": scudo}, False),
                  misuse.Allocator("scudo, all on", {"LD_PRELOAD": scudo, "SCUDO_OPTIONS": SCUDO_ALL}, False),
                  misuse.Allocator("scudo, all sampled", {"LD_PRELOAD": scudo, "SCUDO_OPTIONS": SCUDO_SAMPLED}, False)]
    return found


def own(hardened, speed):
    hakmem = {"LD_PRELOAD": hardened}
    found = [misuse.Allocator("hakmem-hardened", hakmem, True)]
    if "sample" in misuse.MITIGATIONS_IN:
        found.append(misuse.Allocator("unsampled", {**hakmem, **HAKMEM_SAMPLE_NONE}, True))
        found.append(misuse.Allocator("all sampled", {**hakmem, **HAKMEM_SAMPLE_ALL}, True))
    # The speed variant needs no crash line, so it is verified as the peers are.
    return found + [misuse.Allocator("hakmem (speed)", {"LD_PRELOAD": speed}, False)]


def build():
    targets = ["//" + ":".join(path.rsplit("/", 1)) for path in BUILT]
    subprocess.run(["bazel", "build", *targets], cwd=ROOT, check=True)
    out = subprocess.run(["bazel", "info", "bazel-bin"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [os.path.join(out.strip(), path) for path in BUILT]


def package_versions():
    names = ["libc6", "libmimalloc2.0", "libmimalloc3", "libclang-rt-19-dev"]
    out = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package} ${Version}\n", *names], capture_output=True, text=True)
    return ", ".join(line.split(" ", 1)[1] for line in out.stdout.splitlines() if line.startswith("installed "))


def show_progress(name):
    def show(number, total):
        if sys.stderr.isatty():
            print(f"\r{name}: {number} of {total}", end="\n" if number == total else "", file=sys.stderr)
        elif number == total:
            print(f"{name}: {total} runs", file=sys.stderr)
    return show


def share(results, cases, verdicts):
    """(the number of runs with one of the verdicts, the number of all runs in which the error was possible)"""
    outcomes = [o.verdict for case in cases for o in results[case.name, "error"] if o.verdict != "n/a"]
    return sum(v in verdicts for v in outcomes), len(outcomes)


def percent(part, whole):
    """Rounded down, so that 100 means every run."""
    return "n/a" if whole == 0 else str(100 * part // whole)


def row(cells):
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def header(cells):
    return [row(cells), row(["---"] * len(cells))]


def cwe_table(cases, table):
    lines = header(["allocator"] + [f"{c} {CWES[c]}" for c in CWES if c != "attack"] + ["all of these"])
    plain = [case for case in cases if case.cwe != "attack"]
    for allocator, results in table:
        cells = [percent(*share(results, [c for c in plain if c.cwe == cwe], ("detected",)))
                 for cwe in CWES if cwe != "attack"]
        lines.append(row([allocator.name, *cells, percent(*share(results, plain, ("detected",)))]))
    lines.append(row(["programs", *[sum(c.cwe == cwe for c in plain) for cwe in CWES if cwe != "attack"], len(plain)]))
    return lines


def attack_table(cases, table):
    attacks = [case for case in cases if case.cwe == "attack"]
    lines = header(["allocator", "primitives won (% of runs)", "detected (% of runs)", "attacks that ever won",
                    "false alarms (twins that did not run to their end)"])
    for allocator, results in table:
        ever = sum(any(o.verdict == "won" for o in results[c.name, "error"]) for c in attacks)
        alarms = sum(any(o.verdict not in ("silent", "n/a") for o in results[c.name, "twin"]) for c in cases)
        lines.append(row([allocator.name, percent(*share(results, attacks, ("won",))),
                          percent(*share(results, attacks, ("detected",))), f"{ever} of {len(attacks)}",
                          f"{alarms} of {len(cases)}"]))
    return lines


def mitigation_table(cases, results):
    lines = header(["name", "what it is", "state", "programs that need it", "detected (% of runs)", "won (% of runs)"])
    for name, what in misuse.MITIGATIONS.items():
        needing = [case for case in cases if case.needs == name]
        lines.append(row([name, what, "in" if name in misuse.MITIGATIONS_IN else "not yet", len(needing),
                          percent(*share(results, needing, ("detected",))), percent(*share(results, needing, ("won",)))]))
    return lines


def mark(outcomes):
    """One word, or the number of times that each verdict came."""
    verdicts = [o.verdict for o in outcomes]
    if len(set(verdicts)) == 1:
        return MARKS[verdicts[0]]
    return ", ".join(f"{MARKS[v]} {100 * verdicts.count(v) / len(verdicts):.0f} %" for v in sorted(set(verdicts)))


def case_key(case):
    """The cells of a case's row that come from the corpus alone; misuse_doc_test compares them."""
    return [f"`{case.name}`", case.needs if misuse.is_in(case) else f"{case.needs} (not yet)", case.sure,
            " or ".join(case.errors)]


def case_tables(cases, table):
    lines = []
    for cwe, title in CWES.items():
        lines += ["", f"### {title if cwe == 'attack' else f'CWE-{cwe}: {title}'}", ""]
        lines += header(["program", "needs", "how surely", "error named"] + [a.name for a, _ in table])
        for case in cases:
            if case.cwe == cwe:
                lines.append(row(case_key(case) + [mark(results[case.name, "error"]) for _, results in table]))
    return lines


TAGS = "## Memory tags of arm64"
TAGS_INTRO = """
`HAKMEM_MTE=1` ([048](decisions/048-memory-tags.md)), the hardened variant compiled for arm64, under {emulator} with `-cpu max`; {repeat} runs
of each program. Without samples, so that the columns differ by the tags alone. The emulator accepts guards and does not have them, so
accesses past large objects are not detected in either row. An access is detected when its pointer has not the tag of the memory; how
many of such pointers have it all the same, by the tags that malloc gives:
"""
TAGS_CURVE = {
    "next": "to the slot before or behind (an overflow that runs on, an underflow)",
    "freed": "to a freed slot, until it has another owner",
    "last": "of the last owner, when the slot has another one",
    "earlier": "of an earlier owner (slots have 8 or 7 tags, by their place, and never the last owner's)",
    "far": "to another object of the size, not a neighbour",
}


@contextlib.contextmanager
def built_for_arm64():
    """The corpus, as a program that runs itself under qemu-user, the library, and the program of tests/tools/mte_test.py."""
    sys.path.insert(0, os.path.join(ROOT, "tests/tools"))
    import arm64  # pylint: disable=import-outside-toplevel
    lacks = arm64.lacks(arm64.COMPILER, "aarch64-linux-gnu-g++")
    if lacks:
        raise SystemExit(f"misuse_table: {lacks} is not installed (tools/setup test)")
    with tempfile.TemporaryDirectory() as folder:
        here, options = os.path.join(ROOT, "tests/misuse"), ["-D_GNU_SOURCE", "-O0", "-fno-builtin", "-w", "-I" + ROOT]
        hidden, program, tags = (os.path.join(folder, name) for name in ("mismatch.o", "corpus", "tags"))
        arm64.run("aarch64-linux-gnu-g++", *options, "-std=c++17", "-fsized-deallocation", "-c",
                  os.path.join(here, "cwe762_mismatch_cc.cc"), "-o", hidden)
        arm64.run(arm64.COMPILER, *options, *sorted(glob.glob(os.path.join(here, "*.c"))), hidden, "-o", program, "-pthread", "-lstdc++")
        arm64.run(arm64.COMPILER, *options, os.path.join(ROOT, "tests/tools/tagged.c"), "-o", tags, "-pthread")
        library = arm64.library(ROOT, folder)
        for name, words in (("misuse", (program,)), ("mte", (tags,))):
            with open(os.path.join(folder, name), "w", encoding="utf-8") as script:
                script.write("#!/bin/sh\nexec " + " ".join(arm64.command(*words, preload=library)) + ' "$@"\n')
            os.chmod(script.name, 0o755)
        version = subprocess.run([arm64.emulator(), "--version"], capture_output=True, text=True, check=True).stdout
        yield folder, "qemu-user " + re.search(r"version (\d+\.\d+)", version)[1]


def tags_section(repeat):
    with built_for_arm64() as (folder, emulator):
        program = os.path.join(folder, "misuse")
        cases, table = misuse.read_cases(program), []
        for name, value in (("without tags", "0"), ("with tags", "1")):
            allocator = misuse.Allocator(name, {"HAKMEM_MTE": value, **HAKMEM_SAMPLE_NONE}, True)
            table.append((allocator, misuse.run_all(program, allocator, cases, ["error", "twin"], repeat, progress=show_progress(name))))
        said = subprocess.run([os.path.join(folder, "mte"), "tags"], env={**os.environ, "HAKMEM_MTE": "1", **HAKMEM_SAMPLE_NONE},
                              capture_output=True, text=True, check=True).stdout
    curve = header(["pointer", "pointers", "with the memory's tag", "detected, %"])
    for name, missed, count in re.findall(r"(\w+) (\d+) of (\d+)", said):
        curve.append(row([TAGS_CURVE[name], count, missed, f"{100 - 100 * int(missed) / int(count):.1f}"]))
    alarms = [sum(any(o.verdict not in ("silent", "n/a") for o in results[c.name, "twin"]) for c in cases) for _, results in table]
    return [TAGS, *TAGS_INTRO.format(emulator=emulator, repeat=repeat).splitlines(), "", *curve, "", "The corpus, detected, % of runs:", "",
            *cwe_table(cases, table), "", f"False alarms: {alarms[0]} of {len(cases)} twins without tags, {alarms[1]} with tags."]


def with_tags(text, section):
    """The page with this section, in the place of the one that it may have."""
    before, every, rest = text.partition("## Every program\n")
    return before.partition(TAGS + "\n")[0] + "\n".join(section) + "\n\n" + every + rest


INTRO = """# What is detected

Generated by `tools/python tests/misuse/misuse_table.py`; do not edit. {cases} misuse programs (tests/misuse) make one error each, {repeat} times; the same
programs without their error are the twins. The same binary runs on every allocator by LD_PRELOAD. Peers: {versions}; scudo with
all its optional checks on, and with every object sampled, as well.

An error is detected when a signal ends the process before the program does. For the peers any abort or fault counts. An attack
wins when it holds two live objects that overlap, an object at an address of its choice, a write there, or a dangling
pointer into a live object. Percentages are of the runs in which the allocator offers the call at all (the C23 sized frees are
missing in the peers), rounded down.

`needs` names the mitigation that finds the error; "not yet" is one that hakmem-hardened does not have yet. `how surely`: *sure* by
design every time, *sampled* when the object is between guards, *chance* depends on placement, *not won* nothing need be
detected as long as no primitive is won. In the columns: *yes* detected (for hakmem-hardened with a crash line that names an error of
the fourth column), *other* ended by a crash line that does not, *-* not detected, *WON* a primitive was won. hakmem-hardened runs with
`HAKMEM_HARDENING=all:abort`: by default wrong sizes, alignments and families (CWE-762) are reported and the program goes on.
"""


def page(cases, table, repeat):
    lines = [INTRO.format(cases=len(cases), repeat=repeat, versions=package_versions())]
    lines += ["## Detected, % of runs, by CWE", "", *cwe_table(cases, table)]
    lines += ["", "## Attacks and false alarms", "", *attack_table(cases, table)]
    lines += ["", "## Mitigations of hakmem-hardened", "", *mitigation_table(cases, table[0][1])]
    lines += ["", "## Every program", *case_tables(cases, table)]
    return "\n".join(lines) + "\n"


def measured(args):
    """The page but for the section on memory tags."""
    program, hardened, speed = args.built or build()
    cases, table = misuse.read_cases(program), []
    for allocator in own(hardened, speed) + peers():
        results = misuse.run_all(program, allocator, cases, ["error", "twin"], args.repeat,
                                 progress=show_progress(allocator.name))
        table.append((allocator, results))
    return page(cases, table, args.repeat)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--output", default=os.path.join(ROOT, "docs/DETECTION.md"))
    parser.add_argument("--built", nargs=3, metavar=("PROGRAM", "HARDENED", "SPEED"), help="use these, build nothing")
    parser.add_argument("--tags", action="store_true", help="measure the section on memory tags only, and put it into the page")
    args = parser.parse_args()
    sys.path.insert(0, os.path.join(ROOT, "tools/build"))  # a test that makes no page does not have it
    from wrap_markdown import wrapped  # pylint: disable=import-outside-toplevel
    if args.tags:
        with open(args.output, encoding="utf-8") as old:
            text = old.read()
    else:
        text = measured(args)
    text = wrapped(with_tags(text, tags_section(args.repeat)))
    sys.path.insert(0, os.path.join(ROOT, "bench"))
    import lab_curves_page  # pylint: disable=import-outside-toplevel
    import lab_store  # pylint: disable=import-outside-toplevel
    text = lab_curves_page.with_section(text, lab_store.load(os.path.join(ROOT, "docs/results/curves.json")))
    with open(args.output, "w", encoding="utf-8") as out:
        out.write(text)
    print(f"wrote {os.path.relpath(args.output)}")


if __name__ == "__main__":
    main()
