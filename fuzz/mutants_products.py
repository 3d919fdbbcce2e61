"""mutants_products.py: tools/mutants runs the tests of the preloaded libraries. They are the same tests as in `bazel
test`, with a library made from a mutant's sources.

Asks Bazel once for the list of tests. Bazel builds a test's files when they are first needed. Then the script makes a
folder of links for each test, with the mutant's libraries in the place of those that Bazel has built."""
import glob
import os
import re
import shutil
import subprocess
import threading
import xml.etree.ElementTree as ElementTree

FOLDERS = ("surface", "hardening", "misuse", "reports", "life", "memory", "fork", "observers", "typed", "programs", "kernels")
LIBRARIES = {"libhakmem.so": "speed", "libhakmem-hardened.so": "hardened"}
FOR_TESTS = {"os_keep", "reset"}  # sources that are only in the core that tests are linked with
FLAGS = ["-fPIC", "-fno-builtin", "-fvisibility=hidden", "-fno-semantic-interposition", "-ftls-model=initial-exec", "-O2"]
LINK = ["-shared", "-pthread", "-Wl,--as-needed", "-Wl,-Bsymbolic-functions", "-Wl,-z,now,-z,relro,-z,nodelete"]
# The tests in the order of their names, except those that take minutes, which come last.
SLOW = ("misuse_hardened_test", "misuse_modes_test", "placement_hardened_test", "life", "memory", "fork", "observers", "programs", "kernels")


class Test:
    """One sh_test: its folder, its command, and its own library."""

    def __init__(self, rule):
        self.package, self.name = rule.get("name")[2:].split(":")
        self.script = self.path(rule.find("list[@name='srcs']/label").get("value"))
        words = [word.get("value") for word in rule.findall("list[@name='args']/string")]
        self.args = [self.located(word) for word in words]
        self.libraries = [name for name in LIBRARIES if "allocator/" + name in " ".join(self.args).split() or any(
            word.endswith("=allocator/" + name) for word in self.args)]

    def path(self, label):
        package, name = label[2:].split(":") if label.startswith("//") else (self.package, label.lstrip(":"))
        return f"{package}/{name}" if package else name

    def located(self, word):
        before, found, rest = word.partition("$(location ")
        label, _, after = rest.partition(")")
        return before + self.path(label) + after if found else word

    @property
    def layer(self):
        """The name of a kind of test that has its own entry, or of its folder."""
        for kind in ("placement", "seal"):
            if self.name.startswith(kind):
                return kind
        return "reduced" if self.name == "misuse_modes_test" else self.package.split("/")[-1]

    def rank(self):
        return any(self.name.startswith(word) or self.package.endswith("/" + word) for word in SLOW), self.package, self.name


class Products:
    """The tests as Bazel has built them in `root`."""

    def __init__(self, root):
        self.root, self.tests, self.built, self.lock = root, [], set(), threading.Lock()

    def find(self):
        """Asks Bazel, once."""
        if self.tests:
            return self.tests
        wanted = " + ".join(f"kind(sh_test, //tests/{folder}:all)" for folder in FOLDERS)
        said = subprocess.run(["bazel", "query", "--output=xml", wanted], cwd=self.root, check=True, capture_output=True, text=True).stdout
        rules = ElementTree.fromstring(said.replace('version="1.1"', 'version="1.0"', 1)).findall("rule")
        self.tests = sorted((test for test in map(Test, rules) if test.libraries), key=Test.rank)
        return self.tests

    def build(self, test):
        label = f"//{test.package}:{test.name}"
        with self.lock:
            if label not in self.built:
                subprocess.run(["bazel", "build", "--jobs=2", label], cwd=self.root, check=True, capture_output=True)
                self.built.add(label)

    def place(self, test, home, made):
        """Makes a folder with the files of the test and the libraries in `made`. Returns the command, and the folder in
        which it runs."""
        self.build(test)
        folder = os.path.join(home, "run", test.name)
        shutil.rmtree(folder, ignore_errors=True)
        [source] = glob.glob(os.path.join(self.root, "bazel-bin", test.package, test.name + ".runfiles", "*/"))  # the workspace's name
        for path, _, names in os.walk(source):
            at = os.path.join(folder, os.path.relpath(path, source))
            os.makedirs(at, exist_ok=True)
            for name in names:
                mine = made.get(name) if os.path.basename(path) == "allocator" else None
                os.symlink(mine or os.path.realpath(os.path.join(path, name)), os.path.join(at, name))
        return ["env", "-i", "PATH=/usr/bin:/bin:/usr/sbin:/sbin", "TEST_TMPDIR=" + home, os.path.join(folder, test.script), *test.args], folder


def left_out(tree, library):
    """The sources that are not in the preloaded libraries, or not in the archives: allocator/BUILD.bazel has the lists."""
    with open(os.path.join(tree.home, "allocator/BUILD.bazel"), encoding="utf-8") as file:
        text = file.read()
    archive, preload = ({os.path.basename(path)[:-2] for path in re.findall(r'"(\S+\.c)"', re.search(rf"{name}_srcs = \[(.*?)\]", text, re.S)[1])}
                        for name in ("archive", "preload"))
    return FOR_TESTS | (archive - preload if library == "preload" else preload - archive)


def objects_of(tree, variant, library):
    sources = glob.glob(os.path.join(tree.home, "allocator/**/*.c"), recursive=True)
    sources += glob.glob(os.path.join(tree.home, "hardening/*.c")) if variant == "hardened" else []
    without = left_out(tree, library)
    wanted = sorted(os.path.relpath(source, tree.home) for source in sources if os.path.basename(source)[:-2] not in without)
    return [tree.product_object(source, variant, FLAGS) for source in wanted]


def link(tree, name):
    """Builds the library of that name from the tree's sources, and the archive beside it."""
    variant, path = LIBRARIES[name], os.path.join(tree.home, name)
    if not os.path.exists(path):
        whole, archive = path + ".o", path[:-len(".so")] + ".a"
        subprocess.run(["ld", "-r", *objects_of(tree, variant, "archive"), "-o", whole], check=True, capture_output=True)
        subprocess.run(["objcopy", "--localize-hidden", whole], check=True, capture_output=True)
        subprocess.run(["ar", "rcsD", archive, whole], check=True, capture_output=True)
        objects = objects_of(tree, variant, "preload")
        script = "-Wl,--version-script=" + os.path.join(tree.home, "allocator/exports.lds")
        subprocess.run(["clang-19", "-fuse-ld=lld-19", *LINK, script, "-Wl,-soname," + name, *objects, "-o", path], check=True, capture_output=True)
    return path
