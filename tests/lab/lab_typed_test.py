#!/usr/bin/env -S python3 -B
"""lab_typed_test.py: the price of types is the median of each round's ratio, on numbers whose answer is known."""
import unittest

import lab_path  # noqa: F401
import lab_typed


class Price(unittest.TestCase):
    def test_the_ratio_is_of_runs_of_one_round(self):
        of = lambda *pairs: [{"cpu_s": cpu, "hwm_kib": kib} for cpu, kib in pairs]
        runs = {"lua": {"on": of((1.1, 2048), (2.4, 2200), (4.2, 2048)), "off": of((1.0, 2048), (2.0, 2000), (4.0, 2048))}}
        rows = lab_typed.rows_of(runs, {"lua": 1})
        self.assertEqual(rows[1], ["lua", "1", "1.100", "1.05 to 1.20", "1.000", "2.00", "2.0"])

    def test_the_two_settings_differ_by_partitions_alone(self):
        self.assertEqual(lab_typed.SETTINGS, {"off": {"HAKMEM_PARTITIONS": "0"}, "on": {}})


unittest.main()
