#!/usr/bin/env python3
"""lab_results: the command line of tools/results. Runs every measurement one after the other and keeps its small form.

Each step is a command of the laboratory, shown before it runs, whose results go to FOLDER/STEP.json. A step whose results
are of the present sources of the allocator is skipped, so that an interrupted run goes on where it was. From the results come
FOLDER/index.html, with all plots, and FOLDER/scorecard.md. --page only makes these two.
"""
import argparse
import os
import subprocess
import sys
import time

import lab_count
import lab_curves_page
import lab_growth
import lab_main
import lab_mixed
import lab_overview
import lab_page
import lab_peers
import lab_programs
import lab_score
import lab_soak
import lab_store
import lab_table

KEPT = os.path.join(lab_peers.ROOT, "docs", "results")
DETECTION = os.path.join(lab_peers.ROOT, "docs", "DETECTION.md")
OURS = "hakmem,hakmem-hardened"
PROFILES = "hakmem,hakmem-speed,hakmem-hardened"
SOAK_CONTESTANTS, SOAK_JOBS = 4, min(2, os.cpu_count())
# name: (command; {out}: the folder of raw results, {rounds}, {minutes}; minutes that it takes on two cores)
STEPS = {
    "mixed": (["run_mixed_10_cleanenv", "--variants", PROFILES, "--peers", "all"], 8),
    "budget": (["run_mixed_10_cleanenv", "--os-calls", "--variants", PROFILES, "--peers", "all"], 5),
    "instructions": (["bench", "--instructions", "--variants", OURS, "--peers", "all"], 3),
    "workloads": (["bench", "--workloads", "all", "--os-calls", "--rounds", "{rounds}", "--variants", OURS + ",hakmem-reduced", "--peers", "all"], 45),
    "life": (["bench", "--workloads", "life", "--rounds", "3", "--variants", OURS, "--peers", "all"], 25),
    "latency": (["bench", "--workloads", "latency", "--rounds", "5", "--variants", OURS, "--peers", "all"], 10),
    "programs": (["bench", "--real", "--rounds", "{rounds}", "--variants", OURS, "--peers", "all"], 20),
    "growth": (["growth", "--variants", OURS, "--peers", "glibc,mimalloc2,limit"], 20),
    "traces": (["bench", "--traces", "{out}/traces", "--rounds", "{rounds}", "--variants", OURS, "--peers", "all"], 25),
    "curves": (["attack_curves", "--peers", "glibc,scudo"], 40),
    "soak": (["soak", "--minutes", "{minutes}", "--jobs", str(SOAK_JOBS), "--os-calls", "--variants", PROFILES, "--peers", "mimalloc2"], None),
}
# Options that --quick appends to the commands: a later option wins over an earlier one.
QUICK = {"curves": ["--processes", "4", "--curves", "alone"], "mixed": ["--rounds", "2", "2000000", "400", "1"], "budget": ["--peers", "mimalloc2"], "workloads": ["--quick", "--peers", "mimalloc2,limit"],
         "instructions": ["--peers", "none"], "life": ["--workloads", "life_sparse", "--peers", "mimalloc2"], "latency": ["--quick", "--peers", "mimalloc2"], "programs": ["--quick", "--real", "sqlite3,perl", "--peers", "mimalloc2"], "growth": ["--quick"],
         "traces": ["--quick", "--peers", "mimalloc2"], "soak": ["--minutes", "0.1", "--ops", "5000000"]}


def arguments():
    p = argparse.ArgumentParser(prog="tools/results", description="Makes the kept results, the page and the scorecard.")
    p.add_argument("steps", nargs="*", metavar="STEP", help="of " + ", ".join(STEPS) + "; default: all")
    p.add_argument("--folder", default=KEPT, help="where results are kept")
    p.add_argument("--out", default=os.path.join(lab_peers.ROOT, "bench", "out"), help="where raw results, programs and traces go")
    p.add_argument("--programs", metavar="DIR", help="use the programs and libraries there instead of building")
    p.add_argument("--with", action="append", default=[], dest="others", metavar="NAME=PATH", help="another allocator, in every step with peers")
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--minutes", type=float, default=60, help="of the soak, for each of its four contestants")
    p.add_argument("--again", action="store_true", help="also the steps whose results are of the present sources")
    p.add_argument("--page", action="store_true", help="measure nothing; make the page and the scorecard from what is there")
    p.add_argument("--quick", action="store_true", help="a rehearsal of some ten minutes: its figures say nothing")
    p.add_argument("--plan", action="store_true", help="only show the commands")
    args = p.parse_args()
    for step in args.steps:
        if step not in STEPS:
            p.error(f"unknown step {step}; known: {', '.join(STEPS)}")
    if args.quick and args.folder == p.get_default("folder"):
        p.error("--quick needs a --folder of its own")
    args.out, args.folder = os.path.abspath(args.out), os.path.abspath(args.folder)
    return args


def command_of(step, args, programs):
    words = [w.format(out=args.out, rounds=args.rounds, minutes=args.minutes) for w in STEPS[step][0]]
    if args.quick:
        words += QUICK.get(step, [])
    others = [f"--with={other}" for other in args.others]
    return [os.path.join(lab_peers.ROOT, "tools", words[0]), f"--programs={programs}", f"--out={args.out}",
            f"--save={os.path.join(args.folder, step + '.json')}", *others, *words[1:]]


