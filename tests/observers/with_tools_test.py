#!/usr/bin/env -S python3 -B
"""Runs a program with the library preloaded under common tools: each tool works, or is refused with one clear line
(docs/ROLLOUT.md). A missing tool is a failure. The last argument names the tools."""
import os
import re
import subprocess
import sys
import tempfile
import unittest

PROGRAM, SANITIZED = (os.path.abspath(path) for path in sys.argv[1:3])
del sys.argv[1:3]
LIBRARY, VARIANT = os.environ["HAKMEM_TEST_LIBRARY"], os.environ["HAKMEM_TEST_VARIANT"]
SCRATCH = tempfile.mkdtemp(dir=os.environ.get("TEST_TMPDIR"))
PLAIN = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": SCRATCH, "LC_ALL": "C", "DEBUGINFOD_URLS": ""}
ENV = dict(PLAIN, LD_PRELOAD=LIBRARY)
OURS = ["--soname-synonyms=somalloc=nouserintercepts"]  # Valgrind does not replace our malloc
GUARDED = VARIANT == "hardened"


def run(*command, env=None, **options):
    return subprocess.run(command, env=ENV if env is None else env, cwd=SCRATCH, capture_output=True, text=True, check=False, **options)


def heard(stderr):
    """Valgrind's output without its remarks on large mappings."""
    return [line for line in stderr.splitlines() if "set address range perms: large range" not in line]


class Valgrind(unittest.TestCase):
    def clean(self, *command, options=(), tool="memcheck"):
        errors = ["--error-exitcode=9"] if tool in ("memcheck", "helgrind") else []
        done = run("valgrind", "-q", "--vgdb=no", f"--tool={tool}", *errors, *options, *command)
        self.assertEqual((done.returncode, heard(done.stderr)), (0, []), command)
        return done.stdout

    def test_memcheck_has_no_complaint_of_any_name_of_malloc(self):
        for options in ([], OURS):
            self.assertEqual(self.clean(PROGRAM, "names", options=options), "done\n")

    def test_memcheck_runs_real_programs_as_they_are(self):
        for command in (["ls", "-l", "/etc"], ["python3", "-c", "print(sum(len(str(n)) for n in range(20000)))"],
                        ["sqlite3", ":memory:", "create table t(a); insert into t values(1),(2); select sum(a) from t;"]):
            self.assertEqual(self.clean(*command), run(*command).stdout)

    def test_real_programs_run_when_memcheck_leaves_malloc_to_us(self):
        command = ["python3", "-c", "print(sum(len(str(n)) for n in range(1000)))"]
        done = run("valgrind", "-q", "--vgdb=no", *OURS, *command)
        self.assertEqual((done.returncode, done.stdout), (0, run(*command).stdout), done.stderr)

    def test_memcheck_finds_what_it_is_there_for(self):
        done = run("valgrind", "-q", "--vgdb=no", PROGRAM, "errors")
        self.assertIn("Invalid write of size 1", done.stderr)
        self.assertIn("0 bytes after a block of size 200 alloc'd", done.stderr)
        self.assertIn("Invalid free()", done.stderr)

    def test_ours_finds_it_when_memcheck_leaves_malloc_to_it(self):
        done = run("valgrind", "-q", "--vgdb=no", *OURS, PROGRAM, "errors")
        if GUARDED:
            self.assertRegex(done.stderr, r"(?m)^hakmem: (heap overflow|buffer overflow|double free)")
        else:
            self.assertEqual(done.stdout, "done\n")  # nothing checks a free into the thread's cache

    def test_other_tools_run(self):
        for tool, out in (("helgrind", None), ("callgrind", "callgrind"), ("massif", "massif"), ("dhat", "dhat")):
            options = [f"--{out}-out-file={SCRATCH}/{out}"] if out else []
            done = run("valgrind", f"--tool={tool}", "-q", "--vgdb=no", *options, PROGRAM, "names")
            self.assertEqual((done.returncode, done.stdout), (0, "done\n"), done.stderr)


