#!/usr/bin/env -S python3 -B
"""lab_foreign_test.py: a program that calls another allocator's own functions is left out where the allocator under
it lacks them."""
import os
import subprocess
import tempfile
import unittest

import lab_path  # noqa: F401
import lab_foreign

CALLS = "void *mallocx(unsigned long, int); void dallocx(void *, int); int main(void) { dallocx(mallocx(9, 0), 0); return 0; }"
HARMLESS = "unsigned long nallocx(unsigned long, int); int main(void) { return nallocx(9, 0) != 9; }"
HAS_NALLOCX = "unsigned long nallocx(unsigned long n, int f) { return f ? 0 : n; }"
HAS_BOTH = "void *mallocx(unsigned long n, int f) { return f ? 0 : (void *)n; } void dallocx(void *p, int f) { (void)p; (void)f; }"
HAS_ONE = "void *mallocx(unsigned long n, int f) { return f ? 0 : (void *)n; }"


class Foreign(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = scratch.name
        self.both, self.one = self.built("both.so", HAS_BOTH, "-shared"), self.built("one.so", HAS_ONE, "-shared")
        self.calling = self.built("calling", CALLS, self.both)
        self.plain = self.built("plain", "int main(void) { return 0; }")

    def built(self, name, source, *options):
        path = os.path.join(self.folder, name)
        subprocess.run(["gcc", "-fPIC", "-o", path, "-xc", "-", "-xnone", *options], input=source, text=True, check=True)
        return path

    def test_an_allocator_that_has_them_all_may_be_under_it(self):
        self.assertIsNone(lab_foreign.reason(self.calling, [self.both, None]))

    def test_one_that_lacks_some_may_not_and_they_are_named(self):
        said = lab_foreign.reason(self.calling, [self.both, self.one])
        self.assertIn("calls jemalloc's own functions (dallocx), which one.so does not have", said)
        self.assertIn("(dallocx, mallocx), which libc.so.6 does not have", lab_foreign.reason(self.calling, ["libc.so.6"]))

    def test_a_program_that_only_asks_for_sizes_may_run_on_any(self):
        asking = self.built("asking", HARMLESS, self.built("sizes.so", HAS_NALLOCX, "-shared"))
        self.assertIsNone(lab_foreign.reason(asking, [self.one, "libc.so.6"]))

    def test_other_programs_may_run_on_any(self):
        for program in (self.plain, "no-such-program", "ldd"):  # the last is a script
            self.assertIsNone(lab_foreign.reason(program, [self.one, "libc.so.6", None]))


unittest.main()
