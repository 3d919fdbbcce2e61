#!/usr/bin/env -S python3 -B
"""mutants_test.py WORKSPACE: each patch in fuzz/mutants names its bug and a test that exists, changes files that exist,
and each source file of the allocator has at least three mutants."""
import collections
import glob
import os
import re
import sys
import unittest

ROOT = os.path.dirname(os.path.realpath(sys.argv.pop()))
VARIANTS = ("speed", "hardened")
LEAST = 3
CORE_TESTS = ("unit", "hardening", "typed", "contract", "model", "stress", "fault")  # whose tests are linked with the core
# Not in any product: what tests need of the core.
FOR_TESTS = {"allocator/life/reset.c", "allocator/os/os_keep.c"}
# Files that have fewer. One that is named here and has enough is a failure, too.
FEW = {
    "allocator/shim/shim_catch.c",
    "allocator/shim/shim_early.c",
    "allocator/shim/shim_first.c",
    "allocator/shim/shim_loaded.c",
}


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


MUTANTS = {os.path.basename(path)[:-len(".patch")]: read(path) for path in sorted(glob.glob(os.path.join(ROOT, "fuzz/mutants/*.patch")))}


class Anything:
    """What a name of a BUILD file stands for that this test does not need: a rule, a list, a condition."""

    def __call__(self, *_words, **_named):
        return self

    def __add__(self, other):
        return other if isinstance(other, list) else self

    __radd__ = __add__

    def __iter__(self):
        return iter(())


class Build(dict):
    """The names that a BUILD file sees. Its language is Python's, so Python runs it."""

    def __init__(self):
        super().__init__(VARIANTS={variant: [] for variant in VARIANTS}, PRODUCTS={"speed": "hakmem", "hardened": "hakmem-hardened"},
                         hak_variant_test=self.of_variants, hak_preload_test=self.of_variants, hak_tree_test=self.plain, sh_test=self.plain,
                         cc_test=self.plain, glob=lambda *_words, **_named: [], fail=lambda text: sys.exit(text))
        self.tests = set()

    def __missing__(self, name):
        if hasattr(__builtins__, name):
            raise KeyError
        return Anything()

    def plain(self, name, **_named):
        self.tests.add(name)

    def of_variants(self, name, only=None, **_named):
        self.tests.update(f"{name}_{variant}_test" for variant in VARIANTS if only in (None, variant))


def bazel_tests():
    """The names of the tests in tests/, without their folders."""
    found = set()
    for path in glob.glob(os.path.join(ROOT, "tests/*/BUILD.bazel")):
        build = Build()
        exec(compile(read(path), path, "exec"), build)  # pylint: disable=exec-used
        found |= build.tests
    return found


def fuzz_targets():
    return {line.split()[0] for line in read("fuzz/targets.txt").splitlines() if line and not line.startswith("#")}


class Mutants(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tests, cls.targets = bazel_tests(), fuzz_targets()
        assert {"fork_speed_test", "life_exits_hardened_test", "claims_speed_test", "mutants_test"} <= cls.tests

    def exists(self, meant):
        """The forms that fuzz/mutants_tests.py knows."""
        name, _, variant = meant.removeprefix("tsan ").rpartition(" ")
        if variant in VARIANTS and name.startswith("properties "):
            return name.split()[1] in ("0", "1", "2", "3")
        if variant in VARIANTS and name:
            return f"{name.removesuffix('_test')}_{variant}_test" in self.tests and any(
                os.path.exists(os.path.join(ROOT, "tests", folder, name + ".c")) for folder in CORE_TESTS)
        return meant in self.targets or (meant in self.tests and " " not in meant)

    def test_each_names_its_bug_and_a_test_that_exists(self):
        for name, text in MUTANTS.items():
            with self.subTest(mutant=name):
                self.assertRegex(text, r"^Bug: \S")
                for meant in re.findall("^Meant for: (.*)$", text, re.M):
                    self.assertTrue(self.exists(meant), f"no such test: {meant}")

    def test_each_changes_files_that_exist(self):
        for name, text in MUTANTS.items():
            with self.subTest(mutant=name):
                files = re.findall(r"^\+\+\+ b/(\S+)", text, re.M)
                self.assertTrue(files)
                for file in files:
                    self.assertTrue(os.path.exists(os.path.join(ROOT, file)), f"no such file: {file}")

    def test_each_file_has_three(self):
        count = collections.Counter(file for text in MUTANTS.values() for file in set(re.findall(r"^\+\+\+ b/(\S+)", text, re.M)))
        sources = {os.path.relpath(path, ROOT) for folder in ("allocator", "hardening")
                   for path in glob.glob(os.path.join(ROOT, folder, "**/*.c"), recursive=True)} - FOR_TESTS
        few = {file: count[file] for file in sources if count[file] < LEAST}
        for file, has in sorted(few.items()):
            print(f"{file}: {has} of {LEAST} mutants")
        self.assertEqual(set(few), FEW)


unittest.main()