class Debuggers(unittest.TestCase):
    def test_gdb_stops_and_goes_on(self):
        done = run("gdb", "-q", "-batch", "-ex", "break stop_here", "-ex", f"set environment LD_PRELOAD {LIBRARY}", "-ex", "run keep", "-ex", "bt",
                   "-ex", "print kept[5]", "-ex", "info symbol malloc", "-ex", "continue", PROGRAM, env=PLAIN)
        for part in ("#1 ", "what the core must have", f"malloc in section .text of {LIBRARY}", "exited normally"):
            self.assertIn(part, done.stdout, done.stderr)


    def test_readelf_lists_the_probes(self):
        notes = run("readelf", "-n", LIBRARY, env=PLAIN).stdout
        found = re.findall(r"Provider: (\S+)\s+Name: (\S+)\s.*?Arguments: 8@(\S+) 8@(\S+)\n", notes, re.DOTALL)
        self.assertEqual({provider for provider, *_ in found}, {"hakmem"})
        self.assertEqual({name for _, name, *_ in found}, {"refill", "flush", "large", "large_end", "release", "report"} | ({"sample"} if GUARDED else set()))

    def probe(self, name, *arguments):
        """Returns the two arguments of the probe at its first hit, as numbers, and gdb's output."""
        done = run("gdb", "-q", "-batch", "-ex", f"set environment LD_PRELOAD {LIBRARY}", "-ex", "set environment HAKMEM_SAMPLE_RATE 1000", "-ex", "break main",
                   "-ex", "run " + " ".join(arguments), "-ex", f"tbreak -probe-stap hakmem:{name}", "-ex", "continue", "-ex", "print $_probe_argc",
                   "-ex", "print (long)$_probe_arg0", "-ex", "print (long)$_probe_arg1", "-ex", "x/s $_probe_arg0", PROGRAM, env=PLAIN)
        numbers = [int(n) for n in re.findall(r"(?m)^\$\d+ = (-?\d+)$", done.stdout)]
        self.assertEqual(len(numbers), 3, done.stdout + done.stderr)
        self.assertEqual(numbers[0], 2)
        return numbers[1], numbers[2], done.stdout

    def test_gdb_stops_at_probes_and_reads_their_arguments(self):
        for name, program in (("refill", "keep"), ("flush", "frees")):
            cls, count, _ = self.probe(name, program)
            self.assertEqual(cls, 25, name)  # slots of 512 bytes, for objects of 500
            self.assertIn(count, range(1, 65), name)
        addr, size, _ = self.probe("large", "names")
        self.assertIn(size, range(1 << 17, 3000000))
        self.assertTrue(addr > 1 << 32 and addr % 4096 == 0, addr)
        addr, size, _ = self.probe("release", "frees")
        self.assertTrue(addr > 1 << 32 and addr % 4096 == 0, addr)
        self.assertTrue(0 < size <= 20000 * 1024 and size % 4096 == 0, size)
        if GUARDED:  # large objects go to the quarantine first there
            self.assertIn('"heap overflow"', self.probe("report", "errors")[2])
            self.assertIn(self.probe("sample", "keep")[1], range(1, 1 << 18))
        else:
            self.assertEqual(self.probe("large_end", "names")[1], 1)


