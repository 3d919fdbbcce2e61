"""arm64.py: compiles for arm64 and runs under qemu-user, for tests and for the page of what is detected."""
import glob
import os
import shutil
import subprocess

COMPILER = "aarch64-linux-gnu-gcc"
SYSROOT = "/usr/aarch64-linux-gnu"
FLAGS = ["-std=gnu17", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Wno-missing-field-initializers", "-Werror", "-fno-builtin",
         "-fvisibility=hidden", "-fno-semantic-interposition", "-ftls-model=initial-exec", "-DHAK_HARDENED=1", "-fPIC"]
# This memset of glibc has no `dc zva`, which qemu 7.2 takes for a fault where a pointer has a memory tag.
TUNABLES = "glibc.cpu.name=kunpeng920"


def emulator():
    """None: there is none."""
    return shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")


def lacks(*compilers):
    """The name of something that is needed and not there; None: all is there."""
    for program in compilers or (COMPILER,):
        if not shutil.which(program):
            return program
    return None if emulator() else "qemu-aarch64-static"


def run(*command, **settings):
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False, **settings)
    if done.returncode:
        raise AssertionError(f"{' '.join(command)[:300]}: {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def library(root, folder, *flags):
    """Compiles the hardened variant. Returns its path."""
    out = os.path.join(folder, "libhakmem-hardened.so")
    files = glob.glob(os.path.join(root, "allocator/**/*.c"), recursive=True) + glob.glob(os.path.join(root, "hardening/*.c"))
    files = [path for path in files if os.path.basename(path) not in ("os_keep.c", "reset.c", "shim_catch.c", "shim_static.c")]
    run(COMPILER, *FLAGS, *flags, "-I" + root, "-shared", "-Wl,--version-script=" + os.path.join(root, "allocator/exports.lds"),
        "-Wl,-z,now", "-o", out, *sorted(files), "-pthread")
    return out


def command(program, *words, preload, cpu="max"):
    """The command that runs the program. Other variables come from the environment: commas divide what follows -E."""
    return [emulator(), "-cpu", cpu, "-L", SYSROOT, "-E", "LD_PRELOAD=" + preload, "-E", "GLIBC_TUNABLES=" + TUNABLES, program, *words]
