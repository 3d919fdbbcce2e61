#!/usr/bin/env -S python3 -B
"""interleave_run.py MODEL.pml...: spin checks every interleaving of each model and must find no error; then it checks
each of the mutants that the model's head names, and must find an error in every one."""
import os
import re
import subprocess
import sys
import tempfile


def errors(model, scratch, mutant=None):
    """The number of errors that spin finds in the model."""
    define = [f"-D{mutant}"] if mutant else []
    subprocess.run(["spin", *define, "-a", model], cwd=scratch, check=True, capture_output=True)
    subprocess.run(["gcc", "-O1", "-w", "-DSAFETY", "-DMEMLIM=1024", "-o", "pan", "pan.c"], cwd=scratch, check=True)
    out = subprocess.run(["./pan", "-m100000"], cwd=scratch, capture_output=True, text=True, check=True).stdout
    if "search depth too small" in out or "out of memory" in out:
        sys.exit(f"{model} {mutant or ''}: not all interleavings were seen:\n{out}")
    found = re.search(r"errors: (\d+)", out)
    states = re.search(r"(\d+) states, stored", out)
    print(f"{os.path.basename(model)} {mutant or 'as it is'}: {states[1]} states, {found[1]} errors", flush=True)
    return int(found[1])


def main():
    bad = []
    for model in map(os.path.abspath, sys.argv[1:]):
        with open(model, encoding="utf-8") as file:
            head = file.read().split("*/")[0]
        mutants = re.findall(r"[A-Z][A-Z_]{5,}", head.split("Mutants:")[1])
        with tempfile.TemporaryDirectory() as scratch:
            if errors(model, scratch):
                bad.append(f"{model}: something is wrong")
            bad += [f"{model}: {mutant} goes unseen" for mutant in mutants if not errors(model, scratch, mutant)]
    print("\n".join(bad) or "every interleaving is right, and every mutant is found")
    sys.exit(1 if bad else 0)


main()
