#!/usr/bin/env -S python3 -B
"""workflows_test.py WORKSPACE: finds what GitHub would refuse in .github/workflows, or what would fail in its first
step: unknown keys, an expression that names nothing, an action without a version, a command that the tree does not
have or that does not accept its arguments. GitHub's own runner is not here; the syntax follows its documentation
("Workflow syntax for GitHub Actions")."""
import glob
import os
import re
import shlex
import subprocess
import sys
import unittest

import yaml

ROOT = os.path.dirname(os.path.realpath(sys.argv.pop()))
FOLDER = os.path.join(ROOT, ".github/workflows")
TOP = {"name", "on", "permissions", "env", "defaults", "concurrency", "jobs", "run-name"}
JOB = {"name", "permissions", "needs", "if", "runs-on", "environment", "concurrency", "outputs", "env", "defaults", "steps", "timeout-minutes", "strategy",
       "continue-on-error", "container", "services"}
STEP = {"id", "if", "name", "uses", "run", "shell", "with", "env", "continue-on-error", "timeout-minutes", "working-directory"}
EVENTS = {"push": {"branches", "tags", "paths", "branches-ignore", "tags-ignore", "paths-ignore"},
          "pull_request": {"branches", "types", "paths", "branches-ignore", "paths-ignore"}, "schedule": {"cron"}, "workflow_dispatch": {"inputs"}}
PERMISSIONS = {"contents", "actions", "checks", "issues", "packages", "pull-requests", "security-events", "statuses", "id-token"}
CONTEXTS = {"github", "matrix", "secrets", "env", "runner", "needs", "steps"}
# The inputs that each action has.
ACTIONS = {
    "actions/checkout@v4": {"fetch-depth", "ref", "path"}, "actions/upload-artifact@v4": {"name", "path", "retention-days"},
    "google/clusterfuzzlite/actions/build_fuzzers@v1": {"language", "github-token", "sanitizer", "upload-build", "storage-repo"},
    "google/clusterfuzzlite/actions/run_fuzzers@v1": {"github-token", "fuzz-seconds", "mode", "sanitizer", "output-sarif", "parallel-fuzzing", "storage-repo"}}
FUZZ_MODES = {"code-change", "batch", "prune", "coverage"}
CONFIGS = re.compile(r"^(?:test|build):(\w+) ", re.M)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


