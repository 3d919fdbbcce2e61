#!/usr/bin/env -S python3 -B
"""typed_sites_test.py PROGRAM: HAKMEM_PARTITIONS=N keeps the objects of a program's call sites apart, in at most N
partitions. PROGRAM: sites.c."""
import os
import subprocess
import sys
import unittest

PROGRAM = os.path.realpath(sys.argv.pop(1))
LIBRARY, HARDENED = os.environ["HAKMEM_TEST_LIBRARY"], os.environ["HAKMEM_TEST_VARIANT"] == "hardened"


def groups(partitions=None):
    environment = {"LD_PRELOAD": LIBRARY, "LLVM_PROFILE_FILE": os.environ.get("LLVM_PROFILE_FILE", "")}
    if partitions is not None:
        environment["HAKMEM_PARTITIONS"] = partitions
    done = subprocess.run([PROGRAM], env=environment, capture_output=True, text=True, check=True)
    return int(done.stdout), done.stderr


class Sites(unittest.TestCase):
    def test_off_unless_it_is_asked_for(self):
        for partitions in (None, "0", "1"):
            self.assertEqual(groups(partitions), (1, ""), partitions)

    @unittest.skipUnless(HARDENED, "the other variant has no partitions")
    def test_places_are_kept_apart(self):
        for partitions, least in (("2", 1), ("8", 2), ("64", 9)):
            found, said = groups(partitions)
            self.assertTrue(least <= found <= int(partitions), found)
            self.assertEqual(said, "")

    @unittest.skipIf(HARDENED, "it has them")
    def test_the_speed_variant_has_none(self):
        self.assertEqual(groups("8"), (1, ""))

    @unittest.skipUnless(HARDENED, "the other variant does not know it")
    def test_a_wrong_value_is_named(self):
        for wrong in ("65", "-1", "many", ""):
            found, said = groups(wrong)
            self.assertEqual(found, 1)
            self.assertRegex(said, f"^hakmem: HAKMEM_PARTITIONS={wrong}: not understood; accepted: 0 to 64; using ")


unittest.main()
