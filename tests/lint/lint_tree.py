#!/usr/bin/env -S python3 -B
"""lint_tree.py CHECK WORKSPACE: rules about the source tree. Prints what breaks the rule; exit 1 if anything does.

Bazel shows a test only the files that it names; these rules are about every file, so the tree is found through the real path
of WORKSPACE, and the tests always run (tag "external")."""
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SKIPPED = {".git", "third_party", "out", "__pycache__", "node_modules"}
C_STANDARD = set("""assert ctype errno float inttypes iso646 limits math setjmp stdalign stdarg stdatomic stdbool stddef
    stdint stdio stdlib stdnoreturn string time uchar wchar""".split())
COMPILER = {"immintrin", "x86intrin", "arm_neon", "cpuid"}
COMMON_NAMES = {"BUILD.bazel", "README.md", "__init__.py", "build.sh"}


def tree(root):
    """All files of the tree, as paths relative to its root."""
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if f not in SKIPPED and not f.startswith("bazel-"))
        for name in sorted(files):
            yield os.path.relpath(os.path.join(folder, name), root)


def sources(root, *suffixes, folders=None):
    for path in tree(root):
        if path.endswith(suffixes) and (folders is None or path.split(os.sep)[0] in folders):
            yield path


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as text:
        return text.read()


def check_variant_if(root):
    """Exactly one conditional of the preprocessor asks for the variant: in allocator/policy.h."""
    found = []
    for path in sources(root, ".c", ".h", ".cc"):
        for number, line in enumerate(read(root, path).replace("\\\n", " ").splitlines(), 1):
            if re.match(r"\s*#\s*(if|ifdef|ifndef|elif|elifdef)\b.*HAK_HARDENED", line):
                found.append(f"{path}:{number}: {line.strip()}")
    if len(found) != 1 or not found[0].startswith("allocator/policy.h:"):
        yield f"want one variant #if, in allocator/policy.h; found {len(found)}:"
        yield from found


COLUMNS = 120
MADE = re.compile(r"docs/(COVERAGE|DETECTION|KERNELS|MUTANTS|MITIGATIONS|FAST_PATH)\.md$|docs/results/")  # by tools


def check_width(root):
    """Lines of C and of Markdown fit 120 columns; rows of tables, and headings that tools make, may be longer."""
    for path in sources(root, ".c", ".h", ".cc", ".hpp", ".md"):
        longer = ("|", "#") if MADE.match(path) else ("|",) if path.endswith(".md") else ()
        for number, line in enumerate(read(root, path).splitlines(), 1):
            if len(line) > COLUMNS and not line.lstrip().startswith(longer) and "://" not in line:
                yield f"{path}:{number}: {len(line)} columns, {COLUMNS} are allowed"


class Layers:
    def __init__(self):
        self.layer, self.across, self.os_headers, self.hardening, self.together = {}, set(), set(), 0, []
        for line in read(HERE, "layers.txt").splitlines():
            word, *rest = line.split("#")[0].split() or [""]
            if word == "layer":
                self.layer.update({name: int(rest[0]) for name in rest[1:]})
            elif word == "across":
                self.across = set(rest)
            elif word == "os_headers":
                self.os_headers = set(rest)
            elif word == "hardening":
                self.hardening = int(rest[0])
            elif word == "together":
                self.together.append(set(rest))

    def knows(self, path):
        return path.startswith("hardening/") or place(path) in self.layer or place(path) in self.across

    def highest(self, path):
        """The highest layer that the file may include."""
        if path.startswith("hardening/"):
            return self.hardening
        if place(path) in self.across:
            return 3 if path.endswith(".h") else 5
        return self.layer[place(path)]

    def complaint(self, path, included, quoted):
        """Why `path` may not include it, or None."""
        if not quoted:
            base = included[:-2]
            if base in C_STANDARD or base in COMPILER or stem(path) in self.os_headers:
                return None
            return "a header of the operating system"
        if included in ("include/hakmem.h", "include/hakmem_jemalloc.h"):
            return "not for hardening" if path.startswith("hardening/") else None
        if included.startswith("hardening/"):
            return None if path.startswith("hardening/") or path == "allocator/policy.h" else "only policy.h does"
        if not included.startswith("allocator/") or not self.knows(included):
            return "unknown: not in layers.txt"
        if place(included) in self.across:
            core_header = path.endswith(".h") and place(path) in self.layer and path != "allocator/alloc.h"
            return "policy.h is for .c files" if place(included) == "policy" and core_header else None
        above = self.layer[place(included)] > self.highest(path)
        return f"layer {self.layer[place(included)]} is above {self.highest(path)}" if above else None


