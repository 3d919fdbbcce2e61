#!/usr/bin/env -S python3 -B
"""seal_test.py: the mappings of metadata stay for good. PROGRAM's caller preloads the library."""
import os
import platform
import subprocess
import sys
import unittest

# Runs in the examined process: prints for each sealed anonymous mapping whether it can be unmapped.
LOOK = r"""
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
start = None
for line in open("/proc/self/smaps"):
    words = line.split()
    if "-" in words[0] and not words[0].endswith(":"):
        start, end = (int(part, 16) for part in words[0].split("-"))
        anonymous, access = len(words) == 5, words[1]
    elif words[0] == "VmFlags:" and "sl" in words and anonymous:
        refused = libc.munmap(start, end - start) == -1 and ctypes.get_errno() == errno.EPERM
        print(access, refused)
"""


def sealed(**environment):
    """(access, refused) of each sealed anonymous mapping."""
    done = subprocess.run([sys.executable, "-c", LOOK], check=True, capture_output=True, text=True,
                          env=dict(os.environ, LD_PRELOAD=os.environ["HAKMEM_TEST_LIBRARY"], PYTHONMALLOC="malloc", **environment))
    return [tuple(line.split()) for line in done.stdout.splitlines()]


def has_mseal():
    """Not in a process that began with a filter of system calls, as in a container (docs/decisions/016)."""
    with open("/proc/self/status", encoding="ascii") as status:
        filtered = "\nSeccomp:\t2\n" in status.read()
    return not filtered and tuple(int(part) for part in platform.release().split(".")[:2]) >= (6, 10)


# Where the page lies that holds modes, keys and the jump targets of the fast paths, and how it is mapped.
PAGE = r"""
import os, sys
offset = int(sys.argv[1], 16)
lines = [line.split() for line in open("/proc/self/maps")]
base = min(int(line[0].split("-")[0], 16) for line in lines if line[-1] == os.environ["LD_PRELOAD"])
for line in lines:
    start, end = (int(part, 16) for part in line[0].split("-"))
    if start <= base + offset < end:
        print(line[1], base + offset + 4096 <= end)
"""


def access_of_page(**environment):
    """The access to the page of hak_hardening_data, and whether it is the same for all of the page."""
    library = os.path.realpath(os.environ["HAKMEM_TEST_LIBRARY"])
    symbols = subprocess.run(["nm", library], check=True, capture_output=True, text=True).stdout.splitlines()
    [offset] = [line.split()[0] for line in symbols if line.split()[-1] == "hak_hardening_data"]
    done = subprocess.run([sys.executable, "-c", PAGE, offset], check=True, capture_output=True, text=True,
                          env=dict(os.environ, LD_PRELOAD=library, **environment))
    return done.stdout.split()


class Seal(unittest.TestCase):
    def test_what_the_fast_paths_follow_cannot_be_written(self):
        self.assertEqual(access_of_page(), ["r--p", "True"])
        self.assertEqual(access_of_page(HAKMEM_HARDENING="seal:off"), ["rw-p", "True"])

    @unittest.skipUnless(has_mseal(), "mseal: Linux 6.10, and no filter of system calls")
    def test_metadata_cannot_be_unmapped(self):
        found = sealed()
        # records of slabs, of spans, of slots; the table of granules, that of large objects; the state of the thread
        self.assertGreaterEqual(len([access for access, _ in found if access.startswith("rw")]), 4)
        self.assertEqual({refused for _, refused in found}, {"True"})

    def test_the_check_can_be_switched_off(self):
        self.assertEqual(sealed(HAKMEM_HARDENING="seal:off"), [])


if __name__ == "__main__":
    unittest.main()
