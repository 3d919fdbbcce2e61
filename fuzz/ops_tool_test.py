#!/usr/bin/env -S python3 -B
"""ops_tool_test.py OPS_TOOL LIBRARY: text and bytes are the same program, and the output of `c` compiles and runs
unchanged, under libc's malloc and under LIBRARY."""
import os
import subprocess
import sys
import tempfile


def run(*command, data=None, env=None):
    return subprocess.run(command, input=data, capture_output=True, check=True, env=env).stdout


def check_text(tool, path):
    with open(path, "rb") as file:
        program = file.read()
    text = run(tool, "disassemble", path)
    whole = len(program) - len(program) % 4
    assert run(tool, "assemble", data=text) == program[:whole], f"{path}: text and bytes differ"
    assert whole == 0 or run(tool, "print", path), f"{path}: no steps"


def check_c(tool, library, path, scratch):
    source, binary = os.path.join(scratch, "program.c"), os.path.join(scratch, "program")
    with open(source, "wb") as file:
        file.write(run(tool, "c", path))
    run("clang-19", "-w", "-fno-builtin", "-o", binary, source)
    run(binary)
    run(binary, env={**os.environ, "LD_PRELOAD": library})


def check_refusals(tool):
    for command, data in (["assemble"], b"MALLOC 8 0 0\n"), (["assemble"], b"NOSUCH 0 0 0\n"), ([], b""), (["generate", "0", "1"], b""):
        done = subprocess.run([tool, *command], input=data, capture_output=True)
        assert done.returncode in (1, 2) and done.stderr, f"{command} {data!r} was not refused"


def main():
    tool, library = map(os.path.abspath, sys.argv[1:3])
    corpus = "fuzz/corpus/ops"
    paths = sorted(os.path.join(corpus, name) for name in os.listdir(corpus))
    with tempfile.TemporaryDirectory() as scratch:
        for path in paths:
            check_text(tool, path)
        for name in ("every_call", "class_edges", "bursts", "large_reuse"):
            check_c(tool, library, os.path.join(corpus, name), scratch)
    check_refusals(tool)
    print(f"{len(paths)} programs")


main()
