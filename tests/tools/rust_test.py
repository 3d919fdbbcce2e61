#!/usr/bin/env -S python3 -B
"""rust_test.py WORKSPACE: the crate of rust/ builds without a network and any other crate, and its tests pass in both variants."""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.realpath(sys.argv.pop()))


class Crate(unittest.TestCase):
    def test_one_version(self):
        with open(os.path.join(ROOT, "include/hakmem.h"), encoding="utf-8") as header, open(os.path.join(ROOT, "rust/Cargo.toml"), encoding="utf-8") as crate:
            self.assertIn(f'version = "{re.search(r"HAK_VERSION_STRING .(.*).$", header.read(), re.MULTILINE)[1]}"', crate.read())

    def test_both_variants(self):
        if not shutil.which("cargo"):
            print("SKIPPED: cargo is not installed (tools/setup does not ask for it)")
            return
        with tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR")) as folder:
            tree = os.path.join(folder, "tree")
            os.mkdir(tree)
            for name in ("allocator", "hardening", "include"):
                os.symlink(os.path.join(ROOT, name), os.path.join(tree, name))
            shutil.copytree(os.path.join(ROOT, "rust"), os.path.join(tree, "rust"))
            for features in ([], ["--features", "hardened"]):
                done = subprocess.run(["cargo", "test", "--offline", "--tests", *features], cwd=os.path.join(tree, "rust"), capture_output=True, text=True,
                                      env={**os.environ, "CARGO_TARGET_DIR": os.path.join(folder, "target")})
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                self.assertIn("test result: ok. 4 passed", done.stdout)


unittest.main()
