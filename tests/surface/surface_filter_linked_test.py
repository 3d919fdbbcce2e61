#!/usr/bin/env -S python3 -B
"""surface_filter_linked_test.py SOURCE...: surface_filter in programs with the archive in them, beside a shared libc
and beside a static one."""
import os
import subprocess
import sys
import tempfile
import unittest

SOURCES, ROOT = sys.argv[1:], os.path.realpath(os.curdir)
del sys.argv[1:]
ARCHIVE = os.environ["HAKMEM_TEST_LIBRARY"][: -len(".so")] + ".a"


class Filters(unittest.TestCase):
    def runs(self, kind, *flags):
        with tempfile.TemporaryDirectory() as there:
            program, [source] = os.path.join(there, "surface_filter"), [path for path in SOURCES if path.endswith("/surface_filter.c")]
            command = ["gcc", "-Wall", "-Werror", "-D_GNU_SOURCE", "-O1", "-fno-builtin", "-pthread", f"-I{ROOT}"]
            subprocess.run([*command, *flags, source, ARCHIVE, "-o", program], check=True)
            done = subprocess.run([program, kind], capture_output=True, text=True, check=False, env=dict(os.environ, HAKMEM_HARDENING="all:abort"))
            self.assertEqual((done.returncode, done.stdout), (0, "done\n"), done.stderr)

    def test_of_a_program_with_the_archive(self):
        self.runs("linked")

    def test_of_a_static_program(self):
        self.runs("static", "-static")


if __name__ == "__main__":
    unittest.main()
