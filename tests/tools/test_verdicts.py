#!/usr/bin/env -S python3 -B
"""test_verdicts.py EVENTS STATUS: for tools/test: prints what passed, failed and was skipped, from Bazel's build events
and its status.

Bazel has no skipped tests. A test that cannot run on a machine ends with status 0 after a line "SKIPPED: " with the
reason."""
import json
import os
import sys
import urllib.parse

SKIPPED = "SKIPPED: "


def events(path):
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def reason_of(log):
    """The reason why the test that wrote this log was skipped; None: it was not."""
    if not os.path.exists(log):
        return None
    with open(log, encoding="utf-8", errors="replace") as lines:
        return next((line[len(SKIPPED):].strip() for line in lines if line.startswith(SKIPPED)), None)


def log_of(event):
    """The path of the log that a test result names."""
    outputs = event["testResult"].get("testActionOutput", [])
    return next((urllib.parse.unquote(urllib.parse.urlparse(o["uri"]).path) for o in outputs if o["name"] == "test.log"), "")


def verdicts(path):
    """({label: passed?}, {label: why it was skipped}) of every test that Bazel was asked for, also of those that did
    not build. Tests that this configuration excludes (target_compatible_with) are left out."""
    tests, result, skipped = set(), {}, {}
    for event in events(path):
        key = event["id"]
        if "targetConfigured" in key and event.get("configured", {}).get("targetKind", "").endswith("_test rule"):
            tests.add(key["targetConfigured"]["label"])
        elif "targetCompleted" in key and event.get("aborted", {}).get("reason") == "SKIPPED":
            tests.discard(key["targetCompleted"]["label"])
        elif "testResult" in key and "testResult" in event:
            reason = reason_of(log_of(event))
            skipped.update({key["testResult"]["label"]: reason} if reason else {})
        elif "testSummary" in key and "testSummary" in event:
            result[key["testSummary"]["label"]] = event["testSummary"]["overallStatus"] == "PASSED"
    found = {label: result.get(label, False) for label in tests}
    return found, {label: reason for label, reason in skipped.items() if found.get(label)}


def main():
    path, status = sys.argv[1], int(sys.argv[2])
    found, skipped = verdicts(path) if os.path.exists(path) else ({}, {})
    failed = sorted(label for label, passed in found.items() if not passed)
    for label in failed:
        print("failed:", label)
    for label, reason in sorted(skipped.items()):
        print(f"skipped: {label}: {reason}")
    if status and not failed:
        print("bazel ended with status", status)
    line = f"{len(found) - len(failed) - len(skipped)} passed, {len(failed)} failed"
    print(line + (f", {len(skipped)} skipped" if skipped else ""))
    sys.exit(0 if status == 0 and found and not failed else 1)


if __name__ == "__main__":
    main()
