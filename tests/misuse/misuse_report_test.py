#!/usr/bin/env -S python3 -B
"""misuse_report_test.py PROGRAM LIBRARY: a report of the hardened variant states true facts about its object."""
import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

PROGRAM, LIBRARY = sys.argv[1:3]
ENVIRONMENT = {"LD_PRELOAD": os.path.abspath(LIBRARY), "LLVM_PROFILE_FILE": os.environ.get("LLVM_PROFILE_FILE", "")}
SAMPLED, UNSAMPLED = {"HAKMEM_SAMPLE_RATE": "1"}, {"HAKMEM_SAMPLE_RATE": "0"}


def stderr_of(name, environment, program=PROGRAM):
    done = subprocess.run([program, "error", name], capture_output=True, text=True, errors="replace",
                          env={**ENVIRONMENT, **environment})
    return done.stderr


def report(name, environment, program=PROGRAM):
    """The report's lines, by word; "" has the first one."""
    lines = {}
    for line in stderr_of(name, environment, program).splitlines():
        head, _, rest = line.removeprefix("hakmem:").strip().partition(": ")
        lines.setdefault(head if line.startswith("hakmem:   ") else "", []).append(rest)
    return lines


class Report(unittest.TestCase):
    def test_an_object_that_the_call_would_have_ended_is_live(self):
        for name in ("free_aligned_sized_less_alignment", "overflow_by_one_of_24", "overflow_by_one_of_1000001"):
            for environment in (SAMPLED, UNSAMPLED):
                with self.subTest(name=name, environment=environment):
                    lines = report(name, environment)
                    if lines[""][0].startswith("read") or lines[""][0].startswith("write"):
                        continue  # a guard found it: no call was about to end the object
                    self.assertIn(", live, made by ", lines["object"][0])
                    self.assertNotIn("freed", lines)

    def test_nobody_is_told_to_sample_what_was_sampled(self):
        for name in ("double_free_small", "overflow_by_one_of_24", "underwrite_by_1", "read_after_free_small",
                     "write_after_free_small", "realloc_of_freed", "usable_size_of_freed"):
            with self.subTest(name=name):
                sampled, not_sampled = report(name, SAMPLED), report(name, UNSAMPLED)
                self.assertNotIn("HAKMEM_SAMPLE_RATE", sampled["next"][0])
                if not_sampled:  # a read after free is not found then
                    self.assertIn("HAKMEM_SAMPLE_RATE=1", not_sampled["next"][0])

    def test_a_long_path_is_written_in_full(self):
        with tempfile.TemporaryDirectory() as folder:
            deep = os.path.join(folder, *["d" * 200] * 4)
            os.makedirs(deep)
            program = shutil.copy(PROGRAM, os.path.join(deep, "misuse"))
            lines = report("double_free_small", SAMPLED, program)
            self.assertTrue(any(line.endswith(program) for line in lines["map"]), lines["map"])

    def test_json_says_the_same(self):
        for name, environment in (("double_free_small", SAMPLED), ("overflow_by_one_of_24", UNSAMPLED), ("free_of_stack", UNSAMPLED)):
            with self.subTest(name=name):
                *text, last = stderr_of(name, {**environment, "HAKMEM_REPORT_JSON": "1"}).splitlines()
                said = json.loads(last)
                self.assertEqual(said["hakmem"], "error")
                self.assertTrue(text[0].startswith(f"hakmem: {said['error']}: {said['call']}({said['address']:#x}): {said['what']}"), text[0])
                process = next(line for line in text if line.startswith("hakmem:   thread: "))
                self.assertEqual(process, f"hakmem:   thread: {said['thread']} of process {said['process']}")

    def test_the_report_also_goes_to_a_file_of_the_process(self):
        with tempfile.TemporaryDirectory() as folder:
            said = stderr_of("double_free_small", {**UNSAMPLED, "HAKMEM_REPORT_PATH": os.path.join(folder, "report")})
            [path] = glob.glob(os.path.join(folder, "report.*"))
            process = next(line for line in said.splitlines() if line.startswith("hakmem:   thread: ")).split()[-1]
            self.assertEqual(os.path.basename(path), "report." + process)
            with open(path, encoding="utf-8") as file:
                self.assertEqual(file.read(), said)
            self.assertEqual(os.stat(path).st_mode & 0o077, 0)

    def test_a_file_that_cannot_be_made_costs_nothing(self):
        said = stderr_of("double_free_small", {**UNSAMPLED, "HAKMEM_REPORT_PATH": "/proc/no/such/folder"})
        self.assertTrue(said.startswith("hakmem: double free: "), said)

    def test_a_path_that_is_too_long_is_told(self):
        first, second = stderr_of("double_free_small", {**UNSAMPLED, "HAKMEM_REPORT_PATH": "/" + "d" * 300}).splitlines()[:2]
        self.assertIn("HAKMEM_REPORT_PATH", first)
        self.assertIn("239", first)
        self.assertTrue(second.startswith("hakmem: double free: "), second)

    def test_a_fault_is_passed_on(self):
        """The signal goes to the handler that was there before ours, in both of its forms, or to the default action. A
        signal that was sent has its usual end and is no error."""
        source = """
            #include <signal.h>
            #include <stdlib.h>
            #include <unistd.h>
            static void old(int number) { write(2, "old handler\\n", 12); _exit(number); }
            static void new(int number, siginfo_t *info, void *context) { (void)context; if (info->si_addr) write(2, "new handler\\n", 12); _exit(number); }
            static void first(void) {
                struct sigaction action = {.sa_flags = FLAGS};
                if (FLAGS) action.sa_sigaction = new; else action.sa_handler = old;
                sigaction(SIGSEGV, &action, 0);
            }
            __attribute__((section(".preinit_array"), used)) static void (*const at_first)(void) = first;
            int main(void) { volatile char *object = malloc(1 << 20); object[-1] = 1; }"""
        with tempfile.TemporaryDirectory() as folder:
            for flags, name in (("SA_SIGINFO", "new"), ("0", "old")):
                program = os.path.join(folder, name)
                subprocess.run(["gcc", "-w", f"-DFLAGS={flags}", "-o", program, "-xc", "-"], input=source, text=True, check=True)
                said = stderr_of("", UNSAMPLED, program)
                self.assertTrue(said.startswith("hakmem: out-of-bounds access: "), said)
                self.assertEqual(said.splitlines()[-1], name + " handler")
        done = subprocess.run([PROGRAM, "error", "overflow_page_past_large"], env={**ENVIRONMENT, **UNSAMPLED}, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr.startswith("hakmem: out-of-bounds access: ")), (-signal.SIGSEGV, True), done)
        for number in (signal.SIGSEGV, signal.SIGBUS):
            done = subprocess.run(["/bin/sh", "-c", f"kill -{int(number)} $$"], capture_output=True, text=True, env=ENVIRONMENT)
            self.assertEqual((done.returncode, done.stderr), (-number, ""))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
