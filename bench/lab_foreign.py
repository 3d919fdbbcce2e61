"""lab_foreign: programs that call another allocator's own functions, which a preload does not replace.

Debian 13's redis-server is such a program: it takes objects from malloc and frees them by jemalloc's dallocx. Under any
allocator that has the one and not the other it dies, and so it cannot be measured there.
"""
import os
import shutil
import subprocess

# The functions that take or give objects. nallocx, which Debian 12's redis-server calls, only computes a size; mallctl
# and the like leave objects alone.
OWN = {"jemalloc": {"mallocx", "rallocx", "xallocx", "sallocx", "dallocx", "sdallocx"}}


def symbols(path, which):
    """Names of the dynamic symbols, without their versions; which: --defined-only or --undefined-only."""
    out = subprocess.run(["nm", "-D", which, path], capture_output=True, text=True, check=True).stdout
    return {line.split()[-1].split("@")[0] for line in out.splitlines() if line.strip()}


def calls(program, library):
    """(allocator, its own functions that the program calls and the library lacks), or None. A library without a path is
    the program's own allocator, so it has all functions. Missing programs and scripts call none."""
    path = shutil.which(program)
    if not path or not library or not is_elf(path):
        return None
    wanted = symbols(path, "--undefined-only")
    for allocator, names in OWN.items():
        # A name without a folder is one of libc's.
        found = wanted & names - (symbols(library, "--defined-only") if os.path.exists(library) else set())
        if found:
            return allocator, sorted(found)
    return None


def is_elf(path):
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"


def reason(program, libraries):
    """The reason why the program cannot run on one of the libraries, as a sentence; None: it can."""
    for library in libraries:
        found = calls(program, library)
        if found:
            names = ", ".join(found[1])
            return f"{program} calls {found[0]}'s own functions ({names}), which {os.path.basename(library)} does not have"
    return None
