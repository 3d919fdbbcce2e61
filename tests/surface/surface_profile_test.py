#!/usr/bin/env -S python3 -B
"""surface_profile_test.py PROGRAM TOOL: the heap profile shows what a program allocates, whatever it does with it, and
tools/heap_profile reads the profile.

Estimates are sums over thousands of samples: the bounds are seven of their standard deviations away, or more."""
import glob
import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

TOOL, PROGRAM = os.path.realpath(sys.argv.pop()), os.path.realpath(sys.argv.pop())
LIBRARY = os.environ["HAKMEM_TEST_LIBRARY"]
MANY, MIXED = 200000, sum(i % 50 * 20 + 1 for i in range(200000))
SAMPLES = 5000


class Profiles(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(dir=os.environ.get("TEST_TMPDIR"))
        self.path = os.path.join(self.folder, "heap")

    def tearDown(self):
        shutil.rmtree(self.folder)

    def run_program(self, *works, rate=4096, **settings):
        environment = {"LD_PRELOAD": LIBRARY, "LLVM_PROFILE_FILE": os.environ.get("LLVM_PROFILE_FILE", ""), "HAKMEM_HEAP_PROFILE": self.path,
                       "HAKMEM_HEAP_PROFILE_RATE": str(rate), **settings}
        done = subprocess.run([PROGRAM, *works], env=environment, capture_output=True, text=True, timeout=600)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def files(self):
        return sorted(path for path in glob.glob(self.path + ".*") if path[len(self.path) + 1:].isdigit())

    def read(self, path=None):
        """{function of the program: [live objects, live bytes, objects in all, bytes in all]} from the tool's table,
        by names."""
        path = path or self.files()[0]
        out = subprocess.run([TOOL, path], capture_output=True, text=True)
        self.assertEqual(out.returncode, 0, out.stderr)
        names, sums = self.names(path), {}
        with open(path, encoding="utf-8") as file:
            text = file.read()
        for line in text[text.rindex("hakmem heap profile 1"):].split("\n"):
            if line.startswith("stack: "):
                words = line.split()
                places = {names[int(word, 16)] for word in words[7:] if int(word, 16) in names}
                for place in places:
                    sums.setdefault(place, [0, 0, 0, 0])
                    sums[place] = [a + int(b) for a, b in zip(sums[place], words[1:5])]
        return sums

    @staticmethod
    def names(path):
        """{return address: function} of the program itself, by its symbol table."""
        with open(path, encoding="utf-8") as file:
            text = file.read()
        base = min(int(line.split("-")[0], 16) for line in text.splitlines() if line.endswith(PROGRAM))
        symbols = [line.split() for line in subprocess.run(["nm", "-n", PROGRAM], capture_output=True, text=True, check=True).stdout.splitlines()]
        known = [(int(words[0], 16), words[2]) for words in symbols if len(words) == 3 and words[1] in "tT"]
        found = {}
        for word in set(re.findall(r" 0x([0-9a-f]+)", text)):
            address = int(word, 16) - base
            if 0 <= address < 1 << 24:
                found[int(word, 16)] = [name for start, name in known if start < address][-1]
        return found

    def near(self, found, wanted, share=0.12):
        self.assertTrue(wanted * (1 - share) <= found <= wanted * (1 + share), f"{found}, not about {wanted}")

    def test_what_is_kept_is_live(self):
        self.run_program("keeps_small")
        objects, size, made, made_size = self.read()["keeps_small"]
        self.near(objects, MANY)
        self.near(size, MANY * 100)
        self.assertEqual((objects, size), (made, made_size))

    def test_sizes_in_turn(self):
        self.run_program("mixes_small")
        self.near(self.read()["mixes_small"][1], MIXED)

    def test_what_is_freed_is_live_no_more(self):
        self.run_program("keeps_small", "frees_all")
        objects, size, made, _ = self.read()["keeps_small"]
        self.assertEqual((objects, size), (0, 0))
        self.near(made, MANY)

    def test_an_object_that_is_freed_at_once_counts(self):
        """A thread that uses only one object of its cache again and again is seen, too."""
        self.run_program("frees_at_once")
        live, _, made, size = self.read()["frees_at_once"]
        self.assertEqual(live, 0)
        self.near(made, 1000000)
        self.near(size, 64000000)

    def test_calloc_and_memalign(self):
        self.run_program("clears", "aligns")
        sums = self.read()
        self.near(sums["clears"][3], 2000 * 20000)
        self.near(sums["aligns"][3], 20000 * 1000)

    def test_large_objects(self):
        self.run_program("keeps_large")
        self.assertEqual(self.read()["keeps_large"], [50, 50000000] * 2)  # each is sampled at this rate

    def test_realloc_is_another_object(self):
        self.run_program("grows")
        live, size, _, made_size = self.read()["grows"]
        self.assertTrue(live == 1 and size <= 3000000 and made_size > 2 * size > 2000000, (live, size, made_size))

    def test_in_a_thread_that_ends(self):
        self.run_program("in_thread")
        sums = self.read()
        self.near(sums["keeps_small"][1], MANY * 100)
        self.near(sums["frees_at_once"][3], 64000000)

    def test_each_object_at_a_rate_of_one(self):
        self.run_program("keeps_small", rate=1)
        self.assertEqual(self.read()["keeps_small"], [MANY, MANY * 100] * 2)

    def test_a_child_writes_its_own(self):
        self.run_program("forked")
        self.assertEqual(len(self.files()), 2)
        parent, child = sorted((self.read(path) for path in self.files()), key=len)
        self.assertNotIn("keeps_large", parent)
        self.assertEqual(child["keeps_large"][0], 50)
        self.assertEqual(child["keeps_small"], parent["keeps_small"])

    def test_by_a_call(self):
        mine = os.path.join(self.folder, "mine")
        self.assertEqual(self.run_program("saves", mine).stdout, "4096\n4096\n")
        with open(mine, encoding="utf-8") as file:
            self.assertEqual(file.read().count("\nend\n"), 2)
        self.assertEqual(self.read(mine)["keeps_small"][0], 0)

    def test_off(self):
        mine = os.path.join(self.folder, "mine")
        self.assertEqual(self.run_program("saves", mine, HAKMEM_HEAP_PROFILE="").stdout, "0\n0\n")
        self.assertEqual(os.listdir(self.folder), [])

    def test_what_is_live_at_exit(self):
        said = self.run_program("keeps_large", "frees_at_once", HAKMEM_HEAP_PROFILE="", HAKMEM_HEAP_LEAKS="1").stderr.splitlines()
        self.assertRegex(said[0], r"^hakmem: live at exit: \d+ bytes in \d+ objects of \d+ places, by \d+ samples$")
        self.assertRegex(said[1], r"^hakmem:   50000000 bytes in 50 objects, allocated at( 0x[0-9a-f]+)+$")
        self.assertEqual(os.listdir(self.folder), [])

    def test_every_place_that_is_live_at_exit(self):
        """Each object is a sample at this rate, so all figures are exact: places have their objects, and no place
        has none."""
        said = self.run_program("keeps_small", "keeps_large", "clears", rate=1, HAKMEM_HEAP_PROFILE="", HAKMEM_HEAP_LEAKS="1").stderr.splitlines()
        size, objects, places, samples = map(int, re.fullmatch(r"hakmem: live at exit: (\d+) bytes in (\d+) objects of (\d+) places, by (\d+) samples", said[0]).groups())
        found = [tuple(map(int, re.match(r"hakmem:   (\d+) bytes in (\d+) objects, allocated at 0x", line).groups())) for line in said[1:]]
        self.assertEqual(found[:2], [(50000000, 50), (MANY * 100, MANY)])
        self.assertEqual(found, sorted(found, key=lambda one: -one[0]))
        self.assertEqual((len(found), objects), (min(places, 8), samples))
        if places <= 8:
            self.assertEqual((sum(one[0] for one in found), sum(one[1] for one in found)), (size, objects))

    def test_large_objects_that_are_sampled_stand_for_the_others(self):
        """One of 5.5: 362 of 2,000, with a standard deviation of 17, which is 4.8 %."""
        self.run_program(*["keeps_large"] * 40, rate=5000000)
        self.near(self.read()["keeps_large"][2], 2000, share=0.35)

    def test_which_are_sampled_is_drawn(self):
        """Some 4,800, with a standard deviation of 69: that six runs take equally many is less likely than 1e-10."""
        counts = set()
        for _ in range(6):
            self.run_program("keeps_small")
            [path] = self.files()
            with open(path, encoding="utf-8") as file:
                counts.add(sum(int(line.split()[6]) for line in file if line.startswith("stack: ")))
            os.remove(path)
        self.assertGreater(len(counts), 1)

    def test_the_head_of_the_file(self):
        self.run_program("keeps_large", rate=5000)
        path = self.files()[0]
        with open(path, encoding="utf-8") as file:
            text = file.read()
        variant, process = os.environ["HAKMEM_TEST_VARIANT"], path.rsplit(".", 1)[1]
        self.assertRegex(text, rf"\Ahakmem heap profile 1\nversion: \S+\nvariant: {variant}\nprocess: {process}\nrate: 5000\nlost: 0\nstack: ")
        self.assertRegex(text, r"\nmaps:\n(?:[0-9a-f]+-[0-9a-f]+ .*\n)+end\n\Z")
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)

    def test_wrong_values(self):
        for value in ("0", "x", "1073741825"):
            said = self.run_program("keeps_large", rate=value).stderr
            self.assertEqual(said, f"hakmem: HAKMEM_HEAP_PROFILE_RATE={value}: not understood; accepted: 1 to 1073741824; using 524288\n")

    def test_what_the_tool_makes(self):
        self.run_program("keeps_small", "keeps_large")
        path = self.files()[0]
        out = subprocess.run([TOOL, path], capture_output=True, text=True)
        self.assertEqual(out.returncode, 0, out.stderr)
        self.assertRegex(out.stdout, r"47\.7 MiB live .*keeps_large < main")
        with open(path + ".html", encoding="utf-8") as file:
            self.assertIn("<title>keeps_large: 47.7 MiB", file.read())
        with gzip.open(path + ".pb.gz") as file:
            message = decode(file.read())
        texts = [text.decode() for text in message[6]]
        self.assertEqual([texts[decode(kind)[1][0]] for kind in message[1]], ["alloc_objects", "alloc_space", "inuse_objects", "inuse_space"])
        self.assertEqual(texts[0], "")
        functions = {decode(one)[1][0]: texts[decode(one)[2][0]] for one in message[5]}
        places = {decode(one)[1][0]: [functions[decode(line)[1][0]] for line in decode(one)[4]] for one in message[4]}
        sums = {}
        for sample in map(decode, message[2]):
            leaf = places[varints(sample[1][0])[0]][0]
            sums[leaf] = [a + b for a, b in zip(sums.get(leaf, [0] * 4), varints(sample[2][0]))]
        self.assertEqual(sums["keeps_large"], [50, 50000000] * 2)
        self.near(sums["keeps_small"][3], MANY * 100)

    def test_a_file_that_was_cut(self):
        self.run_program("keeps_large")
        path = self.files()[0]
        os.truncate(path, os.path.getsize(path) - 10)
        done = subprocess.run([TOOL, path], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr.count("cut off"), done.stderr.count("\n")), (1, 1, 1), done.stderr)


def varints(data):
    out, now, shift = [], 0, 0
    for byte in data:
        now |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            out.append(now)
            now = shift = 0
    return out


def decode(data):
    """{field: [value, ...]} of a protobuf message of numbers and bytes."""
    out, at = {}, 0

    def number():
        nonlocal at
        end = at
        while data[end] > 127:
            end += 1
        value, at = varints(data[at:end + 1])[0], end + 1
        return value
    while at < len(data):
        key = number()
        value = number()
        if key & 7 == 2:
            value, at = data[at:at + value], at + value
        out.setdefault(key >> 3, []).append(value)
    return out


unittest.main()
