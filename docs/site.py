#!/usr/bin/env -S python3 -B
"""site.py FOLDER: the pages of this repository as a site (MkDocs; Debian's package mkdocs), which opens offline: FOLDER/index.html.

The sources stay what a reader of the repository sees: pages keep their places, README.md is the first one, and what else they link
to goes along as it is. Ends with 1 when a link leads nowhere."""
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
NAV = {
    "Use": ["docs/GUIDE.md", "docs/USING.md", "docs/OPTIONS.md", "docs/ROLLOUT.md", "docs/REPORTS.md", "docs/STATS.md", "docs/PROFILE.md",
            "docs/TYPED_HEAP.md", "docs/JEMALLOC.md", "docs/LIMITS.md"],
    "Protection": ["docs/THREATS.md", "docs/DETECTION.md", "docs/MITIGATIONS.md", "hardening/README.md"],
    "Design": ["docs/DESIGN.md", "docs/GLOSSARY.md", "docs/FAST_PATH.md", "allocator/README.md", "docs/decisions/README.md"],
    "Measured": ["docs/BENCHMARKING.md", "bench/README.md", "docs/results/scorecard.md"],
    "Tested": ["docs/FUZZING.md", "docs/MUTANTS.md", "docs/COVERAGE.md", "docs/PROOFS.md", "docs/KERNELS.md",
               "docs/KERNELS-arm64.md", "docs/REVIEW.md"],
    "Take part": ["CONTRIBUTING.md", "CHANGELOG.md"],
}
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def pages():
    """Markdown files of the tree, as paths relative to its root."""
    for folder, folders, files in os.walk(ROOT):
        folders[:] = sorted(f for f in folders if not f.startswith((".", "bazel-")) and f not in ("third_party", "out", "build"))
        for name in sorted(files):
            if name == "README.md" and "index.html" in files:
                continue # MkDocs would make it index.html, in the place of what the lab has made
            if name.endswith(".md"):
                yield os.path.relpath(os.path.join(folder, name), ROOT)


def collect(target):
    """Copies the pages and the files that they link to."""
    wanted = list(pages())
    for path in wanted:
        with open(os.path.join(ROOT, path), encoding="utf-8") as file:
            text = file.read()
        for link in LINK.findall(re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
            linked = os.path.normpath(os.path.join(os.path.dirname(path), link))
            if "://" not in link and os.path.isfile(os.path.join(ROOT, linked)) and linked not in wanted:
                wanted.append(linked)
    for path in wanted:
        os.makedirs(os.path.dirname(os.path.join(target, path)), exist_ok=True)
        shutil.copy(os.path.join(ROOT, path), os.path.join(target, path))
        if path.endswith(".md"):
            unlink_folders(path, target)


def unlink_folders(path, target):
    """A link to a folder shows its files to a reader of the repository; the site has only the text of the link."""
    def plain(match):
        return match[1] if os.path.isdir(os.path.join(ROOT, os.path.dirname(path), match[2])) else match[0]
    with open(os.path.join(target, path), "r+", encoding="utf-8") as file:
        text = re.sub(r"\[([^\[\]]*)\]\(([^)#\s]+)\)", plain, file.read())
        file.seek(0)
        file.truncate()
        file.write(text)


def config(sources, site):
    lines = ["site_name: hakmem", f"docs_dir: {sources}", f"site_dir: {site}", "theme: mkdocs", "use_directory_urls: false",
             "markdown_extensions: [tables, fenced_code]", "plugins: [search]", "nav:", "  - README.md"]
    for title, listed in NAV.items():
        lines += [f"  - {title}:", *(f"    - {path}" for path in listed)]
    return "\n".join(lines) + "\n"


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    if not shutil.which("mkdocs"):
        sys.exit("site.py: mkdocs is missing; install the Debian package mkdocs (tools/setup test)")
    with tempfile.TemporaryDirectory() as scratch:
        sources = os.path.join(scratch, "pages")
        collect(sources)
        with open(os.path.join(scratch, "mkdocs.yml"), "w", encoding="utf-8") as file:
            file.write(config(sources, os.path.abspath(sys.argv[1])))
        return subprocess.run(["mkdocs", "build", "--quiet", "--strict", "--clean", "-f", file.name]).returncode


if __name__ == "__main__":
    sys.exit(main())
