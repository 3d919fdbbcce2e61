"""mutants_tests.py: the tests of each layer for a tree of mutants_tree.py. Generators give (name, command), so nothing
is built before it is needed."""
import glob
import os
import shutil
import subprocess
import threading

import mutants_products
from mutants_tree import ROOT, VARIANTS

# A test program that exceeds a limit has found the bug, because it would run for ever. Seconds of processor time do not
# depend on how busy the machine is; seconds of the clock end a deadlock, which needs no processor.
CPU_SECONDS, SECONDS = 100, 900
SLOW = {"stress": (300, 900), "fault": (900, 1800), "tsan": (600, 1200)}
PRODUCT_LIMITS = (1800, 1200)
PARTS = ("size_class", "slab", "superslab", "large", "options", "ledger", "quarantine")
HARDENED_PARTS = ("ledger", "quarantine")
GENERATE = {"ops": 500, "life": 500, "threads": 500, "os_failure": 200, "race": 300, "diff": 500, "attack": 1000}
LAYERS = ("unit", "contract", "model", "replay", "property", "stress", "fault", "surface", "misuse", "placement", "seal", "reduced", "reports", "hardening", "life", "memory",
          "fork", "observers", "typed", "programs", "kernels", "tsan", "fuzz")


def corpus(name):
    return os.path.join(ROOT, "fuzz/corpus", name)


def cmocka_tests(tree, folder, helpers=(), wanted=lambda stem: True, variants=VARIANTS):
    for path in sorted(glob.glob(os.path.join(tree.home, folder, "*_test.c"))):
        source = os.path.relpath(path, tree.home)
        name = os.path.basename(source)[:-2]
        if name == "properties_test" or not wanted(name[:-len("_test")]):
            continue
        for variant in [v for v in tree.variants() if v in variants and tree.only in (None, f"{name} {v}")]:
            objects = [tree.object(source, variant)] + [tree.object(os.path.join(folder, helper), variant) for helper in helpers]
            core = ["-Wl,--start-lib", *tree.core(variant), "-Wl,--end-lib"]  # an archive: a test starts only the modules that it needs
            yield f"{name} {variant}", [tree.link(f"{name}_{variant}", objects + core, ["-lcmocka", "-lm"])]


UNIT_HELPERS = ("at_start.c", "objects.c", "slabs.c", "unit.c")


def unit(tree):
    """The tests of the files that the mutant changes. Other tests come late, because they seldom find it."""
    yield from cmocka_tests(tree, "tests/unit", UNIT_HELPERS, lambda stem: not tree.touched or stem in tree.stems())


def other_units(tree):
    yield from cmocka_tests(tree, "tests/unit", UNIT_HELPERS, lambda stem: tree.touched and stem not in tree.stems())


def hardening(tree):
    """The modules of hardening/."""
    yield from cmocka_tests(tree, "tests/hardening", ["../unit/unit.c", "../stress/crowd.c", "again.c"], variants=("hardened",))


def typed(tree):
    yield from cmocka_tests(tree, "tests/typed", ["../unit/unit.c"], variants=("hardened",))


def contract(tree):
    yield from cmocka_tests(tree, "tests/contract", ["contract.c"])


def model(tree):
    yield from cmocka_tests(tree, "tests/model", ["heap_model.c"])


def stress(tree):
    yield from cmocka_tests(tree, "tests/stress", ["crowd.c"])


def fault(tree):
    yield from cmocka_tests(tree, "tests/fault", ["../unit/at_start.c"])


