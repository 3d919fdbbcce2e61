#!/usr/bin/env -S python3 -B
"""tools/kernels: the tests that depend on the kernel, under Debian's own kernels in qemu (software emulation; no KVM).

usage: tools/kernels [--quick | --all | --self-test | --fetch] [--kernel NAME]... [--group NAME]... [--libraries DIR] [--table FILE]
                     [--keep FILE]

  --fetch      only gets the kernels into the cache (needs a network; the others do not, once they are there); --newest gets them anew
  --quick      what bazel test has of it (default)
  --all        everything, and its table into docs/KERNELS.md, or KERNELS-arm64.md
  --self-test  programs that fail on purpose: exit 0 when each is seen to fail
  --keep       results are added to FILE as they come, and runs that have passed there are not made again: so --all can be done in
               parts, and goes on where it was ended
  --libraries  takes libhakmem.so and libhakmem-hardened.so of DIR, in place of this tree's

The last line is "N passed, N failed". A kernel that cannot be had, a panic, a machine that does not reach its end are failures."""
import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile

import kernel_archive
import kernel_groups
import kernel_keep
import kernel_report
from kernel_processor import AMD64, ARM64, foreign

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
TABLES = {AMD64: os.path.join(ROOT, "docs/KERNELS.md"), ARM64: os.path.join(ROOT, "docs/KERNELS-arm64.md")}
PLANS = {"quick": kernel_groups.quick_plan, "all": kernel_groups.full_plan, "self_test": kernel_groups.self_test_plan}


