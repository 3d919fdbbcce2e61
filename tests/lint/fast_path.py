#!/usr/bin/env -S python3 -B
"""fast_path.py SPEED.so HARDENED.so: prints docs/FAST_PATH.md, the cost of the compiled fast paths (x86-64).

The fast path of an entry point is found in the disassembly by these rules:
1. It begins at the symbol and follows the code; an unconditional jump inside the function is followed.
2. An instruction is cold when every way on from it meets a call or a jump out of the function before a return.
3. At a conditional branch the side that is not cold is taken; when both or neither are cold, the fall-through, which is where
   the compiler puts the likely side. A branch back to an instruction that was visited is not taken again.
4. A call is counted and passed over. A jump out of the function is followed when its target is in the same library and is no
   `*_slow` or `*die*` function; else it counts as a call and ends the path. A return ends the path.
An instruction with a memory operand counts as a load, a store, or both; push and pop as store and load; call and ret as neither.
"""
import os
import re
import subprocess
import sys

ENTRIES = {"malloc": "malloc(size)", "free": "free(obj)", "calloc": "calloc(count, size)",
           "_ZdlPvm": "operator delete(void *, size_t)"}
KINDS = ("instructions", "loads", "stores", "branches", "calls")
NO_ACCESS = ("lea", "nop", "prefetch", "endbr")
READ_ONLY = ("cmp", "test", "ucomis", "comis", "bt", "ptest", "vptest", "mul", "imul", "div", "idiv")
OVERWRITES = ("mov", "vmov", "set", "pextr", "vpextr")
UPDATES = ("inc", "dec", "neg", "not", "shl", "shr", "sar", "rol", "ror")  # may have one operand


def output_of(*command):
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


class Library:
    """Instructions by address, and functions by name and by address."""

    def __init__(self, path):
        self.code, self.next, self.start, self.extent, self.names = {}, {}, {}, {}, {}
        for line in output_of("llvm-nm-19", "--defined-only", "--print-size", path).splitlines():
            fields = line.split()
            if len(fields) == 4 and fields[2] in "tTwW":
                at = int(fields[0], 16)
                self.start[fields[3]] = at
                self.names.setdefault(at, []).append(fields[3])
                self.extent[at] = max(self.extent.get(at, 0), int(fields[1], 16))
        last = None
        for line in output_of("llvm-objdump-19", "-d", "--no-show-raw-insn", path).splitlines():
            found = re.match(r"\s*([0-9a-f]+):\s+(\S.*)", line)
            if found:
                at = int(found[1], 16)
                self.code[at] = found[2].split("#")[0].replace("\t", " ").strip()
                if last is not None:
                    self.next[last] = at
                last = at


def mnemonic(text):
    words = text.split()
    return words[1] if words[0] in ("lock", "rep", "repne", "notrack", "data16", "addr32") and len(words) > 1 else words[0]


def operands(text):
    rest = text.split(mnemonic(text), 1)[1].split("<")[0]
    return [o.strip() for o in re.findall(r"(?:[^,(]|\([^)]*\))+", rest) if o.strip()]


def target_of(text):
    found = re.search(r"\s0x([0-9a-f]+)(\s|$)", text)
    return int(found[1], 16) if found else None


def accesses(text):
    """(loads, stores) of one instruction."""
    name, args = mnemonic(text), operands(text)
    if name.startswith(("call", "ret")) or name.startswith(NO_ACCESS):
        return 0, 0
    if name.startswith("push"):
        return 0, 1
    if name.startswith("pop") and not name.startswith("popcnt"):
        return 1, 0
    memory = [("(" in a or re.match(r"\*?%[fg]s:", a)) is not None and ("(" in a or ":" in a) for a in args]
    if not any(memory):
        return 0, 0
    if not memory[-1] or name.startswith("j"):
        return 1, 0
    if name.startswith(OVERWRITES) and not name.startswith("movabs"):
        return 0, 1
    if name.startswith(READ_ONLY) and not name.startswith(("bts", "btr", "btc")):
        return 1, 0
    if len(args) == 1 and not name.startswith(UPDATES):
        return 1, 0
    return 1, 1


