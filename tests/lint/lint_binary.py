#!/usr/bin/env -S python3 -B
"""lint_binary.py: rules about built files. Prints what breaks the rule; exit 1 if anything does.

exports LIBRARY.so EXPORTS.txt    the dynamic symbols are exactly those of the list, and libc is all that is needed
prefix ARCHIVE.a PREFIX           every external symbol begins with the prefix
"""
import re
import subprocess
import sys


def output_of(*command):
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


def defined_symbols(path, *flags):
    return set(output_of("llvm-nm-19", "--defined-only", "--extern-only", "--just-symbol-name", *flags, path).split()) - {""}


def documented(path):
    tokens = [""] + [f"{number}_" for number in range(16)]
    with open(path, encoding="utf-8") as text:
        words = [word for line in text for word in line.split("#")[0].split()]
    return {word.replace("[token]", token) for word in words for token in tokens}


VERSION = "HAKMEM_0.2"


def check_versions(symbols):
    """hakmem's own names have a default version; names that libraries ask for by their versions have none."""
    for name, at, version in sorted(symbol.partition("@") for symbol in symbols):
        if name != VERSION and at + version != ("@@" + VERSION if name.startswith("hak_") else ""):
            yield f"{name}: its version is {at + version or 'none'}"


def check_exports(library, exports):
    symbols = defined_symbols(library, "--dynamic")
    yield from check_versions(symbols)
    exported, wanted = {name.split("@")[0] for name in symbols} - {VERSION}, documented(exports)
    if "-dlopen" in library:
        wanted -= {"dlopen", "prctl", "setrlimit", "setrlimit64", "prlimit", "prlimit64", "pthread_create", "__register_atfork"}
    yield from (f"exported, but not documented: {name}" for name in sorted(exported - wanted))
    yield from (f"documented, but not exported: {name}" for name in sorted(wanted - exported))
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", output_of("llvm-readelf-19", "--dynamic-table", library))
    # Without initial-exec TLS, the code calls __tls_get_addr, which is in libc's own loader.
    allowed = ["libc.so.6", "ld-linux-x86-64.so.2"] if "-dlopen" in library else ["libc.so.6"]
    if needed not in (allowed, allowed[:1]):
        yield f"NEEDED is {needed}, not {allowed} or less"


def check_prefix(archive, prefix):
    symbols = {name for name in defined_symbols(archive) if not name.endswith(":")}
    if not any(name == prefix + "malloc" for name in symbols):
        yield f"{prefix}malloc is missing: is this the core?"
    symbols.discard("_.stapsdt.base")  # base/probe.h; weak, hidden, and the same in every program with probes
    yield from (f"does not begin with {prefix}: {name}" for name in sorted(symbols) if not name.startswith(prefix))


def main():
    check = {"exports": check_exports, "prefix": check_prefix}[sys.argv[1]]
    complaints = list(check(*sys.argv[2:]))
    print("\n".join(complaints) or "nothing to complain about")
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()
