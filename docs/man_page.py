#!/usr/bin/env -S python3 -B
"""man_page.py [--check]: puts the tables of OPTIONS.md into hakmem.7, between its two marks. --check: only says whether they are there."""
import os
import re
import sys

HERE = os.path.dirname(os.path.realpath(__file__))
FIRST, LAST = '.\\" The tables of OPTIONS.md, by man_page.py: begin\n', '.\\" end\n'


def roff(markdown):
    """Plain words of a cell; a line of roff must not begin with a dot."""
    words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", markdown).replace("`", "").replace("\\", "\\\\").replace("-", "\\-")
    return re.sub(r"\. +", ".\n", words)


def options(markdown):
    """The variables as roff, with the sections of the tables as subsections."""
    out = []
    for title, section in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", markdown, re.DOTALL | re.MULTILINE):
        rows = re.findall(r"^\| `(HAKMEM_\w+)` \| (.*?) \| (.*?) \| (.*?) \|$", section, re.MULTILINE)
        if rows:
            out.append(f".SS {title}\n")
        for name, values, default, what in rows:
            out.append(f".TP\n.B {name}\n{roff(values)}; default: {roff(default)}.\n{roff(what)}\n")
    return "".join(out)


def page(old, markdown):
    before, _, rest = old.partition(FIRST)
    after = rest.partition(LAST)[2]
    return before + FIRST + options(markdown) + LAST + after


def main():
    path = os.path.join(HERE, "hakmem.7")
    with open(path, encoding="utf-8") as f:
        old = f.read()
    with open(os.path.join(HERE, "OPTIONS.md"), encoding="utf-8") as f:
        new = page(old, f.read())
    if "--check" in sys.argv[1:]:
        return "docs/hakmem.7 is not what OPTIONS.md gives; run tools/python docs/man_page.py" if new != old else 0
    with open(path, "w", encoding="utf-8") as f:
        f.write(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
