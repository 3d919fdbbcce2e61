#!/usr/bin/env -S python3 -B
"""misuse_run.py: runs the misuse corpus on one variant of hakmem and reports whether every verdict is the expected one.

hardened: every twin is silent; every error whose mitigation is in (misuse_cases.MITIGATIONS_IN) and that is found every
time is found, by its own crash line; no primitive is won. Cases of other mitigations are printed as "not yet".
speed: every twin is silent. Its errors are run and reported but not asserted: it has no side tables, so a double free
or an overflow has no defined outcome there, and an assertion would only fix the outcome of today.
"""
import argparse
import sys

import misuse_cases as misuse


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True, help="the misuse binary")
    parser.add_argument("--library", required=True, help="the libhakmem .so to preload")
    parser.add_argument("--variant", required=True, choices=["speed", "hardened"])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="environment variable")
    parser.add_argument("cases", nargs="*", help="only these cases")
    return parser.parse_args()


def check_preload(program, allocator):
    """The library must really serve the calls: a program without it would pass every twin."""
    probe = misuse.Case("415", "double_free_tiny", ["double free"], "ledger", misuse.SURE)
    outcome = misuse.run_once(program, allocator, probe, "error")
    return outcome.verdict == "detected"


def failures_of_twins(cases, results):
    for case in cases:
        for verdict, said in sorted(set(results[case.name, "twin"])):
            if verdict != "silent" or said:
                yield f"twin of {case.name}: {verdict} {said}"


def report_hardened(cases, results):
    failed, asserted, not_yet = [], 0, []
    for case in cases:
        found = misuse.complaints(case, results[case.name, "error"])
        if misuse.is_in(case):
            asserted += 1
            failed += [f"{case.name}: {line}" for line in found]
        else:
            not_yet.append(f"not yet ({case.needs}): {case.name}" + ("" if found else " -- it would pass already"))
    print("\n".join(not_yet))
    print(f"{asserted} errors asserted, {len(not_yet)} not yet")
    return failed


def report_speed(cases, results):
    verdicts = [outcome.verdict for case in cases for outcome in results[case.name, "error"]]
    counts = ", ".join(f"{verdicts.count(v)} {v}" for v in sorted(set(verdicts)))
    print(f"errors, not asserted on the speed variant: {counts}")
    return []


def main():
    args = arguments()
    environment = dict(setting.split("=", 1) for setting in args.set)
    environment["LD_PRELOAD"] = args.library
    allocator = misuse.Allocator(args.variant, environment, args.variant == "hardened")
    cases = misuse.read_cases(args.program)
    if args.cases:
        cases = [case for case in cases if case.name in args.cases]
    if not cases:
        sys.exit("no case to run")
    results = misuse.run_all(args.program, allocator, cases, ["error", "twin"], args.repeat)
    failed = list(failures_of_twins(cases, results))
    if args.variant == "hardened":
        if not check_preload(args.program, allocator):
            failed.append(f"{args.library} does not answer: it misses the plainest double free")
        failed += report_hardened(cases, results)
    else:
        failed += report_speed(cases, results)
    print("\n".join(failed) or f"all {len(cases)} twins are silent")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