def arguments():
    parser = argparse.ArgumentParser(prog="tools/kernels", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    for name in ("fetch", "quick", "all", "self-test"):
        what.add_argument("--" + name, action="store_true")
    parser.add_argument("--newest", action="store_true")
    parser.add_argument("--kernel", action="append", choices=[kernel.name for kernel in kernel_archive.KERNELS], help="default: those of this machine's processor")
    parser.add_argument("--group", action="append", help="only these groups of tests")
    parser.add_argument("--setting", action="append", choices=[s.name for s in kernel_groups.SETTINGS], help="only these settings")
    parser.add_argument("--keep", metavar="FILE")
    parser.add_argument("--tell", action="store_true", help="only makes the table, of what --keep's file has")
    parser.add_argument("--or-skip", action="store_true", help="a kernel or qemu that is not there is no failure but a line SKIPPED:")
    parser.add_argument("--libraries", metavar="DIR")
    parser.add_argument("--payload", metavar="FILE", help="the archive of test programs (default: bazel builds it)")
    parser.add_argument("--table", metavar="FILE", help="where the table goes (default: see --all)")
    return parser.parse_args()


def fetch(args):
    try:
        for line in kernel_archive.fetch(args.kernel, args.newest):
            print(line, flush=True)
    except kernel_archive.ArchiveError as error:
        sys.exit(f"tools/kernels: {error}")


def payload(processor):
    options = list(processor.build)
    if foreign(processor):  # libcmocka
        options.append("--linkopt=-L" + os.path.join(kernel_archive.programs(processor), "usr/lib/aarch64-linux-gnu"))
    subprocess.run(["bazel", "build", *options, "//tests/kernels:payload"], cwd=ROOT, check=True)
    folder = subprocess.check_output(["bazel", "info", *options, "bazel-bin"], cwd=ROOT, text=True).strip()
    return os.path.join(folder, "tests/kernels/payload.tar")


def unpack(archive, folder, libraries):
    """{name: path} of the test programs."""
    with tarfile.open(archive) as files:
        files.extractall(folder)
    tests = {name: os.path.join(folder, name) for name in os.listdir(folder)}
    if libraries:
        tests.update({name: os.path.join(libraries, name) for name in kernel_groups.LIBRARIES})
    return tests


def has_tags():
    """False for qemu 7.2 (Debian 12), where all granules of a page share two memory tags. It works in 10.0 (Debian 13)."""
    said = subprocess.run([ARM64.qemu, "--version"], capture_output=True, text=True, check=False).stdout if shutil.which(ARM64.qemu) else ""
    version = re.search(r"version (\d+)", said)
    return version is not None and int(version[1]) >= 10


def plan_of(args, kernels):
    name = next((name for name in ("all", "self_test") if getattr(args, name)), "quick")
    runs = [run for run in PLANS[name]() if (not args.group or run.group in args.group) and (not args.setting or run.setting in args.setting)]
    if any(kernel.processor is not ARM64 for kernel in kernels) or not has_tags():
        runs = [run for run in runs if run.group != "tags"]
    if not runs:
        sys.exit("tools/kernels: nothing to run")
    return runs


def kernels_of(args):
    """The kernels to run on, and a line for each missing kernel that is not required."""
    chosen, missing = [], []
    for kernel in kernel_archive.named(args.kernel):
        if kernel.wanted or args.kernel or kernel_archive.is_here(kernel):
            chosen.append(kernel)
        else:
            missing.append(f"{kernel.name}: could not be had")
    return chosen, missing


def skip_if_absent(kernels):
    """Ends the process with status 0 where tools/setup could not install what a machine needs."""
    programs = {"busybox"} | {kernel.processor.qemu for kernel in kernels}
    absent = [f"no {name}" for name in sorted(programs) if not shutil.which(name)]
    absent += [f"kernel {kernel.name} is not in {kernel_archive.cache()}" for kernel in kernels if not kernel_archive.is_here(kernel)]
    if absent:
        print("SKIPPED: " + ", ".join(absent))
        sys.exit(0)


def write_table(args, kernels, runs, results, missing):
    how, processor = "--all" if args.all else "--quick", kernels[0].processor
    head = [
        "# Kernels" if processor is AMD64 else f"# Kernels of {processor.name}", "",
        f"Written by `tools/kernels {how}`: test programs that passed, under Debian's kernels in qemu. A column is a setting of the kernel:",
        "transparent huge pages madvise (or as named), vm.overcommit_memory 0 (or 2), vm.max_map_count as the kernel has it (or 1000),",
        "`limit`: a cgroup of 256 MiB. Bold: some failed. A number in brackets: so many have not been run yet (`--keep`). The glibc rows are the",
        "same programs on glibc's malloc.", "",
    ]
    sys.path.insert(0, os.path.join(ROOT, "tools/build"))  # a test that makes no page does not have it
    from wrap_markdown import wrapped  # pylint: disable=import-outside-toplevel
    with open(args.table or TABLES[processor], "w", encoding="utf-8") as out:
        out.write(wrapped("\n".join(head + list(kernel_report.table(results, runs, missing))) + "\n"))


def self_test(results):
    """Each run has failed in the way that its name says."""
    good = [result for result in results if not result.passed and re.search(result.run.name, "\n".join(result.output))]
    print(f"{len(good)} of {len(results)} failures were seen for what they are")
    return len(good) == len(results)


def run_all(kernels, runs, tests, path, tell):
    """tests: {processor: {name: path}}."""
    try:
        keep = kernel_keep.Keep(path, {f"{processor.name}/{name}": file for processor, files in tests.items() for name, file in files.items()})
    except kernel_keep.KeepError as error:
        sys.exit(f"tools/kernels: {error}")
    results = []
    for kernel in kernels:
        kept = {run: keep.get(kernel.name, run) for run in runs}
        left = [run for run in runs if kept[run] is None or not kept[run].passed]  # a failed run is made again
        if left and not tell:
            made = kernel_report.run_plan(kernel, left, tests[kernel.processor], lambda line: print(line, flush=True), keep.put)
            kept.update(zip(left, made))
        results += [kept[run] for run in runs if kept[run] is not None]
    return results


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the machine ends, too
    args = arguments()
    if args.fetch:
        return fetch(args)
    kernels, missing = kernels_of(args)
    runs = plan_of(args, kernels)
    if args.or_skip:
        skip_if_absent(kernels)
    with tempfile.TemporaryDirectory() as scratch:
        tests = {}
        for processor in {kernel.processor for kernel in kernels}:
            archive = args.payload or payload(processor)
            tests[processor] = unpack(archive, os.path.join(scratch, processor.name), args.libraries)
        results = run_all(kernels, runs, tests, args.keep, args.tell)
    print("", *missing, *kernel_report.summary(results), sep="\n")
    if args.self_test:
        sys.exit(0 if self_test(results) else 1)
    if args.table or args.all:
        write_table(args, kernels, runs, results, missing)
    sys.exit(0 if results and all(result.passed for result in results) else 1)


if __name__ == "__main__":
    main()
