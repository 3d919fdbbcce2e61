#!/usr/bin/env -S python3 -B
"""results_test.py DETECTION.md FILE...: the kept results are small, and their page and scorecard are what tools/results --page makes of them."""
import json
import os
import sys
import unittest

import lab_path  # noqa: F401
import lab_curves_page
import lab_results

DETECTION = sys.argv.pop(1)
FILES = {os.path.basename(path): path for path in sys.argv[1:] if not path.endswith("README.md")}
del sys.argv[1:]


def text_of(name):
    with open(FILES[name], encoding="utf-8") as f:
        return f.read()


class KeptResults(unittest.TestCase):
    def test_the_page_and_the_scorecard_are_made_of_the_results(self):
        results = {name[:-len(".json")]: json.loads(text_of(name)) for name in sorted(FILES) if name.endswith(".json")}
        with open(DETECTION, encoding="utf-8") as f:
            made = lab_results.made_of(results, f.read())
        self.assertEqual(set(FILES), {kind + ".json" for kind in results} | set(made))
        for name, text in made.items():
            self.assertTrue(text == text_of(name), f"docs/results/{name} is not what the results give; run tools/results --page")

    def test_the_page_on_detection_has_the_curves_that_were_measured(self):
        with open(DETECTION, encoding="utf-8") as f:
            page = f.read()
        self.assertTrue(lab_curves_page.with_section(page, json.loads(text_of("curves.json"))) == page, "run tools/results --page")

    def test_every_result_is_of_a_known_kind_and_says_where_it_was_made(self):
        for name in FILES:
            if name.endswith(".json"):
                results = json.loads(text_of(name))
                self.assertEqual((results["kind"] + ".json", results["kind"] in lab_results.STEPS), (name, True))
                self.assertTrue(results["date"] and results["machine"]["cpu"] and results["machine"]["revision"])

    def test_they_are_small_and_have_no_paths_of_a_machine(self):
        self.assertLess(sum(os.path.getsize(path) for path in FILES.values()), 512 * 1024)
        for name in FILES:
            for path in (f"/{top}/" for top in ("tmp", "root", "home", "usr")):
                self.assertNotIn(path, text_of(name), name)


unittest.main()
