#!/usr/bin/env -S python3 -B
"""gdb_heap_test.py PROGRAM LINKED_SPEED LINKED_HARDENED EXTENSION: gdb's commands `hakmem info` and `hakmem heap` in a
process that gdb has started, in one that gdb is attached to, and in core files of gcore and of the kernel. gdb finds
the commands by itself beside the library, and by `source` for a program with the archive in it."""
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import unittest

PROGRAM, *LINKED, EXTENSION = (os.path.realpath(path) for path in sys.argv[1:5])
del sys.argv[1:5]
LIBRARY, VARIANT = os.environ["HAKMEM_TEST_LIBRARY"], os.environ["HAKMEM_TEST_VARIANT"]
GUARDED = VARIANT == "hardened"
LINKED = LINKED[GUARDED]
COUNT, SIZE, LARGE, GONE = 5000, 1000, 3000000, 2000000
ASKED = ("live_slot", "live_slot + 77", "freed_slot", "live_large", "live_large + 70000", "freed_large", "nothing", "sampled", "sampled + 20", "freed_sampled", "typed",
         "&global", "nobodys", "0", "0x1234", "0xdeadbeefdeadbeef", "(char *)&hak_stats_map")


class Gdb(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory()
        cls.addClassCleanup(scratch.cleanup)
        cls.folder = scratch.name
        cls.library = os.path.join(cls.folder, os.path.basename(LIBRARY))
        shutil.copy(LIBRARY, cls.library)
        shutil.copy(EXTENSION, cls.library + "-gdb.py")  # the folder of tools/install
        cls.plain = {"PATH": "/usr/bin:/bin", "HOME": cls.folder, "LC_ALL": "C", "DEBUGINFOD_URLS": ""}
        cls.preloaded = {**cls.plain, "LD_PRELOAD": cls.library}

    def gdb(self, *arguments, commands, before=()):
        words = ["gdb", "-q", "-nx", "-batch", "-iex", f"add-auto-load-safe-path {self.folder}", "-iex", "set auto-load safe-path " + self.folder]
        for command in (*before, *commands):
            words += ["-ex", command]
        done = subprocess.run([*words, *arguments], env=self.plain, cwd=self.folder, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL)
        return done.stdout + done.stderr

    @staticmethod
    def questions():
        return [word for one in ASKED for word in (f"echo \\n@@ {one}\\n", f"hakmem info {one}")] + ["echo \\n@@ heap\\n", "hakmem heap"]

    def check(self, text, tokens=True):
        said = {part.split("\n", 1)[0]: part.split("\n", 1)[1].strip() for part in text.split("@@ ")[1:]}
        self.assertEqual(set(said), {*ASKED, "heap"}, text)

        def want(name, pattern):
            self.assertRegex(said[name], pattern, name)
        asked = f", {SIZE} bytes asked for, made by malloc" if GUARDED else ""
        slot = r"slots of 10\d\d bytes; partition none$"
        want("live_slot", rf"^0x[0-9a-f]+: slot \d+ of a slab: live{asked}\n  class \d+, {slot}")
        want("live_slot + 77", rf"^0x[0-9a-f]+: 77 bytes into the object at 0x[0-9a-f]+: slot \d+ of a slab: live{asked}\n")
        self.assertEqual(int(said["live_slot + 77"].split(":")[0], 16), int(said["live_slot"].split(":")[0], 16) + 77)
        want("freed_slot", (rf"slot \d+ of a slab: resting: it was freed, {SIZE} bytes had been asked for\n" if GUARDED else r"slot \d+ of a slab: resting in a thread's cache: it was freed\n")
             + rf"  class \d+, {slot}")
        bytes_of_large = LARGE if GUARDED else (LARGE + 4095) // 4096 * 4096
        want("live_large", rf"^0x[0-9a-f]+: large object of {bytes_of_large} bytes: live")
        want("live_large + 70000", rf": 70000 bytes into the object at 0x[0-9a-f]+: large object of {bytes_of_large} bytes: live")
        want("freed_large", rf": large object of {GONE} bytes: resting: it was freed" if GUARDED else r"^0x[0-9a-f]+: free\n  memory of large objects")
        want("nothing", r": sampled object of 0 bytes: live" if GUARDED else r"slot \d+ of a slab: live\n  class 1, slots of 16 bytes")
        want("sampled", r"^0x[0-9a-f]+: sampled object of 500 bytes: live, made by malloc\n" if GUARDED else r"slot \d+ of a slab: live")
        want("sampled + 20", r": 20 bytes into the object at 0x[0-9a-f]+: sampled object of 500 bytes: live" if GUARDED else r": 20 bytes into the object")
        want("freed_sampled", r": sampled object of 600 bytes: resting: it was freed" if GUARDED else r"resting in a thread's cache")
        want("typed", rf"slot \d+ of a slab: live(, 200 bytes asked for, made by malloc)?\n  class \d+, slots of 2\d\d bytes; partition {'[1-8]' if GUARDED and tokens else 'none'}$")
        for name in ("&global", "nobodys", "0", "0x1234", "0xdeadbeefdeadbeef", "(char *)&hak_stats_map"):
            want(name, r"^0x[0-9a-f]+: not hakmem's$")
        self.check_heap(said["heap"])

    def check_heap(self, text):
        self.assertRegex(text, rf"^hakmem [0-9.]+, {VARIANT} variant\n")
        rows = [[float(word) for word in line.split()] for line in re.findall(r"^ +\d+ +\d+ +\d+ +\d+ +\d+ +[0-9.]+$", text, re.MULTILINE)]
        [(_, size, live, rests, free, mib)] = [row for row in rows if SIZE <= row[1] <= SIZE * 5 // 4]
        self.assertTrue(COUNT - 10 <= live <= COUNT + 10 and rests >= 1 and free >= 0, text)
        self.assertAlmostEqual(mib, live * size / 2**20, delta=0.01)
        large = [int(word) for word in re.search(r"^large: (\d+) live, (\d+) bytes; (\d+) resting, (\d+) bytes; free: (\d+) bytes$", text, re.MULTILINE).groups()]
        self.assertEqual(large[:2], [1, (LARGE + 4095) // 4096 * 4096])
        self.assertEqual(large[2] if GUARDED else int(large[4] >= GONE), 1, text)
        if GUARDED:
            live_samples, rest = map(int, re.search(r"^sampled: (\d+) live, \d+ bytes; (\d+) resting$", text, re.MULTILINE).groups())
            self.assertTrue(live_samples >= 3 and rest >= 1, text)
            self.assertTrue(COUNT - 1 <= live + live_samples, text)

    def test_a_process_that_gdb_has_started(self):
        self.check(self.gdb(PROGRAM, before=[f"set environment LD_PRELOAD={self.library}", "run abort"], commands=self.questions()))

    def test_a_process_that_it_is_attached_to(self):
        with subprocess.Popen([PROGRAM, "wait"], env=self.preloaded, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            self.assertEqual(process.stdout.readline(), "ready\n")
            self.check(self.gdb("-p", str(process.pid), PROGRAM, commands=self.questions()))
            process.communicate("\n")
        self.assertEqual(process.returncode, 0)

    def test_a_core_file_of_gcore(self):
        core = os.path.join(self.folder, "gcore")
        self.gdb(PROGRAM, commands=[f"set environment LD_PRELOAD={self.library}", "run abort", f"gcore {core}", "kill"])
        self.check(self.gdb(PROGRAM, core, commands=self.questions()))

    def test_a_core_file_of_the_kernel(self):
        with open("/proc/sys/kernel/core_pattern", encoding="utf-8") as pattern:
            if pattern.read().strip() != "core":
                self.skipTest("this machine gives its cores to somebody else")
        below = os.path.join(self.folder, "kernel")
        os.mkdir(below)
        subprocess.run([PROGRAM, "abort"], env=self.preloaded, cwd=below, stdout=subprocess.DEVNULL, check=False,
                       preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2))
        [core] = os.listdir(below)
        self.check(self.gdb(PROGRAM, os.path.join(below, core), commands=self.questions()))

    def test_a_program_with_the_archive_in_it(self):
        self.check(self.gdb(LINKED, before=["run abort", f"source {EXTENSION}"], commands=self.questions()))

    def test_without_hakmem_or_its_debug_information_it_says_so(self):
        text = self.gdb(PROGRAM, before=["run abort", f"source {EXTENSION}"], commands=["hakmem heap", "hakmem info 0"])
        self.assertEqual(text.count("hakmem: not in this process"), 2, text)
        bare = os.path.join(self.folder, "bare", os.path.basename(LIBRARY))
        os.makedirs(os.path.dirname(bare), exist_ok=True)
        subprocess.run(["objcopy", "--strip-all", LIBRARY, bare], check=True)
        text = self.gdb(PROGRAM, before=[f"set environment LD_PRELOAD={bare}", "run abort", f"source {EXTENSION}"], commands=["hakmem heap"])
        self.assertIn("no debug information", text)
        self.assertNotIn("Traceback", text)


unittest.main()
