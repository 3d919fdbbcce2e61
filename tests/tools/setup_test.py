#!/usr/bin/env -S python3 -B
"""setup_test.py WORKSPACE: tools/setup on machines that lack something, or have it: its requests to apt, and one clear
line for each lack.

The machine is a folder of stand-ins for dpkg-query, apt-get, apt-cache, id, sudo and the like, beside the few real
commands that a script needs. Nobody is root on it, and its sudo only records its arguments."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.realpath(sys.argv.pop()))
REAL = "bash basename cat comm dirname env grep mktemp printf realpath rm sed sort tee true".split()
STAND_INS = {
    "id": "echo 1000",
    "dpkg-query": "case $* in *bazel-bootstrap) echo 4.2.3; esac; while read -r name; do echo \"installed $name\"; done <\"$MACHINE/installed\"",
    "apt-cache": "grep -qxF \"$2\" \"$MACHINE/archive\" && printf '  Candidate: 1.0\\n' && printf '%s\\n' {1..30000}",
    "apt-get": "true",
    "clang-19": "echo clang version 19.1.7",
    "ld.lld-19": "echo LLD 19.1.7",
    "clang-format-19": "echo clang-format version 19.1.7",
    # Packages requested from apt are installed from then on; with NETWORK=no, apt complains and fails.
    "sudo": """echo "$*" >>"$MACHINE/asked"
        case $* in
        -n*) exit "${PASSWORD:-0}" ;;
        *"apt-get"*install*)
            [ "${NETWORK-}" != no ] || { echo "E: Failed to fetch x  Could not resolve 'archive'"; exit 100; }
            for word in "$@"; do case $word in -* | *=* | env | apt-get | install) ;; *) echo "$word" >>"$MACHINE/installed" ;; esac; done ;;
        *"apt-get"*update*) [ "${NETWORK-}" != no ] || echo "W: Failed to fetch y  Could not resolve 'archive'" ;;
        *) cat >/dev/null ;;
        esac""",
}
BUILD = ("bazel-bootstrap bazel-rules-java bazel-rules-proto bazel-platforms clang-19 lld-19 libc6-dev g++ binutils python3 git").split()
COMPILE = "cmake make gcc libc6-dev binutils python3".split()
KEPT = ("tools", "include", "docs", "CMakeLists.txt")  # of the tree, the files that an installation reads
LAB = BUILD + ("sqlite3 redis-server redis-tools libclang-rt-19-dev gcc perl nodejs strace valgrind python3-matplotlib libjemalloc2").split()


class Machine:
    def __init__(self, folder, installed=(), archive=(), without=()):
        self.folder = folder
        bin_folder = os.path.join(folder, "bin")
        os.mkdir(bin_folder)
        for name in REAL:
            os.symlink(shutil.which(name, path="/usr/bin:/bin"), os.path.join(bin_folder, name))
        for name, script in STAND_INS.items():
            if name not in without:
                with open(os.open(os.path.join(bin_folder, name), os.O_CREAT | os.O_WRONLY, 0o755), "w", encoding="utf-8") as file:
                    file.write(f"#!/bin/bash\n{script}\n")
        self.write("installed", installed)
        self.write("archive", archive)
        self.write("asked", ())

    def write(self, name, lines):
        with open(os.path.join(self.folder, name), "w", encoding="utf-8") as file:
            file.writelines(line + "\n" for line in lines)

    def setup(self, *parts, **settings):
        env = {"PATH": os.path.join(self.folder, "bin"), "MACHINE": self.folder, "TMPDIR": self.folder, **settings}
        return subprocess.run([os.path.join(ROOT, "tools/setup"), *parts], env=env, stdin=subprocess.DEVNULL, text=True, capture_output=True)

    def installs(self):
        """The packages requested from apt, request by request."""
        with open(os.path.join(self.folder, "asked"), encoding="utf-8") as lines:
            return [line.split(" -y ")[1].split() for line in lines if " install " in line]


class Setup(unittest.TestCase):
    def machine(self, **more):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return Machine(folder.name, **more)

    def expect_one_line(self, done, *parts):
        """Failed with one line that has all of the parts; lines that announce an attempt do not count."""
        lines = [line for line in done.stderr.splitlines() if "installing" not in line and line != "tools/setup: apt-get update"]
        self.assertEqual((done.returncode, len(lines), done.stdout), (1, 1, ""), done.stderr)
        for part in ("tools/setup: ", *parts):
            self.assertIn(part, lines[0])

    def test_with_everything_installed_nothing_is_said_or_asked(self):
        machine = self.machine(installed=BUILD)
        done = machine.setup("build")
        self.assertEqual((done.returncode, done.stderr, machine.installs()), (0, "", []))

    def test_a_build_needs_no_program_of_the_tests_and_no_peer(self):
        machine = self.machine(archive=BUILD)
        self.assertEqual(machine.setup("build").returncode, 0)
        self.assertEqual(machine.installs(), [BUILD])

    def test_an_installation_needs_a_compiler_and_no_bazel(self):
        machine = self.machine(archive=COMPILE)
        self.assertEqual(machine.setup("compile").returncode, 0)
        self.assertEqual(machine.installs(), [COMPILE])
        machine = self.machine(installed=[name for name in COMPILE if name != "gcc"] + ["clang"])
        self.assertEqual((machine.setup("compile").returncode, machine.installs()), (0, []))

    def install(self, machine, *arguments):
        return subprocess.run([os.path.join(ROOT, "tools/install"), *arguments], text=True, capture_output=True, stdin=subprocess.DEVNULL,
                              env={"PATH": os.path.join(machine.folder, "bin"), "MACHINE": machine.folder, "TMPDIR": machine.folder})

    def test_a_machine_with_a_compiler_and_cmake_is_asked_for_nothing(self):
        """CMake's stand-in only makes the files; cmake_test shows that the build works."""
        machine = self.machine(without=["apt-get", "dpkg-query", "sudo"])
        prefix = os.path.join(machine.folder, "usr")
        stand_ins = {"cc": "true", "make": "true", "objcopy": "true", "nproc": "echo 1", "cmake": """echo "$*" >>"$MACHINE/asked"
            case $1 in -S) mkdir -p "$4" ;; --build) for name in hakmem hakmem-hardened; do for kind in .so -dlopen.so .a; do echo >"$2/lib$name$kind"; done; done ;; esac"""}
        for name, script in stand_ins.items():
            with open(os.open(os.path.join(machine.folder, "bin", name), os.O_CREAT | os.O_WRONLY, 0o755), "w", encoding="utf-8") as file:
                file.write(f"#!/bin/bash\n{script}\n")
        for name in ("install", "mkdir", "tail"):
            os.symlink(shutil.which(name, path="/usr/bin:/bin"), os.path.join(machine.folder, "bin", name))
        tree = os.path.join(machine.folder, "tree")  # because the build's output lies in it
        shutil.copytree(ROOT, tree, ignore=lambda folder, names: [name for name in names if name not in KEPT] if folder == ROOT else [])
        done = subprocess.run([os.path.join(tree, "tools/install"), "--prefix=" + prefix], text=True, capture_output=True, stdin=subprocess.DEVNULL,
                              env={"PATH": os.path.join(machine.folder, "bin"), "MACHINE": machine.folder, "TMPDIR": machine.folder})
        self.assertEqual((done.returncode, done.stderr), (0, f"installed under {prefix}\n"))
        self.assertTrue(os.path.exists(os.path.join(prefix, "lib/libhakmem-hardened.so")))
        with open(os.path.join(machine.folder, "asked"), encoding="utf-8") as file:
            asked = file.read()
        self.assertIn("--target hakmem hakmem-dlopen hakmem-a hakmem-hardened hakmem-hardened-dlopen hakmem-hardened-a", asked)

    def test_what_an_installation_lacks_is_one_line(self):
        machine = self.machine(archive=COMPILE, without=["sudo"])
        done = self.install(machine, "--prefix=/nowhere")
        lines = done.stderr.splitlines()
        self.assertEqual((done.returncode, len(lines)), (1, 2), done.stderr)
        self.assertIn("run as root, or install sudo; missing packages: cmake make gcc|clang", lines[0])
        self.assertEqual(lines[1], "tools/install: the build failed")

    def test_a_peer_has_another_name_in_another_distribution(self):
        for names in (["libmimalloc2.0", "libtcmalloc-minimal4"], ["libmimalloc3", "libtcmalloc-minimal4t64"]):
            machine = self.machine(installed=LAB, archive=names)
            done = machine.setup("lab")
            self.assertEqual((done.returncode, machine.installs()), (0, [names]), done.stderr)
            self.assertEqual(machine.setup("lab").stderr, "")

    def test_a_peer_that_the_distribution_lacks_is_left_out_with_a_line(self):
        machine = self.machine(installed=[*LAB, "libmimalloc3"], archive=["libc6"])
        done = machine.setup("lab")
        self.assertEqual((done.returncode, machine.installs()), (0, []), done.stderr)
        self.assertEqual(done.stderr, "tools/setup: libtcmalloc-minimal4|libtcmalloc-minimal4t64: not in this distribution's archive; left out\n")

    def test_what_is_needed_and_the_archive_lacks_is_an_error(self):
        self.expect_one_line(self.machine(installed=BUILD[1:], archive=BUILD[1:]).setup("build"), "the archive has no bazel-bootstrap")

    def test_without_root_and_sudo(self):
        machine = self.machine(installed=BUILD[2:], archive=BUILD, without=["sudo"])
        self.expect_one_line(machine.setup("build"), "run as root, or install sudo", "bazel-bootstrap bazel-rules-java")

    def test_a_sudo_that_nobody_can_answer(self):
        machine = self.machine(installed=BUILD[1:], archive=BUILD)
        self.expect_one_line(machine.setup("build", PASSWORD="1"), "sudo wants a password", "bazel-bootstrap")
        self.assertEqual(machine.installs(), [])

    def test_without_apt(self):
        self.expect_one_line(self.machine(without=["apt-get"]).setup("build"), "no apt-get here", "bazel-bootstrap")
        self.expect_one_line(self.machine(without=["dpkg-query"]).setup("build"), "no apt-get here", "bazel-bootstrap")

    def test_without_network(self):
        for archive in ([], BUILD):  # the archive's lists may have been fetched before
            machine = self.machine(installed=BUILD[1:], archive=archive)
            self.expect_one_line(machine.setup("build", NETWORK="no"), "no network?", "Could not resolve 'archive'")

    def test_an_old_version_is_named(self):
        machine = self.machine(installed=BUILD, without=["clang-19"])
        self.expect_one_line(machine.setup("build"), "clang-19: need version 19., found none")


class WithoutPython(unittest.TestCase):
    def test_the_commands_of_the_laboratory_say_so(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        machine = Machine(folder.name)
        os.symlink("/bin/sh", os.path.join(folder.name, "bin/sh"))
        for tool in ("bench", "growth", "kernels", "results", "run_mixed_10_cleanenv", "soak", "traces"):
            done = subprocess.run([os.path.join(ROOT, "tools", tool), "--help"], env={"PATH": machine.folder + "/bin"}, text=True, capture_output=True)
            self.assertEqual((done.returncode, done.stderr.count("\n"), "python3 is missing: run tools/setup" in done.stderr), (1, 1, True), done.stderr)


unittest.main()
