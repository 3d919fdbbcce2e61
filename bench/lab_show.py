"""lab_show.py SPEED.so HARDENED.so: the demonstration of tools/run: real programs under glibc and both variants, and
two errors that the hardened one finds."""
import os
import signal
import statistics
import subprocess
import sys
import tempfile

import lab_foreign
import lab_programs
from lab_peers import ROOT, Contestant

PROGRAMS = {"sqlite3": "sqlite3", "python3": "python3, PYTHONMALLOC=malloc", "redis": "redis-server, redis-benchmark"}
ERRORS = {"double-free": "hakmem: double free: ", "invalid-free": "hakmem: invalid free: "}
ROUNDS = 3


def left_out(contestants):
    """{program: the reason why it cannot run on all of them}"""
    programs = lab_programs.prepare(None)
    reasons = {name: lab_foreign.reason(programs[name][0], [c.path for c in contestants]) for name in PROGRAMS}
    return {name: reason for name, reason in reasons.items() if reason}


def measure(names, contestants, folder):
    """{program: {contestant: [run, ...]}}: every round runs each program under each contestant in turn."""
    programs = lab_programs.prepare(folder)
    runs = {name: {c.name: [] for c in contestants} for name in names}
    for number in range(ROUNDS):
        for name in names:
            for contestant in contestants:
                print(f"round {number + 1} of {ROUNDS}: {name} under {contestant.name}", file=sys.stderr, flush=True)
                _, _, command, source = programs[name]
                run = lab_programs.run_program(name, command, source, contestant, folder)
                if "error" in run:
                    sys.exit(f"tools/run: {run['error']} under {contestant.name}")
                runs[name][contestant.name].append(run)
    return runs


def print_table(runs, contestants):
    """Medians; in brackets the ratio to glibc."""
    names = [c.name for c in contestants]
    print(f"\n{'':31}{'CPU time, s (ratio to glibc)':39}peak RSS, MiB (ratio to glibc)")
    print(f"{'program':31}" + "".join(f"{name:13}" for name in names + names))
    for program in runs:
        line = f"{PROGRAMS[program]:31}"
        for key, unit in (("cpu_s", 1), ("hwm_kib", 1024)):
            medians = [statistics.median(run[key] for run in runs[program][name]) / unit for name in names]
            for value in medians:
                ratio = f" ({value / medians[0]:.2f})" if value != medians[0] else ""
                line += f"{value:.{2 if unit == 1 else 1}f}{ratio}".ljust(13)
        print(line.rstrip())
    print(f"Medians of {ROUNDS} interleaved rounds; lower is better. More workloads and allocators: tools/bench.", flush=True)


def show_errors(library, folder):
    """Runs the two errors under the hardened variant; exits if one is not found."""
    source = os.path.join(ROOT, "bench/errors.c")
    program = os.path.join(folder, "errors")
    subprocess.run(["clang-19", "-O0", "-fno-builtin", "-o", program, source], check=True)
    print("\nThe hardened variant on bench/errors.c:", flush=True)
    for error, line in ERRORS.items():
        print(f"$ tools/run -- ./errors {error}", flush=True)
        done = subprocess.run([program, error], env=dict(os.environ, LD_PRELOAD=library), stderr=subprocess.PIPE, text=True)
        print(done.stderr, end="")
        if done.returncode != -signal.SIGABRT or line not in done.stderr:
            sys.exit(f"tools/run: the {error} was not caught (status {done.returncode})")
        print("Aborted", flush=True)


def main():
    libraries = {"hakmem": os.path.abspath(sys.argv[1]), "hardened": os.path.abspath(sys.argv[2])}
    # libc itself as the preloaded library: Debian's redis-server is linked with jemalloc.
    contestants = [Contestant("glibc", "libc.so.6")] + [Contestant(name, path) for name, path in libraries.items()]
    missing = left_out(contestants)
    with tempfile.TemporaryDirectory() as folder:
        try:
            print_table(measure([name for name in PROGRAMS if name not in missing], contestants, folder), contestants)
            for name, reason in missing.items():
                print(f"Left out: {name}: {reason}.", flush=True)
            show_errors(libraries["hardened"], folder)
        except (subprocess.CalledProcessError, OSError) as failure:
            sys.exit(f"tools/run: {failure}")


if __name__ == "__main__":
    main()