class Cores(unittest.TestCase):
    def core(self, env, how):
        """Returns the bytes of the process's core, and what gdb sees in it at three objects."""
        path = os.path.join(SCRATCH, "core")
        with subprocess.Popen([PROGRAM, how], env=env, cwd=SCRATCH, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            self.assertEqual(process.stdout.readline(), "done\n")
            if how == "wait":
                made = run("gcore", "-o", path, str(process.pid), env=PLAIN)
                self.assertEqual(made.returncode, 0, made.stderr)
                os.rename(f"{path}.{process.pid}", path)
            process.communicate("\n")
        if not os.path.exists(path):  # kernel.core_uses_pid
            path = f"{path}.{process.pid}"
        seen = run("gdb", "-q", "-batch", *[word for i in (5, 99999, 100010) for word in ("-ex", f"print kept[{i}]")], PROGRAM, path, env=PLAIN)
        size = os.stat(path).st_size
        os.remove(path)
        return size, seen.stdout.count("what the core must have")

    def test_gcore_is_no_larger_than_twice_that_of_glibc(self):
        glibc, ours = self.core(PLAIN, "wait"), self.core(ENV, "wait")
        self.assertLessEqual(ours[0], 2 * glibc[0])
        self.assertEqual(glibc[1], 3)
        if not GUARDED:  # gdb gives up a mapping at a guard made by MADV_GUARD_INSTALL: docs/ROLLOUT.md
            self.assertEqual(ours[1], 3)

    def test_cores_of_the_kernel_are_small_and_whole(self):
        with open("/proc/sys/kernel/core_pattern", encoding="utf-8") as pattern:
            if pattern.read().strip() != "core":
                self.skipTest("this machine gives its cores to somebody else")
        glibc, ours = self.core(PLAIN, "abort"), self.core(ENV, "abort")
        self.assertLessEqual(ours[0], 2 * glibc[0])
        self.assertEqual((glibc[1], ours[1]), (3, 3))


class Tracers(unittest.TestCase):
    def test_strace_sees_the_end(self):
        done = run("strace", "-f", "-o", "trace", "-E", f"LD_PRELOAD={LIBRARY}", PROGRAM, "names", env=PLAIN)
        self.assertEqual((done.returncode, done.stdout), (0, "done\n"), done.stderr)
        with open(os.path.join(SCRATCH, "trace"), encoding="utf-8") as trace:
            self.assertIn("+++ exited with 0 +++", trace.read())

    def test_the_exit_asks_of_nothing_that_is_not_mapped(self):
        """In each variant that asks at exit: a range with unmapped pages would cost one system call per page."""
        done = run("strace", "-f", "-e", "trace=mincore", "-o", "asked", "-E", f"LD_PRELOAD={LIBRARY}", "bash", "-c", "ls / > /dev/null; true", env=PLAIN)
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(os.path.join(SCRATCH, "asked"), encoding="utf-8") as file:
            asked = re.findall(r"mincore\(.*", file.read())
        self.assertEqual(len(asked) > 0, GUARDED)
        self.assertEqual([line for line in asked if "ENOMEM" in line], [])

    def test_heaptrack_counts_every_call(self):
        done = run("heaptrack", "-o", os.path.join(SCRATCH, "heap"), PROGRAM, "keep")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        found = [name for name in os.listdir(SCRATCH) if name.startswith("heap.")]
        text = run("heaptrack_print", os.path.join(SCRATCH, found[0]), env=PLAIN).stdout
        self.assertGreaterEqual(int(re.search(r"calls to allocation functions: (\d+)", text)[1]), 100020)


class Sanitizers(unittest.TestCase):
    """clang has its runtimes in the executable, gcc in libraries."""

    def build(self, compiler, sanitizer):
        out = os.path.join(SCRATCH, f"{compiler}-{sanitizer}")
        made = run(compiler, "-D_GNU_SOURCE", "-g", "-O1", "-fno-builtin", f"-DERROR_{sanitizer.upper()}", f"-fsanitize={sanitizer}", "-o", out,
                   SANITIZED, "-pthread", env=PLAIN)
        self.assertEqual(made.returncode, 0, made.stderr)
        return out

    def works(self, program, found, env=None):
        done = run(program, env=env)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "done\n", ""), program)
        self.assertIn(found, run(program, "error", env=env).stderr)

    def refused(self, program, line):
        done = run(program)
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(done.stdout, "")
        self.assertRegex(done.stderr, f"^[^\\n]*{line}[^\\n]*\\n$")

    def test_those_in_the_executable_work(self):
        for sanitizer, found in (("address", "heap-use-after-free"), ("thread", "data race"), ("leak", "100000 byte"), ("undefined", "overflow")):
            self.works(self.build("clang-19", sanitizer), found)
        memory = run(self.build("clang-19", "memory"))
        self.assertEqual((memory.returncode, memory.stdout, memory.stderr), (0, "done\n", ""))

    def test_those_in_libraries_are_refused_and_work_in_front(self):
        lines = {"thread": "hakmem: this program's sanitizer owns malloc: name libtsan", "leak": "hakmem: this program's sanitizer owns malloc: name liblsan",
                 "address": "ASan runtime does not come first in initial library list"}
        for sanitizer, found in (("thread", "data race"), ("leak", "100000 byte"), ("address", "heap-use-after-free")):
            program = self.build("gcc", sanitizer)
            self.refused(program, lines[sanitizer])
            library = re.search(r"(lib[atl]san\.so\.\d+) => (\S+)", run("ldd", program, env=PLAIN).stdout)[2]
            self.works(program, found, env=dict(PLAIN, LD_PRELOAD=f"{library} {LIBRARY}"))
        self.works(self.build("gcc", "undefined"), "overflow")


unittest.main()
