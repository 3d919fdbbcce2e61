#!/usr/bin/env -S python3 -B
"""lab_usage_test.py WORKSPACE: the laboratory's commands answer --help, and wrong usage with a clear line, before they build anything."""
import os
import subprocess
import sys
import unittest

ROOT = os.path.dirname(os.path.realpath(sys.argv.pop()))
TOOLS = ("attack_curves", "bench", "growth", "results", "run_mixed_10_cleanenv", "soak", "traces", "typed_price")


def run(tool, *words):
    env = dict(os.environ, PATH="/usr/bin:/bin", PYTHONDONTWRITEBYTECODE="1")
    return subprocess.run([os.path.join(ROOT, "tools", tool), *words], env=env, text=True, capture_output=True)


class Usage(unittest.TestCase):
    def test_help(self):
        for tool in TOOLS:
            done = run(tool, "--help")
            self.assertEqual((done.returncode, "usage: tools/" + tool in done.stdout), (0, True), tool)

    def test_wrong_usage_says_what_is_wrong(self):
        for words, status, said in [
            (("bench", "--rounds", "0"), 2, "--rounds must be at least 1"),
            (("bench", "--programs", "/none", "--variants", "fast"), 1, "unknown variant fast; known: hakmem,"),
            (("bench", "--programs", "/none", "--variants", "none", "--peers", "nobody"), 1, "unknown peer nobody; known: glibc"),
            (("bench", "--programs", "/none", "--variants", "none", "--peers", "none"), 1, "nobody to measure"),
            (("bench", "--programs", "/none", "--peers", "none", "--with", "x=/none.so"), 1, "no such file; expected NAME=PATH"),
            (("bench", "--programs", "/none", "--peers", "glibc", "--traces", "/none"), 1, "no *.trace in /none; tools/traces makes them"),
            (("bench", "--programs", "/none", "--peers", "none", "--against", "no-such-revision"), 1, "--against no-such-revision"),
            (("bench", "--programs", "/none", "--peers", "glibc", "--real", "emacs"), 1, "unknown program emacs; known: python3"),
            (("attack_curves", "--processes", "0"), 2, "--processes and --jobs must be at least 1"),
            (("typed_price", "emacs"), 2, "unknown program emacs; known: ninja, lua, sqlite3, redis"),
            (("typed_price", "--rounds", "0"), 2, "--rounds must be at least 1"),
            (("run_mixed_10_cleanenv", "100"), 2, "expected OPS WORKING_SET SEED"),
            (("soak", "--minutes", "0"), 2, "--minutes must be above 0"),
            (("soak", "--jobs", "0"), 2, "--jobs must be from 1 to "),
            (("results", "everything"), 2, "unknown step everything; known: mixed,"),
            (("results", "--quick"), 2, "--quick needs a --folder of its own"),
            (("traces", "--programs", "/none", "--out", "/none/x", "emacs"), 1, "unknown program emacs; known: python3"),
        ]:
            done = run(*words)
            self.assertEqual((done.returncode, said in done.stderr), (status, True), f"{words}: {done.stderr}")


unittest.main()
