#!/usr/bin/env -S python3 -B
"""packages_test.py WORKSPACE: the packages' files agree with the tree: the version, and the place of each installed
file. `.ci/packages` builds them, which takes minutes."""
import glob
import json
import os
import re
import subprocess
import sys
import unittest

ROOT = os.path.dirname(os.path.realpath(sys.argv.pop()))
sys.path.insert(0, os.path.join(ROOT, "tests/lint"))
import lint_binary  # noqa: E402


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


VERSION = re.search(r'HAK_VERSION_STRING "(.*)"', read("include/hakmem.h"))[1]


class Packages(unittest.TestCase):
    def test_one_version(self):
        self.assertEqual(re.match(r"hakmem \((.*?)\)", read("debian/changelog"))[1], VERSION)
        self.assertIn(f"version_of_hakmem {VERSION}}}", read("packaging/hakmem.spec"))
        self.assertEqual(json.loads(read("packaging/vcpkg/vcpkg.json"))["version"], VERSION)
        self.assertEqual(json.loads(read("packaging/bazel/metadata.json"))["versions"], [VERSION])
        self.assertIn(VERSION, json.loads(read("packaging/bazel/source.json"))["url"])
        bill = json.loads(read("packaging/sbom.spdx.json"))
        self.assertEqual(next(one for one in bill["packages"] if one["name"] == "hakmem")["versionInfo"], VERSION)

    def test_soname_is_the_packages_name(self):
        major = VERSION.split(".")[0]
        names = re.findall(r"^Package: (.*)$", read("debian/control"), re.MULTILINE)
        self.assertEqual(sorted(names), ["hakmem-tools", "libhakmem-dev", f"libhakmem-hardened{major}", f"libhakmem{major}"])
        for name in names:
            self.assertTrue(read(f"debian/{name}.install"))
        for text in (read("debian/rules"), read("packaging/hakmem.spec")):
            self.assertIn(f"lib$product.so.{major}", text.replace("$$", "$"))

    def test_the_symbols_files_have_what_the_libraries_export(self):
        """hak_* by its version; the many names of tokens by a pattern; all others one by one."""
        major, wanted = VERSION.split(".")[0], lint_binary.documented(os.path.join(ROOT, "tests/lint/exports.txt"))
        for product in ("hakmem", "hakmem-hardened"):
            head, *lines = read(f"debian/lib{product}{major}.symbols").splitlines()
            self.assertEqual(head, f"lib{product}.so.{major} lib{product}{major} #MINVER#")
            self.assertEqual(lines[:2], [f" (symver){lint_binary.VERSION} 0.1.0", ' (regex)"^__alloc_token_.*@Base$" 0.1.0'])
            self.assertEqual({line.split("@Base ")[0].strip() for line in lines[2:]}, {name for name in wanted if not name.startswith(("hak_", "__alloc_token_"))})
        self.assertIn(f"{lint_binary.VERSION} {{", read("allocator/exports.lds"))

    def test_bill_of_materials_is_spdx(self):
        bill = json.loads(read("packaging/sbom.spdx.json"))
        for key in ("spdxVersion", "dataLicense", "SPDXID", "name", "documentNamespace", "creationInfo"):
            self.assertIn(key, bill)
        ids = {bill["SPDXID"]} | {one["SPDXID"] for one in bill["packages"]}
        for one in bill["packages"]:
            self.assertTrue(one["name"] and one["downloadLocation"] and one["SPDXID"].startswith("SPDXRef-"))
        for one in bill["relationships"]:
            self.assertTrue({one["spdxElementId"], one["relatedSpdxElement"]} <= ids)

    def test_what_the_libraries_need_is_in_the_bill(self):
        """No other library is compiled in: every include of the allocator is its own, the kernel's or libc's."""
        for folder in ("allocator", "hardening"):
            found = glob.glob(os.path.join(ROOT, folder, "**/*.[ch]"), recursive=True)
            self.assertGreater(len(found), 40)
            for path in found:
                for header in re.findall(r'^#include "(.*?)"', read(path), re.MULTILINE):
                    self.assertTrue(header.startswith(("allocator/", "hardening/", "include/")), (path, header))

    def test_scripts_are_sound(self):
        subprocess.run(["bash", "-n", os.path.join(ROOT, ".ci/packages")], check=True)
        self.assertTrue(os.access(os.path.join(ROOT, "debian/rules"), os.X_OK))


unittest.main()
