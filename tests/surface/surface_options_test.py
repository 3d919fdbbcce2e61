#!/usr/bin/env -S python3 -B
"""The effects of the environment on a program under the .so: profiles, wrong values, statistics at exit, memory that
comes back."""
import os
import re
import subprocess
import sys
import unittest
import xml.etree.ElementTree

PROGRAM = sys.argv.pop(1)
LIBRARY = os.environ["HAKMEM_TEST_LIBRARY"]
ENV = {"PATH": os.environ["PATH"], "LD_PRELOAD": LIBRARY, "LLVM_PROFILE_FILE": os.environ.get("LLVM_PROFILE_FILE", "")}


def run(*arguments, **settings):
    done = subprocess.run([PROGRAM, *arguments], env=dict(ENV, **settings), capture_output=True, text=True, timeout=100)
    if done.returncode:
        raise AssertionError(f"{arguments} {settings}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def resident_after_burst(mib, **settings):
    """KiB of resident memory after a burst of `mib` MiB that was freed."""
    return int(run("burst", str(mib), **settings).stdout.split()[-1])


class Options(unittest.TestCase):
    def test_statistics_at_exit_are_one_line(self):
        lines = run("idle", HAKMEM_SS_OS_STATS="1").stderr.splitlines()
        self.assertEqual(len(lines), 1, lines)
        self.assertRegex(lines[0], r"^hakmem: OS statistics: mmap \d+, munmap \d+, madvise \d+, mprotect \d+, total \d+, operations")
        self.assertRegex(lines[0], r"system calls per operation \d+\.\d\de-\d+$")
        counts = [int(n) for n in re.findall(r"(?:mmap|munmap|madvise|mprotect) (\d+)", lines[0])]
        self.assertEqual(sum(counts), int(re.search(r"total (\d+)", lines[0])[1]))

    def test_without_a_setting_nothing_is_written(self):
        self.assertEqual(run("idle").stderr, "")
        self.assertEqual(run("idle", HAKMEM_PROFILE="MIXED_TINYV3_C7_SAFE").stderr, "")

    def test_a_wrong_value_is_one_line_and_the_program_runs(self):
        for name in ("PROFILE", "SS_MEM_LEAN", "SS_MEM_LEAN_DECOMMIT", "SS_MEM_LEAN_TARGET_MB", "SS_OS_STATS"):
            lines = run("idle", **{"HAKMEM_" + name: "nonsense"}).stderr.splitlines()
            self.assertEqual(len(lines), 1, lines)
            self.assertIn(f"HAKMEM_{name}=nonsense: not understood; accepted: ", lines[0])

    def test_the_speed_profile_is_warm_and_the_balanced_one_is_not(self):
        warm, cold = (int(run("idle", HAKMEM_PROFILE=p).stdout) for p in ("speed", "balanced"))
        self.assertGreater(warm, cold + 4 * 1024)
        gated = int(run("idle", HAKMEM_PROFILE="speed", HAKMEM_SS_MEM_LEAN="1").stdout)
        self.assertLess(gated, cold + 2 * 1024)

    def test_dontneed_steers_to_the_target(self):
        for mib in (64, 1024):
            kib = resident_after_burst(mib, HAKMEM_SS_MEM_LEAN_DECOMMIT="DONTNEED", HAKMEM_SS_MEM_LEAN_TARGET_MB="10")
            self.assertLess(kib, (10 + 16) * 1024)  # the target, and the program itself with the allocator's tables

    def test_off_keeps_what_a_trim_gives_back(self):
        kept = resident_after_burst(64, HAKMEM_PROFILE="speed")
        if os.environ["HAKMEM_TEST_VARIANT"] == "speed":  # hardened shuts freed large objects: no pages
            self.assertGreater(kept, 60 * 1024)
        self.assertLess(int(run("trim", "64", HAKMEM_PROFILE="speed").stdout.split()[-1]), 32 * 1024)

    def test_large_memory_that_is_much_more_than_the_live_goes_back(self):
        self.assertLess(int(run("large", "900").stdout.split()[-1]), 300 * 1024)

    @unittest.skipUnless(os.path.exists("/sys/kernel/mm/transparent_hugepage"), "this kernel has no huge pages")
    def test_huge_pages_are_asked_for_as_the_setting_says(self):
        for settings, mib, asked in (({}, 6, False), ({}, 40, True), ({"HAKMEM_SS_HUGE": "AUTO"}, 6, False), ({"HAKMEM_SS_HUGE": "AUTO"}, 40, True),
                                     ({"HAKMEM_SS_HUGE": "ALWAYS"}, 6, True), ({"HAKMEM_SS_HUGE": "OFF"}, 40, False),
                                     ({"HAKMEM_SS_MEM_LEAN_DECOMMIT": "FREE"}, 40, False), ({"HAKMEM_SS_MEM_LEAN_DECOMMIT": "DONTNEED"}, 40, False)):
            self.assertEqual(int(run("huge", str(mib), **settings).stdout) >= 2048, asked, (settings, mib))

    def test_malloc_info_is_valid_xml(self):
        root = xml.etree.ElementTree.fromstring(run("info").stdout)
        self.assertEqual(root.tag, "malloc")
        self.assertEqual(root.get("variant"), os.environ["HAKMEM_TEST_VARIANT"])

    def test_256_mib_of_address_space_are_enough(self):
        command = f'ulimit -v 262144; exec "{PROGRAM}" limited'
        done = subprocess.run(["/bin/bash", "-c", command], env=ENV, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_vfork_and_posix_spawn(self):
        self.assertIn("spawned", run("spawn").stdout)


unittest.main()
