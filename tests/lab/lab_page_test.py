#!/usr/bin/env -S python3 -B
"""lab_page_test.py: pages are well formed, complete in themselves, and show the results."""
import re
import unittest
import xml.etree.ElementTree as ElementTree

import lab_path  # noqa: F401
import lab_page
import lab_results
import lab_score
import lab_table

MACHINE = {"cpu": "A & B <CPU>", "cores": 2, "kernel": "6", "libc": "2.36", "huge_pages": "", "revision": "0123456789abcdef", "sources": "x"}


def found(rate, hwm=1000):
    return {"runs": 3, "rate": rate, "rates": [rate], "cv": 1.0, "cpu_s": 1.0, "wall_s": 1.0, "hwm_kib": hwm, "faults": 1}


def workloads(ours=120.0, hwm=900):
    summary = {w: {"hakmem": found(ours, hwm), "mimalloc2": found(100.0), "limit": found(125.0), "scudo": found(10.0)} for w in lab_score.AHEAD}
    return {"format": 1, "kind": "workloads", "date": "2000-01-01T00:00:00Z", "machine": MACHINE, "rounds": 3, "base": "mimalloc2",
            "peers": ["hakmem", "mimalloc2", "limit", "scudo"], "summary": summary, "settings": []}


def svgs(page):
    return [ElementTree.fromstring(text) for text in re.findall(r"<svg.*?</svg>", page, re.S)]


class Pages(unittest.TestCase):
    def test_a_page_needs_nothing_from_elsewhere(self):
        page = lab_results.page({"workloads": workloads()})
        self.assertEqual(re.findall(r'(?:src|href)="(?!#)[^"]*"|<script|@import|url\(', page), [])
        self.assertTrue(page.startswith("<!DOCTYPE html>") and page.count("<html") == page.count("</html>") == 1)

    def test_text_is_escaped(self):
        page = lab_results.page({"workloads": workloads()})
        self.assertIn("A &amp; B &lt;CPU&gt;", page)
        self.assertNotIn("<CPU>", page)

    def test_every_plot_is_well_formed_and_every_bar_has_the_ratio(self):
        plots = svgs(lab_results.page({"workloads": workloads()}))
        bars = [e for plot in plots for e in plot.iter() if e.tag.endswith("rect") and len(e)]
        self.assertEqual(len(bars), 4 * len(lab_score.AHEAD))
        self.assertIn("hakmem on a: 1.20", [bar[0].text for bar in bars])

    def test_bars_of_equal_speed_have_equal_height_and_long_ones_are_cut_and_labelled(self):
        rects = list(lab_page.bar(0, 2.0, 4.0, 300, 50, "#000", "x")) + list(lab_page.bar(0, 9.0, 4.0, 300, 50, "#000", "x"))
        self.assertIn('height="100.0"', rects[0])
        self.assertIn('height="200.0"', rects[1])
        self.assertIn(">9<", rects[2])

    def test_lines_stay_inside_the_plot_on_both_scales(self):
        for doubling in (False, True):
            plot, = svgs(lab_page.lines({"x": [(1, 5.0), (8192, 1.0)], "y": [(1, 0.0), (64, 9.0)]}, "x", "y", doubling))
            for e in plot.iter():
                for pair in (e.get("points") or "").split():
                    x, y = map(float, pair.split(","))
                    self.assertTrue(0 <= x <= 900 and 0 <= y <= 300, pair)
        self.assertEqual(lab_page.lines({}, "x", "y"), "")

    def test_a_failed_contestant_is_shown_as_failed(self):
        results = workloads()
        results["summary"]["a"]["scudo"] = {"error": "exit -6", "failed": 1, "runs": 3}
        titled = dict(lab_table.all_tables(results))
        speed = titled["Speed, ratio to mimalloc2 (higher is better; spread of the runs in brackets)"]
        self.assertEqual(speed[1][speed[0].index("scudo")], "FAILED")
        self.assertIn("FAILED", lab_results.page({"workloads": results}))

    def test_tables_line_up_and_become_markdown(self):
        rows = [["a", "b"], ["long", 1]]
        self.assertEqual(lab_table.grid(rows), "a     b\nlong  1")
        self.assertEqual(lab_table.markdown(rows), "| a | b |\n| --- | --- |\n| long | 1 |")


