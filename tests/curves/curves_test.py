#!/usr/bin/env -S python3 -B
"""curves_test.py PROGRAM: no attack of tools/attack_curves wins against the hardened variant below the goal. PROGRAM's caller
preloads the library.

The same attacks must win against glibc's malloc within a few calls, or their silence would say nothing. The speed variant
makes no promise about attackers: there the attacks only have to end with an answer, whatever it is."""
import itertools
import json
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../bench"))
# pylint: disable=wrong-import-position
import lab_curves
import lab_curves_page

PROGRAM = sys.argv[1]
HARDENED = os.environ["HAKMEM_TEST_VARIANT"] == "hardened"
LIBRARY = {"LD_PRELOAD": os.environ["HAKMEM_TEST_LIBRARY"]}
PROCESSES = 3
PROCESSES_ADJACENT = 40
# The promise is one time in 32: of 40 pairs, 9 or more are neighbours less often than once in 200,000 runs.
ADJACENT_MOST = 8
SIZES = [16, 256, 1000, 4096, 30000, 65536, 1 << 20]
LEAKS = 300
CANARY = 8


def calls(environment, *words):
    """None: more than the limit."""
    done = subprocess.run([PROGRAM, *map(str, words)], env={"LLVM_PROFILE_FILE": os.environ.get("LLVM_PROFILE_FILE", ""), **environment},
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{words}: status {done.returncode}: {done.stderr}")
    return json.loads(done.stdout)["calls"]


def ways(goal):
    """He makes and frees; he makes only; he frees others first, as many as he may or half of that."""
    return [["way=pairs"], ["way=keep"], ["way=keep", f"before={goal // 2}"], ["way=keep", f"before={goal - 8}"]]


class Curves(unittest.TestCase):
    def resists(self, size, *words, slot=0, processes=PROCESSES):
        """`slot`: what the object takes up, when that is more than its size."""
        goal = lab_curves_page.goal(str(max(size, slot)))
        for way in ways(goal):
            for _ in range(processes):
                won = calls(LIBRARY, "reclaim", f"size={size}", f"limit={goal - 1}", *words, *way)
                if HARDENED:
                    self.assertIsNone(won, f"{size} bytes, {words}, {way}: a new owner after {won} calls, goal {goal}")
                else:
                    self.assertTrue(won is None or 0 <= won < goal)  # no promise

    def test_a_stale_pointer_has_no_new_owner_wherever_the_free_is(self):
        for size in SIZES:
            for place in lab_curves.PLACES:
                with self.subTest(size=size, place=place):
                    self.resists(size, f"place={place}")

    def test_the_same_of_aligned_objects(self):
        """Whose slots, with the canary, are multiples of the alignment: they rest as long as others of that size."""
        for size, align in lab_curves.ALIGNED:
            with self.subTest(size=size, align=align):
                self.resists(size, f"align={align}", slot=-(-(size + CANARY) // align) * align)

    def test_nor_after_others_have_drained(self):
        """Mapped objects of all sizes rest together (docs/THREATS.md), so other large ones do drain them."""
        for size, drain in itertools.product((64, 1024, 30000, 1 << 20), lab_curves.DRAINS):
            if size < 1 << 20 or drain not in ("large", "huge"):
                with self.subTest(size=size, drain=drain):
                    self.resists(size, f"drain={drain}", processes=2)

    def test_nor_beside_five_busy_threads(self):
        """These drain what all threads share: large objects, and what threads without a state free (docs/THREATS.md)."""
        for size, place in itertools.product((64, 1024, 4096, 30000, 65536), ("main", "first")):
            with self.subTest(size=size, place=place):
                self.resists(size, f"place={place}", f"busy={lab_curves.BUSY}", processes=2)

    def test_leaked_canaries_do_not_give_another(self):
        for size in lab_curves.FORGED:
            for way in ("copy", "sum", "xor"):
                told = calls(LIBRARY, "forge", f"size={size}", f"limit={LEAKS}", f"way={way}")
                if HARDENED:
                    self.assertIsNone(told, f"{size} bytes, {way}: told after {told} leaks")

    def neighbours(self, environment, size):
        return sum(calls(environment, "adjacent", f"size={size}", "limit=2", "way=keep") is not None for _ in range(PROCESSES_ADJACENT))

    def test_two_objects_in_a_row_are_seldom_neighbours(self):
        for size in (64, 1024):
            found = self.neighbours(LIBRARY, size)
            print(f"{size} bytes: {found} of {PROCESSES_ADJACENT} pairs are neighbours", file=sys.stderr)
            if HARDENED:
                self.assertLessEqual(found, ADJACENT_MOST)

    def test_every_attack_wins_against_glibc(self):
        """Or the others would say nothing. A thread of its own has an arena of its own, to which large objects of
        another do not come back."""
        for size, place in itertools.product((16, 256, 1000, 65536, 1 << 20), lab_curves.PLACES):
            if size <= 1000 or place in ("main", "last"):
                for way in ("pairs", "keep"):
                    won = calls({}, "reclaim", f"size={size}", f"place={place}", f"way={way}")
                    self.assertIn(won, range(1, 9), f"{size} bytes, {place}, {way}")
        self.assertLessEqual(calls({}, "reclaim", "size=64", "way=keep", "before=100"), 200)
        self.assertEqual(calls({}, "reclaim", "size=65536", "drain=classes"), 0)  # another size lay there
        for size in lab_curves.FORGED:
            for way, most in (("copy", 1), ("sum", 3), ("xor", 20)):
                self.assertIn(calls({}, "forge", f"size={size}", f"way={way}"), range(1, most + 1), (size, way))
        self.assertEqual(self.neighbours({}, 64), PROCESSES_ADJACENT)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
