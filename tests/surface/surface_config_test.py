#!/usr/bin/env -S python3 -B
"""surface_config_test.py PROGRAM KERNEL: /etc/hakmem.conf sets options for the programs that it names, overrides no
setting of the user, applies with raised privileges, and is not read when others than root could have written it.
PROGRAM: claims.cc. KERNEL: other_kernel.so, which reports raised privileges. Runs in a mount namespace of its own,
with an /etc of its own."""
import os
import signal
import subprocess
import sys
import tempfile
import unittest

INSIDE = "HAKMEM_TEST_INSIDE"
if INSIDE not in os.environ:
    ways = ["-m", "-rm"] if os.geteuid() == 0 else ["-rm"]
    good = [way for way in ways if subprocess.run(["unshare", way, "true"], stderr=subprocess.DEVNULL).returncode == 0]
    if not good:
        print("SKIPPED: no namespace of mounts for another /etc here, as in a chroot whose root is no mount point")
        sys.exit(0)
    os.environ[INSIDE] = "1"
    os.execvp("unshare", ["unshare", good[0], sys.executable, "-B", *sys.argv])

KERNEL, PROGRAM = os.path.realpath(sys.argv.pop()), os.path.realpath(sys.argv.pop())
LIBRARY, HARDENED = os.environ["HAKMEM_TEST_LIBRARY"], os.environ["HAKMEM_TEST_VARIANT"] == "hardened"
STATS, REPORT = "hakmem: OS statistics: ", "hakmem: size mismatch: "