def replay(tree):
    main = tree.object("fuzz/replay_main.c", "lab")
    for part in sorted(PARTS, key=lambda part: part not in tree.stems()):
        for variant in tree.variants():
            if part in HARDENED_PARTS and variant != "hardened":
                continue
            objects = [tree.object(f"fuzz/fuzz_{part}.c", variant), main, tree.object("fuzz/mutator.c", "lab"), tree.object("fuzz/ops.c", "lab")]
            binary = tree.link(f"fuzz_{part}_{variant}", objects + tree.core(variant))
            yield f"fuzz_{part}_{variant}", [binary, corpus(part), "--generate", "500", "--records", "32"]
    for name in ("ops", "life", "threads", "os_failure", "race"):
        for variant in tree.variants():
            harness = tree.object(f"fuzz/fuzz_{name}.c", "lab", [f"-DFUZZ_HEAP=fuzz_heap_{variant}"], f"fuzz_{name}_{variant}")
            binary = tree.link(f"fuzz_{name}_{variant}", [harness, main, *tree.lab(), *tree.heap(variant)])
            yield f"fuzz_{name}_{variant}", [binary, corpus("ops"), "--generate", str(GENERATE[name]), "--records", "32"]
    attack = tree.object("fuzz/fuzz_attack.c", "lab", ["-DFUZZ_HEAP=fuzz_heap_hardened"])
    binary = tree.link("fuzz_attack", [attack, main, *tree.lab(), *tree.heap("hardened")])
    yield "fuzz_attack", [binary, corpus("attack"), "--generate", str(GENERATE["attack"]), "--records", "16"]
    diff = tree.object("fuzz/fuzz_diff.c", "lab")
    binary = tree.link("fuzz_diff", [diff, main, *tree.lab(), *tree.heap("speed"), tree.apart()])
    yield "fuzz_diff", [binary, corpus("ops"), "--generate", str(GENERATE["diff"]), "--records", "32"]


def properties(tree):
    for variant in tree.variants():
        extra = [f"-DFUZZ_HEAP=fuzz_heap_{variant}"]
        objects = [tree.object(f"tests/model/{name}.c", "lab", extra, f"{name}_{variant}")
                   for name in ("properties", "properties_test", "property_check")]
        binary = tree.link(f"properties_{variant}", [*objects, *tree.lab(), *tree.heap(variant)], ["-lcmocka"])
        for part in range(4):
            yield f"properties {part} {variant}", [binary, str(part), "4"]


def fuzz(tree, seconds):
    """libFuzzer, with its instrumentation, on both variants in turn."""
    out, folder = os.path.join(tree.home, "fuzzers"), os.path.join(tree.home, "fuzz_corpus")
    os.makedirs(out)
    os.makedirs(folder)
    for part in ("corpus", "oss-fuzz"):
        os.symlink(os.path.join(ROOT, "fuzz", part), os.path.join(tree.home, "fuzz", part))
    names = ["fuzz_ops_speed", "fuzz_ops_hardened"]
    env = {**os.environ, "OUT": out, "CC": "clang-19", "CXX": "clang++-19", "CFLAGS": "-O1 -fsanitize=fuzzer-no-link",
           "CXXFLAGS": "-fuse-ld=lld-19", "LIB_FUZZING_ENGINE": "-fsanitize=fuzzer", "HAKMEM_SOURCE": tree.home, "HAKMEM_JOBS": "1"}
    subprocess.run([os.path.join(ROOT, "fuzz/oss-fuzz/build.sh"), *names], env=env, check=True, capture_output=True)
    for name in names:
        yield f"libFuzzer {name}", [os.path.join(out, name), f"-max_total_time={seconds // 2}", "-max_len=512", "-timeout=20",
                                    f"-artifact_prefix={folder}/", folder, corpus("ops")]


