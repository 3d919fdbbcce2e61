"""mutants_tree.py: a copy of the sources and the objects compiled from it, for tools/mutants."""
import glob
import os
import shutil
import subprocess
import threading

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
FOLDERS = ("allocator", "hardening", "include", "fuzz", "tests/contract", "tests/fault", "tests/hardening", "tests/model", "tests/stress", "tests/typed",
           "tests/unit")
VARIANTS = ("speed", "hardened")
CC = ["clang-19", "-std=gnu17", "-D_GNU_SOURCE", "-O1", "-w", "-I."]
LAB = ("ops", "ops_print", "shadow", "play", "verdict", "mutator", "engine_mutator")


def flags(variant):
    return ["-fno-builtin", "-DHAK_DEBUG=1"] + (["-DHAK_HARDENED=1"] if variant == "hardened" else [])


class Tree:
    """A copy of the sources and the objects made from it. Objects that a change does not concern come from `base`."""

    def __init__(self, home, base=None, touched=()):
        self.home, self.objects, self.base = home, os.path.join(home, "obj"), base
        self.touched, self.only, self.lock = set(touched), None, threading.RLock()
        shutil.rmtree(home, ignore_errors=True)
        os.makedirs(self.objects)
        for folder in FOLDERS:
            if os.path.isdir(os.path.join(ROOT, folder)):
                shutil.copytree(os.path.join(ROOT, folder), os.path.join(home, folder),
                                ignore=shutil.ignore_patterns("corpus", "mutants", "oss-fuzz"))

    @classmethod
    def kept(cls, home):
        """The tree of the unchanged sources: the tree of an earlier run, with everything made anew that has changed
        since."""
        said = os.path.join(home, "flags")
        if not os.path.exists(said) or open(said, encoding="utf-8").read() != str(CC):
            tree = cls(home)
            with open(said, "w", encoding="utf-8") as file:
                file.write(str(CC))
            return tree
        tree = cls.__new__(cls)
        tree.home, tree.objects, tree.base = home, os.path.join(home, "obj"), None
        tree.touched, tree.only, tree.lock = set(), None, threading.RLock()
        fresh = cls(home + ".fresh")
        tree.touched = differences(fresh.home, home)
        for path in glob.glob(os.path.join(tree.objects, "*.o")):
            if not tree.reusable(path):
                os.remove(path)
        for folder in FOLDERS:
            shutil.rmtree(os.path.join(home, folder), ignore_errors=True)
            if os.path.isdir(os.path.join(fresh.home, folder)):
                shutil.move(os.path.join(fresh.home, folder), os.path.join(home, folder))
        for path in glob.glob(os.path.join(home, "*.so")) if tree.touched else []:
            os.remove(path)
        tree.touched = set()
        shutil.rmtree(fresh.home)
        return tree

    def reusable(self, path):
        """True when the base's object can be used: neither its source nor a header that it includes has changed."""
        with open(path + ".d", encoding="utf-8") as file:
            return not self.touched & set(map(os.path.normpath, file.read().replace("\\\n", " ").split()))

    def variants(self):
        """The sources whose code the mutant changes."""
        return VARIANTS if not self.touched or any(path.startswith("allocator/") for path in self.touched) else ("hardened",)

    def stems(self):
        return {os.path.splitext(os.path.basename(path))[0] for path in self.touched}

    def object(self, source, variant, extra=(), name=""):
        name = f"{variant}_{name or os.path.basename(source)[:-2]}.o"
        path = os.path.join(self.objects, name)
        if self.base is not None:
            unchanged = self.base.object(source, variant, extra, name[len(variant) + 1:-2])
            if self.reusable(unchanged):
                return unchanged
        variant_flags = flags(variant) if variant in VARIANTS else []
        return self.compiled(path, [*CC, *variant_flags, *extra, "-c", source])

    def compiled(self, path, command):
        """The object at `path`, which the command makes if it is not there: mutants that run at once share the
        base's objects."""
        with self.lock:
            if not os.path.exists(path):
                subprocess.run([*command, "-MMD", "-MF", path + ".d", "-o", path + ".part"], cwd=self.home, check=True, capture_output=True)
                os.rename(path + ".part", path)
        return path

    def product_object(self, source, variant, extra):
        """The object as it is in the preloaded library."""
        name = f"product_{variant}_{os.path.basename(source)[:-2]}.o"
        path = os.path.join(self.objects, name)
        if self.base is not None:
            unchanged = self.base.product_object(source, variant, extra)
            if self.reusable(unchanged):
                return unchanged
        defines = ["-DHAK_HARDENED=1"] if variant == "hardened" else []
        return self.compiled(path, [*CC, *extra, *defines, "-c", source])

    def core(self, variant):
        sources = sorted(glob.glob(os.path.join(self.home, "allocator/**/*.c"), recursive=True))
        sources += sorted(glob.glob(os.path.join(self.home, "hardening/*.c"))) if variant == "hardened" else []
        names = [os.path.relpath(path, self.home) for path in sources if not os.path.basename(path).startswith("shim_")]
        return [self.object(name, variant) for name in names]

    def heap(self, variant):
        extra = [f"-DFUZZ_HEAP=fuzz_heap_{variant}", f"-DFUZZ_HARDENED={int(variant == 'hardened')}"]
        return self.core(variant) + [self.object("fuzz/heap_api.c", variant, extra)]

    def apart(self):
        """The hardened heap, for a program that has the other heap as well."""
        path = os.path.join(self.home, "apart.a")
        subprocess.run([os.path.join(ROOT, "fuzz/apart.sh"), path, *self.heap("hardened")], check=True, capture_output=True)
        return path

    def lab(self):
        return [self.object(f"fuzz/{name}.c", "lab") for name in LAB]

    def link(self, name, objects, libraries=()):
        path = os.path.join(self.home, name)
        subprocess.run(["clang-19", "-fuse-ld=lld-19", *objects, "-o", path, "-pthread", *libraries], check=True, capture_output=True)
        return path


def differences(one, other):
    """The files of FOLDERS that differ between both trees, as paths below them."""
    def content(root):
        return {os.path.relpath(path, root): open(path, "rb").read()
                for folder in FOLDERS for path in glob.glob(os.path.join(root, folder, "**"), recursive=True) if os.path.isfile(path)}
    before, after = content(one), content(other)
    return {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