class Strict(yaml.SafeLoader):
    """YAML 1.1 reads `on` as true, and takes the last of two equal keys; here `on` is a word and a repeated key is
    an error."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        if len(keys) != len(set(keys)):
            raise yaml.constructor.ConstructorError(None, None, f"a key stands twice: {keys}", node.start_mark)
        return super().construct_mapping(node, deep)


Strict.yaml_implicit_resolvers = {first: [(tag, regexp) for tag, regexp in rules if tag != "tag:yaml.org,2002:bool"]
                                  for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()}
WORKFLOWS = {os.path.basename(path): yaml.load(read(path), Strict) for path in sorted(glob.glob(os.path.join(FOLDER, "*.yml")))}


def jobs():
    for file, workflow in WORKFLOWS.items():
        for name, job in workflow["jobs"].items():
            yield f"{file}, {name}", job


def steps():
    for name, job in jobs():
        for number, step in enumerate(job["steps"], 1):
            yield f"{name}, step {number}", job, step


def matrix_of(job):
    """{key: values}"""
    matrix = dict(job.get("strategy", {}).get("matrix", {}))
    for row in matrix.pop("include", []):
        for key, value in row.items():
            matrix.setdefault(key, []).append(value)
    return matrix


def commands():
    """(where, words) of each command of the tree, once for each value of the matrix."""
    for where, job, step in steps():
        for line in str(step.get("run", "")).splitlines():
            names = re.findall(r"\$\{\{ matrix\.(\w+) \}\}", line)
            for value in matrix_of(job)[names[0]] if names else [""]:
                words = shlex.split(re.sub(r"\$\{\{ matrix\.\w+ \}\}", str(value), line))
                if words[0].startswith((".ci/", "tools/")):
                    yield where, words


class Workflows(unittest.TestCase):
    def test_there_is_one_for_each_purpose(self):
        self.assertEqual(set(WORKFLOWS), {"ci.yml", "cflite_pr.yml", "cflite_batch.yml", "cflite_cron.yml", "cflite_build.yml", "nightly.yml", "release.yml"})

    def test_keys_are_known(self):
        for file, workflow in WORKFLOWS.items():
            self.assertLessEqual(set(workflow), TOP, file)
            self.assertTrue({"name", "on", "permissions", "jobs"} <= set(workflow), file)
            self.assertLessEqual(set(workflow["permissions"]), PERMISSIONS, file)
            for event, settings in workflow["on"].items():
                self.assertIn(event, EVENTS, file)
                for row in settings if isinstance(settings, list) else [settings or {}]:
                    self.assertLessEqual(set(row), EVENTS[event], file)
        for where, job in jobs():
            self.assertLessEqual(set(job), JOB, where)
            self.assertTrue({"runs-on", "steps", "timeout-minutes"} <= set(job), where)
        for where, _, step in steps():
            self.assertLessEqual(set(step), STEP, where)
            self.assertEqual(("uses" in step) + ("run" in step), 1, where)

    def test_times_are_times(self):
        for file, workflow in WORKFLOWS.items():
            for row in workflow["on"].get("schedule", []):
                fields = [int(field) if field != "*" else None for field in row["cron"].split()]
                for field, most in zip(fields, (59, 23, 31, 12, 6), strict=True):
                    self.assertTrue(field is None or 0 <= field <= most, file)

    def test_actions_have_a_version_and_these_inputs(self):
        for where, _, step in steps():
            if "uses" in step:
                self.assertIn(step["uses"], ACTIONS, where)
                self.assertLessEqual(set(step.get("with", {})), ACTIONS[step["uses"]], where)
                self.assertIn(step.get("with", {}).get("mode", "batch").replace("${{ matrix.mode }}", "prune"), FUZZ_MODES, where)

    def test_expressions_name_what_there_is(self):
        for name, job in jobs():
            for expression in re.findall(r"\$\{\{(.*?)\}\}", yaml.dump(job)):
                found = re.fullmatch(r" (\w+)\.([\w-]+) ", expression)
                self.assertTrue(found and found[1] in CONTEXTS, f"{name}: {expression}")
                if found[1] == "matrix":
                    self.assertIn(found[2], matrix_of(job), name)

    def test_commands_are_there(self):
        for where, words in commands():
            self.assertTrue(os.access(os.path.join(ROOT, words[0]), os.X_OK), f"{where}: {words[0]}")

    def test_commands_understand_their_words(self):
        known = set(CONFIGS.findall(read(os.path.join(ROOT, ".bazelrc"))))
        seen = set()
        for where, words in commands():
            for word in words[1:]:
                config = re.fullmatch(r"--config=(\w+)", word)
                self.assertTrue(config is None or config[1] in known, f"{where}: {word}")
            if words[0] in ("tools/mutants", "tools/test", "tools/prove") and words[0] not in seen:
                seen.add(words[0])
                said = subprocess.run([os.path.join(ROOT, words[0]), "--help"], capture_output=True, text=True, check=True).stdout
                for word in words[1:]:
                    if word.startswith("--"):
                        self.assertIn(word.partition("=")[0], said, where)

    def test_scripts_are_shell(self):
        for path in glob.glob(os.path.join(ROOT, ".ci/*")) + [os.path.join(ROOT, ".clusterfuzzlite/build.sh"), os.path.join(ROOT, "fuzz/oss-fuzz/build.sh")]:
            self.assertEqual(subprocess.run(["bash", "-n", path], capture_output=True, text=True, check=False).stderr, "")

    def test_images_leave_the_products_out(self):
        ignored = read(os.path.join(ROOT, ".dockerignore")).splitlines()
        for name in (".git", "bazel-*", "out"):
            self.assertIn(name, ignored)
        self.assertNotIn("fuzz", " ".join(ignored))


unittest.main()
