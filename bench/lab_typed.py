#!/usr/bin/env python3
"""lab_typed: the command line of tools/typed_price. What the typed heap costs programs of Debian's source packages.

Fetches the sources by apt-get into a folder, builds them there by clang-22 -fsanitize=alloc-token, linked with the hardened variant,
and runs each with partitions as by default and without, interleaved: the same binary, another environment variable. Nothing that is
fetched belongs to the repository. Debian 12's security archive has clang-22.
"""
import argparse
import glob
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

import lab_peers
import lab_programs
import lab_run
import lab_table

COMPILER = "clang-22"
TYPED = [COMPILER, "-fsanitize=alloc-token", "-O2", "-w"]
SETTINGS = {"off": {"HAKMEM_PARTITIONS": "0"}, "on": {}}
LUA = """
local seed = 1
local function next() seed = (seed * 1103515245 + 12345) & 0x7fffffff; return seed end
for round = 1, 4 do
    local rows, words = {}, {}
    for i = 1, 60000 do rows[i] = {id = i, name = "n" .. next() % 50000, tags = {next() % 99, "t" .. next() % 99}} end
    for _, row in ipairs(rows) do words[row.name] = (words[row.name] or 0) + #row.tags end
    local names = {}
    for name in pairs(words) do names[#names + 1] = name end
    table.sort(names)
    local text = table.concat(names, ",")
    for word in text:gmatch("[^,]+") do words[word] = nil end
end
"""


# A graph of 60,000 steps, each of which needs two others; none is run.
NINJA = "".join(["rule cc\n  command = cc -c $in -o $out $flags\n  description = compile $out\n", "build out/0/module_0.o: cc\n",
                 *[f"build out/{i % 97}/module_{i}.o: cc out/{i // 2 % 97}/module_{i // 2}.o | out/{i // 3 % 97}/module_{i // 3}.o\n  flags = -DNUMBER={i} -O{i % 4}\n"
                   for i in range(1, 60000)]])


def run(command, where, **more):
    done = subprocess.run(command, cwd=where, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)
    if done.returncode:
        raise SystemExit(f"typed_price: {' '.join(command)[:120]}: status {done.returncode}\n{done.stdout[-800:]}")


def linked(libraries):
    """What names the library to the linker; the program then needs it, whether preloaded or not."""
    return ["-Wl,--no-as-needed", f"-L{libraries}", "-l:libhakmem-hardened.so", f"-Wl,-rpath,{libraries}"]


def build_lua(where, libraries):
    with open(os.path.join(where, "src", "lua5.4-deb-multiarch.h"), "w", encoding="utf-8") as header:
        header.write('#define DEB_HOST_MULTIARCH "none"\n')
    sources = [path for path in glob.glob(os.path.join(where, "src", "*.c")) if os.path.basename(path) not in ("luac.c", "onelua.c", "ltests.c")]
    run([*TYPED, "-DLUA_USE_LINUX", "-DLUA_COMPAT_5_3", *sources, "-o", "typed", *linked(libraries), "-lm", "-ldl"], where)


def build_sqlite3(where, libraries):
    run(["./configure", "--disable-tcl"], where)
    run(["make", "sqlite3.c", "shell.c"], where)
    run([*TYPED, "-DSQLITE_THREADSAFE=1", "shell.c", "sqlite3.c", "-o", "typed", *linked(libraries), "-lpthread", "-ldl", "-lm"], where)


def build_redis(where, libraries):
    """Without types in its dependencies, whose makefiles link programs of their own."""
    jobs = f"-j{min(2, os.cpu_count())}"
    run(["make", jobs, "-C", "deps", "hiredis", "linenoise", "lua", "hdr_histogram", f"CC={COMPILER}"], where)
    run(["make", jobs, "-C", "src", "redis-server", "MALLOC=libc", "USE_SYSTEMD=no", "BUILD_TLS=no", f"CC={' '.join(TYPED)}",
         f"LDFLAGS={' '.join(linked(libraries))}"], where)
    shutil.copy(os.path.join(where, "src", "redis-server"), os.path.join(where, "typed"))


def build_ninja(where, libraries):
    """C++: objects of new have types, where a C program asks for bytes through a wrapper of its own."""
    left_out = ("test.cc", "bench.cc", ".in.cc", "browse.cc", "minidump", "msvc", "win32")
    sources = [path for path in glob.glob(os.path.join(where, "src", "*.cc")) if not any(part in os.path.basename(path) for part in left_out)]
    run([COMPILER.replace("clang", "clang++"), *TYPED[1:], *sources, "-o", "typed", *linked(libraries)], where)


# name: (source package, how it is built)
PROGRAMS = {"ninja": ("ninja-build", build_ninja), "lua": ("lua5.4", build_lua), "sqlite3": ("sqlite3", build_sqlite3), "redis": ("redis", build_redis)}


def tree_of(name, folder):
    """The folder of the unpacked source package; None: not there."""
    found = [path for path in glob.glob(os.path.join(folder, PROGRAMS[name][0] + "-*")) if os.path.isdir(path)]
    return found[0] if found else None


