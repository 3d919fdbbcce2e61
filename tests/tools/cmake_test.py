#!/usr/bin/env -S python3 -B
"""cmake_test.py WORKSPACE: the CMake build has the sources and flags of Bazel's, exports the same names, and installs
the same files as tools/install, into the folder that it is given. Its own tests pass, and other projects can include
it."""
import ast
import glob
import json
import os
import shlex
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.realpath(sys.argv.pop()))
sys.path.insert(0, os.path.join(ROOT, "tests/lint"))
import lint_binary  # noqa: E402
# Flags that CMake adds itself, or sets in another way: -Werror is an option; definitions and folders are no flags of
# the product.
LEFT_OUT = {"-Werror", "-c", "-fPIC", "-O3", "-DNDEBUG"}
USER = """
cmake_minimum_required(VERSION 3.20)
project(user C)
include(FetchContent)
FetchContent_Declare(hakmem SOURCE_DIR "@ROOT@")
FetchContent_MakeAvailable(hakmem)
add_executable(use use.c)
target_link_libraries(use PRIVATE hakmem::hakmem)
"""
PROGRAM = '#include <hakmem.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\nint main(void) { free(strdup("x")); puts(hak_variant()); return 0; }\n'


def output(*command, **settings):
    done = subprocess.run(command, env=dict(os.environ, **settings), capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(f"{command}: status {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def rules_of_bazel():
    """Returns (arguments of hak_products, the values of tools/build/variants.bzl). BUILD files are nearly Python."""
    seen = {}
    here = os.path.join(ROOT, "allocator")
    expand = lambda patterns, exclude=(): [path for pattern in patterns for path in glob.glob(pattern, root_dir=here, recursive=True)
                                           if not any(glob.fnmatch.fnmatch(path, no) for no in exclude)]
    names = {"load": lambda *a: None, "package": lambda **a: None, "exports_files": lambda *a: None, "glob": expand, "hak_core": lambda **a: None,
             "hak_products": seen.update}
    exec(compile(read("allocator/BUILD.bazel"), "BUILD.bazel", "exec"), names)  # pylint: disable=exec-used
    values = {}
    for node in ast.parse(read("tools/build/variants.bzl")).body:
        if isinstance(node, ast.Assign) and node.targets[0].id in ("HAK_COPTS", "_PRODUCT_COPTS"):
            values[node.targets[0].id] = eval(compile(ast.Expression(node.value), "variants.bzl", "eval"), dict(values))  # pylint: disable=eval-used
    return seen, values


class CMake(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR"))
        cls.addClassCleanup(scratch.cleanup)
        cls.folder = scratch.name
        cls.build = os.path.join(cls.folder, "build")
        output("cmake", "-S", ROOT, "-B", cls.build, "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON", "-DHAKMEM_WERROR=ON", CC="gcc")
        with open(os.path.join(cls.build, "compile_commands.json"), encoding="utf-8") as file:
            cls.commands = json.load(file)

    def compiled(self, target):
        """{source: flags} of a target of the CMake build."""
        found = {}
        for entry in self.commands:
            words = shlex.split(entry["command"])
            if f"CMakeFiles/{target}.dir/" in entry["command"]:
                place = words.index("-o")
                flags = [word for word in words[1:place] + words[place + 2:] if word != entry["file"] and not word.startswith("-I")]
                found[os.path.relpath(entry["file"], ROOT)] = set(flags) - LEFT_OUT
        return found

    def test_sources_and_flags_are_bazels(self):
        rule, values = rules_of_bazel()
        wanted = {"allocator/" + name for name in rule["srcs"] if name.endswith(".c")}
        hardening = {os.path.relpath(path, ROOT) for path in glob.glob(os.path.join(ROOT, "hardening", "*.c"))}
        copts = set(values["_PRODUCT_COPTS"]) - LEFT_OUT
        self.assertGreater(len(wanted), 40)
        self.assertIn("-fomit-frame-pointer", copts)
        for product, extra, defines in (("hakmem", set(), set()), ("hakmem-hardened", hardening, {"-DHAK_HARDENED=1"})):
            for target, tls, sources in (("ie", "initial-exec", wanted | extra), ("gd", "global-dynamic", wanted | extra),
                                         ("archive", "initial-exec", {"allocator/" + name for name in rule["archive_srcs"]}),
                                         ("preload", "initial-exec", {"allocator/" + name for name in rule["preload_srcs"]})):
                with self.subTest(product=product, target=target):
                    compiled = self.compiled(f"{product}-{target}")
                    self.assertEqual(set(compiled), sources)
                    for source, flags in compiled.items():
                        self.assertEqual(flags, copts | defines | {"-ftls-model=" + tls}, source)

    def test_linker_flags_are_bazels(self):
        text, own = read("tools/build/variants.bzl"), read("CMakeLists.txt")
        linkopts = [word for word in text[text.index("def _shared_object"):text.index("linkshared = True")].split('"') if word.startswith("-Wl,")]
        self.assertGreater(len(linkopts), 4)
        for word in linkopts:
            if not word.startswith(("-Wl,--version-script", "-Wl,-soname")):  # another path, and CMake's own name
                self.assertIn(word, own)

    def test_the_whole_of_it(self):
        """Builds it, tests it by ctest, installs it and uses it."""
        output("cmake", "--build", self.build, "-j", "2")
        self.assertIn("100% tests passed", output("ctest", "--test-dir", self.build))
        wanted = lint_binary.documented(os.path.join(ROOT, "tests/lint/exports.txt"))
        for name in ("hakmem", "hakmem-hardened"):
            path = os.path.join(self.build, f"lib{name}.so")
            symbols = {line.split()[-1] for line in output("nm", "-D", "--defined-only", path).splitlines()}
            self.assertEqual({name.split("@")[0] for name in symbols} - {lint_binary.VERSION}, wanted)
            self.assertEqual(list(lint_binary.check_versions(symbols)), [])
            self.assertIn(f"[lib{name}.so]", output("readelf", "-d", path))
        target = os.path.join(self.folder, "target")
        output("cmake", "--install", self.build, "--prefix", "/opt/hak", DESTDIR=target)
        below = os.path.join(target, "opt/hak")
        for path in ("lib/libhakmem.so", "lib/libhakmem-hardened-dlopen.so", "lib/libhakmem.a", "lib/libhakmem.so-gdb.py",
                     "lib/libhakmem-hardened-dlopen.so-gdb.py", "include/hakmem.h", "include/hakmem_jemalloc.h", "bin/hakmem",
                     "libexec/hakmem/explain", "libexec/hakmem/heap_profile", "share/man/man7/hakmem.7", "share/man/man1/hakmem.1", "share/doc/hakmem/hakmem.conf", "lib/pkgconfig/hakmem.pc",
                     "lib/cmake/hakmem/hakmemConfig.cmake"):
            self.assertTrue(os.path.exists(os.path.join(below, path)), path)
        source = os.path.join(self.folder, "use.c")
        with open(source, "w", encoding="utf-8") as file:
            file.write(PROGRAM)
        for product, variant in (("hakmem", "speed"), ("hakmem-hardened", "hardened")):
            flags = output("pkg-config", "--cflags", "--libs", product, PKG_CONFIG_PATH=os.path.join(below, "lib/pkgconfig")).split()
            program = os.path.join(self.folder, product + "-use")
            output("gcc", source, "-o", program, *flags)
            self.assertEqual(output(program, LD_LIBRARY_PATH=os.path.join(below, "lib")), variant + "\n")
            output("gcc", source, "-I", os.path.join(below, "include"), os.path.join(below, "lib", f"lib{product}.a"), "-pthread", "-static", "-o", program)
            self.assertEqual(output(program), variant + "\n")
        self.assertEqual(output(os.path.join(below, "bin/hakmem"), "run", "sh", "-c", "echo yes"), "yes\n")

    def test_it_can_be_a_part_of_another_project(self):
        folder = os.path.join(self.folder, "user")
        os.makedirs(folder)
        for name, text in (("CMakeLists.txt", USER.replace("@ROOT@", ROOT)), ("use.c", PROGRAM)):
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(text)
        output("cmake", "-S", folder, "-B", os.path.join(folder, "build"), CC="gcc")
        listed = output("cmake", "--build", os.path.join(folder, "build"), "--target", "help")
        self.assertIn("hakmem-hardened", listed)
        self.assertNotIn("build-surface", listed)  # a project that includes it does not get its tests
        output("cmake", "--build", os.path.join(folder, "build"), "--target", "use", "-j", "2")
        self.assertEqual(output(os.path.join(folder, "build", "use")), "speed\n")

    def test_what_it_is_not_for_is_one_line(self):
        done = subprocess.run(["cmake", "-S", ROOT, "-B", os.path.join(self.folder, "other"), "-DCMAKE_SYSTEM_NAME=Generic", "-DCMAKE_C_COMPILER_WORKS=1"],
                              capture_output=True, text=True)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("hakmem is for 64-bit Linux", done.stderr)


unittest.main()
