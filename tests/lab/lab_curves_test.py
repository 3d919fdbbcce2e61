#!/usr/bin/env -S python3 -B
"""lab_curves_test.py: the quantiles of attacks, what is a miss, and the pages that show it."""
import math
import unittest
import xml.dom.minidom

import lab_path  # noqa: F401
import lab_curves
import lab_curves_page as page


def found(q5, q50, processes=100):
    return {"processes": processes, "q5": q5, "q50": q50, "q5_range": [q5, q50], "q5_way": "pairs", "q50_way": "keep"}


def results():
    return {"date": "2026-01-02T03:04:05Z", "machine": {"cpu": "a cpu", "kernel": "6", "libc": "libc", "revision": "0123456789abcdef"},
            "summary": {"reclaim main alone": {"hakmem-hardened": {"64": found(999, 2000), "512": found(400, 500), "65536": {"error": "exit 2"}},
                                               "glibc": {"64": found(1, 1), "512": found(1, 1)}, "hardened_malloc": {"64": found(None, None), "512": found(399, 400)}},
                        "reclaim main busy": {"hakmem-hardened": {"64": found(None, None, 60)}},
                        "bases": {"hakmem-hardened": {"slot": {"processes": 100, "bits": 34.4, "different": 100}}}}}


class Curves(unittest.TestCase):
    def test_more_than_the_limit_is_more_than_any_number(self):
        values = [None] * 96 + [7, 5, 9, 3]
        self.assertEqual([lab_curves.quantile(values, share) for share in (0.01, 0.04, 0.05, 0.5)], [3, 9, None, None])

    def test_a_quantile_is_a_value_that_was_measured(self):
        values = list(range(100, 0, -1))
        self.assertEqual([lab_curves.quantile(values, share) for share in (0.05, 0.5, 1)], [5, 50, 100])

    def test_ranks_hold_the_true_quantile_as_often_as_they_say(self):
        for count in (60, 100, 400):
            low, high = lab_curves.ranks(count, 0.05)
            chance = lambda k, n=count: math.comb(n, k) * 0.05 ** k * 0.95 ** (n - k)
            self.assertGreaterEqual(sum(chance(k) for k in range(low, high)), 0.9, count)
            self.assertTrue(low <= math.ceil(0.05 * count) <= high)

    def test_the_best_ways_are_that_of_the_median_and_that_of_the_least(self):
        tried = {"pairs": [10, 10, 10], "keep": [1, 50, None], "keep 24": [None, None, None]}
        self.assertEqual(lab_curves.best_ways(tried), ["pairs", "keep"])
        self.assertEqual(lab_curves.best_ways({"pairs": [None], "keep": [None]}), ["pairs"])
        told = lab_curves.summary({"pairs": [10] * 100, "keep": [1] * 5 + [None] * 95})
        self.assertEqual((told["q5"], told["q5_way"], told["q50"], told["q50_way"]), (1, "keep", 10, "pairs"))

    def test_random_bits_are_no_more_than_those_that_change_by_themselves(self):
        evenly = [0x7000_0000_0000 + (i * 2654435761 % 1000) * 4096 for i in range(100)]
        self.assertAlmostEqual(lab_curves.bits(evenly), math.log2(1000), delta=0.2)
        coins = [0x10fff * (i % 2) ^ 0x7000_0001_0000 * (i % 3 % 2) ^ 0x10 * (i % 5 % 2) for i in range(100)]
        self.assertEqual(lab_curves.bits(coins), 3)  # three coins, which are many bits far apart
        self.assertEqual(lab_curves.bits([5] * 100), 0)

    def test_goals_by_size(self):
        self.assertEqual([page.goal(x) for x in ("16", "256", "257", "1024@256", "4096", "30000", "32769", "4194304")], [1000, 1000, 400, 400, 100, 32, 600, 600])

    def test_misses_are_named(self):
        (_, goals), (_, behind) = page.misses(results())
        self.assertEqual(goals, ["Reclaim, freed by the attacking thread, alone: 64 B 999 (1000); 64 KiB FAILED (600)"])
        self.assertEqual(behind, ["Reclaim, freed by the attacking thread, alone: 64 B 999 (> 5000)"])

    def test_the_section_shows_goals_and_misses_and_replaces_itself(self):
        text = page.with_section("# Page\n\n## Every program\n\nrows\n", results())
        self.assertIn("**999**", text)
        self.assertIn("**FAILED**", text)
        self.assertIn("| 400 |", text)
        self.assertTrue(text.endswith("\n## Every program\n\nrows\n") and text.startswith("# Page\n\n## Attack curves\n"))
        self.assertEqual(page.with_section(text, results()), text)
        self.assertFalse([line for line in text.splitlines() if len(line) > 120 and not line.startswith("|")])

    def test_the_page_says_how_many_processes_and_what_that_means(self):
        text = page.markdown(results())
        self.assertIn("100 or 60 processes", " ".join(text.split()))
        self.assertIn("> 2500 / > 2500", text)
        self.assertIn("34.4", text)

    def test_pictures_are_well_formed_and_show_each_figure(self):
        picture = page.picture(results())
        xml.dom.minidom.parseString(picture)
        self.assertEqual(picture.count("<circle"), 7)
        self.assertEqual(picture.count('fill="#fff"'), 2)  # more than the limit


unittest.main()
