#!/usr/bin/env -S python3 -B
"""Other kernels than this one, as other_kernel.c shows them to the allocator: larger pages; no /proc; missing or
forbidden calls; raised privileges; limits."""
import os
import resource
import subprocess
import sys
import tempfile
import unittest

OTHER_KERNEL, SURFACE, MEMORY, NEW, PROBE, GUARDS, VECTORS = (os.path.realpath(sys.argv.pop(1)) for _ in range(7))
LIBRARY, VARIANT = os.environ["HAKMEM_TEST_LIBRARY"], os.environ["HAKMEM_TEST_VARIANT"]
PAGES = (4096, 16384, 65536)
# The calls that kernels and sandboxes refuse, by the names in other_kernel.c and kernel_probe.c.
REFUSALS = ("mseal", "mremap", "dontunmap", "guard", "populate", "free", "dontneed", "huge", "dontdump", "mincore", "process_vm_readv",
            "getrandom")
ERRORS = ("ENOSYS", "EINVAL", "EPERM")


def run(*command, limit=None, ok=True, stdin="", **settings):
    """Runs under another kernel, with the allocator preloaded."""
    settings = {name: str(value) for name, value in settings.items()}
    env = dict(settings, PATH=os.environ["PATH"], LD_PRELOAD=f"{OTHER_KERNEL} {LIBRARY}", LLVM_PROFILE_FILE=os.environ.get("LLVM_PROFILE_FILE", ""))
    done = subprocess.run(
        command, env=env, input=stdin, capture_output=True, text=True, timeout=100,
        preexec_fn=limit and (lambda: resource.setrlimit(limit[0], (limit[1], limit[1]))),
    )
    if ok and done.returncode:
        raise AssertionError(f"{command} {settings}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def on_every_page_size(*command, **settings):
    return [run(*command, OTHER_KERNEL_PAGE=page, **settings) for page in PAGES]


class Pages(unittest.TestCase):
    def test_the_whole_surface(self):
        for done in on_every_page_size(SURFACE):
            self.assertEqual(done.stdout.splitlines()[-1], VARIANT)
        on_every_page_size(NEW)

    def test_the_emulated_kernel_refuses_what_a_real_one_would(self):
        """Otherwise the tests above show nothing: an allocator that takes the pages for smaller than they are must
        fail. By chance all its addresses may be multiples of a large page (some 1 run in 60): one of twelve must
        fail; that none does happens once in 10^20 at most."""
        with tempfile.TemporaryDirectory() as scratch:
            liar = os.path.join(scratch, "liar.so")
            source = "unsigned long getauxval(unsigned long type) { return type == 6 ? 4096 : 0; }"
            subprocess.run(["gcc", "-shared", "-fPIC", "-o", liar, "-xc", "-"], input=source, text=True, check=True)
            env = {"LD_PRELOAD": f"{liar} {OTHER_KERNEL} {LIBRARY}", "OTHER_KERNEL_PAGE": "65536"}
            runs = (subprocess.run([SURFACE], env=env, capture_output=True) for _ in range(12))
            self.assertTrue(any(done.returncode != 0 for done in runs))

    def test_memory_comes_back(self):
        for settings in ({"HAKMEM_SS_MEM_LEAN_DECOMMIT": "DONTNEED", "HAKMEM_SS_MEM_LEAN_TARGET_MB": 10}, {}):
            what = "burst" if settings else "trim"
            for done in on_every_page_size(MEMORY, what, "256", **settings):
                self.assertLess(int(done.stdout.split()[-1]), 64 * 1024)

    def test_prewarm_and_huge_pages(self):
        for done in on_every_page_size(MEMORY, "burst", "64", HAKMEM_PROFILE="speed", HAKMEM_SS_HUGE="ALWAYS"):
            self.assertEqual(done.stderr, "")

    def test_real_programs(self):
        sql = "create table t(a,b); with recursive n(i) as (select 1 union all select i+1 from n where i<20000) insert into t " \
            "select i, hex(randomblob(i%900)) from n; create index x on t(b); select count(*), max(a) from t;"
        for done in on_every_page_size("sqlite3", ":memory:", stdin=sql):
            self.assertEqual(done.stdout, "20000|20000\n")
        script = "my %h; $h{$_} = 'x' x ($_ % 3000) for 1..30000; delete $h{$_} for 1..29999; print length $h{30000};"
        for done in on_every_page_size("perl", "-e", script):
            self.assertEqual(done.stdout, "0")

    @unittest.skipIf(VARIANT == "speed", "only the hardened variant promises to see it")
    def test_an_error_is_seen(self):
        for page in PAGES:
            done = run(MEMORY, "error", ok=False, OTHER_KERNEL_PAGE=page)
            self.assertEqual(done.returncode, -6)
            self.assertIn("hakmem: double free", done.stderr)


class NoProc(unittest.TestCase):
    def test_the_whole_surface(self):
        self.assertEqual(run(SURFACE, OTHER_KERNEL_NO_PROC=1).stdout.splitlines()[-1], VARIANT)
        run(NEW, OTHER_KERNEL_NO_PROC=1)

    @unittest.skipIf(VARIANT == "speed", "only the hardened variant promises to see it")
    def test_a_report_without_maps(self):
        done = run(MEMORY, "error", ok=False, OTHER_KERNEL_NO_PROC=1)
        self.assertEqual(done.returncode, -6)
        self.assertIn("hakmem: double free", done.stderr)
        self.assertNotIn("map:", done.stderr)


class NoRandom(unittest.TestCase):
    def test_the_whole_surface(self):
        self.assertEqual(run(SURFACE, OTHER_KERNEL_NO_RANDOM=1).stdout.splitlines()[-1], VARIANT)

    @unittest.skipIf(VARIANT == "speed", "only the hardened variant promises that addresses differ")
    def test_addresses_still_differ(self):
        script = "print \\my $x"  # its address
        seen = {run("perl", "-e", script, OTHER_KERNEL_NO_RANDOM=1).stdout for _ in range(5)}
        self.assertEqual(len(seen), 5)


class Refusals(unittest.TestCase):
    """The allocator does not use the kernel's version: it makes each call, and each may be refused, alone or all at
    once. The exception is MADV_DONTNEED: without that and without markers no freed memory could be shut."""

    TOGETHER = [",".join(f"{name}={error}" for name in REFUSALS if name != "dontneed") for error in ERRORS]
    LISTS = [f"{name}={error}" for name in REFUSALS for error in ERRORS] + TOGETHER

    def test_the_emulated_kernel_refuses_each(self):
        """It refuses nothing else: otherwise the tests below show nothing."""
        here = dict(word.split("=") for word in run(PROBE).stdout.split()[:-1])
        self.assertEqual(sorted(here), sorted(REFUSALS))
        for refused in self.LISTS:
            want = {**here, **dict(pair.split("=") for pair in refused.split(","))}
            if "mremap" in refused:
                want["dontunmap"] = want["mremap"]  # both are one call
            found = dict(word.split("=") for word in run(PROBE, OTHER_KERNEL_REFUSES=refused).stdout.split()[:-1])
            self.assertEqual(found, want)

    def test_everything_works(self):
        for refused in self.LISTS:
            with self.subTest(refused):
                self.assertEqual(run(SURFACE, OTHER_KERNEL_REFUSES=refused).stdout.splitlines()[-1], VARIANT)
                # often between guards; checks what the hardened variant promises
                done = run(GUARDS, OTHER_KERNEL_REFUSES=refused, HAKMEM_SAMPLE_RATE=100)
                self.assertRegex(done.stdout, f"^{VARIANT} [1-9][0-9]* checks\n$")
                self.assertEqual(done.stderr, "")

    def test_vectors_grow(self):
        for refused in [one for one in self.LISTS if one.startswith(("mremap", "dontunmap", "mseal=ENOSYS,"))]:
            with self.subTest(refused):
                self.assertRegex(run(VECTORS, OTHER_KERNEL_REFUSES=refused).stdout, f"^{VARIANT} [1-9][0-9]* checks\n$")

    def test_memory_comes_back(self):
        """By any remaining way."""
        for refused in ("free=EINVAL", "mincore=EPERM", "mseal=EPERM", "huge=EINVAL"):
            for how in ("FREE", "DONTNEED"):
                done = run(MEMORY, "burst", "64", OTHER_KERNEL_REFUSES=refused, HAKMEM_SS_MEM_LEAN_DECOMMIT=how)
                if how == "DONTNEED":
                    self.assertLess(int(done.stdout.split()[-1]), 64 * 1024)

    @unittest.skipIf(VARIANT == "speed", "only the hardened variant promises to see it")
    def test_an_error_is_seen(self):
        for refused in self.LISTS:
            with self.subTest(refused):
                done = run(MEMORY, "error", ok=False, OTHER_KERNEL_REFUSES=refused)
                self.assertEqual(done.returncode, -6)
                self.assertIn("hakmem: double free", done.stderr)


class Privileged(unittest.TestCase):
    SETTINGS = {
        "HAKMEM_PROFILE": "nonsense", "HAKMEM_SS_OS_STATS": 1, "HAKMEM_SS_PREWARM": 4, "HAKMEM_SS_MEM_LEAN": "nonsense",
        "HAKMEM_SS_MEM_LEAN_DECOMMIT": "nonsense", "HAKMEM_SS_HUGE": "nonsense", "HAKMEM_HARDENING": "free:off,all:report",
        "HAKMEM_SAMPLE_RATE": "nonsense", "HAKMEM_PARTITIONS": "nonsense", "HAKMEM_REPORT_JSON": "nonsense",
    }

    def test_without_privileges_each_variable_is_heard(self):
        self.assertGreater(len(run(MEMORY, "idle", **self.SETTINGS).stderr.splitlines()), 4)

    def test_every_variable_is_ignored(self):
        self.assertEqual(run(MEMORY, "idle", OTHER_KERNEL_SECURE=1, **self.SETTINGS).stderr, "")

    @unittest.skipIf(VARIANT == "speed", "only the hardened variant has checks to reduce")
    def test_no_check_can_be_reduced_and_no_report_redirected(self):
        with tempfile.TemporaryDirectory() as scratch:
            path = os.path.join(scratch, "report")
            done = run(MEMORY, "error", ok=False, OTHER_KERNEL_SECURE=1, HAKMEM_HARDENING="free:off", HAKMEM_REPORT_PATH=path)
            self.assertEqual(done.returncode, -6)
            self.assertIn("hakmem: double free", done.stderr)
            self.assertEqual(os.listdir(scratch), [])


class Limits(unittest.TestCase):
    def test_256_mib_of_private_memory(self):
        """Like a container's limit: reserved memory does not count, committed memory does."""
        run(MEMORY, "limited", limit=(resource.RLIMIT_DATA, 256 << 20))


unittest.main()