def stem(path):
    return os.path.splitext(os.path.basename(path))[0]


def place(path):
    """The entry of layers.txt for a file of allocator/: its folder, or its own name if it lies in none."""
    folders = os.path.dirname(path).split(os.sep)[1:]
    return "/".join(folders) + "/" if folders else stem(path)


def check_includes(root):
    """Files of allocator/ and hardening/ include only what layers.txt allows."""
    layers = Layers()
    for path in sources(root, ".c", ".h", folders={"allocator", "hardening"}):
        if not layers.knows(path):
            yield f"{path}: not in layers.txt"
            continue
        for number, line in enumerate(read(root, path).splitlines(), 1):
            found = re.match(r'\s*#\s*include\s*([<"])([^>"]+)', line)
            reason = found and layers.complaint(path, found[2], found[1] == '"')
            if reason:
                yield f"{path}:{number}: must not include {found[2]}: {reason}"


def included_by(root, without):
    """{file without its suffix: our files that its .c and .h include}"""
    seen = {}
    for path in sources(root, ".c", ".h", folders={"allocator", "hardening"}):
        found = re.findall(r'^\s*#\s*include\s*"(?:allocator|hardening)/([^"]+)"', read(root, path), re.MULTILINE)
        seen.setdefault(stem(path), set()).update({stem(name) for name in found} - {stem(path)})
    return {name: rest - without for name, rest in seen.items() if name not in without}


def reach(graph, start):
    seen, todo = set(), [start]
    while todo:
        for name in graph.get(todo.pop(), ()):
            if name not in seen:
                seen.add(name)
                todo.append(name)
    return seen


def check_cycles(root):
    """No file of allocator/ and hardening/ includes what includes it, by whatever way, but for the nouns in parts of layers.txt."""
    layers = Layers()
    graph = included_by(root, layers.across | {"policy_hardened"})
    reached = {name: reach(graph, name) for name in graph}
    rings = {frozenset(other for other in reached[name] if name in reached.get(other, ())) for name in graph}
    for ring in sorted(map(sorted, rings - {frozenset()})):
        if set(ring) not in layers.together:
            yield f"include each other: {' '.join(ring)}"
    yield from (f"layers.txt: do not include each other: {' '.join(sorted(parts))}" for parts in layers.together if frozenset(parts) not in rings)


def check_headers(root):
    """Each header of ours compiles alone, in both variants."""
    for path in sources(root, ".h", folders={"allocator", "hardening", "include"}):
        for variant in ("speed", "hardened"):
            other = "speed" if path.startswith("hardening/") else "hardened" if stem(path) == "policy_speed" else None
            if variant == other:
                continue
            command = ["clang-19", "-x", "c", "-std=gnu17", "-Wall", "-Wextra", "-Wno-missing-field-initializers", "-Werror",
                       "-D_GNU_SOURCE", "-fsyntax-only"]
            command += ["-iquote", root, "-"] + ["-DHAK_HARDENED=1"] * (variant == "hardened")
            done = subprocess.run(command, input=f'#include "{path}"\n', text=True, capture_output=True)
            if done.returncode:
                yield f"{path} alone, {variant}:\n{done.stderr}"


