#!/usr/bin/env -S python3 -B
"""The verdict of a run, case by case: the corpus relies on it."""
import unittest

import misuse_cases as misuse

SURE = misuse.Case("415", "x", ["double free"], "ledger", misuse.SURE)
LOOSE = misuse.Case("122", "x", ["heap overflow", "write after free"], "canary", misuse.CHANCE)
FREE_OF_ERROR = misuse.Case("attack", "x", [], "core", misuse.NOT_WON)
LINE = "hakmem: double free: free(0x10): already free\n"


def verdict(case, status, stdout="", stderr="", is_hakmem=True):
    return misuse.verify(case, status, stdout, stderr, is_hakmem).verdict


class Verdict(unittest.TestCase):
    def test_the_right_crash_line_is_a_detection(self):
        self.assertEqual(verdict(SURE, -6, stderr=LINE), "detected")

    def test_the_right_line_without_a_death_is_none(self):
        self.assertEqual(verdict(SURE, 0, stderr=LINE), "silent")

    def test_another_error_is_wrong(self):
        self.assertEqual(verdict(SURE, -6, stderr=LINE.replace("double", "interior")), "wrong")

    def test_only_the_first_crash_line_counts(self):
        self.assertEqual(verdict(SURE, -6, stderr=LINE.replace("double", "interior") + LINE), "wrong")

    def test_a_bare_fault_is_wrong_for_a_sure_error_of_hakmem(self):
        self.assertEqual(verdict(SURE, -11), "wrong")

    def test_a_bare_fault_is_a_detection_for_a_peer(self):
        self.assertEqual(verdict(SURE, -11, is_hakmem=False), "detected")

    def test_a_bare_fault_is_a_detection_when_placement_decides(self):
        self.assertEqual(verdict(LOOSE, -11), "detected")

    def test_a_death_where_nothing_is_forbidden_is_wrong(self):
        self.assertEqual(verdict(FREE_OF_ERROR, -6, stderr=LINE), "wrong")
        self.assertEqual(verdict(FREE_OF_ERROR, -11), "wrong")

    def test_a_primitive_is_won_only_with_word_and_status(self):
        self.assertEqual(verdict(SURE, 42, stdout="PRIMITIVE: two\n"), "won")
        self.assertEqual(verdict(SURE, 42), "broken")

    def test_a_kill_from_outside_is_broken(self):
        self.assertEqual(verdict(SURE, -9), "broken")

    def test_complaints_of_a_sure_error(self):
        silent, detected = misuse.Outcome("silent", ""), misuse.Outcome("detected", LINE)
        self.assertEqual(misuse.complaints(SURE, [detected, detected]), [])
        self.assertEqual(len(misuse.complaints(SURE, [detected, silent])), 1)
        self.assertEqual(misuse.complaints(LOOSE, [silent]), [])
        self.assertEqual(len(misuse.complaints(LOOSE, [misuse.Outcome("won", "PRIMITIVE: two")])), 1)


if __name__ == "__main__":
    unittest.main()