class Scorecard(unittest.TestCase):
    def verdicts(self, results):
        return {row[0]: row[3] for title, rows in lab_score.tables(results) if len(rows[0]) == 4 for row in rows[1:]}

    def test_a_target_is_met_or_missed_by_what_was_measured(self):
        slow, fast = self.verdicts({"workloads": workloads(99.0)}), self.verdicts({"workloads": workloads(120.0)})
        self.assertEqual(slow["workload a, ratio to the best Debian peer (mimalloc2)"], "missed")
        self.assertEqual(fast["workload a, ratio to the best Debian peer (mimalloc2)"], "met")
        self.assertEqual(fast["workload h, ratio to the best Debian peer (mimalloc2)"], "missed")
        self.assertEqual(fast["workload a, fraction of the limit allocator"], "missed")
        self.assertEqual(self.verdicts({"workloads": workloads(124.0)})["workload a, fraction of the limit allocator"], "met")

    def test_memory_is_compared_with_the_lowest_lean_peer(self):
        self.assertEqual(self.verdicts({"workloads": workloads(hwm=1001)})["workload a, peak RSS in MiB"], "missed")
        self.assertEqual(self.verdicts({"workloads": workloads(hwm=1000)})["workload a, peak RSS in MiB"], "met")

    def test_what_was_not_measured_is_never_met(self):
        self.assertEqual(set(self.verdicts({}).values()), {"not measured"})
        self.assertEqual(self.verdicts({"workloads": workloads()})["larson, ratio to the best Debian peer (-)"], "not measured")

    def test_failed_runs_are_not_met(self):
        results = workloads()
        results["summary"]["a"]["hakmem"] = {"error": "exit -6", "failed": 1, "runs": 3}
        self.assertEqual(self.verdicts({"workloads": results})["workload a, ratio to the best Debian peer (mimalloc2)"], "not measured")

    def test_soak_targets_need_no_drift_and_a_low_spread(self):
        def soak(drift, cv):
            return {"soak": {"summary": {"hakmem-speed": {"rss_drift": drift, "cv": cv}, "mimalloc2": {"cv": 3.0}}}}
        name = "hakmem-speed, soak, CV in percent"
        self.assertEqual([self.verdicts(soak(0.0, cv))[name] for cv in (1.6, 2.9, 3.1)], ["met", "met", "missed"])
        self.assertEqual([self.verdicts(soak(d, 1.0))["hakmem-speed, soak, RSS drift in percent"] for d in (0.0, 0.01)], ["met", "missed"])

    def test_growth_and_metadata(self):
        heap = {"1": {"ns": 10.0, "metadata_share": 30.0}, "64": {"ns": 19.0, "metadata_share": 1.5}, "8192": {"ns": 20.0, "metadata_share": 1.9}}
        found = self.verdicts({"growth": {"summary": {"heap": {"hakmem": heap}}}})
        self.assertEqual(found["hakmem, growth of time per operation: a heap of 1 MiB to 8 GiB"], "met")
        self.assertEqual(found["hakmem, metadata from 64 MiB on, percent of live bytes"], "met")
        heap["64"]["metadata_share"] = 2.1
        found = self.verdicts({"growth": {"summary": {"heap": {"hakmem": heap}}}})
        self.assertEqual(found["hakmem, metadata from 64 MiB on, percent of live bytes"], "missed")

    def test_the_markdown_page_has_every_row(self):
        results = {"workloads": workloads()}
        self.assertEqual(lab_score.markdown(results).count("\n| workload a,"), 3)


unittest.main()
