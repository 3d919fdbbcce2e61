#!/usr/bin/env -S python3 -B
"""misuse_modes_test.py PROGRAM LIBRARY: the hardened variant with checks reduced, and in a small address space."""
import concurrent.futures
import os
import re
import subprocess
import sys
import unittest

import misuse_cases as misuse

PROGRAM, LIBRARY = sys.argv[1:3]
CHECKS = ("free", "family", "size", "alignment", "canary", "neighbours", "sweep", "zero", "write", "quarantine", "random", "guard", "sample", "seal")
CASES = misuse.read_cases(PROGRAM)
# Every n-th case, from all groups, where each runs many times.
SOME = CASES[::11]
# Accesses to a guard end the process by the signal, whatever the mode; and errors of sampled objects are found by
# chance.
VERIFIED = [case for case in CASES if case.sure == misuse.SURE and case.needs not in ("guard", "sample")]


def run(case, mode, hardening="", limit=None):
    """(status, its stderr without the line that announces the reduced checks)"""
    environment = {"LD_PRELOAD": os.path.abspath(LIBRARY), "LLVM_PROFILE_FILE": os.environ.get("LLVM_PROFILE_FILE", "")}
    if hardening:  # and no error is found by chance
        environment.update(HAKMEM_HARDENING=hardening, HAKMEM_SAMPLE_RATE="0")
    command = [PROGRAM, mode, case.name]
    if limit:
        command = ["/bin/sh", "-c", f'ulimit -v {limit}; exec "$@"', "sh", *command]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", timeout=60)
    return done.returncode, re.sub(r"^hakmem: HAKMEM_HARDENING sets .*\n", "", done.stderr, count=1)


def on_all(cases, mode, *arguments):
    misuse.no_core_files()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return list(zip(cases, pool.map(lambda case: run(case, mode, *arguments), cases)))


class Reduced(unittest.TestCase):
    def test_programs_run_without_any_one_check(self):
        for check in (*CHECKS, "all"):
            for case, (status, said) in on_all(SOME, "twin", check + ":off"):
                with self.subTest(check=check, case=case.name):
                    self.assertIn((status, said), ((0, ""), (77, said)))

    def test_what_is_only_reported_is_named_and_the_process_goes_on(self):
        went_on = 0
        for case, (status, said) in on_all(VERIFIED, "error", "all:report"):
            with self.subTest(case=case.name):
                named = misuse.CRASH_LINE.findall(said)
                self.assertTrue(named and misuse.names_the_error(case, named), said)
                went_on += status == 0
        self.assertGreater(went_on, len(VERIFIED) * 9 // 10)

    def test_wrong_claims_are_reported_and_go_on_by_default(self):
        claims = [case for case in CASES if case.needs in ("size", "family", "alignment")]
        self.assertGreater(len(claims), 30)
        for case, (status, said) in on_all(claims, "error", ""):
            with self.subTest(case=case.name):
                named = misuse.CRASH_LINE.findall(said)
                self.assertIn(named[0] if named else "", ("size mismatch", "family mismatch", "alignment mismatch"), said)
                self.assertEqual(status, 0, said)

    def test_a_check_that_is_off_says_nothing(self):
        for check, name in (("free", "double_free_small"), ("size", "free_sized_one_more"), ("family", "malloc_then_delete"),
                            ("canary,neighbours,sweep,write", "overflow_by_one_of_24"), ("write,sweep", "write_after_free_small")):
            case = next((case for case in CASES if case.name == name), None)
            with self.subTest(check=check, name=name):
                self.assertIsNotNone(case)
                said = run(case, "error", ",".join(part + ":off" for part in check.split(",")))[1]
                self.assertEqual(misuse.CRASH_LINE.findall(said), [])

    def test_a_small_address_space_changes_no_verdict(self):
        for case, (status, said) in on_all(VERIFIED[::5], "error", "", 600000):
            with self.subTest(case=case.name):
                self.assertTrue(misuse.names_the_error(case, misuse.CRASH_LINE.findall(said)), f"status {status}: {said}")
        for case, (status, said) in on_all(SOME, "twin", "", 600000):
            with self.subTest(case=case.name):
                self.assertIn((status, said), ((0, ""), (77, said)))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
