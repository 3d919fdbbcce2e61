"""wrap_markdown.py: pages that tools make have lines of at most 120 columns, as all pages do; rows of tables and headings excepted."""
import re
import textwrap

COLUMNS = 120


def _filled(text, indent=""):
    return textwrap.fill(" ".join(text.split()), COLUMNS, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def wrapped(page):
    """The page with its paragraphs and list entries filled. Code blocks, tables and headings stay as they are."""
    blocks, code = [], False
    for block in page.split("\n\n"):
        fences = block.count("```")
        plain = not code and not fences and not re.match(r"\s*(\||#|    )", block) and max(map(len, block.split("\n"))) > COLUMNS
        if plain and block.startswith("- "):
            block = "\n".join(_filled(entry, "  ") for entry in re.split(r"\n(?=- )", block.rstrip("\n"))) + "\n" * block.endswith("\n")
        elif plain:
            block = _filled(block) + "\n" * block.endswith("\n")
        code ^= fences % 2 == 1
        blocks.append(block)
    return "\n\n".join(blocks)
