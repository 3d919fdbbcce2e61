#!/usr/bin/env -S python3 -B
"""misuse_floor_test.py PROGRAM LIBRARY: errors that are found by chance, or only when the object is sampled, are found.
misuse_run.py accepts it when they are not found; here each error is repeated until it is found, up to the number of
runs in which missing it every time is less likely than 1e-10."""
import math
import os
import sys
import unittest

import misuse_cases as misuse

PROGRAM, LIBRARY = sys.argv[1:3]
NEVER = 1e-10
# By name: HAKMEM_SAMPLE_RATE (None: not set) and the least probability of one run. Three of four sampled objects end
# before their guard and one begins behind it. The errors with 0.9 were found 40 times in 40 runs. The error with 0.1
# was found 10 times: the slot behind the damaged one has to be among those that are freed.
ONE_OF_FOUR, THREE_OF_FOUR, NEARLY = 0.2, 0.6, 0.9
FLOORS = {
    "overread_by_1": ("1", THREE_OF_FOUR), "overread_at_8": ("1", THREE_OF_FOUR), "overread_at_64": ("1", THREE_OF_FOUR),
    "overread_echo_300": ("1", THREE_OF_FOUR), "underread_by_1": ("1", ONE_OF_FOUR), "underread_at_8": ("1", ONE_OF_FOUR),
    "underread_at_64": ("1", ONE_OF_FOUR), "overflow_found_by_neighbours": ("0", 0.1), "attack_header_transplanted": (None, NEARLY),
    "free_of_start_of_2_mib": (None, NEARLY)}
# memcmp stops at the first difference: the first byte behind the object, where sampling leaves 8 for the alignment.
LEFT_OUT = ("overread_compare",)


def floor_of(case):
    return FLOORS.get(case.name, ("1" if case.sure == misuse.SAMPLED else "0", NEARLY))


class Floors(unittest.TestCase):
    def found(self, case, rate, runs):
        """True as soon as one of so many runs is detected; no run may be won, wrong or broken."""
        environment = {"LD_PRELOAD": os.path.abspath(LIBRARY), **({"HAKMEM_SAMPLE_RATE": rate} if rate is not None else {})}
        allocator = misuse.Allocator("hardened", environment, True)
        for _ in range(runs):
            verdict, said = misuse.run_once(PROGRAM, allocator, case, "error")
            if verdict == "detected":
                return True
            self.assertEqual(verdict, "silent", f"{case.name}: {said}")
        return False

    def test_each_is_found_in_the_end(self):
        misuse.no_core_files()
        cases = [case for case in misuse.read_cases(PROGRAM) if case.sure in (misuse.SAMPLED, misuse.CHANCE) and case.name not in LEFT_OUT]
        self.assertEqual(set(FLOORS) - {case.name for case in cases}, set())
        for case in cases:
            rate, chance = floor_of(case)
            runs = math.ceil(math.log(NEVER) / math.log(1 - chance))
            with self.subTest(case=case.name):
                self.assertTrue(self.found(case, rate, runs), f"{case.name}: not once in {runs} runs")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
