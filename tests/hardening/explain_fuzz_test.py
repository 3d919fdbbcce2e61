#!/usr/bin/env -S python3 -B
"""explain_fuzz_test.py TOOLS_EXPLAIN [CASES [SEED]]: for any report, tools/explain ends with a page or with one line
that says why not: no exception, no control character on the terminal, and it opens only regular files. Reports are
made by the grammar of docs/REPORTS.md and then damaged; a failure prints the seed of its case, and
`explain_fuzz_test.py TOOLS_EXPLAIN 1 SEED` runs it again."""
import contextlib
import importlib.machinery
import importlib.util
import io
import os
import random
import subprocess
import sys
import tempfile
import types

ERRORS = ("double free", "interior free", "heap overflow", "write after free", "use after free", "family mismatch")
WORDS = ("object", "byte", "bytes", "thread", "stack", "allocated", "freed", "map", "next", "nonsense")
SPECIAL = ("\x1b[2J", "\x00", "\r", "\x7f", "\u202e", "0x", "0xzz", "-1", "/dev/zero", "/dev/stdin", "(", ")", ":", "\n", "hakmem: ", "hakmem:   stack: ",
           "f" * 40, "9" * 5000, "0x" + "f" * 17, "--obj=", "\udcff")


def hexadecimal(r):
    return f"{r.choice((0, 1, 15, 0x401000, 0x7f00_0000_1234, 2**64 - 1)) + r.randrange(16):x}"


def map_line(r):
    path = r.choice(("/bin/nothing", "/dev/zero", "/dev/full", "/proc/self/mem", "", "[heap]", "/tmp", "/no\x00where", "/a b (deleted)"))
    return f"{hexadecimal(r)}-{hexadecimal(r)} r-xp {hexadecimal(r)} fe:00 {r.randrange(1 << 20)} {path}"


def body(r, word):
    if word == "map":
        return map_line(r)
    if word in ("stack", "allocated", "freed"):
        return " ".join("0x" + hexadecimal(r) for _ in range(r.choice((0, 1, 8, 300))))
    return r.choice(("0x7f0011223340, a slot of 64 bytes", "00 01 >ff 00", "1 of process 2", "run again under a debugger"))


def report(r):
    lines = [f"hakmem: {r.choice(ERRORS)}: free(0x{hexadecimal(r)}): what was found"]
    for _ in range(r.randrange(12)):
        word = r.choice(WORDS)
        lines.append(f"hakmem:   {word}: {body(r, word)}")
    return "\n".join(lines) + "\n"


def damage(r, text):
    for _ in range(r.choice((0, 1, 1, 4, 20))):
        at, length = r.randrange(len(text) + 1), r.choice((0, 0, 1, 7, 100))
        text = text[:at] + (r.choice(SPECIAL) if r.random() < 0.7 else chr(r.randrange(256))) + text[at + length:]
    return text


def load(path):
    loader = importlib.machinery.SourceFileLoader("explain", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("explain", loader))
    loader.exec_module(module)
    return module


def checked_run(asked):
    """Replaces subprocess.run: only regular files may be asked about, by their whole path."""
    def run(command, **_):
        files = [word.removeprefix("--obj=") for word in command[1:] if "/" in word]
        assert files and all(os.path.isfile(path) for path in files), f"{command} opens what is no file"
        assert not any(word.startswith("-0") for word in command), f"{command}: an address that looks like an option"
        asked.append(command)
        return types.SimpleNamespace(stdout="?\x1b[1m\n?? at\x07\n")
    return run


def explain(module, path):
    """(its stdout, its message at the end)"""
    out, said = io.StringIO(), ""
    sys.argv = ["explain", path]
    with contextlib.redirect_stdout(out):
        try:
            module.main()
        except SystemExit as end:
            said = str(end.code)
    return out.getvalue(), said


def one_case(module, seed, path):
    r = random.Random(seed)
    text = damage(r, report(r) + (report(r) if r.random() < 0.2 else ""))
    with open(path, "wb") as file:
        file.write(text.encode("utf-8", "surrogateescape"))
    page, said = explain(module, path)
    assert page or said.startswith("tools/explain: "), "neither a page nor a reason"
    bad = [c for c in page if not c.isprintable() and c != "\n"]
    assert not bad, f"control characters on the terminal: {bad}"
    with open(path, encoding="utf-8", errors="replace") as lines:
        expected = sum(1 for line in lines if module.FIRST.match(line.rstrip("\n")))
    assert len([line for line in page.split("\n\n") if line]) == expected or said, "a report was left out"


def by_hand(tool):
    """As a user runs it: bytes that are not text on stdin, a stack without a number, a device in the mappings."""
    text = b"hakmem: double free: free(0x10): \xff\xfe\x1b[31m\nhakmem:   stack: zz 0x15\nhakmem:   map: 10-20 r-xp 0 fe:00 1 /dev/zero\n"
    done = subprocess.run([sys.executable, "-B", tool], input=text, capture_output=True, timeout=60, env={**os.environ, "LC_ALL": "C.UTF-8"})
    assert done.returncode == 0 and b"\x1b" not in done.stdout and b"    zz\n    /dev/zero+0x5\n" in done.stdout, done
    done = subprocess.run([sys.executable, "-B", tool], input=b"\x00\xff nothing", capture_output=True, timeout=60)
    assert done.returncode == 1 and done.stderr.startswith(b"tools/explain: no line"), done


def main():
    tool, cases = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5000
    first, asked = int(sys.argv[3]) if len(sys.argv) > 3 else 1, []
    module = load(tool)
    by_hand(tool)
    module.subprocess = types.SimpleNamespace(run=checked_run(asked))
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, first + cases):
            try:
                one_case(module, seed, os.path.join(folder, "report"))
            except Exception:
                print(f"seed {seed} fails:", file=sys.stderr)
                raise
    print(f"{cases} reports, {len(asked)} questions to other tools")


main()
