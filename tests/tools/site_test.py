#!/usr/bin/env -S python3 -B
"""site_test.py WORKSPACE: docs/site.py makes a site of the repository's pages; every link to a file of the site
leads to one."""
import html.parser
import os
import subprocess
import sys
import tempfile
import unittest
import urllib.parse

ROOT = os.path.dirname(os.path.realpath(sys.argv.pop()))


class Links(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in ("href", "src") and value]


class Site(unittest.TestCase):
    def test_every_page_and_every_link(self):
        with tempfile.TemporaryDirectory() as folder:
            site = os.path.join(folder, "site")
            done = subprocess.run([os.path.join(ROOT, "docs/site.py"), site], capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
            pages = [os.path.join(at, name) for at, _, names in os.walk(site) for name in names if name.endswith(".html")]
            self.assertGreater(len(pages), 40)
            for page in pages:
                with open(page, encoding="utf-8") as file:
                    links = Links()
                    links.feed(file.read())
                for link in links.found:
                    parts = urllib.parse.urlparse(link)
                    if parts.scheme or parts.netloc or not parts.path or parts.path.startswith("/") and page.endswith("404.html"):
                        continue
                    target = os.path.normpath(os.path.join(os.path.dirname(page), urllib.parse.unquote(parts.path)))
                    self.assertTrue(os.path.exists(target), f"{os.path.relpath(page, site)}: {link}")
            with open(os.path.join(site, "index.html"), encoding="utf-8") as file:
                first = file.read()
            self.assertIn('src="docs/results/overview.svg"', first)
            self.assertIn('href="docs/GUIDE.html"', first)
            name = "docs/results/index.html" # the lab's own page, not one that MkDocs makes
            with open(os.path.join(site, name), "rb") as made, open(os.path.join(ROOT, name), "rb") as kept:
                self.assertEqual(made.read(), kept.read())

    def test_wrong_usage_is_told_and_makes_nothing(self):
        done = subprocess.run([os.path.join(ROOT, "docs/site.py")], capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("site.py FOLDER", done.stderr)


unittest.main()
