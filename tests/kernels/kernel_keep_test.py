#!/usr/bin/env -S python3 -B
"""kernel_keep_test.py: the results in --keep's file are used again, failures included; a file of other test programs is
refused; the table shows what was not run."""
import os
import tempfile
import unittest

import kernel_groups
import kernel_keep
import kernel_report


class KeepTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.path = os.path.join(scratch.name, "kept")
        self.tests = {"program": os.path.join(scratch.name, "program")}
        self.program("one")
        self.runs = kernel_groups.quick_plan()[:3]

    def program(self, text):
        with open(self.tests["program"], "w", encoding="utf-8") as out:
            out.write(text)

    def result(self, number, passed):
        return kernel_report.Result("debian12", "6.1", self.runs[number], passed, 7, 1, ["said asked"])

    def test_kept(self):
        keep = kernel_keep.Keep(self.path, self.tests)
        keep.put(self.result(0, True))
        keep.put(self.result(1, False))
        again = kernel_keep.Keep(self.path, self.tests)
        self.assertEqual(again.get("debian12", self.runs[0]), self.result(0, True))
        self.assertFalse(again.get("debian12", self.runs[1]).passed)
        self.assertIsNone(again.get("debian12", self.runs[2]))
        self.assertIsNone(again.get("debian13", self.runs[0]))

    def test_last_one_counts(self):
        keep = kernel_keep.Keep(self.path, self.tests)
        keep.put(self.result(1, False))
        keep.put(self.result(1, True))
        self.assertTrue(kernel_keep.Keep(self.path, self.tests).get("debian12", self.runs[1]).passed)

    def test_other_programs(self):
        kernel_keep.Keep(self.path, self.tests)
        self.program("two")
        with self.assertRaises(kernel_keep.KeepError):
            kernel_keep.Keep(self.path, self.tests)

    def test_no_file(self):
        keep = kernel_keep.Keep(None, self.tests)
        keep.put(self.result(0, True))
        self.assertIsNone(keep.get("debian12", self.runs[0]))

    def test_cells(self):
        passed, failed = self.result(0, True), self.result(1, False)
        self.assertEqual(kernel_report.cell([passed, passed], 2), "2")
        self.assertEqual(kernel_report.cell([passed, failed], 2), "**1 of 2**")
        self.assertEqual(kernel_report.cell([passed], 3), "1 (2)")
        self.assertEqual(kernel_report.cell([], 3), " (3)")
        self.assertEqual(kernel_report.cell([], 0), "")


if __name__ == "__main__":
    unittest.main()
