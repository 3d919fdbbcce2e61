#!/usr/bin/env -S python3 -B
"""fork_arrangements_test.py SOURCE...: runs forks.c in each way in which a program may get the allocator: preloaded,
linked before or after a library that has handlers of fork, with the archive in it, and static. HAKMEM_TEST_LIBRARY
is the shared object; the archive lies beside it."""
import os
import subprocess
import sys
import tempfile
import unittest

SOURCES, ROOT = sys.argv[1:], os.path.realpath(os.curdir)
del sys.argv[1:]
SHARED, VARIANT = os.environ["HAKMEM_TEST_LIBRARY"], os.environ["HAKMEM_TEST_VARIANT"]
ARCHIVE = SHARED[: -len(".so")] + ".a"
SECONDS = 120  # a child that hangs was ended long before


def run(*command, **settings):
    done = subprocess.run(command, env=dict(os.environ, **settings), capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode:
        raise AssertionError(f"{command}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


class Arrangements(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.scratch.cleanup)
        library, recorder = (next(path for path in SOURCES if path.endswith(f"/forks_{name}.c")) for name in ("library", "recorder"))
        program = [path for path in SOURCES if path not in (library, recorder)]
        there = cls.scratch.name
        compiler = ["gcc", "-Wall", "-Werror", "-D_GNU_SOURCE", "-O1", "-fno-builtin", "-pthread", f"-I{ROOT}"]
        run(*compiler, "-shared", "-fPIC", library, "-o", f"{there}/libwith_handlers.so")
        run(*compiler, "-shared", "-fPIC", recorder, "-o", f"{there}/librecorder.so")
        with_library = [f"-L{there}", "-Wl,--no-as-needed", "-lwith_handlers", f"-Wl,-rpath,{there}"]
        last = [f"{there}/librecorder.so"]
        ours = [SHARED, f"-Wl,-rpath,{os.path.dirname(SHARED)}"]
        for name, flags in {
            "plain": with_library + last,
            "linked_first": ours + with_library + last,
            "linked_last": with_library + ours + last,
            "archive": [ARCHIVE] + with_library + last,
            "static": [library, ARCHIVE, "-static"],
        }.items():
            run(*compiler, *program, *flags, "-o", f"{there}/{name}")

    def each(self, case, *without):
        for name in (name for name in ("plain", "linked_first", "linked_last", "archive", "static") if name not in without):
            with self.subTest(arrangement=name):
                settings = {"LD_PRELOAD": SHARED} if name == "plain" else {}
                self.assertEqual(run(f"{self.scratch.name}/{name}", case, **settings), "done\n")

    def test_handlers_that_allocate_and_take_locks(self):
        self.each("handlers")

    def test_a_fork_waits_for_who_registers_handlers(self):
        self.each("registrations", "static")  # there libc itself takes the allocator's locks

    def test_a_handler_forks(self):
        self.each("nested")

    def test_other_threads_use_streams(self):
        self.each("streams")

    def test_a_signal_interrupts_malloc(self):
        self.each("interrupted")

    def test_vfork(self):
        self.each("vforks")

    def test_a_fork_after_all_handlers_of_exit(self):
        self.each("exits")

    def test_threads_fork_while_the_process_exits(self):
        self.each("exits_meanwhile")

    def test_threads_leave_nothing(self):
        self.each("threads")

    @unittest.skipIf(VARIANT == "speed", "the speed variant does not notice at once")
    def test_what_a_child_does_wrong_is_reported(self):
        self.each("reports")


unittest.main()
