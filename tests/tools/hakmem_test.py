#!/usr/bin/env -S python3 -B
"""hakmem_test.py HAKMEM PROGRAM CLAIMS LIBRARY...: the command `hakmem` as it is installed: run, doctor, stat, explain,
check-config. PROGRAM: surface_stats.c; CLAIMS: claims.cc; LIBRARY: both variants' shared objects."""
import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

TOOL, PROGRAM, CLAIMS, *LIBRARIES = (os.path.realpath(path) for path in sys.argv[1:])
del sys.argv[1:]
COUNT, SIZE = 5000, 1000
# A process with a forged page of statistics.
LIAR = r"""
#include <stdint.h>
#include <stdio.h>
struct counter { char name[24]; const void *address; uint32_t width, count, stride, unused; };
static const uint64_t value = 7;
__attribute__((used, aligned(16))) const struct page {
    char magic[16]; uint32_t schema, count; const void *self; char version[16], variant[16]; struct counter counters[6];
} page = {{'h', 'a', 'k', 'm', 'e', 'm', ' ', 's', 't', 'a', 't', 's', ' ', 'm', 'a', 'p'}, 1, UINT32_MAX, &page, "\033[2J", "a",
    {{"nothing \033[2J", &value, 8, 0, 8, 0}, {"nothing", &value, 8, 4096, 4096, 0}, {"nothing", (void *)16, 8, 1, 8, 0},
     {"nothing", (void *)-16, 4, 1, 4, 0}, {"nothing", &value, 3, 1, 3, 0}, {"true \033[2J", &value, 8, 1, 8, 0}}};
int main(void) { puts("ready"); fflush(stdout); return getchar() == 0; }
"""


