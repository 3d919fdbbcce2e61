"""kernel_keep.py: results that are kept in a file as they come, so that hours of runs can be done in parts.

The first line identifies the test programs; each further line is a result as JSON. Results of other test programs are
not used."""
import hashlib
import json
import os

from kernel_report import Result


class KeepError(Exception):
    """The runs cannot go on with the file; the text gives the reason."""


def digest(tests):
    """A digest of the test programs: {name: path}."""
    whole = hashlib.sha256()
    for name, path in sorted(tests.items()):
        with open(path, "rb") as program:
            whole.update(name.encode() + hashlib.sha256(program.read()).digest())
    return whole.hexdigest()


def key_of(kernel, run):
    return (kernel, run.setting, run.group, run.variant, run.name)


class Keep:
    """The results in the file, and those that are added; without a path, only the latter."""

    def __init__(self, path, tests):
        self.path, self.found = path, {}
        if path is None:
            return
        head = {"programs": digest(tests)}
        if os.path.exists(path):
            self.load(head)
        else:
            self.append(head)

    def load(self, head):
        with open(self.path, encoding="utf-8") as lines:
            if json.loads(next(lines)) != head:
                raise KeepError(f"{self.path}: results of other test programs: take another file")
            for line in lines:
                entry = json.loads(line)
                self.found[tuple(entry.pop("key"))] = entry

    def append(self, entry):
        with open(self.path, "a", encoding="utf-8") as out:
            out.write(json.dumps(entry) + "\n")

    def get(self, kernel, run):
        """The kept result of the run, or None."""
        entry = self.found.get(key_of(kernel, run))
        return entry and Result(kernel=kernel, run=run, **entry)

    def put(self, result):
        if self.path is None:
            return
        entry = result._asdict()
        del entry["kernel"], entry["run"]
        self.append({"key": key_of(result.kernel, result.run), **entry})
