"""kernel_groups.py: what runs on a kernel, under which settings of it: the rows and columns of docs/KERNELS.md."""
import collections

VARIANTS = {"speed": "libhakmem.so", "hardened": "libhakmem-hardened.so"}
LIBRARIES = tuple(VARIANTS.values())

# thp: transparent huge pages; overcommit, maps: vm.overcommit_memory, vm.max_map_count (0: as the kernel has it); limit: MiB of a
# cgroup (0: none). Not every combination: each pair of values occurs somewhere.
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

# expect: a pattern that the last line that it prints matches, with what it counted as group 1 (without one: 1). status: what it
# ends with. A run that ends well and does not say what is expected has failed.
Run = collections.namedtuple("Run", "setting group variant name variables command seconds expect status")
CMOCKA = r"\[  PASSED  \] ([1-9][0-9]*) test"
SECONDS = 400

CONTRACT = ("contract_malloc", "contract_realloc", "contract_aligned")
LARGE = ("large", "region", "superslab", "tag", "release", "os", "alloc", "cache", "depot")
GUARDS = ("guard", "sample", "quarantine", "ledger", "wipe")  # the hardened variant's
WORKS = ("vectors", "moves", "exits", "forks")
SURFACE = (("surface", "{variant}"), ("surface_new", ""), ("surface_filter", "done"), ("surface_filter gently", "done"))


def core(setting, group, variant, name):
    """A cmocka test with the core in it."""
    program = f"{name}_{variant}_test"
    return Run(setting.name, group, variant, program, "", "./" + program, SECONDS, CMOCKA, 0)


def preloaded(setting, group, variant, command, expect, variables=""):
    if variant in VARIANTS:
        variables += f" LD_PRELOAD=/tests/{VARIANTS[variant]} HAKMEM_TEST_VARIANT={variant}"
    return Run(setting.name, group, variant, command, variables.strip(), "./" + command, SECONDS, expect, 0)


def works(setting, names=WORKS, variants=tuple(VARIANTS)):
    """On glibc too, where a failure says that the program asks too much of this kernel."""
    return [preloaded(setting, "works", variant, "kernel_" + name, rf"^{variant} ([1-9][0-9]*) checks$")
            for name in names for variant in variants]


def surface(setting):
    return [preloaded(setting, "surface", variant, command, f"^{last.format(variant=variant)}$")
            for variant in VARIANTS for command, last in SURFACE]


def cores(setting, group, names, variants=tuple(VARIANTS)):
    return [core(setting, group, variant, name) for name in names for variant in variants]


def quick_plan():
    """What `bazel test` has time for."""
    runs = works(BASE, ("vectors", "moves"))
    runs += [run for run in surface(BASE) if run.name in ("surface", "surface_filter")]
    runs += cores(BASE, "guards", ("guard",), ("hardened",)) + cores(BASE, "large", ("os", "region"))
    for setting in (SETTINGS[1], SETTINGS[3], SETTINGS[4], SETTINGS[5]):
        runs += works(setting, ("vectors",), ("speed", "hardened"))
    return runs


def full_plan():
    """Everything, for a release."""
    runs = cores(BASE, "contract", CONTRACT) + cores(BASE, "large", LARGE) + cores(BASE, "guards", GUARDS, ("hardened",))
    runs += cores(BASE, "stress", ("stress",)) + cores(BASE, "fault", ("fault",))
    for setting in SETTINGS:
        runs += surface(setting) + works(setting, variants=("glibc", *VARIANTS))
    return sorted(runs, key=lambda run: [setting.name for setting in SETTINGS].index(run.setting))  # stable: a setting is made once


def self_test_plan():
    """Programs that fail, each in its own way, with a pattern of what the harness has to say of it; at last the kernel does."""
    def bad(setting, command, name, expect="^never$", variables=""):
        return Run(setting.name, "self-test", "glibc", name, variables, command, 30, expect, 0)

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
    """For init.sh."""
    settings, lines, now = {setting.name: setting for setting in SETTINGS}, [], None
    for number, run in enumerate(runs):
        if run.setting != now:
            now = run.setting
            lines.append("setting " + " ".join(map(str, settings[now])))
        lines.append(f"run {number} {run.seconds} {run.variables} -- {run.command}")
    return "\n".join(lines) + "\n"
