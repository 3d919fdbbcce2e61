#!/usr/bin/env -S python3 -B
"""typed_forms_test.py ARCHIVE FORMS.c FORMS.cc WANT.h SPRAY.c: every function that clang 22 can be made to call with
-fsanitize=alloc-token is in the shared object and in the archive, and works. Without that compiler: skipped."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

ARCHIVE, FORMS_C, FORMS_CC, WANT, SPRAY = (os.path.realpath(path) for path in sys.argv[1:6])
del sys.argv[1:6]
CLANG = shutil.which("clang-22")
LIBRARY, HARDENED = os.environ["HAKMEM_TEST_LIBRARY"], os.environ["HAKMEM_TEST_VARIANT"] == "hardened"
FAST = ["-fsanitize-alloc-token-fast-abi"]
# The options of the compiler: both ABIs, limits, modes, and its other calls (none of them are libc's).
WAYS = [[], ["-falloc-token-max=1"], ["-falloc-token-max=100"], ["-fsanitize-alloc-token-extended"]] + \
    [FAST + [f"-falloc-token-max={most}"] for most in (1, 2, 3, 5, 8, 15, 16)] + \
    [["-Xclang", f"-falloc-token-mode={mode}", *more] for mode in ("typehash", "random", "increment", "typehashpointersplit")
     for more in ([], FAST + ["-falloc-token-max=16"])]


def run(*command, **settings):
    return subprocess.run(command, capture_output=True, text=True, check=False, **settings)


def symbols(path, *flags):
    return {name for name in run("nm", "--format=just-symbols", *flags, path).stdout.split() if name.startswith("__alloc_token")}


class Forms(unittest.TestCase):
    folder: str

    @classmethod
    def setUpClass(cls):
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory())

    def compiled(self, source, *flags):
        out = os.path.join(self.folder, "one.o")
        done = run(CLANG, "-w", "-O1", "-D_GNU_SOURCE", "-I", os.path.dirname(WANT), "-fsanitize=alloc-token",
                   *(["-std=c++17", "-fsized-deallocation"] if source.endswith("cc") else []), "-c", source, "-o", out, *flags)
        self.assertEqual(done.returncode, 0, done.stderr)
        return out

    def program(self, source, *flags, static=False):
        """Returns the program's path. The program contains the archive, or is to be run under the shared object."""
        out = os.path.join(self.folder, "program")
        driver = "clang++-22" if source.endswith("cc") else CLANG
        done = run(driver, self.compiled(source, *flags), "-o", out, *([ARCHIVE, "-pthread"] if static else [LIBRARY, "-Wl,-rpath," + os.path.dirname(LIBRARY)]))
        self.assertEqual(done.returncode, 0, done.stderr)
        return out

    def test_every_symbol_is_there(self):
        exported, archived = symbols(LIBRARY, "--dynamic", "--defined-only"), symbols(ARCHIVE, "--defined-only", "--extern-only")
        self.assertEqual(exported, archived)
        called = set()
        for source in (FORMS_C, FORMS_CC):
            for way in WAYS:
                called |= symbols(self.compiled(source, *way), "--undefined-only")
        self.assertEqual(called - exported, set())
        self.assertGreaterEqual(len(called), 100)
        # and each function that it has a name for was called, each form with at least one token
        forms = {name.replace("__alloc_token_", "", 1) for name in exported if not name.replace("__alloc_token_", "", 1)[:1].isdigit()}
        self.assertEqual({form for form in forms if "__alloc_token_" + form not in called}, set())

    def test_every_form_works(self):
        for source in (FORMS_C, FORMS_CC):
            for way in ([], FAST + ["-falloc-token-max=16"]):
                for static in (False, True):
                    with self.subTest(source=os.path.basename(source), way=way, static=static):
                        program = self.program(source, *way, static=static)
                        for sample in ("0", "1"):
                            done = run(program, env={"HAKMEM_SAMPLE_RATE": sample})
                            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_the_programs_own_operator_new_is_called(self):
        for static in (False, True):
            done = run(self.program(FORMS_CC, "-DHAK_REPLACED", static=static))
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""), static)

    def test_no_other_type_gets_a_freed_object(self):
        for way in ([], FAST + ["-falloc-token-max=16"]):
            program = self.program(SPRAY, *way)
            got = {by: int(run(program, by, env={"HAKMEM_SAMPLE_RATE": "0"}).stdout) for by in ("data", "large", "same")}
            self.assertGreater(got["same"], 0) # otherwise it shows nothing that others do not
            if HARDENED:
                self.assertEqual((got["data"], got["large"]), (0, 0))
            else:
                self.assertGreater(got["data"], 0)

    def test_under_valgrind(self):
        for source in (FORMS_C, FORMS_CC):
            done = run("valgrind", "-q", "--vgdb=no", "--error-exitcode=9", self.program(source, "-DHAK_FEW"))
            self.assertNotIn("definitely lost", done.stderr)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


if CLANG is None:
    print("SKIPPED: no clang-22 here (Debian 12's security archive has it)")
    sys.exit(0)
unittest.main()