def check_names(root):
    """A file's name says which file is meant: no two files share one."""
    seen = {}
    for path in tree(root):
        name = os.path.basename(path)
        is_source = name.endswith((".c", ".h", ".cc", ".py", ".sh", ".bzl", ".md"))
        if is_source and name not in COMMON_NAMES:
            if name in seen:
                yield f"{path} and {seen[name]} share a name"
            seen[name] = path


def check_format(root):
    """clang-format has nothing to change."""
    files = list(sources(root, ".c", ".h", ".cc"))
    command = ["clang-format-19", "--dry-run", "-Werror", *files]
    done = subprocess.run(command, cwd=root, text=True, capture_output=True)
    if done.returncode:
        yield done.stderr


def is_python(root, path):
    if path.endswith(".py"):
        return True
    with open(os.path.join(root, path), "rb") as text:
        return re.match(rb"#!.*\bpython3\b", text.read(80)) is not None


def check_python(root):
    """pylint finds no error: names, arguments and attributes that do not exist, what is imported or set and never used."""
    files = [path for path in tree(root) if is_python(root, path)]
    folders = sorted({os.path.dirname(path) for path in files})
    wanted = "E,unused-import,unused-variable,unused-argument,unreachable,cell-var-from-loop,pointless-statement"
    command = ["/usr/bin/python3", "-m", "pylint", "--score=n", "--persistent=n", "--jobs=2", "--disable=all", "--enable=" + wanted, "--disable=import-error", *files]
    done = subprocess.run(command, cwd=root, text=True, capture_output=True, env={**os.environ, "PYTHONPATH": ":".join(folders)})
    if done.stderr:
        yield done.stderr
    # lab_path is imported for what that does: it puts bench/ where modules are looked for.
    yield from (line for line in done.stdout.splitlines() if line[:1] != "*" and "Unused import lab_path" not in line)


def check_options(root):
    """docs/OPTIONS.md, the man page and the command `hakmem` name every environment variable that the sources read, and no other."""
    read_there = set()
    for path in sources(root, ".c", folders={"allocator", "hardening"}):
        read_there.update(re.findall(r'"(HAKMEM_[A-Z_]+)"', read(root, path)))
    if not read_there:
        yield "no source reads a variable: has the way they are read changed?"
    done = subprocess.run([os.path.join(root, "docs/man_page.py"), "--check"], text=True, capture_output=True)
    if done.returncode:
        yield done.stdout + done.stderr
    for path in ("docs/OPTIONS.md", "docs/hakmem.7", "tools/hakmem"):
        named = set(re.findall(r"\bHAKMEM_[A-Z_]+", read(root, path)))
        yield from (f"{path} does not name {name}" for name in sorted(read_there - named))
        yield from (f"{path} names {name}, which nothing reads" for name in sorted(named - read_there))


def check_links(root):
    """A link of a Markdown page to a file of the tree leads to one."""
    for path in sources(root, ".md"):
        text = re.sub(r"```.*?```", "", read(root, path), flags=re.DOTALL)
        for found in re.finditer(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            if "://" not in found[1] and not os.path.exists(os.path.join(root, os.path.dirname(path), found[1])):
                yield f"{path}: no such file: {found[1]}"


CHECKS = {"variant_if": check_variant_if, "width": check_width, "includes": check_includes, "cycles": check_cycles, "headers": check_headers, "names": check_names,
          "format": check_format, "options": check_options, "links": check_links, "python": check_python}


def main():
    check, workspace = CHECKS[sys.argv[1]], sys.argv[2]
    root = os.path.dirname(os.path.realpath(workspace))
    if not list(sources(root, ".c", folders={"allocator"})):
        sys.exit(f"no source of the core under {root}")
    complaints = list(check(root))
    print("\n".join(complaints) or "nothing to complain about: " + check.__doc__)
    sys.exit(1 if complaints else 0)


main()
