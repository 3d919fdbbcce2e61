#!/usr/bin/env -S python3 -B
"""lab_stats_test.py: the statistics, on numbers whose answers are known."""
import unittest

import lab_path  # noqa: F401
import lab_stats


class Statistics(unittest.TestCase):
    def test_ten_runs_are_described_by_the_sample_deviation(self):
        found = lab_stats.described([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0])
        self.assertEqual((found["mean"], found["median"], found["min"], found["max"], found["runs"]), (5.0, 4.5, 2.0, 9.0, 8))
        self.assertAlmostEqual(found["sd"], (32 / 7) ** 0.5)
        self.assertAlmostEqual(found["cv"], 100 * (32 / 7) ** 0.5 / 5)

    def test_one_run_has_no_spread(self):
        self.assertEqual((lab_stats.spread([3.0]), lab_stats.described([3.0])["sd"]), (0.0, 0.0))

    def test_low_percentiles_are_nearest_ranks_of_any_order(self):
        values = list(range(1000, 0, -1))
        for percent, expected in [(0, 1), (0.1, 2), (1, 11), (50, 501), (100, 1000)]:
            self.assertEqual(lab_stats.low_percentile(values, percent), expected)
        self.assertEqual(lab_stats.low_percentile([7], 99), 7)

    def test_drift_compares_the_last_tenth_with_the_first(self):
        self.assertEqual(lab_stats.drift([100.0] * 50), 0.0)
        self.assertAlmostEqual(lab_stats.drift([100.0] * 10 + [500.0] * 80 + [102.0] * 10), 2.0)
        self.assertAlmostEqual(lab_stats.drift([200.0, 100.0]), -50.0)

    def test_a_thinned_line_keeps_its_start_its_extremes_and_short_lines(self):
        points = [(x, x % 10) for x in range(100)]
        self.assertEqual(lab_stats.thinned(points, 10), [(x, 4.5) for x in range(0, 100, 10)])
        self.assertEqual({y for _, y in lab_stats.thinned(points, 10, min)}, {0})
        self.assertEqual(lab_stats.thinned(points[:7], 10), points[:7])
        self.assertEqual(lab_stats.thinned([], 10), [])
        self.assertLessEqual(len(lab_stats.thinned(points, 33)), 33)


unittest.main()
