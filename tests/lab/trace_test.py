#!/usr/bin/env -S python3 -B
"""trace_test.py WORKLOADS RECORDER SPEED.so HARDENED.so: a recorded trace holds what the program did, and both variants
replay it; a broken one is refused with a line that gives the reason."""
import glob
import json
import os
import subprocess
import sys
import tempfile
import unittest

*_, WORKLOADS, RECORDER, SPEED, HARDENED = (os.path.abspath(path) for path in sys.argv)
del sys.argv[1:]
MAGIC = b"HAKTRC1\n"
END, MALLOC, CALLOC, REALLOC, ALIGNED, FREE, THREAD = range(7)
# Slots 0, 1, 2 are taken; 1 is freed, so the next allocation takes it again.
EVENTS = [(THREAD, 1), (MALLOC, 100), (CALLOC, 300), (ALIGNED, 12, 5000), (FREE, 1), (THREAD, 2), (MALLOC, 0), (REALLOC, 0, 70000), (FREE, 1)]


def number(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out + bytes([value]))


def encoded(events):
    return MAGIC + b"".join(bytes([kind]) + b"".join(map(number, numbers)) for kind, *numbers in events)


def workloads(*words, library=None):
    env = dict(os.environ, **({"LD_PRELOAD": library} if library else {}))
    return subprocess.run([WORKLOADS, *words], env=env, capture_output=True, text=True)


class Traces(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = scratch.name

    def written(self, content):
        path = os.path.join(self.folder, "x.trace")
        with open(path, "wb") as f:
            f.write(content)
        return path

    def described(self, path):
        done = workloads("--describe", path)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def recorded(self, *command, **env):
        """The descriptions of the traces that a command left, largest first."""
        prefix = os.path.join(tempfile.mkdtemp(dir=self.folder), "r")
        done = subprocess.run(command, env=dict(os.environ, LD_PRELOAD=RECORDER, HAKMEM_TRACE_FILE=prefix, **env), capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        found = [(os.path.getsize(path), path) for path in glob.glob(prefix + ".*")]
        return [self.described(path) for _, path in sorted(found, reverse=True)]

    def test_the_latency_workloads_time_each_call(self):
        for name in ("latency_soak", "latency_burst"):
            for library in (SPEED, HARDENED):
                done = workloads(name, "ops=4000", "slots=100", library=library)
                self.assertEqual(done.returncode, 0, done.stderr)
                found = json.loads(done.stdout)
                for key in ("malloc_ns", "free_ns"):
                    self.assertEqual(found[key], sorted(found[key]))
                    self.assertGreater(found[key][0], 0)
                    self.assertLess(found[key][0], found[key][-1])

    def test_a_trace_by_hand_is_understood(self):
        found = self.described(self.written(encoded(EVENTS)))
        expected = {"events": 7, "malloc": 2, "calloc": 1, "aligned": 1, "realloc": 1, "free": 2, "threads": 2, "peak_objects": 3, "peak_bytes": 75000}
        self.assertEqual({key: found[key] for key in expected}, expected)

    def test_zeros_after_the_last_event_end_a_trace(self):
        self.assertEqual(self.described(self.written(encoded(EVENTS) + bytes(100)))["events"], 7)

    def test_both_variants_replay_a_trace_as_often_as_is_asked_for(self):
        path = self.written(encoded(EVENTS))
        for library in (None, SPEED, HARDENED):
            done = workloads("replay", "file=" + path, "ops=7000", library=library)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(json.loads(done.stdout)["ops"], 7000)
            done = workloads("sizes", "file=" + path, "ops=5000", "slots=50", library=library)
            self.assertEqual((done.returncode, json.loads(done.stdout)["ops"]), (0, 5000))

    def test_a_broken_trace_is_refused(self):
        good = encoded(EVENTS)
        for content, said in [
            (b"", "is not a recorded trace"),
            (b"HAKTRC2\n" + good[8:], "is not a recorded trace"),
            (MAGIC, "has no allocation"),
            (good[:-1], "is cut off or broken"),
            (good + bytes([9, 9]), "is cut off or broken"),
            (good + bytes([FREE]) + b"\xff" * 11, "is cut off or broken"),
            (encoded([(MALLOC, 1), (FREE, 1)]), "does not fit"),
            (encoded([(MALLOC, 1), (FREE, 0), (FREE, 0)]), "does not fit"),
            (encoded([(MALLOC, 1), (FREE, 0), (REALLOC, 0, 9)]), "does not fit"),
            (encoded([(MALLOC, 1), (REALLOC, 0, 0)]), "does not fit"),
            (encoded([(ALIGNED, 60, 8)]), "does not fit"),
            (encoded([(MALLOC, 1 << 63)]), "does not fit"),
        ]:
            done = workloads("replay", "file=" + self.written(content))
            self.assertEqual((done.returncode, said in done.stderr), (2, True), (content, done.stderr))

    def test_a_workload_without_its_trace_says_how_to_get_one(self):
        for workload in ("replay", "sizes"):
            done = workloads(workload)
            self.assertEqual((done.returncode, "tools/traces" in done.stderr), (2, True), done.stderr)

    def test_the_recorder_sees_what_a_program_does(self):
        found = self.recorded(WORKLOADS, "j", "ops=2000", "min=77", "max=77")[0]
        self.assertGreaterEqual(found["malloc"], 1000)
        self.assertLess(found["malloc"], 1100)
        self.assertGreaterEqual(found["free"], 1000)
        self.assertEqual(found["size_p50"], 77)

    def test_the_recorder_tells_threads_apart_and_follows_objects_between_them(self):
        found = self.recorded(WORKLOADS, "storm", "ops=4000", "slots=100")[0]
        self.assertEqual(found["threads"], 1 + 2 * 10)  # the main thread, and ten lives of two threads
        self.assertGreaterEqual(min(found["malloc"], found["free"]), 2000)

    def test_each_program_of_a_command_has_a_trace_and_a_forked_child_none(self):
        script = "import os\nif os.fork() == 0:\n    x = ['y%d' % i for i in range(99999)]\n    os._exit(0)\nos.wait()"
        found = self.recorded("/usr/bin/python3", "-c", script, PYTHONMALLOC="malloc")
        self.assertEqual((len(found), found[0]["malloc"] < 99999), (1, True))
        script = "import subprocess\nx = ['y%d' % i for i in range(99999)]\nsubprocess.run(['perl', '-e', '1'])"
        found = self.recorded("/usr/bin/python3", "-c", script, PYTHONMALLOC="malloc")
        self.assertEqual((len(found), found[0]["malloc"] > 99999), (2, True))

    def test_nothing_is_lost_when_a_program_leaves_at_once(self):
        script = "import os\nx = [bytes(70001) for i in range(500)]\nos._exit(0)"
        found = self.recorded("/usr/bin/python3", "-c", script, PYTHONMALLOC="malloc")[0]
        self.assertGreaterEqual(found["peak_bytes"], 500 * 70001)


unittest.main()
