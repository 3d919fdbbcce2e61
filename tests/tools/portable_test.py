#!/usr/bin/env -S python3 -B
"""portable_test.py WORKSPACE: both variants with other libcs and for other processors, as far as there is a compiler: musl preloaded and static,
arm64 under qemu-user, riscv64 compiled, 32 bits refused."""
import glob
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.realpath(sys.argv.pop()))
FLAGS = "-std=gnu17 -D_GNU_SOURCE -O1 -Wall -Wextra -Wno-missing-field-initializers -Werror -fno-builtin -fvisibility=hidden -fno-semantic-interposition -ftls-model=initial-exec".split()
VARIANTS = {"speed": [], "hardened": ["-DHAK_HARDENED=1"]}
# The actions of a program that does not know hakmem; it prints whether its objects are hakmem's.
PROGRAM = r"""
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#if STATIC
const char *hak_variant(void);
#endif
static void *work(void *unused) {
    static _Thread_local void *objs[500];
    for (int round = 0; round < 20; round++)
        for (int i = 0; i < 500; i++) {
            free(objs[i]);
            objs[i] = i % 3 == 0 ? calloc(1, (size_t)i * 7) : i % 3 == 1 ? malloc((size_t)i * 1000) : aligned_alloc(64, (size_t)i * 64);
            if (objs[i] != NULL)
                memset(objs[i], 1, (size_t)i * 7);
            objs[i] = realloc(objs[i], (size_t)i * 7 + 100);
        }
    for (int i = 0; i < 500; i++)
        free(objs[i]);
    return unused;
}
int main(void) {
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, work, NULL);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    pid_t child = fork();
    if (child == 0) {
        work(NULL);
        _exit(0);
    }
    int status = 1;
    waitpid(child, &status, 0);
#if STATIC
    const char *name = hak_variant();
#else
    const char *(*variant)(void) = NULL;
    *(void **)&variant = dlsym(RTLD_DEFAULT, "hak_variant");
    const char *name = variant != NULL ? variant() : "none";
#endif
    return printf("%s %d\n", name, status) < 0;
}
"""


def sources(variant, leave_out):
    found = glob.glob(os.path.join(ROOT, "allocator/**/*.c"), recursive=True) + (glob.glob(os.path.join(ROOT, "hardening", "*.c")) if variant == "hardened" else [])
    return sorted(path for path in found if os.path.basename(path) not in ("os_keep.c", "reset.c", *leave_out))


def run(*command, **settings):
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, env={**os.environ, **settings})
    if done.returncode:
        raise AssertionError(f"{' '.join(command)[:300]}: {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            print(f"SKIPPED: {program} is not installed")
            raise unittest.SkipTest(program)


class Portable(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR"))
        self.addCleanup(scratch.cleanup)
        self.folder = scratch.name
        self.program = self.path("program.c")
        with open(self.program, "w", encoding="utf-8") as file:
            file.write(PROGRAM)

    def path(self, name):
        return os.path.join(self.folder, name)

    def library(self, compiler, variant, *flags):
        out = self.path(f"libhakmem-{variant}.so")
        script = os.path.join(ROOT, "allocator/exports.lds")
        files = sources(variant, ("shim_catch.c", "shim_static.c"))
        run(compiler, *FLAGS, *VARIANTS[variant], *flags, "-I" + ROOT, "-fPIC", "-shared", "-Wl,--version-script=" + script, "-Wl,-z,now", "-o", out, *files, "-pthread")
        return out

    def test_musl(self):
        need("musl-gcc")
        kernel = self.path("kernel")  # musl-gcc does not find the kernel's headers; Alpine's linux-headers has them
        os.mkdir(kernel)
        machine = f"/usr/include/{os.uname().machine}-linux-gnu/asm"
        for name, where in (("linux", "/usr/include/linux"), ("asm-generic", "/usr/include/asm-generic"), ("asm", machine)):
            os.symlink(where, os.path.join(kernel, name))
        run("musl-gcc", "-DSTATIC=0", self.program, "-o", self.path("dynamic"))
        for variant in VARIANTS:
            with self.subTest(variant=variant):
                library = self.library("musl-gcc", variant, "-idirafter", kernel)
                self.assertEqual(run(self.path("dynamic"), LD_PRELOAD=library), f"{variant} 0\n")
                files = sources(variant, ("shim_libc.c", "shim_early.c", "shim_sanitizer.c"))
                run("musl-gcc", *FLAGS, *VARIANTS[variant], "-DSTATIC=1", "-Wno-error", "-I" + ROOT, "-idirafter", kernel, "-static", self.program, *files, "-o", self.path("static"))
                self.assertEqual(run(self.path("static")), f"{variant} 0\n")

    def test_arm64(self):
        need("aarch64-linux-gnu-gcc", "qemu-aarch64-static")
        run("aarch64-linux-gnu-gcc", "-DSTATIC=0", self.program, "-o", self.path("dynamic"))
        for variant in VARIANTS:
            with self.subTest(variant=variant):
                library = self.library("aarch64-linux-gnu-gcc", variant)
                said = run("qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu", "-E", "LD_PRELOAD=" + library, self.path("dynamic"))
                self.assertEqual(said, f"{variant} 0\n")

    def test_riscv64_compiles(self):
        need("riscv64-linux-gnu-gcc")
        for variant in VARIANTS:
            run("riscv64-linux-gnu-gcc", *FLAGS, *VARIANTS[variant], "-I" + ROOT, "-fPIC", "-fsyntax-only", *sources(variant, ()))

    def test_32_bits_are_refused_in_one_line(self):
        done = subprocess.run(["gcc", "-m32", "-fsyntax-only", "-I" + ROOT, os.path.join(ROOT, "allocator/base/bits.h")], capture_output=True, text=True)
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(done.stderr.count("error: #error \"hakmem is for 64-bit Linux\""), 1, done.stderr)


unittest.main()