def fetch(names, folder):
    """apt-get source, from where the machine has its packages, with lists of its own: a machine's own seldom name sources."""
    missing = [PROGRAMS[name][0] for name in names if not tree_of(name, folder)]
    if not missing:
        return
    with open("/etc/os-release", encoding="utf-8") as release:
        code = next(line.strip().partition("=")[2] for line in release if line.startswith("VERSION_CODENAME="))
    asked = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)"]
    known = {tuple(line.split()) for line in subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()}
    archives = [archive for archive, codename, component in sorted(k for k in known if len(k) == 3) if (codename, component) == (code, "main")]
    if not archives:
        raise SystemExit(f"typed_price: apt-get knows no archive of {code}")
    for sub in ("lists/partial", "cache/archives/partial"):
        os.makedirs(os.path.join(folder, sub), exist_ok=True)
    listed = os.path.join(folder, "sources.list")
    with open(listed, "w", encoding="utf-8") as file:
        file.write(f"deb-src {archives[0]} {code} main\n")
    own = [f"-oDir::Etc::sourcelist={listed}", "-oDir::Etc::sourceparts=/dev/null", f"-oDir::State::lists={folder}/lists", f"-oDir::Cache={folder}/cache"]
    run(["apt-get", *own, "-qq", "update"], folder)
    run(["apt-get", *own, "-qq", "source", *missing], folder)


def built(name, folder, libraries):
    """The typed program."""
    tree = tree_of(name, folder)
    program = os.path.join(tree, "typed")
    if not os.path.exists(program):
        print(f"typed_price: building {name}", file=sys.stderr, flush=True)
        PROGRAMS[name][1](tree, libraries)
    return program


def calls_of(program):
    """How many functions of the interface with tokens it imports: 0 would be a program without types."""
    symbols = subprocess.run(["nm", "-D", "--undefined-only", program], capture_output=True, text=True, check=True).stdout
    return symbols.count(" __alloc_token_")


def run_one(name, program, contestant, folder):
    if name == "redis":
        return lab_programs.run_redis(contestant.environment(), folder, program)
    command, text = {"sqlite3": ([program, ":memory:"], lab_programs.SQL), "lua": ([program, "-"], LUA),
                     "ninja": ([program, "-n", "-f", "/dev/stdin"], NINJA)}[name]
    path = os.path.join(folder, name + ".input")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    with open(path, encoding="utf-8") as stdin:
        process = subprocess.Popen(command, env=contestant.environment(), stdin=stdin, stdout=subprocess.DEVNULL)
    return lab_programs.finish(process, name)


def measure(programs, contestants, rounds, folder):
    """{name: {"on" or "off": [runs]}}: one after the other, each pair the other way round than the one before."""
    runs = {name: {setting: [] for setting in contestants} for name in programs}
    for number in range(rounds):
        for name, program in programs.items():
            for setting in list(contestants)[::-1 if number % 2 else 1]:
                lab_run.pretouch(lab_programs.TOUCHED_MIB)
                done = run_one(name, program, contestants[setting], folder)
                if "error" in done:
                    raise SystemExit(f"typed_price: {done['error']}")
                runs[name][setting].append(done)
        print(f"typed_price: round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return runs


def rows_of(runs, calls):
    """Medians of the ratios of each round, and their spread. `calls`: {program: functions with tokens}."""
    rows = [["program", "functions with tokens", "CPU, on / off", "least to greatest", "RSS, on / off", "CPU s, off", "MiB, off"]]
    for name, by_setting in runs.items():
        ratios = {key: [on[key] / off[key] for on, off in zip(by_setting["on"], by_setting["off"])] for key in ("cpu_s", "hwm_kib")}
        rows.append([name, str(calls[name]), f"{statistics.median(ratios['cpu_s']):.3f}", f"{min(ratios['cpu_s']):.2f} to {max(ratios['cpu_s']):.2f}",
                     f"{statistics.median(ratios['hwm_kib']):.3f}", f"{statistics.median(r['cpu_s'] for r in by_setting['off']):.2f}",
                     f"{statistics.median(r['hwm_kib'] for r in by_setting['off']) / 1024:.1f}"])
    return rows


def main():
    p = argparse.ArgumentParser(prog="tools/typed_price", description="What the typed heap costs programs of Debian's source packages.")
    p.add_argument("names", nargs="*", metavar="PROGRAM", help="of " + ", ".join(PROGRAMS) + "; default: all")
    p.add_argument("--sources", metavar="DIR", help="where sources are fetched and built, and stay; default: a folder that goes away")
    p.add_argument("--programs", metavar="DIR", help="use the hardened library there instead of building it")
    p.add_argument("--rounds", type=int, default=9)
    args = p.parse_args()
    for name in args.names:
        if name not in PROGRAMS:
            p.error(f"unknown program {name}; known: {', '.join(PROGRAMS)}")
    if args.rounds < 1:
        p.error("--rounds must be at least 1")
    if not shutil.which(COMPILER):
        raise SystemExit(f"typed_price: {COMPILER} is missing (Debian 12's security archive has it)")
    with tempfile.TemporaryDirectory(prefix="hakmem-typed-") as scratch:
        folder = os.path.abspath(args.sources or scratch)
        os.makedirs(folder, exist_ok=True)
        libraries = os.path.abspath(args.programs or lab_peers.build(os.path.join(scratch, "bin"), ["hakmem-hardened"], with_programs=False))
        fetch(args.names or PROGRAMS, folder)
        programs = {name: built(name, folder, libraries) for name in args.names or PROGRAMS}
        library = os.path.join(libraries, "libhakmem-hardened.so")
        contestants = {setting: lab_peers.Contestant(setting, library, env) for setting, env in SETTINGS.items()}
        calls = {name: calls_of(program) for name, program in programs.items()}
        untyped = [name for name, count in calls.items() if not count]
        if untyped:
            raise SystemExit(f"typed_price: {', '.join(untyped)}: built without tokens, so there is nothing to compare")
        print(lab_table.grid(rows_of(measure(programs, contestants, args.rounds, scratch), calls)))


if __name__ == "__main__":
    main()
