"""kernel_groups.py: what runs on a kernel, under which of its settings: the rows and columns of docs/KERNELS.md."""
import collections

VARIANTS = {"speed": "libhakmem.so", "hardened": "libhakmem-hardened.so"}
LIBRARIES = tuple(VARIANTS.values())

# thp: transparent huge pages. overcommit, maps: vm.overcommit_memory, vm.max_map_count (0: the kernel's default).
# limit: MiB of a cgroup (0: none). Not every combination is here, but each pair of values occurs in one.
Setting = collections.namedtuple("Setting", "name thp overcommit maps limit")
BASE = Setting("base", "madvise", 0, 0, 0)
SETTINGS = (
    BASE,
    Setting("always", "always", 0, 0, 0),
    Setting("never", "never", 0, 0, 0),
    Setting("overcommit2", "madvise", 2, 0, 0),
    Setting("maps1000", "madvise", 0, 1000, 0),
    Setting("limit", "madvise", 0, 0, 256),
    Setting("always-overcommit2-maps1000", "always", 2, 1000, 0),
    Setting("never-overcommit2-limit", "never", 2, 0, 256),
    Setting("always-maps1000-limit", "always", 0, 1000, 256),
)

# expect: a pattern that must match the last line of the output; its group 1 is the count (without one: 1). status: the
# expected end of the run. A run that ends well without the expected line has failed.
ANY_SIGNAL = "a signal"
Run = collections.namedtuple("Run", "setting group variant name variables command seconds expect status")
CMOCKA = r"\[  PASSED  \] ([1-9][0-9]*) test"
SECONDS = 900  # by the machine's clock, which also runs while the machine is stopped

CONTRACT = ("contract_malloc", "contract_realloc", "contract_aligned")
LARGE = ("large", "region", "superslab", "tag", "release", "os", "alloc", "cache", "shards", "depot")
GUARDS = ("guard", "sample", "quarantine", "ledger", "wipe")  # only the hardened variant has them
SLOW = ("stress", "fault")  # each takes minutes: they run at the end
PROGRAMS = ("vectors", "moves", "memory", "limits", "locked", "exits", "forks", "guards")
# One or two errors of each kind, and how the line about it begins.
ERRORS = {
    "double_free_small": "double free", "double_free_large": "double free", "double_free_by_two_other_threads": "double free",
    "free_of_stack": "invalid free", "free_of_mapping": "invalid free", "free_of_wild_middle": "invalid free",
    "realloc_of_freed_large": "invalid realloc", "usable_size_of_freed": "invalid usable size",
    "overflow_by_one_of_24": "heap overflow", "overflow_by_one_of_40000": "heap overflow", "overflow_never_freed": "heap overflow",
    "overflow_by_one_of_1000001": "heap overflow", "overflow_page_past_large": "out-of-bounds access",
    "underwrite_large": "out-of-bounds access", "overread_page_past_huge": "out-of-bounds access",
    "write_after_free_small": "write after free", "write_after_free_by_a_thread": "write after free",
    "write_after_free_large": "use after free", "read_after_free_large": "use after free",
}
TAG_ERRORS = {
    "read after free": "use after free", "write after free": "use after free", "read past the end": "out-of-bounds access",
    "write past the end": "out-of-bounds access", "read before the start": "out-of-bounds access",
    "write before the start": "out-of-bounds access", "free twice": "double free", "read through a stripped pointer": "out-of-bounds access",
    "free of a stripped pointer": "invalid free",
}
# The name of the error when the guards of a sampled object find it.
SEEN_BY_GUARDS = {"heap overflow": "|out-of-bounds access", "write after free": "|use after free"}
# What other_kernel.c refuses, and how (surface_kernel_test.py has all of it).
REFUSED = ("mseal=ENOSYS", "mremap=EINVAL", "dontunmap=EINVAL", "guard=EINVAL", "populate=EPERM", "free=EINVAL", "huge=EINVAL", "mincore=EPERM",
           "process_vm_readv=EPERM", "getrandom=ENOSYS")
SURFACE = (("surface", "{variant}"), ("surface_new", ""), ("surface_filter", "done"), ("surface_filter gently", "done"))


def core(setting, group, variant, name):
    """A cmocka test with the core in it."""
    program = f"{name}_{variant}_test"
    return Run(setting.name, group, variant, program, "", "./" + program, SECONDS, CMOCKA, 0)


def preloaded(setting, group, variant, command, expect, variables=""):
    if variant in VARIANTS:
        variables += f" LD_PRELOAD=/tests/{VARIANTS[variant]} HAKMEM_TEST_VARIANT={variant}"
    return Run(setting.name, group, variant, command, variables.strip(), "./" + command, SECONDS, expect, 0)


def programs(setting, names=PROGRAMS, variants=tuple(VARIANTS)):
    """Runs on glibc too: a failure there shows that the program asks too much of this kernel."""
    return [preloaded(setting, "programs", variant, "kernel_" + name, rf"^{variant} ([1-9][0-9]*) checks$")
            for name in names for variant in variants]


def surface(setting):
    return [preloaded(setting, "surface", variant, command, f"^{last.format(variant=variant)}$")
            for variant in VARIANTS for command, last in SURFACE]


def cores(setting, group, names, variants=tuple(VARIANTS)):
    return [core(setting, group, variant, name) for name in names for variant in variants]


