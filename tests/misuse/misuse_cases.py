"""misuse_cases.py: runs misuse cases and verifies them; shared by the test and by tools/python tests/misuse/misuse_table.py.

A case comes from `misuse list`. Its verdict is one of
  detected  a signal ended the process; for hakmem the crash line must also name an error that the case allows
  wrong     a signal ended the process, but without the right crash line (hakmem only)
  silent    it ran to its end
  won       it won an exploit primitive
  n/a       the allocator does not offer the call
  broken    anything else: a timeout, an unexpected status
"""
import collections
import concurrent.futures
import os
import re
import resource
import signal
import subprocess

# The mitigations that hakmem-hardened has. A case whose mitigation is missing here is listed as "not yet" and not
# asserted. When a mitigation lands, add its name: that turns its cases on.
MITIGATIONS_IN = ["core", "ledger", "realloc", "usable", "size", "family", "alignment", "canary", "sweep", "write-after-free", "quarantine",
                  "guard", "sample"]

# Every mitigation that a case may name, and its meaning.
MITIGATIONS = {
    "core": "sizes are checked for overflow",
    "ledger": "state of each slot: double, interior, misaligned and foreign frees",
    "realloc": "realloc checks its pointer against the ledger",
    "usable": "malloc_usable_size checks its pointer against the ledger",
    "size": "sized frees are compared with the requested size",
    "family": "malloc, new and new[] are told apart",
    "alignment": "aligned frees are compared with the requested alignment",
    "canary": "a canary from the first byte after the requested size",
    "sweep": "canaries of neighbours, of a running sweep and of everything at exit",
    "write-after-free": "freed bytes are checked on reuse and at exit",
    "quarantine": "freed memory does not come back soon",
    "guard": "inaccessible pages around slab runs and large objects; freed large objects inaccessible",
    "sample": "sampled objects between guards",
}

# The other name of an error when a sampled object's guard finds it.
SEEN_BY_GUARDS = {"heap overflow": "out-of-bounds access", "heap underflow": "out-of-bounds access",
                  "write after free": "use after free"}

# Wrong claims are reported once and go on by default; here every check ends the process, so that the status shows the
# verdict.
STRICT = {"HAKMEM_HARDENING": "all:abort"}

# Seconds. Cases with 300,000 objects take the longest, when each object is put between guards: to take a page away
# costs up to 50 us on a virtual machine, and a busy one multiplies that.
TIME_LIMIT = 240

SURE, SAMPLED, CHANCE, NOT_WON = "sure", "sampled", "chance", "not won"
CRASH_SIGNALS = {signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS,
                 signal.SIGFPE}
CRASH_LINE = re.compile(r"^hakmem: ([a-z -]+): ", re.MULTILINE)

Case = collections.namedtuple("Case", "cwe name errors needs sure")
Allocator = collections.namedtuple("Allocator", "name environment is_hakmem")
Outcome = collections.namedtuple("Outcome", "verdict said")


def read_cases(program):
    out = subprocess.run([program, "list"], check=True, capture_output=True, text=True).stdout
    cases = []
    for line in out.splitlines():
        cwe, name, errors, needs, sure = line.split("\t")
        if needs not in MITIGATIONS:
            raise SystemExit(f"{name}: unknown mitigation {needs!r}")
        cases.append(Case(cwe, name, [c for c in errors.split("|") if c], needs, sure))
    if len({case.name for case in cases}) != len(cases):
        raise SystemExit("two cases share a name")
    return cases


def no_core_files():
    """Sets it for every process started from now on. A preexec_fn would do it too, but keeps Python from vfork: four
    times as long for the corpus."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def names_the_error(case, named):
    """Whether the crash lines name an error that the case allows."""
    if not named:
        # A fault far from every object belongs to no error of the heap; the process just must not go on.
        return case.sure != SURE and bool(case.errors)
    allowed = set(case.errors)
    if "sample" in MITIGATIONS_IN:  # the object may have been between guards, which find the error sooner
        allowed |= {guard for error, guard in SEEN_BY_GUARDS.items() if error in allowed}
    return named[0] in allowed


def verify(case, status, stdout, stderr, is_hakmem):
    said = next((line for line in stderr.splitlines() if line.strip()), "")
    if status == 42 and stdout.startswith("PRIMITIVE: "):
        return Outcome("won", stdout.strip())
    if status == 0:
        return Outcome("silent", said)
    if status == 77:
        return Outcome("n/a", said)
    if status < 0 and -status in CRASH_SIGNALS:
        said = said or signal.Signals(-status).name
        right = not is_hakmem or names_the_error(case, CRASH_LINE.findall(stderr))
        return Outcome("detected" if right else "wrong", said)
    return Outcome("broken", f"status {status} {said}".strip())


def run_once(program, allocator, case, mode):
    # LLVM_PROFILE_FILE: where tools/coverage counts.
    environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LLVM_PROFILE_FILE": os.environ.get("LLVM_PROFILE_FILE", ""),
                   **(STRICT if allocator.is_hakmem else {}), **allocator.environment}
    try:
        done = subprocess.run([program, mode, case.name], env=environment, capture_output=True, text=True,
                              errors="replace", timeout=TIME_LIMIT)
    except subprocess.TimeoutExpired:
        return Outcome("broken", f"no end within {TIME_LIMIT} s")
    return verify(case, done.returncode, done.stdout, done.stderr, allocator.is_hakmem)


def run_all(program, allocator, cases, modes, repeat, jobs=2, progress=None):
    """{(case name, mode): [Outcome] * repeat}"""
    no_core_files()
    todo = [(case, mode) for case in cases for mode in modes for _ in range(repeat)]
    results = collections.defaultdict(list)
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        outcomes = pool.map(lambda it: run_once(program, allocator, *it), todo)
        for number, ((case, mode), outcome) in enumerate(zip(todo, outcomes), 1):
            results[case.name, mode].append(outcome)
            if progress:
                progress(number, len(todo))
    return results


def is_in(case):
    return case.needs in MITIGATIONS_IN


def complaints(case, outcomes):
    """The complaints about the outcomes of an error on hakmem-hardened, one line for each distinct one."""
    wrong = set()
    for verdict, said in outcomes:
        if verdict in ("broken", "wrong"):
            wrong.add(f"{verdict}: {said}")
        elif verdict == "n/a":
            wrong.add("a call is missing")
        elif verdict == "won":
            wrong.add(said)
        elif verdict == "silent" and case.sure == SURE:
            wrong.add("not detected; expected " + " or ".join(case.errors))
    return sorted(wrong)
