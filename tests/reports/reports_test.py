#!/usr/bin/env -S python3 -B
"""reports_test.py PROGRAM: a report is never lost, and after it comes only the end of the process. PROGRAM
(reports.c) makes the situations."""
import contextlib
import fcntl
import glob
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

PROGRAM = os.path.realpath(sys.argv.pop(1))
LIBRARY, VARIANT = os.environ["HAKMEM_TEST_LIBRARY"], os.environ["HAKMEM_TEST_VARIANT"]
HARDENED = VARIANT == "hardened"
ENVIRONMENT = {"LD_PRELOAD": LIBRARY, "HAKMEM_SAMPLE_RATE": "0"}
ERRORS = {"foreign": "invalid free: free(", "twice": "double free: free("}
ABORTED = -signal.SIGABRT
HANGS = 120  # seconds: far above the time that any case takes


def start(*arguments, stderr=subprocess.PIPE, env=None, **more):
    env = {**ENVIRONMENT, **(env or {})}
    return subprocess.Popen([PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=stderr, text=True, env=env, start_new_session=True, **more)


def finish(process):
    """(status, stdout, stderr). A process that hangs is killed with its children, and its status is one that no test
    expects."""
    try:
        said = process.communicate(timeout=HANGS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said = process.communicate()
    return process.returncode, said[0], said[1]


def run(*arguments, **more):
    return finish(start(*arguments, **more))


def fill(end):
    """Writes until the pipe, or the socket, takes nothing more."""
    os.set_blocking(end, False)
    for size in (4096, 1):
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(end, b"x" * size)
    os.set_blocking(end, True)


class Base(unittest.TestCase):
    """Each case with both errors: one that is found at once, and one that the speed variant finds while it holds a
    lock."""

    def check(self, case, status=ABORTED, out="", **more):
        for error, line in ERRORS.items():
            with self.subTest(case=case, error=error):
                got, said, report = run(error, case, **more)
                self.assertEqual(got, status, report)
                self.assertTrue(report.startswith("hakmem: " + line), report)
                self.assertEqual(said, out)
                self.assertEqual(report.count("hakmem:   next: "), HARDENED, report)


class Cancellation(Base):
    def test_a_pending_cancellation_takes_no_report_away(self):
        self.check("cancel_deferred")
        self.check("cancel_in_handler", out="handler\n")

    def test_no_function_is_a_cancellation_point(self):
        got, out, _ = run("twice", "no_cancellation_point")
        self.assertEqual((got, out), (0, "all called\n"))
        if HARDENED:
            modes = {"HAKMEM_HARDENING": "all:report", "HAKMEM_SAMPLE_RATE": "1"}
            got, out, report = run("twice", "no_cancellation_point", env=modes)
            self.assertEqual((got, out), (0, "all called\n"))
            self.assertIn("hakmem: double free: ", report)

    def test_nothing_of_libc_that_is_a_cancellation_point_is_asked_for(self):
        """Source: pthreads(7); and getrandom(2), which is one in glibc."""
        points = "accept clock_nanosleep close connect creat fcntl fcntl64 fdatasync fsync getrandom lockf msgrcv msgsnd msync nanosleep open open64 openat " \
            "openat64 pause poll ppoll pread pread64 pselect pwrite pwrite64 read readv recv select send sendto sigsuspend sigtimedwait sigwait " \
            "sigwaitinfo sleep system tcdrain usleep wait waitid waitpid write writev pthread_cond_wait pthread_join pthread_testcancel sem_wait"
        wanted = subprocess.run(["nm", "-D", "--undefined-only", LIBRARY], capture_output=True, text=True, check=True).stdout
        names = {line.split()[-1].partition("@")[0] for line in wanted.splitlines()}
        self.assertIn("mmap", {name.removesuffix("64") for name in names})  # nm has printed something
        self.assertEqual(names & set(points.split()), set())


class Handlers(Base):
    def test_a_handler_may_allocate(self):
        self.check("handler_allocates", out="handler\n")
        self.check("handler_needs_a_thread", out="helped\n")
        self.check("handler_forks", out="child\n")

    def test_a_handler_may_exit(self):
        self.check("handler_exits", status=3, out="atexit\n")

    def test_what_was_found_is_not_found_again_when_the_handler_or_its_child_exits(self):
        if HARDENED:
            for case, status, out in (("handler_forks", ABORTED, "child\n"), ("handler_exits", 3, "atexit\n")):
                got, said, report = run("overflow", case)
                self.assertEqual((got, said, report.count("hakmem: heap overflow: ")), (status, out, 1), report)

    def test_a_handler_gets_what_it_asked_for(self):
        self.check("handler_has_information", out="information\n")

    def test_an_error_of_the_handler_ends_it(self):
        self.check("handler_errs")

    def test_a_handler_that_jumps_away_ends_the_process_all_the_same(self):
        for case in ("jump_with_signals", "jump_then_allocate", "jump_then_allocate_deep", "jump_then_exit", "jump_then_err",
                     "jump_again_then_allocate", "handler_ends_thread"):
            self.check(case)

    def test_a_signal_that_is_ignored_or_shut_ends_it(self):
        self.check("ignored")
        self.check("shut")

    def test_several_threads_at_once_end_after_one_report(self):
        self.check("many_threads")


class Outlets(unittest.TestCase):
    def test_a_full_pipe_holds_nobody_up(self):
        read, write = os.pipe()
        fill(write)
        for error in ERRORS:
            many = [start(error, "error", stderr=write) for _ in range(4)]
            self.assertEqual([finish(one)[0] for one in many], [ABORTED] * 4)
        os.close(read)
        os.close(write)

    def test_nothing_cuts_a_report_short_that_has_to_wait(self):
        for case in ("cancel_in_report_deferred", "cancel_in_report_asynchronous", "exit_in_report"):
            for error in ERRORS:
                with self.subTest(case=case, error=error):
                    read, write = os.pipe()
                    fill(write)
                    self.assertEqual(run(error, case, stderr=write)[0], ABORTED)
                    os.close(read)
                    os.close(write)

    def test_many_share_what_room_there_is(self):
        """Between the check and the write another process may fill the room."""
        read, write = os.pipe()
        fill(write)
        os.read(read, 4096)
        many = [start("foreign", "error", stderr=write) for _ in range(12)]
        self.assertEqual([finish(one)[0] for one in many], [ABORTED] * 12)
        os.close(read)
        os.close(write)

    def test_a_full_socket_and_a_terminal_that_nobody_reads(self):
        ours, theirs = socket.socketpair()
        fill(theirs.fileno())
        self.assertEqual(run("foreign", "error", stderr=theirs)[0], ABORTED)
        ours.close()
        theirs.close()
        master, slave = os.openpty()
        fill(slave)
        self.assertEqual(run("twice", "error", stderr=slave)[0], ABORTED)
        os.close(master)
        os.close(slave)

    def test_a_pipe_without_a_reader_changes_nothing(self):
        for case in ("error", "broken_pipe"):
            read, write = os.pipe()
            os.close(read)
            self.assertEqual(run("foreign", case, stderr=write)[:2], (ABORTED, ""))
            os.close(write)

    def test_no_descriptor_changes_nothing(self):
        self.assertEqual(run("foreign", "error", stderr=None, preexec_fn=lambda: os.close(2))[0], ABORTED)

    def test_a_file_that_must_not_grow_changes_nothing(self):
        import resource  # pylint: disable=import-outside-toplevel
        with tempfile.TemporaryFile() as file:
            got = run("foreign", "error", stderr=file, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)))
        self.assertEqual(got[0], ABORTED)

    def test_flags_of_the_descriptor_stay(self):
        if not HARDENED:
            return self.check_flags_after_death()
        read, write = os.pipe()
        got = run("foreign", "flags_stay", stderr=write, env={"HAKMEM_HARDENING": "all:report"})
        self.assertEqual(got[:2], (0, "flags stay\n"))
        os.close(read)
        os.close(write)
        return self.check_flags_after_death()

    def check_flags_after_death(self):
        read, write = os.pipe()
        before = fcntl.fcntl(write, fcntl.F_GETFL)
        run("foreign", "error", stderr=write)
        self.assertEqual(fcntl.fcntl(write, fcntl.F_GETFL), before)
        self.assertTrue(os.read(read, 4096).startswith(b"hakmem: invalid free: free(0x"))
        os.close(read)
        os.close(write)

    def through_socket(self, env=None, journal=False):
        ours, theirs = socket.socketpair()
        told = os.fstat(theirs.fileno())
        more = {"JOURNAL_STREAM": f"{told.st_dev}:{told.st_ino}"} if journal else {}
        self.assertEqual(run("twice", "error", stderr=theirs, env={**(env or {}), **more})[0], ABORTED)
        theirs.close()
        with ours.makefile() as file:
            text = file.read()
        ours.close()
        return text

    def test_a_stranger_learns_no_address(self):
        with tempfile.TemporaryDirectory() as folder:
            text = self.through_socket({"HAKMEM_REPORT_PATH": os.path.join(folder, "report"), "HAKMEM_REPORT_JSON": "1"})
            self.assertRegex(text, r"\Ahakmem: double free: free\(-\): [a-z ]+\n\Z")
            if HARDENED:
                [path] = glob.glob(os.path.join(folder, "report.*"))
                with open(path, encoding="utf-8") as file:
                    copy = file.read()
                self.assertRegex(copy, r"\Ahakmem: double free: free\(0x[0-9a-f]+\): ")
                self.assertIn("hakmem:   next: ", copy)

    def test_the_journal_is_no_stranger(self):
        text = self.through_socket(journal=True)
        self.assertRegex(text, r"\Ahakmem: double free: free\(0x[0-9a-f]+\): ")
        self.assertEqual(text.count("hakmem:   next: "), HARDENED)


