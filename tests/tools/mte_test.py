#!/usr/bin/env -S python3 -B
"""mte_test.py WORKSPACE: memory tags of arm64 (HAKMEM_MTE=1), in the hardened variant under qemu-user: which tags objects get, errors
of each kind and size, what correct programs may do, and that nothing has a tag where the option is off or the processor has none."""
import os
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.realpath(sys.argv.pop()))
sys.path.insert(0, os.path.join(ROOT, "tests/tools"))
import arm64  # pylint: disable=wrong-import-position

SIZES = [1, 24, 100, 248, 505, 1000, 2000, 3000, 4088]
# What each error's line says. The slots behind and before the object may have an owner or none.
USE, BOUNDS = "use after free: access", "out-of-bounds access: access"
ERRORS = {
    "read after free": USE,
    "write after free": USE,
    "read past the end": BOUNDS,
    "write past the end": BOUNDS,
    "read before the start": BOUNDS,
    "write before the start": BOUNDS,
    "free twice": "double free: free",
    "read through a stripped pointer": BOUNDS,
    "free of a stripped pointer": "invalid free: free",
}
# These need a slot that comes back soon: small slots rest behind 65,536 others.
AGAIN = {
    "read of another owner": USE,
    "write to another owner": USE,
    "free of another owner": "double free: free",
    "realloc of another owner": "invalid realloc: realloc",
    "usable size of another owner": "invalid usable size: malloc_usable_size",
}


class Mte(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        lacks = arm64.lacks()
        if lacks:
            print(f"SKIPPED: {lacks} is not installed (tools/setup test)")
            raise unittest.SkipTest(lacks)
        scratch = tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR"))  # pylint: disable=consider-using-with
        cls.addClassCleanup(scratch.cleanup)
        cls.program = os.path.join(scratch.name, "mte")
        arm64.run(arm64.COMPILER, "-D_GNU_SOURCE", "-O1", "-fno-builtin", "-w", os.path.join(ROOT, "tests/tools/tagged.c"), "-o", cls.program,
                  "-pthread")
        cls.library = arm64.library(ROOT, scratch.name)

    def run_it(self, *words, cpu="max", **settings):
        settings = {"HAKMEM_MTE": "1", "HAKMEM_SAMPLE_RATE": "0", **settings}
        environment = {**os.environ, **{name: value for name, value in settings.items() if value is not None}}
        command = arm64.command(self.program, *words, preload=self.library, cpu=cpu)
        return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=environment)

    def runs(self, *words, **settings):
        done = self.run_it(*words, **settings)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        return done.stdout

    def test_tags_of_neighbours_and_owners(self):
        said = self.runs("tags")
        shares = [int(missed) / int(of) for missed, of in re.findall(r"(\d+) of (\d+)", said)]
        self.assertEqual((len(shares), shares[:3]), (5, [0, 0, 0]), said)
        earlier, far = shares[3:]
        self.assertTrue(1 / 7 < earlier < 1 / 6, said)  # one of the 8 or 7 tags that such a slot may have, less the last
        self.assertTrue(1 / 20 < far < 1 / 12, said)  # one of 15, nearly

    def test_correct_programs(self):
        for name, settings in {"as by default": {}, "without the rest": {"HAKMEM_HARDENING": "zero:off,canary:off,sweep:off"},
                               "without guards": {"HAKMEM_HARDENING": "guard:off"}, "light": {"HAKMEM_HARDENING": "preset:light"},
                               "sampled": {"HAKMEM_SAMPLE_RATE": "50"}}.items():
            with self.subTest(name):
                done = self.run_it("correct", **settings)
                said = [line for line in done.stderr.splitlines() if not line.startswith("hakmem: HAKMEM_HARDENING sets ")]
                self.assertEqual((done.returncode, done.stdout, said), (0, "correct\n", []))

    def check_error(self, name, size, wanted, **settings):
        with self.subTest(error=name, size=size, **settings):
            done = self.run_it(name, str(size), **settings)
            self.assertLess(done.returncode, 0, done.stdout + done.stderr)
            self.assertTrue(done.stderr.startswith(f"hakmem: {wanted}("), done.stderr)
            self.assertIn(", slot, requested", done.stderr)

    def test_errors_of_each_size(self):
        for name, wanted in ERRORS.items():
            for size in SIZES:
                self.check_error(name, size, wanted)

    def test_without_tags_by_call_site(self):
        done = self.run_it("untagged", HAKMEM_PARTITIONS="8")
        self.assertEqual((done.returncode, done.stdout), (0, "untagged\n"), done.stderr)
        self.assertEqual(done.stderr, "hakmem: HAKMEM_MTE=1: not together with HAKMEM_PARTITIONS; this process goes on without tags\n")

    def test_errors_where_the_slot_has_another_owner(self):
        for name, wanted in AGAIN.items():
            for size in (120, 1000, 4088):
                self.check_error(name, size, wanted)

    def test_the_report_says_what_was_wrong(self):
        for name, wanted in {"read after free": "of an object that has been freed$",
                             "write to another owner": "of an object that has been freed: the memory has another owner now$",
                             "read through a stripped pointer": "by a pointer that has lost the memory tag that malloc gave it$",
                             "free of another owner": "the pointer has not the memory tag of the object: it is that of an earlier one$",
                             "free of a stripped pointer": "the pointer has lost the memory tag that malloc gave it$"}.items():
            with self.subTest(name):
                self.assertRegex(self.run_it(name, "1000").stderr.splitlines()[0], wanted)

    def test_without_tags(self):
        for value in (None, "0"):
            with self.subTest(HAKMEM_MTE=value):
                self.assertEqual(self.runs("untagged", HAKMEM_MTE=value), "untagged\n")
                self.assertEqual(self.runs("correct", HAKMEM_MTE=value), "correct\n")

    def test_a_processor_without_tags(self):
        for word in ("untagged", "correct"):
            done = self.run_it(word, cpu="cortex-a57")
            self.assertEqual((done.returncode, done.stdout), (0, word + "\n"))
            self.assertEqual(done.stderr, "hakmem: HAKMEM_MTE=1: this process cannot have memory tags; it goes on without\n")

    def test_a_wrong_value(self):
        done = self.run_it("untagged", HAKMEM_MTE="on")
        self.assertEqual((done.returncode, done.stdout), (0, "untagged\n"))
        self.assertEqual(done.stderr, "hakmem: HAKMEM_MTE=on: not understood; accepted: 0, 1; using 0\n")


unittest.main()
