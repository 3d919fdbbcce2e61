#!/usr/bin/env -S python3 -B
"""claims_test.py PROGRAM: a wrong claim about a freed object (its size, its alignment, its family) is reported once for
each call site, with the claim, and harms nothing; HAKMEM_HARDENING can make it end the process. PROGRAM: claims.cc.
Both variants; speed reports nothing."""
import os
import re
import signal
import subprocess
import sys
import tempfile
import unittest

PROGRAM = os.path.realpath(sys.argv.pop(1))
LIBRARY, HARDENED = os.environ["HAKMEM_TEST_LIBRARY"], os.environ["HAKMEM_TEST_VARIANT"] == "hardened"
FIRST = re.compile(r"^hakmem: ([a-z][a-z -]+): [^(\n]*\(0x", re.MULTILINE)
# Of two libraries one contains the C++ library's operators, hidden, and the other does not: objects go from one to the
# other.
MAKE = "#include <string>\nstd::string make(int n) { return std::string(n, 'x'); }"
USE = "#include <string>\nstd::string make(int);\nextern \"C\" int use() { return (int)make(100).size(); }"
EAT = "#include <string>\nint eat(std::string *s) { int n = s->size(); s->clear(); s->shrink_to_fit(); return n; }"
FEED = "#include <string>\nint eat(std::string *);\nextern \"C\" int use() { std::string s(100, 'y'); return eat(&s); }"
MAIN = "#include <stdio.h>\nint use(void);\nint main(void) { int n = 0; for (int i = 0; i < 20; i++) n += use(); printf(\"%d\\n\", n); return 0; }"


def run(*arguments, hardening="", program=PROGRAM, sample="0"):
    environment = {"LD_PRELOAD": LIBRARY, "HAKMEM_SAMPLE_RATE": sample, "LLVM_PROFILE_FILE": os.environ.get("LLVM_PROFILE_FILE", "")}
    if hardening:
        environment["HAKMEM_HARDENING"] = hardening
    done = subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, errors="replace")
    return done.returncode, done.stdout, done.stderr


class Claims(unittest.TestCase):
    def check(self, wanted, *arguments, **settings):
        """The program ends well, and these errors are reported, each as often as it is named."""
        status, out, said = run(*arguments, **settings)
        self.assertEqual((status, out), (0, "done\n"), said)
        self.assertEqual(sorted(FIRST.findall(said)), sorted(wanted) if HARDENED else [], said)
        return said

    def test_one_place_one_report(self):
        self.check(["size mismatch"], "repeat", "2000")
        self.check(["size mismatch"], "repeat", "300", sample="1")

    def test_each_place_has_its_own(self):
        self.check(2 * ["size mismatch"] + ["alignment mismatch"] + 3 * ["family mismatch"], "sites")

    def test_so_has_each_place_that_resizes(self):
        self.check(6 * ["family mismatch"], "resizes")
        self.check(6 * ["family mismatch"], "resizes", sample="1")
        self.check(6 * 40 * ["family mismatch"], "resizes", hardening="family:report")

    def test_no_claim_harms_the_heap(self):
        for hardening in ("", "family:off,size:off,alignment:off", "family:report,size:report,alignment:report"):
            with self.subTest(hardening=hardening):
                status, out, said = run("wild", hardening=hardening)
                self.assertEqual((status, out), (0, "done\n"), said[-2000:])
                self.assertLessEqual(set(FIRST.findall(said)), {"size mismatch", "family mismatch", "alignment mismatch"})
        status, out, said = run("wild", sample="1")
        self.assertEqual((status, out), (0, "done\n"), said[-2000:])

    @unittest.skipUnless(HARDENED, "the other variant looks at no claim")
    def test_the_modes(self):
        for mode, want in (("report", 30), ("once", 1), ("off", 0)):
            status, out, said = run("repeat", "30", hardening="size:" + mode)
            self.assertEqual((status, out, len(FIRST.findall(said))), (0, "done\n", want), said[-2000:])
        for hardening in ("size:abort", "all:abort", "preset:max"):
            status, out, said = run("repeat", "30", hardening=hardening)
            self.assertEqual((status, out, FIRST.findall(said)), (-signal.SIGABRT, "", ["size mismatch"]))
        self.assertNotIn("sets", run("repeat", "1", hardening="all:abort,size:once")[2].replace("sets size:once", ""))

    @unittest.skipUnless(HARDENED, "the other variant looks at no claim")
    def test_the_report_says_what_was_claimed(self):
        for claim, want in (("size", "made by malloc, 1234567 bytes, aligned to 16"), ("family", "made by new[], aligned to 16"),
                            ("free", "made by malloc, aligned to anything"), ("alignment", "made by malloc, 128 bytes, aligned to 4096"),
                            ("no power of two", "made by malloc, 128 bytes, aligned to what is no power of two")):
            with self.subTest(claim=claim):
                self.assertIn(f"hakmem:   claimed: {want}\n", run("one", claim)[2])

    @unittest.skipUnless(HARDENED, "the other variant looks at no claim")
    def test_other_errors_are_the_end_as_ever(self):
        source = "#include <stdlib.h>\nint main(void) { char *p = malloc(40); p[ERROR] = 1; free(p); if (ERROR == 0) free(p); return 0; }"
        with tempfile.TemporaryDirectory() as folder:
            for error, name in ((0, "double free"), (40, "heap overflow")):
                program = os.path.join(folder, "program")
                subprocess.run(["gcc", "-O0", "-fno-builtin", "-w", f"-DERROR={error}", "-o", program, "-xc", "-"], input=source, text=True, check=True)
                status, _, said = run(program=program)
                self.assertEqual((status, FIRST.findall(said)), (-signal.SIGABRT, [name]), said)

    def test_operators_that_a_library_hides_stop_nobody_in_either_direction(self):
        for name, other, hidden in (("made inside", USE, MAKE), ("made outside", FEED, EAT)):
            for hides in (other, hidden):
                with self.subTest(name=name, hides="caller" if hides is other else "callee"), tempfile.TemporaryDirectory() as folder:
                    libraries = []
                    for number, source in enumerate((hidden, other)):
                        options = ("-static-libstdc++", "-Wl,--exclude-libs,ALL") if source is hides else ()
                        path = os.path.join(folder, f"lib{number}.so")
                        subprocess.run(["g++", "-O0", "-fno-builtin", "-shared", "-fPIC", "-o", path, "-xc++", "-", "-xnone", *libraries, *options],
                                       input=source, text=True, check=True)
                        libraries.insert(0, path)
                    program = os.path.join(folder, "main")
                    subprocess.run(["gcc", "-o", program, "-xc", "-", "-xnone", *libraries, "-Wl,-rpath," + folder], input=MAIN, text=True, check=True)
                    status, out, said = run(program=program)
                    self.assertEqual((status, out), (0, "2000\n"), said)
                    self.assertLessEqual(len(FIRST.findall(said)), 2, said)  # at most once for each call site


unittest.main()