@unittest.skipUnless(HARDENED, "the speed variant writes no files")
class Files(unittest.TestCase):
    def test_what_stands_in_the_way_of_the_file_is_left_alone(self):
        for kind in ("link", "hard", "folder", "fifo", "read"):
            with self.subTest(kind=kind), tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "report")
                got, _, report = run("foreign", "obstacle", kind, env={"HAKMEM_REPORT_PATH": path})
                self.assertEqual(got, ABORTED)
                self.assertIn("hakmem:   next: ", report)
                with open(path + ".other", encoding="utf-8") as other:
                    self.assertEqual(other.read(), "precious\n")

    def test_each_report_of_a_process_is_in_its_file(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "report")
            got, out, report = run("foreign", "keeps_errno", env={"HAKMEM_REPORT_PATH": path, "HAKMEM_HARDENING": "all:report"})
            self.assertEqual((got, out), (0, "errno stays\n"))
            self.assertEqual(report.count("invalid free"), 3)
            [copy] = glob.glob(path + ".*")
            with open(copy, encoding="utf-8") as file:
                self.assertEqual(file.read().count("hakmem: invalid free: "), 3)

    def test_the_file_has_all_that_a_full_pipe_does_not_take(self):
        read, write = os.pipe()
        fill(write)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "report")
            self.assertEqual(run("foreign", "error", stderr=write, env={"HAKMEM_REPORT_PATH": path})[0], ABORTED)
            [copy] = glob.glob(path + ".*")
            with open(copy, encoding="utf-8") as file:
                self.assertIn("hakmem:   next: ", file.read())
        os.close(read)
        os.close(write)


