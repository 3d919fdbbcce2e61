#!/usr/bin/env -S python3 -B
"""surface_resolver_linked_test.py SOURCE...: IFUNC resolvers that allocate, in programs with the archive in them, and
in libraries that were linked before the allocator. In a static program libc's own malloc faults in a resolver; our
own resolver makes that no worse."""
import os
import subprocess
import sys
import tempfile
import unittest

SOURCES, ROOT = sys.argv[1:], os.path.realpath(os.curdir)
del sys.argv[1:]
SHARED = os.environ["HAKMEM_TEST_LIBRARY"]
ARCHIVE = SHARED[: -len(".so")] + ".a"
KINDS = (["-pie"], ["-pie", "-Wl,-z,now"], ["-no-pie"], ["-no-pie", "-Wl,-z,now"])
STATIC = """
static int one(void) { return 1; }
static int (*resolve(void))(void) { return one; }
int chosen(void) __attribute__((ifunc("resolve")));
#include <stdio.h>
#include <stdlib.h>
int main(void) { char *obj = malloc(100); obj[99] = 1; free(obj); puts(chosen() ? "done" : "wrong"); }
"""


class Resolvers(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.there = scratch.name

    def source(self, name):
        return next(path for path in SOURCES if path.endswith(name))

    def build(self, name, *flags):
        out = os.path.join(self.there, name)
        command = ["gcc", "-Wall", "-Werror", "-D_GNU_SOURCE", "-O1", "-fno-builtin", "-fPIE", "-pthread", "-fuse-ld=bfd", f"-I{ROOT}"]
        subprocess.run([*command, *flags, "-o", out], check=True)
        return out

    def runs(self, program, said=""):
        done = subprocess.run([program], capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, said, ""))

    def test_of_a_program_with_the_archive(self):
        for kind in KINDS:
            with self.subTest(kind=kind):
                self.runs(self.build("program", *kind, self.source("/surface_resolver.c"), ARCHIVE))

    def test_of_a_library_before_ours(self):
        for binding in ("-Wl,-z,lazy", "-Wl,-z,now"):
            with self.subTest(binding=binding):
                library = self.build("libresolver.so", "-shared", "-fPIC", binding, self.source("/resolver_library.c"))
                linked = [library, SHARED, f"-Wl,-rpath,{self.there}:{os.path.dirname(SHARED)}", "-Wl,--no-as-needed"]
                self.runs(self.build("program", self.source("/resolver_program.c"), *linked), "5\n")

    def test_of_a_static_program(self):
        text = os.path.join(self.there, "static.c")
        with open(text, "w", encoding="ascii") as out:
            out.write(STATIC)
        for kind in ("-static", "-static-pie"):
            with self.subTest(kind=kind):
                self.runs(self.build("program", kind, text, ARCHIVE), "done\n")


unittest.main()
