#!/usr/bin/env -S python3 -B
"""usage_test.py WORKSPACE: the tools answer --help with status 0, and wrong usage with a clear line and status 2."""
import os
import subprocess
import sys
import unittest

ROOT = os.path.dirname(os.path.realpath(sys.argv.pop()))


def run(*command):
    return subprocess.run([os.path.join(ROOT, "tools", command[0]), *command[1:]], text=True, capture_output=True)


class Usage(unittest.TestCase):
    def test_help(self):
        for tool in ("run", "test", "setup", "install", "chroots"):
            done = run(tool, "--help")
            self.assertEqual((done.returncode, "usage: tools/" + tool in done.stdout), (0, True), tool)

    def test_wrong_usage_says_what_is_wrong(self):
        for words, said in [
            (("run", "--variant=fast", "--", "true"), 'unknown variant "fast"; accepted: speed, hardened'),
            (("run", "true"), 'unexpected "true"; a command goes after --'),
            (("run", "--"), "no command after --"),
            (("run", "--variant=speed"), "--variant needs a command"),
            (("install",), "usage: tools/install --prefix=DIR"),
            (("install", "--prefix="), "usage: tools/install --prefix=DIR"),
            (("setup", "everything"), "usage: tools/setup"),
            (("test", "--wrong"), "usage: tools/test"),
            (("test", "--config"), "usage: tools/test"),
            (("chroots", "--wrong"), "usage: tools/chroots"),
        ]:
            done = run(*words)
            self.assertEqual((done.returncode, said in done.stderr), (2, True), f"{words}: {done.stderr}")


unittest.main()
