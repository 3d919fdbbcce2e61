#!/usr/bin/env -S python3 -B
"""The figures of mallinfo2, malloc_info and malloc_stats: each is right by itself (surface_info), and all three
agree."""
import os
import re
import subprocess
import sys
import unittest
import xml.etree.ElementTree

PROGRAM = sys.argv.pop(1)
ENV = {"PATH": os.environ["PATH"], "HAKMEM_TEST_VARIANT": os.environ["HAKMEM_TEST_VARIANT"],
       "LD_PRELOAD": os.environ["HAKMEM_TEST_LIBRARY"], "LLVM_PROFILE_FILE": os.environ.get("LLVM_PROFILE_FILE", "")}
FIELDS = "arena ordblks smblks hblks hblkhd fsmblks uordblks fordblks keepcost".split()
OWN = "mapped committed slabs superslabs metadata caches".split()  # of hak_stats
LARGE, HALF = 5 << 20, 5 * 1024 // 2 * 1008  # the live memory of `surface_info print`


def printed():
    """The fields of mallinfo2, the root of malloc_info's XML, and the numbers of malloc_stats."""
    read_end, write_end = os.pipe()
    done = subprocess.run(["/bin/bash", "-c", f'exec "$0" print 3>&{write_end}', PROGRAM], env=ENV, pass_fds=[write_end], capture_output=True,
                          text=True, check=True)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        root = xml.etree.ElementTree.fromstring(pipe.read())
    return dict(zip(OWN + FIELDS, map(int, done.stdout.split()))), root, done.stderr


class Info(unittest.TestCase):
    def test_figures_of_what_is_known_to_be_live_and_freed(self):
        done = subprocess.run([PROGRAM], env=ENV, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_sampled_objects_are_in_use(self):
        done = subprocess.run([PROGRAM, "sampled"], env=dict(ENV, HAKMEM_SAMPLE_RATE="1"), capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_xml_says_what_mallinfo_says(self):
        fields, root, _ = printed()
        self.assertEqual((root.tag, root.get("version"), root.get("variant")), ("malloc", "1", os.environ["HAKMEM_TEST_VARIANT"]))
        heap = root.find("heap")
        for part in (root, heap):
            totals = {t.get("type"): (int(t.get("count")), int(t.get("size"))) for t in part.findall("total")}
            self.assertEqual(totals["fast"], (fields["smblks"], fields["fsmblks"]))
            self.assertEqual(totals["rest"], (fields["ordblks"], fields["fordblks"] - fields["fsmblks"]))
            system = {s.get("type"): int(s.get("size")) for s in part.findall("system")}
            self.assertEqual(system["current"], fields["arena"])
            self.assertGreaterEqual(system["max"], system["current"])
            space = {s.get("type"): int(s.get("size")) for s in part.findall("aspace")}
            self.assertEqual(space, {"total": fields["mapped"], "mprotect": fields["committed"]})
            self.assertGreaterEqual(space["mprotect"], fields["uordblks"] + fields["hblkhd"])
        mapped = root.find("total[@type='mmap']")
        self.assertEqual((int(mapped.get("count")), int(mapped.get("size"))), (fields["hblks"], fields["hblkhd"]))
        self.assertEqual((fields["hblks"], fields["hblkhd"]), (1, LARGE))
        objects = root.find("objects")
        self.assertEqual(int(objects.get("size")), fields["uordblks"] + fields["hblkhd"])
        self.assertTrue(HALF // 1008 + 1 <= int(objects.get("count")) <= HALF // 1008 + 100)
        slabs = root.find("slabs")
        self.assertEqual((int(slabs.get("size")), int(slabs.get("superslabs"))), (fields["slabs"], fields["superslabs"]))
        self.assertEqual(int(root.find("metadata").get("size")), fields["metadata"])
        self.assertGreater(fields["metadata"], 0)
        self.assertEqual((root.find("caches").get("count"), fields["caches"]), ("1", 1))

    def test_free_slots_by_size_add_up(self):
        fields, root, _ = printed()
        sizes = root.findall("heap/sizes/size")
        for one in sizes:
            self.assertLess(int(one.get("from")), int(one.get("to")))
            self.assertEqual(int(one.get("total")), int(one.get("to")) * int(one.get("count")))
        free = [s for s in sizes if int(s.get("from")) <= 1008 + 8 <= int(s.get("to"))]
        self.assertGreaterEqual(int(free[0].get("count")), HALF // 1008)
        self.assertTrue(0 <= fields["ordblks"] + fields["smblks"] - sum(int(s.get("count")) for s in sizes) <= fields["fordblks"] // 65536)

    def test_stats_are_those_of_mallinfo_in_the_form_of_glibc(self):
        fields, _, text = printed()
        form = (r"Arena 0:\nsystem bytes     = +(\d+)\nin use bytes     = +(\d+)\nTotal \(incl\. mmap\):\nsystem bytes     = +(\d+)\n"
                r"in use bytes     = +(\d+)\nmax mmap regions = +(\d+)\nmax mmap bytes   = +(\d+)\n")
        self.assertRegex(text, f"^{form}$")
        numbers = [int(n) for n in re.fullmatch(form, text).groups()]
        arena, used, mapped = fields["arena"], fields["uordblks"], fields["hblkhd"]
        self.assertEqual(numbers, [arena, used, arena + mapped, used + mapped, 2, 3 * LARGE])
        self.assertTrue(HALF <= used <= HALF + HALF // 4 + 65536, used)


unittest.main()
