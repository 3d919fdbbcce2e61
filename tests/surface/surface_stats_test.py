#!/usr/bin/env -S python3 -B
"""surface_stats_test.py PROGRAM SCHEMA: statistics as JSON, from the running process and at its exit, match the
schema and the program's heap."""
import glob
import json
import os
import subprocess
import sys
import tempfile
import unittest

SCHEMA, PROGRAM = os.path.realpath(sys.argv.pop()), os.path.realpath(sys.argv.pop())
LIBRARY, VARIANT = os.environ["HAKMEM_TEST_LIBRARY"], os.environ["HAKMEM_TEST_VARIANT"]
COUNT, SIZE, LARGE, LARGE_SIZE = 5000, 1000, 4, 3000000


def run(*arguments, **settings):
    environment = {"LD_PRELOAD": LIBRARY, "LLVM_PROFILE_FILE": os.environ.get("LLVM_PROFILE_FILE", ""), **settings}
    done = subprocess.run([PROGRAM, *arguments], env=environment, capture_output=True, text=True)
    if done.returncode or done.stderr:
        raise AssertionError(f"{arguments}: {done.returncode} {done.stdout} {done.stderr}")
    return done.stdout


def violations(value, schema, root, path="$"):
    """The parts of the value that break the schema; handles the parts of JSON Schema that ours uses."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    kinds = {"object": dict, "array": list, "string": str, "integer": int}
    if "type" in schema and not isinstance(value, kinds[schema["type"]]):
        yield f"{path}: no {schema['type']}"
    if "const" in schema and value != schema["const"] or "enum" in schema and value not in schema["enum"]:
        yield f"{path}: {value!r}"
    if isinstance(value, dict):
        yield from (f"{path}: {key} is missing" for key in schema["required"] if key not in value)
        for key, part in value.items():
            if key not in schema["properties"]:
                yield f"{path}: {key} is not in the schema"
            else:
                yield from violations(part, schema["properties"][key], root, f"{path}.{key}")
    if isinstance(value, list):
        for number, part in enumerate(value):
            yield from violations(part, schema["items"], root, f"{path}[{number}]")


class Stats(unittest.TestCase):
    def check(self, text):
        said = json.loads(text)
        with open(SCHEMA, encoding="utf-8") as file:
            schema = json.load(file)
        self.assertEqual(list(violations(said, schema, schema)), [])
        self.assertEqual(said["variant"], VARIANT)
        self.assertGreaterEqual(said["small"]["count"], COUNT)
        self.assertLess(said["small"]["count"], COUNT + 200)
        self.assertGreaterEqual(said["small"]["bytes"], COUNT * SIZE)
        self.assertEqual(said["large"]["count"], LARGE)
        self.assertGreaterEqual(said["large"]["bytes"], LARGE * LARGE_SIZE)
        self.assertLess(said["large"]["bytes"], LARGE * (LARGE_SIZE + 65536))
        self.assertEqual([one["size"] for one in said["classes"]], sorted({one["size"] for one in said["classes"]}))
        # Objects between guards count in the totals, and in no class.
        busy = max(said["classes"], key=lambda one: one["live"])
        self.assertTrue(COUNT * 0.95 < busy["live"] <= COUNT + 100 and SIZE <= busy["size"] <= SIZE * 5 // 4, said)
        self.assertGreaterEqual(said["mapped_bytes"], said["committed_bytes"])
        return said

    def test_from_the_process(self):
        length, text = run("json", "32768").splitlines()
        self.assertEqual(int(length), len(text))
        self.check(text)

    def test_each_figure_is_what_the_others_say(self):
        text, *lines = run("figures").splitlines()
        said, known = json.loads(text), {}
        for name, value in map(str.split, lines):
            part = said
            if name.startswith(("map.", "live_")):
                known[name] = int(value)
                continue
            for word in name.split("."):
                part = part[word]
            self.assertEqual(part, int(value), name)
        for name in ("mapped_bytes", "committed_bytes", "metadata_bytes", "slab_bytes", "superslabs", "caches"):
            self.assertEqual(known["map." + name], said[name], name)
        for name in ("mmap", "munmap", "madvise", "mprotect"):
            self.assertEqual(known["map.os_" + name], said["os"][name], name)
        self.assertEqual(known["map.slab_free_dirty_bytes"] + known["map.large_free_dirty_bytes"], said["free_dirty_bytes"])
        self.assertEqual(known["map.cache_operations"] + known["map.large_operations"], said["operations"])
        self.assertEqual(known["map.class_out"] + known["map.large_objects"], known["live_objects"])
        self.assertEqual(known["map.busiest"], max(said["classes"], key=lambda one: one["live"])["size"])
        self.assertEqual(known["map.large_bytes"], known["live_large_bytes"])
        # Fields that are not zero here, so that none of them can stand for another.
        small, large = said["small"], said["large"]
        self.assertEqual(large["count"], LARGE - 1)
        self.assertEqual(said["large_most"]["count"], LARGE)
        self.assertLess(0, large["bytes"] - (LARGE - 1) * LARGE_SIZE + 1)
        self.assertEqual(said["large_most"]["bytes"] * (LARGE - 1), large["bytes"] * LARGE)
        self.assertGreaterEqual(said["arena_most_bytes"], said["arena_bytes"])
        self.assertGreaterEqual(said["set_aside"]["bytes"], 16 * said["set_aside"]["count"])
        self.assertGreaterEqual(small["count"], sum(one["live"] for one in said["classes"]))  # others: between guards
        self.assertGreater(said["operations"], COUNT)
        self.assertTrue(said["os"]["mmap"] > 0 and said["os"]["madvise"] > 0, said)
        self.assertEqual(said["caches"], 1)

    def test_a_buffer_that_is_too_short_has_the_beginning(self):
        whole = run("json", "32768").splitlines()[1]
        for size in (0, 1, 2, 100):
            with self.subTest(size=size):
                length, text = run("json", str(size)).split("\n")[:2]
                self.assertGreater(int(length), 500)
                self.assertEqual(text[:60], whole[:60][:max(0, size - 1)])
                self.assertEqual(len(text), max(0, size - 1))

    def test_at_exit(self):
        with tempfile.TemporaryDirectory() as folder:
            run(HAKMEM_STATS=os.path.join(folder, "stats"))
            [path] = glob.glob(os.path.join(folder, "*"))
            with open(path, encoding="utf-8") as file:
                text = file.read()
            self.assertEqual(text[-1], "\n")
            self.assertEqual(path, os.path.join(folder, f"stats.{self.check(text)['process']}"))
            self.assertEqual(os.stat(path).st_mode & 0o077, 0)
            run("title", HAKMEM_STATS=os.path.join(folder, "other"))
            [other] = glob.glob(os.path.join(folder, "other.*"))
            os.remove(other)
            run(HAKMEM_STATS=os.path.join(folder, "no", "such", "folder"))  # which does not stop the process
            self.assertEqual(len(os.listdir(folder)), 1)

    def test_a_process_that_exits_in_a_handler_exits(self):
        with tempfile.TemporaryDirectory() as folder:
            for number in range(12):  # before, each usually waited for a lock that its own thread held
                run("handler", str(5000 + 37 * number), HAKMEM_STATS=os.path.join(folder, "stats"))

    def test_a_path_that_is_too_long_is_told(self):
        done = subprocess.run([PROGRAM], env={"LD_PRELOAD": LIBRARY, "HAKMEM_STATS": "/" + "d" * 300}, capture_output=True, text=True)
        self.assertEqual((done.returncode, "HAKMEM_STATS" in done.stderr and "239" in done.stderr), (0, True), done.stderr)


unittest.main()
