"""lab_peers: the contestants. Finds the peers that Debian packages install, our own builds, and settings presets.

A contestant is a name, a shared object to preload (None: libc's own malloc) and environment variables. Presets turn a
profile name into variables in one place; a variable that the user has set always wins over a preset.
"""
import glob
import os
import subprocess
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LIB = "/usr/lib/x86_64-linux-gnu"
SCUDO = "/usr/lib/llvm-19/lib/clang/19/lib/linux/libclang_rt.scudo_standalone-x86_64.so"

# name: (path, the Debian packages that contain it); a distribution has some of them.
DEBIAN = {
    "mimalloc2": (LIB + "/libmimalloc.so.2", "libmimalloc2.0"),
    "mimalloc3": (LIB + "/libmimalloc.so.3", "libmimalloc3"),
    "jemalloc": (LIB + "/libjemalloc.so.2", "libjemalloc2"),
    "gperftools": (LIB + "/libtcmalloc_minimal.so.4", "libtcmalloc-minimal4 or libtcmalloc-minimal4t64"),
    "scudo": (SCUDO, "libclang-rt-19-dev"),
}

PRESETS = {
    "balanced": {"HAKMEM_PROFILE": "balanced"},
    "speed": {"HAKMEM_PROFILE": "speed"},
    "lean": {"HAKMEM_PROFILE": "balanced", "HAKMEM_SS_MEM_LEAN_DECOMMIT": "DONTNEED"},
    # Without the two passes over the bytes, as scudo is by default.
    "reduced": {"HAKMEM_PROFILE": "balanced", "HAKMEM_HARDENING": "zero:off,write:off"},
}

# Our own contestants: name: (shared object, preset)
VARIANTS = {
    "hakmem": ("libhakmem.so", "balanced"),
    "hakmem-speed": ("libhakmem.so", "speed"),
    "hakmem-lean": ("libhakmem.so", "lean"),
    "hakmem-hardened": ("libhakmem-hardened.so", "balanced"),
    "hakmem-reduced": ("libhakmem-hardened.so", "reduced"),
}
PROGRAMS = ["workloads", "curves", "random_mixed", "soak", "liblimit.so", "librecorder.so", "random_mixed_fast_limit"]
KEPT_PREFIXES = ("HAKMEM_", "SCUDO_OPTIONS", "MIMALLOC_", "MALLOC_CONF", "TCMALLOC_")


class Contestant:
    def __init__(self, name, path, env=None):
        self.name, self.path, self.env = name, path, dict(env or {})

    def environment(self):
        """A scrubbed environment: only what a program needs, presets, and the allocator settings of the user."""
        env = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": os.environ.get("HOME", "/"), "LC_ALL": "C"}
        env.update(self.env)
        env.update({k: v for k, v in os.environ.items() if k.startswith(KEPT_PREFIXES)})
        if self.path:
            env["LD_PRELOAD"] = self.path
        return env


def debian_peers():
    """The peers that are installed."""
    peers = {"glibc": Contestant("glibc", None)}
    peers.update({name: Contestant(name, os.path.realpath(path)) for name, (path, _) in DEBIAN.items() if os.path.exists(path)})
    return peers


def missing_peers():
    """{name: the package that contains it} of the missing peers."""
    return {name: package for name, (path, package) in DEBIAN.items() if not os.path.exists(path)}


def with_argument(text):
    """--with NAME=PATH[,VAR=VALUE...]"""
    head, *settings = text.split(",")
    name, _, path = head.partition("=")
    if not path or not os.path.exists(path):
        raise SystemExit(f"bench: --with {text}: no such file; expected NAME=PATH[,VAR=VALUE...]")
    return Contestant(name, os.path.abspath(path), dict(s.partition("=")[::2] for s in settings))


def variants(names, libraries):
    out = {}
    for name in names:
        if name not in VARIANTS:
            raise SystemExit(f"bench: unknown variant {name}; known: {', '.join(VARIANTS)}")
        library, preset = VARIANTS[name]
        out[name] = Contestant(name, os.path.join(libraries, library), PRESETS[preset])
    return out


def libraries_of(names):
    """The shared objects that these variants need."""
    return sorted({VARIANTS[n][0] for n in names if n in VARIANTS})


def build(out, names, root=ROOT, with_programs=True):
    """Builds with Bazel, optimised, and copies the results to `out`, because bazel-bin moves with the next configuration."""
    libraries = libraries_of(names)
    labels = ["//allocator:" + library for library in libraries]
    if with_programs:
        fast = ["random_mixed_fast_" + library[len("lib"):-len(".so")] for library in libraries]
        labels += ["//bench:" + program for program in PROGRAMS + fast]
    subprocess.run(["bazel", "build", "-c", "opt", *labels], cwd=root, check=True)
    os.makedirs(out, exist_ok=True)
    for label in labels:
        path = os.path.join(root, "bazel-bin", label[2:].replace(":", "/"))
        subprocess.run(["install", "-m", "755", path, out], check=True)
    return out


def build_revision(revision, out, names):
    """The libraries of another revision, built from a copy of it in a scratch place."""
    with tempfile.TemporaryDirectory(prefix="hakmem-bench-") as tree:
        archive = subprocess.run(["git", "archive", revision], cwd=ROOT, capture_output=True)
        if archive.returncode:
            raise SystemExit(f"bench: --against {revision}: {archive.stderr.decode().strip()}")
        subprocess.run(["tar", "-x", "-C", tree], input=archive.stdout, check=True)
        try:
            return build(out, names, tree, with_programs=False)
        except subprocess.CalledProcessError:
            raise SystemExit(f"bench: --against {revision}: does not build {', '.join(libraries_of(names))}") from None
        finally:
            subprocess.run(["bazel", "clean", "--expunge"], cwd=tree, check=False)


def machine():
    """The machine and the sources of the figures, for the results file."""
    def first(command):
        try:
            return subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout.strip().splitlines()[0]
        except (OSError, IndexError):
            return ""
    model = ""
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    thp = glob.glob("/sys/kernel/mm/transparent_hugepage/enabled")
    return {"cpu": model, "cores": os.cpu_count(), "kernel": os.uname().release, "libc": first(["ldd", "--version"]),
            "huge_pages": open(thp[0]).read().strip() if thp else "", "revision": first(["git", "rev-parse", "HEAD"]),
            "sources": first(["git", "rev-parse", "HEAD:allocator"])[:12] + first(["git", "rev-parse", "HEAD:hardening"])[:12]}
