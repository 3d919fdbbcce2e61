#!/usr/bin/env -S python3 -B
"""said_test.py PROGRAM: what a report states about an object is right, word by word, and it contains no canaries.
PROGRAM: said.c."""
import json
import os
import re
import signal
import subprocess
import sys
import unittest

PROGRAM = os.path.realpath(sys.argv.pop(1))
LIBRARY = os.environ["HAKMEM_TEST_LIBRARY"]
SAMPLED, UNSAMPLED = {"HAKMEM_SAMPLE_RATE": "1"}, {"HAKMEM_SAMPLE_RATE": "0"}
FAMILIES = {"malloc": ("malloc", "free"), "new": ("_Znwm", "_ZdlPv"), "new[]": ("_Znam", "_ZdaPv")}


class Said:
    """A run of the program: the facts that it printed, and the report."""

    def __init__(self, *arguments, **environment):
        environment = {"HAKMEM_REPORT_JSON": "1", "LD_PRELOAD": LIBRARY, **environment}
        done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, env=environment, check=False)
        self.status, self.report, self.out = done.returncode, done.stderr, done.stdout
        self.told, self.lines, self.secrets, self.json = {}, {}, [], None
        for line in done.stdout.splitlines():
            name, _, value = line.partition("=")
            self.told[name] = value
            if name == "secret":
                self.secrets.append(value)
        for line in done.stderr.splitlines():
            if line.startswith("{"):
                self.json = json.loads(line)
            elif line.startswith("hakmem:   "):
                word, _, rest = line.removeprefix("hakmem:   ").partition(": ")
                self.lines[word] = rest
        self.first = re.match(r"hakmem: ([^:]+): ([^(]+)\((0x[0-9a-f]+)\): (.*)\n", done.stderr)

    def object(self):
        """The fields of the line about the object."""
        pattern = r"(?P<object>0x[0-9a-f]+), (?P<kind>[a-z ]+), requested (?P<requested>\d+) bytes, room for (?P<room>\d+)" \
            r"(, class (?P<class>\d+))?, (?P<state>[a-z ]+?)(, made by (?P<family>[^,]+), aligned to (?P<align>\d+))?, address is at (?P<offset>[+-]\d+)"
        return re.fullmatch(pattern, self.lines["object"]).groupdict()


class Objects(unittest.TestCase):
    def check_json(self, said):
        """All of its thirteen fields have the expected text."""
        fields, text = said.object(), said.json
        byte = said.lines.get("byte", "0x0,").partition(",")[0]
        thread, process = re.fullmatch(r"(\d+) of process (\d+)", said.lines["thread"]).groups()
        error, call, address, what = said.first.groups()
        self.assertEqual(text, {
            "hakmem": "error", "error": error, "call": call, "what": what, "state": fields["state"], "address": int(address, 16),
            "object": int(fields["object"], 16), "requested": int(fields["requested"]), "room": int(fields["room"]), "class": int(fields["class"] or 0),
            "bad_byte": int(byte, 16), "caller": int(said.lines["stack"].split()[0], 16), "thread": int(thread), "process": int(process)})
        values = [value for value in text.values() if value not in (text["thread"], 0)]
        self.assertGreaterEqual(len(set(values)), len(values) - 1)  # else a mix-up is not seen

    def test_who_made_it(self):
        for family, (make, end) in FAMILIES.items():
            for environment in (SAMPLED, UNSAMPLED):
                with self.subTest(family=family, environment=environment):
                    said = Said("by", make, end, **environment)
                    self.assertEqual(said.status, -signal.SIGABRT)
                    self.assertEqual(said.first[1], "heap overflow")
                    fields = said.object()
                    self.assertEqual((fields["family"], fields["requested"], fields["state"], fields["align"]), (family, "24", "live", "16"))
                    self.assertEqual(fields["object"], said.told["object"])
                    self.check_json(said)

    def test_two_families(self):
        for made, (make, _) in FAMILIES.items():
            for ended, (_, end) in FAMILIES.items():
                if made != ended:
                    said = Said("by", make, end, **UNSAMPLED)
                    self.assertEqual((said.first[1], said.object()["family"]), ("family mismatch", made))

    def test_sizes_and_places(self):
        for size in (24, 1000, 5000, 300001):
            for at in (0, 5):
                with self.subTest(size=size, at=at):
                    said = Said("behind", size, at, **UNSAMPLED)
                    fields = said.object()
                    self.assertEqual((fields["object"], fields["requested"], fields["offset"]), (said.told["object"], str(size), "+0"))
                    self.assertEqual(fields["kind"], "slot" if size < 1 << 18 else "large object")
                    self.assertGreaterEqual(int(fields["room"]), size)
                    self.assertEqual(said.lines["byte"], f"{said.told['bad']}, at +{size + at} of the object")
                    self.check_json(said)

    def test_how_a_freed_object_is_used_and_who_made_and_freed_it(self):
        for how in ("read", "write"):
            said = Said("sampled", how, **SAMPLED)
            self.assertEqual((said.status, said.first[1], said.first[2]), (-signal.SIGSEGV, "use after free", how), said.report)
            for line, function in (("allocated", "made"), ("freed", "freed"), ("stack", "used")):
                where = int(said.lines[line].split()[0], 16) - int(said.told[function], 16)
                self.assertTrue(0 < where < 256, (line, where, said.report))

    def test_what_was_written_before_an_object(self):
        found = 0
        for _ in range(20):  # one of four begins right behind its guard
            said = Said("sampled", "before", **SAMPLED)
            if said.first[2] == "free":
                self.assertEqual((said.first[1], said.lines["byte"].partition(", ")[2]), ("heap underflow", "at -1 of the object"), said.report)
                found += 1
        self.assertGreater(found, 0)

    def test_the_neighbour_is_the_object(self):
        said = Said("neighbour", **UNSAMPLED)
        self.assertEqual(said.status, -signal.SIGABRT, said.report)
        self.assertEqual(said.first[4], "bytes past the end of the object before were overwritten")
        self.assertEqual((said.first[3], said.object()["object"]), (said.told["object"],) * 2)