def minutes_of(step, args):
    return STEPS[step][1] or args.minutes * SOAK_CONTESTANTS / SOAK_JOBS


def is_done(step, args):
    path = os.path.join(args.folder, step + ".json")
    return os.path.exists(path) and lab_store.load(path)["machine"]["sources"] == lab_peers.machine()["sources"]


def measure(args):
    steps = [s for s in args.steps or STEPS if args.again or not is_done(s, args)]
    programs = args.programs or os.path.join(args.out, "bin")
    print(f"{len(steps)} steps, about {sum(minutes_of(s, args) for s in steps):.0f} minutes: {', '.join(steps) or 'nothing to do'}", flush=True)
    if args.plan:
        for step in steps:
            print(f"{step}, about {minutes_of(step, args):.0f} minutes:\n  {' '.join(command_of(step, args, programs))}")
        return 0
    if steps and not args.programs:
        lab_peers.build(programs, ["hakmem", "hakmem-hardened"])
    failed = [step for step in steps if not run_step(step, args, programs)]
    if failed:
        print("failed:", ", ".join(failed), file=sys.stderr)
    return 1 if failed else 0


def run_step(step, args, programs):
    started = time.time()
    if step == "traces":
        record = [os.path.join(lab_peers.ROOT, "tools", "traces"), f"--programs={programs}", f"--out={args.out}"]
        if subprocess.run(record).returncode:
            return False
    command = command_of(step, args, programs)
    print(f"\n== {step}: {' '.join(command)}", flush=True)
    status = subprocess.run(command).returncode
    print(f"== {step}: status {status}, {(time.time() - started) / 60:.1f} minutes", flush=True)
    return status == 0


def sections(results):
    """Parts of the page: plots and tables of each kind of results that exists."""
    makers = {
        "life": lambda r: lab_page.comparison(r) + lab_page.tables(lab_table.all_tables(r)),
        "latency": lambda r: lab_page.comparison(r) + lab_page.tables(lab_table.all_tables(r)),
        "workloads": lambda r: lab_page.comparison(r) + lab_page.tables(lab_table.all_tables(r) + lab_main.os_call_tables(r)),
        "mixed": lambda r: lab_page.tables(lab_mixed.tables(r)),
        "budget": lambda r: lab_page.tables([("System calls of random_mixed " + " ".join(r["operations"]), lab_mixed.budget_rows(r["summary"]))]),
        "instructions": lambda r: lab_page.tables([lab_count.table(r["summary"])]),
        "programs": lambda r: lab_page.comparison(r) + lab_page.tables(lab_programs.tables(r["summary"], r["peers"], r["base"])),
        "growth": lambda r: lab_growth.plots(r) + lab_page.tables(lab_growth.tables(r)),
        "traces": lambda r: lab_page.comparison(r) + lab_page.tables(lab_table.all_tables(r)),
        "curves": lambda r: lab_page.tables([("Calls that an attacker needs (curves.md has the other allocators and attacks)", lab_curves_page.goal_rows(r))]),
        "soak": lambda r: lab_page.tables(lab_soak.tables(r)) + lab_soak.plots(r),
    }
    for kind, make in makers.items():
        if kind in results:
            yield f'<h1 id="{kind}">{lab_page.esc(kind)}</h1>'
            yield lab_page.provenance(results[kind])
            yield from make(results[kind])


def page(results):
    links = " · ".join(f'<a href="#{kind}">{lab_page.esc(kind)}</a>' for kind in results)
    return lab_page.document("hakmem: results", [f"<p>{links}</p>", *lab_page.tables(lab_score.tables(results)), *sections(results)])


def made_of(results, detection):
    """{file name: text} of the files made from the results; `detection`: the text of docs/DETECTION.md."""
    made = {"index.html": page(results), "scorecard.md": lab_score.markdown(results)} if results else {}
    if "programs" in results:
        made["overview.svg"] = lab_overview.picture(results["programs"], detection)
    if "curves" in results:
        made.update({"curves.md": lab_curves_page.markdown(results["curves"]), "curves.svg": lab_curves_page.picture(results["curves"])})
    return made


def write_page(folder):
    results = lab_store.load_folder(folder)
    with open(DETECTION, encoding="utf-8") as f:
        detection = f.read()
    if "curves" in results and os.path.realpath(folder) == os.path.realpath(KEPT):
        with open(DETECTION, "w", encoding="utf-8") as f:
            f.write(lab_curves_page.with_section(detection, results["curves"]))
    for name, text in made_of(results, detection).items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
            f.write(text)
    size = sum(os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder))
    print(f"{folder}: {len(results)} results, index.html, scorecard.md and overview.svg, {size / 1024:.0f} KiB in all")


def main():
    args = arguments()
    status = 0 if args.page else measure(args)
    if not args.plan:
        os.makedirs(args.folder, exist_ok=True)
        write_page(args.folder)
    return status


if __name__ == "__main__":
    sys.exit(main())