class Forks(unittest.TestCase):
    def test_a_child_that_was_forked_in_the_middle_of_a_report_has_its_own(self):
        for case in ("fork_in_report_usual", "fork_in_report_raw"):
            with self.subTest(case=case):
                read, write = os.pipe()
                fill(write)
                got, out, _ = run("twice", case, stderr=write)
                self.assertEqual((got, out), (ABORTED, "child aborted\n"))
                os.close(read)
                os.close(write)


class Stacks(unittest.TestCase):
    # MINSIGSTKSZ is 2048 in the C library's headers, and the kernel's frame takes so many of them on a processor with AVX2: 832 bytes of
    # registers, 440 of its own, and what aligns both.
    MOST = 2048 - 1344

    def check_used(self, out, how):
        end, used, _ = map(int, re.fullmatch(r"end (-?\d+), bytes (\d+), frame of the kernel (\d+)\n", out).groups())
        self.assertEqual(end, how)
        self.assertLessEqual(used, self.MOST)

    def test_a_report_needs_little_of_an_alternate_stack(self):
        for error in ERRORS:
            with self.subTest(error=error):
                got, out, report = run(error, "stack_of_error")
                print(error, out.strip())
                self.assertEqual(got, 0)
                self.assertIn(ERRORS[error], report)
                self.check_used(out, ABORTED)

    def test_so_does_one_of_a_fault(self):
        if HARDENED:
            got, out, report = run("foreign", "stack_of_fault")
            print(out.strip())
            self.assertEqual(got, 0)
            self.assertIn("hakmem: out-of-bounds access: write(", report)
            self.check_used(out, -signal.SIGSEGV)

    def test_a_stack_with_room_for_no_other_handler_is_enough(self):
        got, out, report = run("foreign", "small_stack", str(self.MOST))
        self.assertEqual((got, out), (ABORTED, ""))
        self.assertIn(ERRORS["foreign"], report)
        self.assertEqual(report.count("hakmem:   next: "), HARDENED)


class Faults(unittest.TestCase):
    """The hardened variant handles SIGSEGV and SIGBUS; a program that does not touch its guards must not notice."""

    @staticmethod
    def ignore():
        for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT):
            signal.signal(number, signal.SIG_IGN)

    def test_a_signal_that_is_ignored_from_the_start_stays_ignored(self):
        script = "kill -SEGV $$; kill -BUS $$; kill -ABRT $$; grep SigIgn: /proc/self/status"
        usual = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, preexec_fn=self.ignore, check=True)
        ours = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, preexec_fn=self.ignore, check=False, env=ENVIRONMENT)
        self.assertEqual((ours.returncode, ours.stdout, ours.stderr), (0, usual.stdout, ""))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
