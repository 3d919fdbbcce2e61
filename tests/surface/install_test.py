#!/usr/bin/env -S python3 -B
"""install_test.py WORKSPACE LIBRARY: the files that tools/install installs are enough to build programs: with
pkg-config, with CMake, with the .a, and with nothing but LD_PRELOAD. LIBRARY: one of the built ones; the others lie
beside it."""
import os
import subprocess
import sys
import tempfile
import unittest

ROOT, BUILT = os.path.dirname(os.path.realpath(sys.argv[1])), os.path.dirname(os.path.abspath(sys.argv[2]))
del sys.argv[1:]
PRODUCTS = {"hakmem": "speed", "hakmem-hardened": "hardened"}

PROGRAM = r"""
#include <hakmem.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(void) {
    char *volatile text = strdup("through malloc"); /* libc's own call must arrive at the allocator */
    hak_stats before, after;
    hak_stats_read(&before);
    void *volatile many = malloc(3000000);
    hak_stats_read(&after);
    int counted = after.live_large_bytes >= before.live_large_bytes + 3000000;
    printf("%s %s %d\n", hak_variant(), hak_version(), counted && malloc_usable_size(text) >= 15);
    free(many);
    free(text);
    return 0;
}
"""

PLAIN = r"""
#include <stdio.h>
#include <stdlib.h>
int main(void) {
    const char *(*variant)(void) = 0;
    extern const char *hak_variant(void) __attribute__((weak));
    variant = hak_variant;
    void *volatile obj = malloc(10);
    free(obj);
    printf("%s\n", variant ? variant() : "none");
    return 0;
}
"""

CMAKE = """
cmake_minimum_required(VERSION 3.18)
project(user C)
find_package(hakmem @VERSION@ REQUIRED)
foreach(target hakmem hakmem-static hakmem-hardened hakmem-hardened-static)
  add_executable(use-${target} use.c)
  target_link_libraries(use-${target} PRIVATE hakmem::${target})
endforeach()
"""


def output(*command, **settings):
    done = subprocess.run(command, env=dict(os.environ, **settings), capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(f"{command}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.scratch.cleanup)
        cls.prefix = os.path.join(cls.scratch.name, "usr")
        output(os.path.join(ROOT, "tools/build/install_files.sh"), ROOT, BUILT, cls.prefix)
        cls.lib = os.path.join(cls.prefix, "lib")
        cls.pkg_config = {"PKG_CONFIG_PATH": os.path.join(cls.lib, "pkgconfig")}
        cls.version = output("pkg-config", "--modversion", "hakmem", **cls.pkg_config)
        cls.source = cls.write("use.c", PROGRAM)

    @classmethod
    def write(cls, name, text):
        path = os.path.join(cls.scratch.name, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def compile(self, name, *flags):
        program = os.path.join(self.scratch.name, name)
        output("gcc", "-Wall", "-Wextra", "-Werror", self.source, "-o", program, *flags)
        return program

    def expect(self, variant, *command, **settings):
        self.assertEqual(output(*command, **settings), f"{variant} {self.version} 1")

    def test_pkg_config_and_the_shared_library(self):
        for product, variant in PRODUCTS.items():
            flags = output("pkg-config", "--cflags", "--libs", product, **self.pkg_config)
            program = self.compile(product, *flags.split())
            self.expect(variant, program, LD_LIBRARY_PATH=self.lib)

    def test_the_archive(self):
        for product, variant in PRODUCTS.items():
            for extra in ((), ("-static",)):
                archive = os.path.join(self.lib, f"lib{product}.a")
                program = self.compile(product + "-archive", f"-I{self.prefix}/include", archive, "-pthread", *extra)
                self.expect(variant, program)

    def test_cmake(self):
        self.write("CMakeLists.txt", CMAKE.replace("@VERSION@", self.version))
        build = os.path.join(self.scratch.name, "build")
        output("cmake", "-S", self.scratch.name, "-B", build, f"-DCMAKE_PREFIX_PATH={self.prefix}", CC="gcc")
        output("cmake", "--build", build)
        for product, variant in PRODUCTS.items():
            for target in (product, product + "-static"):
                self.expect(variant, os.path.join(build, "use-" + target))

    def test_preload(self):
        self.source = self.write("plain.c", PLAIN)
        program = self.compile("plain")
        self.assertEqual(output(program), "none")
        for product, variant in PRODUCTS.items():
            for flavour in ("", "-dlopen"):
                self.assertEqual(output(program, LD_PRELOAD=f"{self.lib}/lib{product}{flavour}.so"), variant)

    def test_the_example_of_a_configuration(self):
        with open(os.path.join(self.prefix, "share/doc/hakmem/hakmem.conf"), encoding="utf-8") as file:
            lines = file.read().splitlines()
        self.assertTrue(any("rustc" in line for line in lines))
        self.assertEqual([line for line in lines if line and line[0] != "#"], [])  # without changes it sets nothing

    def test_the_page_names_the_version(self):
        with open(os.path.join(self.prefix, "share/man/man7/hakmem.7"), encoding="utf-8") as page:
            text = page.read()
        self.assertIn(self.version, text)
        self.assertNotIn("@VERSION@", text)


unittest.main()