class Config(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.etc = tempfile.mkdtemp(dir=os.environ.get("TEST_TMPDIR"))
        subprocess.run(["cp", "/etc/ld.so.cache", "/etc/passwd", cls.etc], check=True)
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        subprocess.run(["mount", "--bind", cls.etc, "/etc"], check=True)
        cls.path = os.path.join(cls.etc, "hakmem.conf")

    def write(self, text, mode=0o644):
        if os.path.lexists(self.path):
            subprocess.run(["rm", "-rf", self.path], check=True)
        with open(self.path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(self.path, mode)

    def run_program(self, *arguments, program=PROGRAM, secure=False, **settings):
        environment = {"LD_PRELOAD": LIBRARY, "HAKMEM_SAMPLE_RATE": "0", "LLVM_PROFILE_FILE": os.environ.get("LLVM_PROFILE_FILE", ""), **settings}
        if secure:
            environment.update(LD_PRELOAD=f"{KERNEL}:{LIBRARY}", OTHER_KERNEL_SECURE="1")
        done = subprocess.run([program, *(arguments or ("repeat", "3"))], env=environment, capture_output=True, text=True, errors="replace")
        return done.returncode, done.stderr

    def check_stats(self, text, wanted, mode=0o644, **settings):
        self.write(text, mode)
        status, said = self.run_program(**settings)
        self.assertEqual((status, STATS in said), (0, wanted), said)
        return said

    def test_a_line_counts_for_the_programs_that_it_names(self):
        folder, name = os.path.split(PROGRAM)
        for pattern, wanted in ((PROGRAM, True), ("*", True), (f"{folder}/*", True), (f"*/{name}", True), (name, False), (PROGRAM + "x", False), (folder, False)):
            with self.subTest(pattern=pattern):
                self.check_stats(f"# a comment\n/bin/none off\n{pattern} HAKMEM_SS_OS_STATS=1\n", wanted)
        os.remove(self.path)
        self.assertNotIn(STATS, self.run_program()[1])

    def test_where_nobody_says_what_is_run_lines_count_that_count_for_all(self):
        for pattern, wanted in (("*", True), (PROGRAM, False), ("/*", False)):
            self.write(f"{pattern} HAKMEM_SS_OS_STATS=1\n")
            start = f"mount -t tmpfs none /proc && HAKMEM_SAMPLE_RATE=0 LD_PRELOAD={LIBRARY} exec {PROGRAM} repeat 1"
            done = subprocess.run(["unshare", "-m", "sh", "-c", start], capture_output=True, text=True)
            self.assertEqual((done.returncode, STATS in done.stderr), (0, wanted), done.stderr)

    def test_the_path_is_the_files_own(self):
        with tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR")) as folder:
            link = os.path.join(folder, "link")
            os.symlink(PROGRAM, link)
            self.write(f"{link} HAKMEM_SS_OS_STATS=1\n")
            self.assertNotIn(STATS, self.run_program(program=link)[1])
            self.write(f"{PROGRAM} HAKMEM_SS_OS_STATS=1\n")
            self.assertIn(STATS, self.run_program(program=link)[1])

    def test_the_environment_wins_unless_privileges_are_raised(self):
        text = f"{PROGRAM} HAKMEM_SS_OS_STATS=1\n"
        self.check_stats(text, False, HAKMEM_SS_OS_STATS="0")
        self.check_stats(text, True, secure=True)
        self.check_stats(text, True, secure=True, HAKMEM_SS_OS_STATS="0")
        self.check_stats("", False, secure=True, HAKMEM_SS_OS_STATS="1")

    @unittest.skipUnless(HARDENED, "the other variant has no checks")
    def test_modes(self):
        for setting, status, reports in (("size:off", 0, 0), ("off", 0, 0), ("size:report", 0, 3), ("size:abort", -signal.SIGABRT, 1)):
            with self.subTest(setting=setting):
                self.write(f"* {setting}\n")
                got, said = self.run_program()
                self.assertEqual((got, said.count(REPORT)), (status, reports), said)
                self.assertNotIn("sets", said)  # the administrator who set it knows, and every process would print it
        self.write("* size:off\n")
        got, said = self.run_program(HAKMEM_HARDENING="size:abort")
        self.assertEqual((got, said.count(REPORT)), (-signal.SIGABRT, 1), said)

    def test_a_file_that_others_may_have_written_is_ignored_and_that_is_said(self):
        text = "* HAKMEM_SS_OS_STATS=1\n"
        self.check_stats(text, True, 0o600)
        for mode in (0o664, 0o646, 0o666):
            self.assertIn("hakmem: /etc/hakmem.conf: ignored: writable by others", self.check_stats(text, False, mode))
        self.assertIn("ignored: too large", self.check_stats(text + "#" * 33000, False))
        self.check_stats(text + "#" * 32000, True)
        os.rename(self.path, self.path + ".other")
        os.symlink(self.path + ".other", self.path)
        status, said = self.run_program()
        self.assertEqual((status, STATS in said, "ignored: a symbolic link" in said), (0, False, True), said)
        os.remove(self.path)
        os.mkfifo(self.path)
        status, said = self.run_program()
        self.assertEqual((status, "ignored: not a regular file" in said), (0, True), said)
        os.remove(self.path)
        os.mkdir(self.path)
        status, said = self.run_program()
        self.assertEqual((status, "ignored: not a regular file" in said), (0, True), said)

    def test_so_is_one_of_another_owner(self):
        self.write("* HAKMEM_SS_OS_STATS=1\n")
        try:
            os.chown(self.path, 1000, 0)
        except OSError:
            self.skipTest("this user has no other user's name to give")
        status, said = self.run_program()
        self.assertEqual((status, STATS in said, "ignored: not owned by root" in said), (0, False, True), said)

    def test_nothing_that_the_file_says_stops_a_program(self):
        for text in ("\0\0\0", "*", "* ", "* =", "* HAKMEM_=", "* :", "* off:", "a" * 32000, "* " + "x:y," * 8000, "* off " * 6000, "\n" * 32000, "*\r\n* \xff\xfe"):
            with self.subTest(text=text[:20]):
                self.write(text)
                self.assertEqual(self.run_program()[0], 0)


unittest.main()
