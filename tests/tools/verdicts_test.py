#!/usr/bin/env -S python3 -B
"""verdicts_test.py: how tools/test reads Bazel's build events: what passed, failed, was skipped with a reason, or
does not count."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

VERDICTS = os.path.abspath(sys.argv.pop())


class Verdicts(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder, self.events = folder.name, []

    def add_test(self, label, status, log=""):
        """A test with a summary and a log; status None: it did not build."""
        self.events.append({"id": {"targetConfigured": {"label": label}}, "configured": {"targetKind": "sh_test rule"}})
        if status:
            path = os.path.join(self.folder, label.strip("/").replace("/", "_") + " log")
            with open(path, "w", encoding="utf-8") as file:
                file.write(log)
            output = {"name": "test.log", "uri": "file://" + path.replace(" ", "%20")}
            self.events.append({"id": {"testResult": {"label": label}}, "testResult": {"testActionOutput": [output]}})
            self.events.append({"id": {"testSummary": {"label": label}}, "testSummary": {"overallStatus": status}})

    def verdict(self, status=0):
        path = os.path.join(self.folder, "events.json")
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(event) + "\n" for event in self.events)
        done = subprocess.run([VERDICTS, path, str(status)], capture_output=True, text=True)
        self.assertEqual(done.stderr, "")
        return done.returncode, done.stdout.splitlines()

    def test_all_passed(self):
        self.add_test("//a", "PASSED", "fine\n")
        self.add_test("//b", "PASSED", "talks of SKIPPED: in the middle\n")
        self.assertEqual(self.verdict(), (0, ["2 passed, 0 failed"]))

    def test_a_skipped_test_counts_as_skipped_and_says_why(self):
        self.add_test("//a", "PASSED")
        self.add_test("//b", "PASSED", "exec\n-----\nSKIPPED: no such program here\n")
        self.assertEqual(self.verdict(), (0, ["skipped: //b: no such program here", "1 passed, 0 failed, 1 skipped"]))

    def test_a_failed_test_is_not_skipped_whatever_it_says(self):
        self.add_test("//a", "FAILED", "SKIPPED: no\n")
        self.add_test("//b", None)
        self.assertEqual(self.verdict(1), (1, ["failed: //a", "failed: //b", "0 passed, 2 failed"]))

    def test_tests_that_the_configuration_excludes_do_not_count(self):
        self.add_test("//a", "PASSED")
        self.add_test("//b", None)
        self.events.append({"id": {"targetCompleted": {"label": "//b"}}, "aborted": {"reason": "SKIPPED"}})
        self.assertEqual(self.verdict(), (0, ["1 passed, 0 failed"]))

    def test_nothing_is_no_success(self):
        self.assertEqual(self.verdict(), (1, ["0 passed, 0 failed"]))
        self.assertEqual(self.verdict(2), (1, ["bazel ended with status 2", "0 passed, 0 failed"]))


unittest.main()
