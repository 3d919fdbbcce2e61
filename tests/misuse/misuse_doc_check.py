#!/usr/bin/env -S python3 -B
"""misuse_doc_check.py PROGRAM DETECTION.md: fails unless the page lists exactly the cases of the corpus."""
import sys

import misuse_cases as misuse
import misuse_table


def main():
    program, document = sys.argv[1:]
    wanted = [misuse_table.row(misuse_table.case_key(case))[:-1] for case in misuse.read_cases(program)]
    with open(document, encoding="utf-8") as page:
        written = [line for line in page if line.startswith("| `")]
    missing = [key for key in wanted if not any(line.startswith(key) for line in written)]
    print("\n".join(f"not in the page: {key}" for key in missing))
    if missing or len(written) != len(wanted):
        sys.exit(f"{len(written)} rows for {len(wanted)} cases: run tools/python tests/misuse/misuse_table.py")


if __name__ == "__main__":
    main()
