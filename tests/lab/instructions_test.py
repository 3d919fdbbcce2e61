#!/usr/bin/env -S python3 -B
"""instructions_test.py WORKLOADS SPEED.so HARDENED.so BOUNDS: the fast paths execute no more instructions than BOUNDS says."""
import os
import sys
import unittest

import lab_path  # noqa: F401
import lab_count

*_, WORKLOADS, SPEED, HARDENED, BOUNDS = (os.path.abspath(path) for path in sys.argv)
del sys.argv[1:]
LIBRARIES = {"speed": SPEED, "hardened": HARDENED}
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HAKMEM_PROFILE": "balanced", "HAKMEM_SAMPLE_RATE": "0"}


def bounds():
    with open(BOUNDS, encoding="utf-8") as lines:
        for line in lines:
            variant, *limits = line.split("#")[0].split() or [""]
            yield from ((variant, pattern, float(most)) for pattern, most in zip(lab_count.PATTERNS, limits))


class Instructions(unittest.TestCase):
    def test_every_variant_and_pattern_has_a_bound(self):
        self.assertEqual({(v, p) for v, p, _ in bounds()}, {(v, p) for v in LIBRARIES for p in lab_count.PATTERNS})

    def test_no_fast_path_executes_more_than_its_bound(self):
        for variant, pattern, most in bounds():
            with self.subTest(variant=variant, pattern=pattern):
                count = lab_count.per_pair(WORKLOADS, pattern, LIBRARIES[variant], ENVIRONMENT)
                print(f"{variant}, {pattern}: {count:.1f} instructions a pair, bound {most:g}")
                self.assertGreater(count, 0)
                self.assertLessEqual(count, most, "if the change is worth it, raise the bound in instructions.txt and say why")


unittest.main()