def misuse():
    """Every twin is silent; the hardened variant names every error. -6: abort, -11: a guard."""
    runs = [preloaded(BASE, "misuse", variant, "misuse twin " + name, "^$") for variant in VARIANTS for name in ERRORS]
    for name, error in ERRORS.items():
        error = error + SEEN_BY_GUARDS.get(error, "")
        run = preloaded(BASE, "misuse", "hardened", "misuse error " + name, f"^hakmem: ({error}): ")
        runs.append(run._replace(status=ANY_SIGNAL))
    return runs


def refused():
    """The programs on this kernel without each of these features."""
    runs = []
    for variant, library in VARIANTS.items():
        for what in (*REFUSED, ",".join(REFUSED)):
            variables = f"OTHER_KERNEL_REFUSES={what} LD_PRELOAD=/tests/other_kernel.so:/tests/{library}"
            for name in ("guards", "vectors") if what.startswith(("mremap", "dontunmap", "mseal=ENOSYS,")) else ("guards",):
                runs.append(Run(BASE.name, "refused", variant, f"kernel_{name} {what}", variables, "./kernel_" + name, SECONDS,
                                rf"^{variant} ([1-9][0-9]*) checks$", 0))
    return runs


def tags():
    """Memory tags of arm64: what correct programs see, and an error of each kind."""
    def tagged(words, expect, status=0):
        variables = f"LD_PRELOAD=/tests/{VARIANTS['hardened']} HAKMEM_TEST_VARIANT=hardened HAKMEM_MTE=1 HAKMEM_SAMPLE_RATE=0"
        return Run(BASE.name, "tags", "hardened", words, variables, words, SECONDS, expect, status)

    runs = [tagged("./tagged correct", "^correct$"), tagged("./tagged tags", " of ")]
    runs += [tagged("./kernel_" + name, "^hardened ([1-9][0-9]*) checks$") for name in PROGRAMS]
    return runs + [tagged(f"./tagged {name.replace(' ', '_')} 100", f"^hakmem: {said}: ", ANY_SIGNAL) for name, said in TAG_ERRORS.items()]


def probe():
    """Features of this kernel, for the table."""
    return [Run(BASE.name, "probe", "glibc", "kernel_probe", "", "./kernel_probe", SECONDS, " asked$", 0)]


def quick_plan():
    """The part that `bazel test` has time for."""
    runs = probe() + programs(BASE, ("vectors", "moves", "guards"))
    runs += [run for run in surface(BASE) if run.name in ("surface", "surface_filter")]
    runs += cores(BASE, "guards", ("guard",), ("hardened",)) + cores(BASE, "large", ("os", "region"))
    for setting in (SETTINGS[1], SETTINGS[3], SETTINGS[4], SETTINGS[5]):
        runs += programs(setting, ("vectors",), ("speed", "hardened"))
        if setting.overcommit == 2:  # a fork there needs as much memory as is mapped
            runs += programs(setting, ("forks",), ("hardened",))
    return runs


def full_plan():
    """The complete plan, for a release. The group "tags" is for arm64."""
    runs = probe() + misuse() + tags() + refused() + cores(BASE, "contract", CONTRACT) + cores(BASE, "large", LARGE) + cores(BASE, "guards", GUARDS, ("hardened",))
    runs += cores(BASE, "stress", ("stress",)) + cores(BASE, "fault", ("fault",))
    for setting in SETTINGS:
        runs += surface(setting) + programs(setting, variants=("glibc", *VARIANTS))
    names = [setting.name for setting in SETTINGS]
    return sorted(runs, key=lambda run: (run.group in SLOW, names.index(run.setting)))  # stable: each setting is made once or twice


def self_test_plan():
    """Programs that fail, each in its own way, with a pattern of what the harness must say about it; last, a failure of
    the kernel."""
    def bad(setting, command, name, expect="^never$", variables=""):
        seconds = 10 if "hangs" in command else SECONDS
        return Run(setting.name, "self-test", "glibc", name, variables, command, seconds, expect, 0)

    limit, overcommit = SETTINGS[5], SETTINGS[3]
    return [
        bad(BASE, "./kernel_bad fails", "status 1,"), bad(BASE, "./kernel_bad dies", "status 134,"),
        bad(BASE, "./kernel_bad hangs", "status 137,"), bad(BASE, "./kernel_bad nothing", "status 0, said ''"),
        bad(BASE, "./kernel_absent", "status 127,"),
        bad(BASE, "./surface_new", "status 0, said .*cannot be preloaded", "^$", "LD_PRELOAD=/tests/absent.so"),
        bad(BASE, "./kernel_bad eats", "status 0, said '900 MiB'"), bad(overcommit, "./kernel_bad eats", "status 2,"),
        bad(limit, "./kernel_bad eats", "status 137,"),
        bad(BASE, "sh -c echo${IFS}c>/proc/sysrq-trigger", "never ended"), bad(BASE, "true", "(?s)never ended.*Kernel panic"),
    ]


def plan_text(runs):
    """The plan in the form that init.sh reads."""
    settings, lines, now = {setting.name: setting for setting in SETTINGS}, [], None
    for number, run in enumerate(runs):
        if run.setting != now:
            now = run.setting
            lines.append("setting " + " ".join(map(str, settings[now])))
        lines.append(f"run {number} {run.seconds} {run.variables} -- {run.command}")
    return "\n".join(lines) + "\n"