def tsan(tree):
    """Tests with threads under ThreadSanitizer, for which everything is compiled anew."""
    thread = ["-fsanitize=thread", "-g1"]
    for folder, name, helper in (("stress", "races_test", "tests/stress/crowd.c"), ("stress", "regions_test", "tests/stress/crowd.c"),
                                 ("stress", "stress_test", "tests/stress/crowd.c"),
                                 ("hardening", "sweeps_test", "tests/stress/crowd.c"), ("hardening", "orders_test", "tests/stress/crowd.c")):
        source = f"tests/{folder}/{name}.c"
        if not os.path.exists(os.path.join(tree.home, source)):
            continue
        for variant in tree.variants() if folder == "stress" else ["hardened"]:
            core = sorted(glob.glob(os.path.join(tree.home, "allocator/**/*.c"), recursive=True)) + (
                sorted(glob.glob(os.path.join(tree.home, "hardening/*.c"))) if variant == "hardened" else [])
            files = [os.path.relpath(path, tree.home) for path in core if not os.path.basename(path).startswith("shim_")]
            objects = [tree.object(path, variant, thread, f"tsan_{os.path.basename(path)[:-2]}") for path in [*files, source, helper]]
            yield f"tsan {name} {variant}", ["env", "TSAN_OPTIONS=halt_on_error=1:report_thread_leaks=0",  # as .bazelrc has it
                                             tree.link(f"tsan_{name}_{variant}", [*objects, "-fsanitize=thread"], ["-lcmocka", "-lm"])]


products_of_bazel, find_lock = mutants_products.Products(ROOT), threading.Lock()


def products(tree):
    """(layer, name, command, folder)"""
    with find_lock:
        tests = products_of_bazel.find()
    for test in tests:
        if tree.only not in (None, test.name) or not {mutants_products.LIBRARIES[name] for name in test.libraries} & set(tree.variants()):
            continue
        made = {name: mutants_products.link(tree, name) for name in test.libraries}
        command, folder = products_of_bazel.place(test, tree.home, made)
        yield test.layer, test.name, command, folder


def of_layer(layer, tests, tree):
    for test, command in tests(tree):
        yield layer, test, command, tree.home, SLOW.get(layer, (CPU_SECONDS, SECONDS))


def of_products(tree):
    for layer, test, command, folder in products(tree):
        yield layer, test, command, folder, PRODUCT_LIMITS


def layers(tree, fuzz_seconds):
    for name, tests in (("unit", unit), ("unit", hardening), ("unit", typed), ("contract", contract), ("replay", replay), ("model", model), ("unit", other_units), ("property", properties),
                        ("stress", stress), ("fault", fault)):
        yield from of_layer(name, tests, tree)
    yield from of_products(tree)
    if fuzz_seconds:
        for test, command in fuzz(tree, fuzz_seconds):
            yield "fuzz", test, command, tree.home, (fuzz_seconds, fuzz_seconds + 60)


CMOCKA = {"unit": ("unit", other_units), "hardening": ("unit", hardening), "typed": ("unit", typed), "contract": ("contract", contract), "model": ("model", model),
          "stress": ("stress", stress), "fault": ("fault", fault)}


def meant_tests(tree, meant):
    """The test of that name, which may be one of several."""
    tree.only = meant if meant.endswith(VARIANTS) else None
    if meant.startswith("tsan "):
        return of_layer("tsan", tsan, tree)
    if meant.startswith("fuzz_"):
        return of_layer("replay", replay, tree)
    if meant.startswith("properties "):
        return of_layer("property", properties, tree)
    for folder, (layer, tests) in CMOCKA.items():
        if os.path.exists(os.path.join(tree.home, "tests", folder, meant.split()[0] + ".c")):
            return of_layer(layer, unit_anywhere if tests is other_units else tests, tree)
    if meant == "mte_test":
        return of_memory_tags(tree)
    tree.only = meant
    return of_products(tree)


def of_memory_tags(tree):
    """A test of the tree itself. Where it would be skipped, it cannot find anything."""
    if not shutil.which("aarch64-linux-gnu-gcc"):
        return
    command = ["python3", "-B", os.path.join(tree.home, "tests/tools/mte_test.py"), os.path.join(tree.home, "WORKSPACE")]
    yield "tool", "mte_test", command, tree.home, PRODUCT_LIMITS


def unit_anywhere(tree):
    yield from cmocka_tests(tree, "tests/unit", UNIT_HELPERS)


def meant_then_all(tree, meant, only_meant, fuzz_seconds):
    if meant:
        yield from (it for it in meant_tests(tree, meant) if it[1] == meant)
        tree.only = None
    if not only_meant:
        yield from layers(tree, fuzz_seconds)