class Function:
    def __init__(self, library, at):
        self.library, self.at, self.end = library, at, at + max(library.extent.get(at, 0), 1)
        self.cold = self.find_cold()

    def inside(self, at):
        return at is not None and self.at <= at < self.end

    def steps(self, at):
        """Where the code can go on inside the function; None when it leaves it (a call, or a jump out)."""
        text = self.library.code[at]
        name, follows, target = mnemonic(text), self.library.next.get(at), target_of(text)
        if name.startswith("ret"):
            return []
        if name.startswith("call") or name in ("ud2", "hlt", "int3"):
            return None
        if name.startswith("jmp"):
            return [target] if self.inside(target) else None
        if name.startswith("j"):
            return [follows, target] if self.inside(target) else [follows]
        return [follows]

    def find_cold(self):
        """Warm instructions reach a return; found by widening the set until nothing changes."""
        addresses = [a for a in self.library.code if self.inside(a)]
        warm, grew = set(), True
        while grew:
            grew = False
            for at in reversed(addresses):
                ways = self.steps(at)
                if at not in warm and ways is not None and (not ways or any(w in warm for w in ways)):
                    warm.add(at)
                    grew = True
        return set(addresses) - warm


def leave(library, text):
    """Where to go on after a jump out of the function, or None."""
    target = target_of(text)
    names = library.names.get(target, [])
    return target if names and not any(n.endswith("_slow") or "die" in n for n in names) else None


def choose(function, at, visited):
    """The next address of the fast path after `at` inside its function."""
    text = function.library.code[at]
    follows, target = function.library.next.get(at), target_of(text)
    if mnemonic(text).startswith("jmp"):
        return target
    if not mnemonic(text).startswith("j") or not function.inside(target) or target in visited:
        return follows
    return target if follows in function.cold and target not in function.cold else follows


def fast_path(library, name):
    """The counts along the fast path of the entry point."""
    function = Function(library, library.start[name])
    at, visited, counts = function.at, set(), dict.fromkeys(KINDS, 0)
    while at is not None and at not in visited:
        visited.add(at)
        text = library.code[at]
        op = mnemonic(text)
        loads, stores = accesses(text)
        counts["instructions"] += 1
        counts["loads"] += loads
        counts["stores"] += stores
        counts["branches"] += op.startswith("j")
        counts["calls"] += op.startswith("call")
        if op.startswith("ret"):
            return counts
        if op.startswith("jmp") and not function.inside(target_of(text)):
            at = leave(library, text)
            if at is None:
                counts["calls"] += 1
                return counts
            function = Function(library, at)
        else:
            at = choose(function, at, visited)
    raise SystemExit(f"fast_path: {name}: the path has no end")


def document(paths):
    yield "# The compiled fast paths"
    yield ""
    yield "Made by tools/fast_path; a test compares it with the libraries that are built. What is counted, and which"
    yield "path is the fast one, stands at the head of tests/lint/fast_path.py. x86-64, clang 19, -O2, ThinLTO."
    yield ""
    yield "| entry point | variant | " + " | ".join(KINDS) + " |"
    yield "| --- | --- |" + " ---: |" * len(KINDS)
    libraries = {variant: Library(path) for variant, path in paths.items()}
    for symbol, title in ENTRIES.items():
        for variant, library in libraries.items():
            counts = fast_path(library, symbol)
            yield f"| `{title}` | {variant} | " + " | ".join(str(counts[kind]) for kind in KINDS) + " |"


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit("usage: fast_path.py SPEED.so HARDENED.so [CHECKED-IN.md]")
    text = "\n".join(document({"speed": sys.argv[1], "hardened": sys.argv[2]})) + "\n"
    if len(sys.argv) == 3:
        print(text, end="")
        return
    with open(sys.argv[3], encoding="utf-8") as checked_in:
        if checked_in.read() != text:
            sys.exit(f"{os.path.basename(sys.argv[3])} is out of date; run tools/fast_path. It would be:\n{text}")


if __name__ == "__main__":
    main()
