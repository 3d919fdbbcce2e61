#!/usr/bin/env -S python3 -B
"""stability_test.py BUILD_SH OPS_TOOL TARGET...: an input takes the same path through a target, whichever inputs ran
before it in the process, so that AFL++ sees a stability of 100 %. Builds the targets as tools/fuzz does for AFL++,
runs every input three times in one process, each time in another order, and compares AFL++'s counters."""
import os
import random
import subprocess
import sys
import tempfile

ORDERS, MADE, RECORDS = 3, 100, 64


def build(build_sh, out, targets):
    env = {**os.environ, "OUT": out, "WORK": os.path.join(out, "work"), "CC": "afl-clang-fast", "CXX": "afl-clang-fast++", "CFLAGS": "-O2 -g",
           "CXXFLAGS": "-O2 -fuse-ld=lld-19", "LIB_FUZZING_ENGINE": "/usr/lib/afl/libAFLDriver.a", "AFL_QUIET": "1"}
    os.makedirs(out)
    subprocess.run([build_sh, *targets], env=env, check=True, stdout=subprocess.DEVNULL)


def programs(root, tool):
    """{name: bytes}: the seeds, and made inputs."""
    found = {}
    for corpus in ("ops", "attack"):
        folder = os.path.join(root, "fuzz/corpus", corpus)
        for name in sorted(os.listdir(folder)):
            with open(os.path.join(folder, name), "rb") as file:
                found[name] = file.read()
    for seed in range(1, MADE + 1):
        found[f"made{seed}"] = subprocess.run([tool, "generate", str(1 + seed % RECORDS), str(seed)], capture_output=True, check=True).stdout
    return found


def write_in_orders(inputs, folder):
    """afl-showmap orders inputs by name, so the names begin with the order; the part after the last dot is the
    input's own."""
    os.makedirs(folder)
    for order in range(ORDERS):
        names = sorted(inputs)
        random.Random(order).shuffle(names)
        for place, name in enumerate(names):
            with open(os.path.join(folder, f"{order}.{place:04}.{name}"), "wb") as file:
                file.write(inputs[name])


def counters_of(binary, folder, out):
    """{input: [its counters, once per order]}"""
    env = {**os.environ, "AFL_QUIET": "1", "AFL_NO_AFFINITY": "1"}
    subprocess.run(["afl-showmap", "-q", "-m", "none", "-t", "20000", "-i", folder, "-o", out, "--", binary], env=env, check=True,
                   stdout=subprocess.DEVNULL)
    found = {}
    for name in sorted(os.listdir(out)):
        with open(os.path.join(out, name), encoding="ascii") as lines:
            found.setdefault(name.split(".", 2)[2], []).append(set(lines))
    return found


def unstable(counters):
    """{input: the counters that differ}"""
    differing = {name: set.union(*runs) - set.intersection(*runs) for name, runs in counters.items()}
    return {name: sorted({line.split(":")[0] for line in lines}) for name, lines in differing.items() if lines}


def main():
    build_sh, tool, targets = os.path.realpath(sys.argv[1]), os.path.abspath(sys.argv[2]), sys.argv[3:]
    root, failed = os.path.dirname(os.path.dirname(os.path.dirname(build_sh))), 0
    with tempfile.TemporaryDirectory() as scratch:
        build(build_sh, os.path.join(scratch, "targets"), targets)
        inputs = programs(root, tool)
        write_in_orders(inputs, os.path.join(scratch, "inputs"))
        for target in targets:
            counters = counters_of(os.path.join(scratch, "targets", target), os.path.join(scratch, "inputs"), os.path.join(scratch, target))
            assert len(counters) == len(inputs) and all(len(runs) == ORDERS and runs[0] for runs in counters.values()), f"{target}: runs are missing"
            bad = unstable(counters)
            failed += bool(bad)
            print(f"{target}: {len(inputs)} inputs, {len(set().union(*counters['every_call']))} counters in every_call, {len(bad)} inputs differ")
            for name, edges in list(bad.items())[:5]:
                print(f"  {name}: counters {' '.join(edges[:20])}")
    sys.exit(1 if failed else 0)


main()