class Bytes(unittest.TestCase):
    def shown(self, said):
        """The bytes by address."""
        start, _, rest = said.lines["bytes"].partition(":")
        return {int(start, 16) + i: byte for i, byte in enumerate(re.findall(r"[ >]([0-9a-f]{2}|--)", rest))}

    def test_only_what_was_overwritten_of_a_canary_is_shown(self):
        for size in (24, 1000, 5000, 300001):
            for at in range(8):
                with self.subTest(size=size, at=at):
                    said = Said("behind", size, at, **UNSAMPLED)
                    shown, end = self.shown(said), int(said.told["object"], 16) + size
                    self.assertEqual(shown[end + at], said.told["wrong"])
                    self.assertEqual([shown[end + i] for i in range(8) if i != at], ["--"] * 7)
                    self.assertEqual(shown[end - 1], "53")  # the program's writes are shown

    def test_neither_is_what_surrounds_a_sampled_object(self):
        found = 0
        for at in range(8):
            said = Said("behind", 40, at, **SAMPLED)
            if said.first[2] != "free":
                continue  # a guard was quicker
            found += 1
            shown, end = self.shown(said), int(said.told["object"], 16) + 40
            self.assertEqual(shown[end + at], said.told["wrong"])
            self.assertEqual({shown[end + i] for i in range(8) if i != at and end + i in shown}, {"--"})
        self.assertGreater(found, 0)

    def test_canaries_of_others_are_not_shown(self):
        for size in (24, 56, 200):
            with self.subTest(size=size):
                said = Said("beside", size, **UNSAMPLED)
                self.assertEqual((said.status, len(said.secrets)), (-signal.SIGABRT, 64), said.report)
                for secret in said.secrets:
                    self.assertNotIn(secret[6:], said.lines["bytes"].replace(">", " "))
                self.assertIn("-- -- -- -- --", said.lines["bytes"].replace(">", " "))


class Signals(unittest.TestCase):
    def test_each_signal_has_its_own_handler(self):
        said = Said("segv", SAID_HANDLERS="1")
        self.assertEqual((said.status, said.out), (4, f"SIGSEGV handler {int(signal.SIGSEGV)}, shut 1 1\n"))
        self.assertEqual(said.first[1], "out-of-bounds access")
        said = Said("bus", SAID_HANDLERS="1")
        self.assertEqual((said.status, said.out, said.report), (5, f"SIGBUS handler {int(signal.SIGBUS)} {int(signal.SIGBUS)}\n", ""))

    def test_a_signal_that_is_sent_is_no_error_and_not_lost(self):
        said = Said("sent")
        self.assertEqual((said.status, said.report), (-signal.SIGSEGV, ""))
        said = Said("sent", SAID_HANDLERS="1")
        self.assertEqual((said.status, said.report), (4, ""))

    def test_a_handler_that_is_to_be_called_once_is(self):
        said = Said("segv", SAID_HANDLERS="once")
        self.assertEqual((said.status, said.out), (-signal.SIGSEGV, "once\n"), said.report)

    def test_without_one_each_has_its_usual_end(self):
        self.assertEqual(Said("segv").status, -signal.SIGSEGV)
        said = Said("bus")
        self.assertEqual((said.status, said.report), (-signal.SIGBUS, ""))

    def test_a_full_stack_takes_no_report_away(self):
        said = Said("full")
        self.assertEqual(said.status, -signal.SIGSEGV)
        self.assertEqual(said.first[1], "out-of-bounds access")
        self.assertIn("next", said.lines)


class Reduced(unittest.TestCase):
    def test_what_is_reduced_is_said_at_the_start(self):
        for setting, words in (("canary:report", "canary:report"), ("canary:off,free:report", "free:report, canary:off")):
            first = Said("behind", 24, 0, HAKMEM_HARDENING=setting, **UNSAMPLED).report.splitlines()[0]
            self.assertTrue(first.startswith("hakmem: HAKMEM_HARDENING sets "), first)
            for word in words.split(", "):
                self.assertIn(word, first)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