class Hakmem(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.prefix = tempfile.mkdtemp(dir=os.environ.get("TEST_TMPDIR"))
        for folder in ("bin", "lib", "libexec/hakmem"):
            os.makedirs(os.path.join(cls.prefix, folder))
        cls.tool = shutil.copy(TOOL, os.path.join(cls.prefix, "bin"))
        for name in ("explain", "heap_profile"):
            shutil.copy(os.path.join(os.path.dirname(TOOL), name), os.path.join(cls.prefix, "libexec/hakmem"))
        for path in LIBRARIES:
            shutil.copy(path, os.path.join(cls.prefix, "lib"))

    def ask(self, *arguments, status=0, text=None, **settings):
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("HAKMEM_", "LD_"))}
        done = subprocess.run([self.tool, *map(str, arguments)], capture_output=True, text=True, input=text, env={**environment, **settings}, timeout=300)
        self.assertEqual(done.returncode, status, f"{arguments}: {done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def path_of(self, name, content, mode=0o644):
        path = os.path.join(self.prefix, name)
        with open(path, "wb" if isinstance(content, bytes) else "w") as file:
            file.write(content)
        os.chmod(path, mode)
        return path

    def test_usage(self):
        self.assertIn("hakmem stat", self.ask("--help"))
        for words in ((), ("nothing",), ("run",), ("run", "--variant=fast", "true"), ("run", "--preset=none", "true"), ("stat",), ("stat", "1", "2"),
                      ("doctor", "a", "b"), ("check-config", "a", "b")):
            with self.subTest(words=words):
                self.assertTrue(self.ask(*words, status=2).startswith("hakmem: "))

    def test_run(self):
        self.assertEqual(self.ask("run", CLAIMS, "repeat", "3").count("hakmem: size mismatch: "), 1)
        self.assertEqual(self.ask("run", "--variant=speed", CLAIMS, "repeat", "3"), "done\n")
        self.assertIn("size mismatch", self.ask("run", "--preset=max", "--", CLAIMS, "repeat", "3", status=-signal.SIGABRT))
        self.assertIn("superslabs", self.ask("run", "--preset=speed", "sh", "-c", "echo superslabs $HAKMEM_PROFILE"))
        self.assertEqual(self.ask("run", "sh", "-c", "exit 7", status=7), "")
        self.assertIn("not-there", self.ask("run", "not-there", status=127))

    def test_stat_and_doctor_of_a_process(self):
        for path in LIBRARIES:
            hardened = "hardened" in path
            with self.subTest(path=path), subprocess.Popen([PROGRAM, "wait"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                                          env={"LD_PRELOAD": path, "HAKMEM_SS_MEM_LEAN": "1", "HAKMEM_TYPO": "x"}) as process:
                self.assertEqual(process.stdout.readline(), "ready\n")
                said = json.loads(self.ask("stat", "--json", process.pid))
                self.assertEqual((said["hakmem"], said["schema"], said["variant"], said["process"]), ("stat", 1, "hardened" if hardened else "speed", process.pid))
                busy = max(said["classes"], key=lambda one: one["out"])
                lines = self.ask("stat", "--openmetrics", process.pid).splitlines()
                self.assertEqual(lines[-1], "# EOF")
                for line in lines[:-1]:
                    self.assertRegex(line, r'^(# (TYPE|UNIT) hakmem_[a-z_]+ (counter|gauge|bytes)|hakmem_[a-z_]+\{([a-z]+="[^"]*",?)+\} \d+)$')
                labels = f'{{process="{process.pid}",variant="{said["variant"]}",version="{said["version"]}"'
                self.assertIn(f"hakmem_large_objects{labels}}} 4", lines)
                self.assertIn(f'hakmem_class_out{labels},size="{busy["size"]}"}} {busy["out"]}', lines)
                self.assertTrue(any(line.startswith(f"hakmem_os_mmap_total{labels}}} ") for line in lines))
                self.assertTrue(COUNT * 0.95 < busy["out"] <= COUNT + 500 and SIZE <= busy["size"] <= SIZE * 5 // 4, said)
                self.assertEqual(said["large_objects"], 4)
                self.assertTrue(said["mapped_bytes"] >= said["committed_bytes"] > said["slab_bytes"] > COUNT * SIZE, said)
                self.assertIn("variant", self.ask("stat", process.pid))
                doctor = self.ask("doctor", process.pid)
                self.assertIn("is in, " + ("hardened" if hardened else "speed"), doctor)
                self.assertIn("HAKMEM_SS_MEM_LEAN=1", doctor)
                self.assertIn("HAKMEM_TYPO: no such variable", doctor)
                process.stdin.close()

    def test_a_process_without_it(self):
        with subprocess.Popen(["sleep", "60"], env={}) as process:
            try:
                self.assertIn("hakmem is not in it", self.ask("stat", process.pid, status=1))
                self.assertIn("hakmem is not in it", self.ask("doctor", process.pid, status=1))
            finally:
                process.kill()
        self.assertIn("no such process", self.ask("stat", "999999999", status=1))

    def test_a_process_that_lies(self):
        liar = os.path.join(self.prefix, "liar")
        subprocess.run(["gcc", "-o", liar, "-xc", "-"], input=LIAR, text=True, check=True)
        with subprocess.Popen([liar], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={"HAKMEM_X": "\033[2J\n"}) as process:
            self.assertEqual(process.stdout.readline(), "ready\n")
            said = self.ask("stat", process.pid)
            self.assertIn("hakmem ?[2J, a variant", said)
            self.assertIn("true", said)
            self.assertNotIn("nothing", said)
            for text in (said, self.ask("doctor", process.pid), self.ask("stat", "--json", process.pid)):
                self.assertNotIn("\033", text)
            process.stdin.close()

    def test_doctor_of_a_command(self):
        self.assertIn("a preload reaches it", self.ask("doctor", PROGRAM))
        self.assertIn("transparent huge pages", self.ask("doctor"))
        self.assertIn("not found", self.ask("doctor", "not-there", status=1))
        source = self.path_of("static.c", "int main(void) { return 0; }")
        subprocess.run(["gcc", "-static", "-o", os.path.join(self.prefix, "static"), source], check=True)
        self.assertIn("static program", self.ask("doctor", os.path.join(self.prefix, "static"), status=1))
        self.assertIn("script", self.ask("doctor", self.path_of("script", "#!/bin/sh\n", 0o755)))
        self.assertIn("no program", self.ask("doctor", self.path_of("text", "words", 0o755), status=1))
        self.assertIn("known program: squid", self.ask("doctor", shutil.copy(PROGRAM, os.path.join(self.prefix, "squid"))))

    def test_profile(self):
        out = os.path.join(self.prefix, "where the heap is")
        for variant in ("speed", "hardened"):
            said = self.ask("profile", "--variant=" + variant, "--rate=1000", "--out=" + out, "--", PROGRAM, "json", "100", status=0)
            self.assertIn("one sample in 1000 bytes", said)
        made = [path for path in glob.glob(glob.escape(out) + ".*") if path[len(out) + 1:].isdigit()]
        self.assertEqual(len(made), 2)
        for path in made:
            self.assertTrue(os.path.exists(path + ".pb.gz") and os.path.exists(path + ".html"))
        self.assertEqual(self.ask("profile", *made).count(": live "), 2)
        self.assertEqual(self.ask("profile", "--out=" + out, PROGRAM, "json", "999999", status=1).count(": live "), 1)
        self.assertIn("no process has written one", self.ask("profile", "--out=" + out, "sh", "-c", "kill -9 $$", status=1))
        self.assertIn("not-there", self.ask("profile", "not-there", status=127))
        for words in (("--rate=0", "true"), ("--variant=x", "true"), ("--nothing=1", "true"), ()):
            self.assertTrue(self.ask("profile", *words, status=2).startswith("hakmem: "))

    def test_explain(self):
        report = self.ask("run", CLAIMS, "one", "size")
        self.assertIn("Size mismatch: free_sized(0x", self.ask("explain", self.path_of("report", report)))
        self.assertIn("claimed: made by malloc, 1234567 bytes", self.ask("explain", text=report))

    def test_check_config(self):
        good = "# x\n\n/usr/bin/a family:off,size:once off # y\n* HAKMEM_SAMPLE_RATE=0\n"
        self.assertIn("2 lines that count, nothing to complain about", self.ask("check-config", self.path_of("good", good)))
        wrong = "a off\n/b\n/c family:of\n/d nothing:off\n/e HAKMEM_TYPO=1\n/f LD_PRELOAD=x\n/g words\n"
        said = self.ask("check-config", self.path_of("wrong", wrong), status=1)
        for number in range(1, 8):
            self.assertIn(f": {number}: ", said)
        self.assertIn("No such file", self.ask("check-config", os.path.join(self.prefix, "none"), status=1))
        for number, text in enumerate(("/a off\n" * 200, "/a\x0b/b off\n", "/a off\r\n")):
            self.assertIn(" lines that count, nothing to", self.ask("check-config", self.path_of(f"more{number}", text)))
        self.assertIn("a zero byte", self.ask("check-config", self.path_of("zero", "/a off\n\0/b off\n"), status=1))
        os.mkfifo(os.path.join(self.prefix, "pipe"))
        self.assertIn("not a regular file", self.ask("check-config", os.path.join(self.prefix, "pipe"), status=1))
        example = os.path.join(os.path.dirname(os.path.dirname(TOOL)), "docs", "hakmem.conf")
        with open(example, encoding="utf-8") as file:
            lines = [line[1:] for line in file if line.startswith(("#/", "#*"))]
        self.assertGreater(len(lines), 3)
        self.ask("check-config", self.path_of("example", "".join(lines)))


unittest.main()
