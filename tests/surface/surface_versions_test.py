#!/usr/bin/env -S python3 -B
"""Symbol versions: a program that asks for malloc, in any version of libc's, gets ours; hak_* has a version, and
programs from before it run."""
import os
import subprocess
import tempfile
import unittest

LIBRARY = os.environ["HAKMEM_TEST_LIBRARY"]
NAME = os.path.basename(LIBRARY)
VERSION = "HAKMEM_0.2"

# As old programs ask: by a version that is no longer libc's default, or by none.
OLD = r"""
#define ASK(name, version) \
    extern char own_##name; \
    __asm__(".symver own_" #name "," #name "@" version); \
    void *of_##name(void) { return &own_##name; }
ASK(malloc, "GLIBC_2.2.5")
ASK(free, "GLIBC_2.2.5")
ASK(memalign, "GLIBC_2.2.5")
ASK(cfree, "GLIBC_2.2.5")
ASK(dlopen, "GLIBC_2.2.5")
ASK(reallocarray, "GLIBC_2.26")
ASK(mallinfo2, "GLIBC_2.33")
"""
BARE = r"""
extern char malloc;
void *bare_malloc(void) { return &malloc; }
"""

PROGRAM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
extern const char *hak_version(void) __attribute__((weak));
void *of_malloc(void), *of_free(void), *of_memalign(void), *of_cfree(void), *of_dlopen(void), *of_reallocarray(void), *of_mallinfo2(void);
void *bare_malloc(void);
static void show(const char *what, void *where) {
    Dl_info info;
    printf("%s %s\n", what, where == NULL ? "none" : dladdr(where, &info) ? strrchr(info.dli_fname, '/') + 1 : "?");
}
int main(int argc, char **argv) {
    show("malloc", (void *)malloc);
    show("old malloc", of_malloc());
    show("old free", of_free());
    show("old memalign", of_memalign());
    show("old cfree", of_cfree());
    show("old dlopen", of_dlopen());
    show("old reallocarray", of_reallocarray());
    show("old mallinfo2", of_mallinfo2());
    show("bare malloc", bare_malloc());
    show("dlsym malloc", dlsym(RTLD_DEFAULT, "malloc"));
    show("hak_version", (void *)hak_version);
    show("dlsym hak_malloc", dlsym(RTLD_DEFAULT, "hak_malloc"));
    show("dlvsym hak_malloc", dlvsym(RTLD_DEFAULT, "hak_malloc", "HAKMEM_0.2"));
    show("dlvsym of another", dlvsym(RTLD_DEFAULT, "hak_malloc", "HAKMEM_0.0"));
    if (argc > 1) {
        void *opened = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
        show("opened malloc", opened != NULL ? dlsym(opened, "malloc") : NULL);
        show("opened hak_malloc", opened != NULL ? dlvsym(opened, "hak_malloc", "HAKMEM_0.2") : NULL);
    }
    void *(*volatile make)(size_t, size_t) = (void *(*)(size_t, size_t))of_memalign();
    void (*volatile end)(void *) = (void (*)(void *))of_cfree();
    end(make(64, 100)); /* from the same allocator */
    return 0;
}
"""
OURS = ("malloc", "old malloc", "old free", "old memalign", "old cfree", "old dlopen", "old reallocarray", "old mallinfo2", "bare malloc", "dlsym malloc",
        "hak_version", "dlsym hak_malloc", "dlvsym hak_malloc")

USER = r"""
#include <stdio.h>
const char *hak_variant(void);
void *hak_malloc(unsigned long);
void hak_free(void *);
int main(void) {
    hak_free(hak_malloc(5));
    return puts(hak_variant()) < 0;
}
"""
BEFORE = "const char *hak_variant(void) { return 0; }\nvoid *hak_malloc(unsigned long n) { return (void *)n; }\nvoid hak_free(void *obj) { (void)obj; }\n"


def output(*command, **settings):
    done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True)
    if done.returncode or done.stderr:
        raise AssertionError(f"{command}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


class Versions(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = scratch.name

    def build(self, name, text, *flags):
        source, out = os.path.join(self.folder, name + ".c"), os.path.join(self.folder, name)
        with open(source, "w", encoding="utf-8") as file:
            file.write(text)
        output("gcc", "-w", "-O1", "-fno-builtin", "-fPIC", source, "-o", out, *flags)
        return out

    def program(self):
        libraries = [self.build("libold.so", OLD, "-shared"), self.build("libbare.so", BARE, "-shared", "-nostdlib")]
        return self.build("program", PROGRAM, *libraries, "-Wl,-rpath," + self.folder)

    def test_preloaded(self):
        program, opened = self.program(), LIBRARY[:-3] + "-dlopen.so"
        said = dict(line.rsplit(" ", 1) for line in output(program, opened, LD_PRELOAD=LIBRARY).splitlines())
        self.assertEqual(said, {**{what: NAME for what in OURS}, "dlvsym of another": "none", "opened malloc": os.path.basename(opened), "opened hak_malloc": os.path.basename(opened)})
        without = dict(line.rsplit(" ", 1) for line in output(program).splitlines())  # what the preload changes
        self.assertEqual(without["old malloc"], "libc.so.6")
        self.assertEqual(without["hak_version"], "none")

    def linked(self, name, library):
        """Links USER with a library of this name, which is found in the folder of the real one."""
        return self.build(name, USER, library, "-Wl,-rpath," + os.path.dirname(LIBRARY))

    def asked_for(self, program):
        lines = [line.split() for line in output("readelf", "--dyn-syms", "--wide", program).splitlines() if " UND hak_" in line]
        return sorted(next(word for word in line if word.startswith("hak_")) for line in lines)

    def test_linked(self):
        program = self.linked("user", LIBRARY)
        self.assertEqual(self.asked_for(program), [f"{name}@{VERSION}" for name in ("hak_free", "hak_malloc", "hak_variant")])
        self.assertEqual(output(program).strip(), os.environ["HAKMEM_TEST_VARIANT"])

    def test_a_program_that_was_linked_before_there_were_versions(self):
        program = self.linked("before", self.build(NAME, BEFORE, "-shared", "-Wl,-soname," + NAME))
        self.assertEqual(self.asked_for(program), ["hak_free", "hak_malloc", "hak_variant"])
        self.assertEqual(output(program).strip(), os.environ["HAKMEM_TEST_VARIANT"])


unittest.main()
