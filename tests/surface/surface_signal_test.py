#!/usr/bin/env -S python3 -B
"""surface_signal_test.py PROGRAM: statistics of a running process at a signal (HAKMEM_STATS_SIGNAL): when and where
they are written, and that the process is not disturbed."""
import contextlib
import glob
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

PROGRAM = os.path.realpath(sys.argv.pop())
LIBRARY, VARIANT = os.environ["HAKMEM_TEST_LIBRARY"], os.environ["HAKMEM_TEST_VARIANT"]
HAKMEM = next(path for path in (os.path.realpath("tools/hakmem"), os.path.join(os.path.dirname(__file__), "../../tools/hakmem")) if os.path.exists(path))
PATIENCE = 20  # seconds, for steps that take milliseconds


class Signal(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "stats")

    def environment(self, **settings):
        settings = {"HAKMEM_STATS": self.path, "HAKMEM_STATS_SIGNAL": "USR2", **settings}
        return {"LD_PRELOAD": LIBRARY, "LLVM_PROFILE_FILE": os.environ.get("LLVM_PROFILE_FILE", ""), **{k: v for k, v in settings.items() if v is not None}}

    def run_to_end(self, *arguments, status=0, before=None, **settings):
        done = subprocess.run([PROGRAM, *arguments], env=self.environment(**settings), capture_output=True, text=True, timeout=100, preexec_fn=before)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done

    @contextlib.contextmanager
    def running(self, *arguments, **settings):
        with subprocess.Popen([PROGRAM, *arguments], env=self.environment(**settings), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            self.assertEqual(process.stdout.readline().split(), [arguments[0], str(process.pid)])
            yield process
            process.stdin.write("\n")
            process.stdin.flush()
            self.assertEqual(process.wait(PATIENCE), 0, process.stdout.read())

    def files(self):
        """Returns the files written at signals: PATH.PROCESS.NUMBER."""
        return sorted(glob.glob(self.path + ".*.*"))

    def read(self, path):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        self.assertEqual(text[-1:], "\n", (path, text))
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        said = json.loads(text)
        self.assertEqual((said["hakmem"], said["schema"], said["variant"]), ("stat", 1, VARIANT))
        self.assertEqual(str(said["process"]), path.split(".")[-2])
        self.assertGreaterEqual(said["mapped_bytes"], said["committed_bytes"])
        self.assertGreater(said["committed_bytes"], 0)
        self.assertTrue(all(one["out"] > 0 and one["size"] > 0 for one in said["classes"]) and said["classes"], said)
        return said

    def wait_for(self, process, number):
        """The file is complete when its last line has an end."""
        path, until = f"{self.path}.{process.pid}.{number}", time.monotonic() + PATIENCE
        while time.monotonic() < until:
            with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as file:
                if file.read().endswith("\n"):
                    return self.read(path)
            time.sleep(0.005)
        raise AssertionError(f"no {path}: {self.files()}")

    def test_a_process_that_rests_answers_each_time(self):
        with self.running("rest") as process:
            for number in (1, 2, 3):
                process.send_signal(signal.SIGUSR2)
                said = self.wait_for(process, number)
            outside = json.loads(subprocess.run([sys.executable, "-B", HAKMEM, "stat", "--json", str(process.pid)], capture_output=True, text=True, check=True).stdout)
            self.assertEqual(said, outside)
            self.assertEqual(list(said), list(outside))
        self.assertTrue(os.path.exists(f"{self.path}.{process.pid}"))  # HAKMEM_STATS also writes one at exit
        self.assertEqual(len(self.files()), 3)

    def test_a_process_whose_threads_are_all_in_malloc_answers(self):
        with self.running("busy", "4") as process:
            for number in range(1, 31):
                process.send_signal(signal.SIGUSR2)
                said = self.wait_for(process, number)
            self.assertGreaterEqual(said["caches"], 5)

    def test_a_signal_that_is_shut_is_answered_when_it_is_opened(self):
        with self.running("masked") as process:
            process.send_signal(signal.SIGUSR2)
            time.sleep(0.3)
            self.assertEqual(self.files(), [])
            process.stdin.write("\n")
            process.stdin.flush()
            self.assertEqual(process.stdout.readline().split()[0], "open")
            self.wait_for(process, 1)

    def test_a_handler_that_the_program_sets_later_is_its_own(self):
        self.assertEqual(self.run_to_end("own").stderr, "")
        self.assertEqual(self.files(), [])

    def test_children_answer_under_their_own_number(self):
        lines = dict(line.split() for line in self.run_to_end("fork").stdout.splitlines())
        files = self.files()
        for path in files:
            self.read(path)
        # The child of a vfork counts in its parent's memory.
        self.assertEqual([[path.split(".")[-1] for path in files if path.split(".")[-2] == lines[who]] for who in ("child", "vfork")], [["1", "2"], ["1"]])
        [own] = (path for path in files if path.split(".")[-2] not in lines.values())
        self.assertEqual(own.split(".")[-1], "2")

    def test_a_signal_from_before_exec_is_answered_after_it(self):
        process = self.run_to_end("exec", PROGRAM).stdout.split()[-1]
        self.assertEqual([path.split(".")[-2:] for path in self.files()], [[process, "1"]])
        self.read(self.files()[0])

    def test_a_small_stack_for_handlers_is_large_enough(self):
        self.run_to_end("small")
        [path] = self.files()
        self.read(path)

    def test_threads_at_once_have_a_file_each(self):
        self.run_to_end("raise", "200")
        files = self.files()
        self.assertEqual({int(path.split(".")[-1]) for path in files}, set(range(1, 401)))
        for path in files:
            self.read(path)

    def test_nothing_is_left_half_done(self):
        self.run_to_end("disturbed")
        files = self.files()
        self.assertGreater(len(files), 100)
        for path in files:
            self.read(path)

    def test_other_signals(self):
        for name, number in (("USR1", signal.SIGUSR1), ("SIGUSR1", signal.SIGUSR1), ("RTMIN+0", signal.SIGRTMIN), ("RTMIN+29", signal.SIGRTMIN + 29)):
            with self.subTest(name=name), self.running("rest", HAKMEM_STATS_SIGNAL=name) as process:
                process.send_signal(number)
                self.wait_for(process, 1)

    def test_without_the_setting_a_signal_does_what_it_did(self):
        self.run_to_end("raise", "1", status=-signal.SIGUSR2, HAKMEM_STATS_SIGNAL=None)
        self.run_to_end("raise", "1", status=-signal.SIGUSR2, HAKMEM_STATS_SIGNAL="")
        self.assertEqual(self.files(), [])

    def test_what_is_refused_is_said_once(self):
        for name in ("SEGV", "KILL", "CHLD", "12", "usr1", "USR3", "RTMIN", "RTMIN+", "RTMIN+30", "RTMIN+1x", "RTMIN+001", "RTMIN-1", "nonsense"):
            with self.subTest(name=name):
                lines = self.run_to_end("raise", "0", HAKMEM_STATS_SIGNAL=name).stderr.splitlines()
                self.assertEqual(len(lines), 1, lines)
                self.assertEqual(lines[0], f"hakmem: HAKMEM_STATS_SIGNAL={name}: not understood; accepted: USR1, USR2, RTMIN+0 to RTMIN+29; using none")
        lines = self.run_to_end("raise", "1", status=-signal.SIGUSR2, HAKMEM_STATS=None).stderr.splitlines()
        self.assertEqual(len(lines), 1, lines)
        self.assertIn("HAKMEM_STATS=PATH", lines[0])

    def test_a_signal_that_is_ignored_stays_ignored(self):
        lines = self.run_to_end("raise", "1", before=lambda: signal.signal(signal.SIGUSR2, signal.SIG_IGN)).stderr.splitlines()
        self.assertEqual(len(lines), 1, lines)
        self.assertIn("neither handles nor ignores", lines[0])
        self.assertEqual(self.files(), [])

    def test_a_path_that_leads_nowhere_stops_nobody(self):
        self.assertEqual(self.run_to_end("raise", "3", HAKMEM_STATS=self.path + "/no/such").stderr, "")


unittest.main()
