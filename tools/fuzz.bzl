"""Fuzz targets: one harness, and three kinds of drivers.

hak_heap        heap_<variant>: a variant of the core as a table of functions (fuzz/heap_api.h)
hak_fuzz_target <name>_replay_test runs the harness on its corpus and on made inputs; <name> is the fuzzer, driven by
                --config=libfuzzer, --config=afl, or the replay main when there is no engine
"""

load("@rules_cc//cc:defs.bzl", "cc_binary", "cc_library", "cc_test")
load(":variants.bzl", "HAK_COPTS", "VARIANTS")

FUZZ_COPTS = [
    "-std=gnu17",
    "-D_GNU_SOURCE",
    "-O2",
    "-Wall",
    "-Wextra",
    "-Wno-missing-field-initializers",
    "-Werror",
]

def hak_heap(name, srcs, hdrs):
    """<name>_<variant>: `srcs` compiled against that variant, without handing its prefix on."""
    for variant, defines in VARIANTS.items():
        cc_library(
            name = "%s_%s" % (name, variant),
            srcs = srcs,
            hdrs = hdrs,
            copts = HAK_COPTS,
            local_defines = [
                "HAK_DEBUG=1",
                "HAK_PREFIX=hak_%s_" % variant,
                "FUZZ_HEAP=fuzz_heap_" + variant,
                "FUZZ_HARDENED=" + ("1" if variant == "hardened" else "0"),
            ] + defines,
            linkstatic = True,
            visibility = ["//visibility:public"],
            deps = ["//allocator:core_%s_objects" % variant],
        )

def hak_fuzz_target(name, srcs, deps, defines = [], corpus = None, generate = 300, records = 32, size = "small", linkopts = [], tags = []):
    """`corpus`: a folder of fuzz/corpus. `generate`, `records`: how many made inputs the test runs, of what length."""
    files = native.glob(["corpus/%s/**" % corpus]) if corpus else []
    cc_library(
        name = name + "_harness",
        testonly = True,
        srcs = srcs,
        copts = FUZZ_COPTS,
        linkopts = linkopts,
        local_defines = defines,
        linkstatic = True,
        alwayslink = True,
        deps = deps,
    )
    cc_test(
        name = name + "_replay_test",
        size = size,
        args = ["$(locations %s)" % f for f in files] + [
            "--generate",
            str(generate),
            "--records",
            str(records),
        ],
        data = files,
        linkstatic = True,
        tags = ["replay"] + tags,
        deps = [
            ":" + name + "_harness",
            "//fuzz:replay_main",
        ],
    )
    cc_binary(
        name = name,
        testonly = True,
        linkopts = select({
            "//tools:engine_libfuzzer": ["-fsanitize=fuzzer"],
            "//conditions:default": [],
        }),
        linkstatic = True,
        tags = ["fuzzer"],
        deps = [":" + name + "_harness"] + select({
            "//tools:engine_libfuzzer": [],
            "//tools:engine_external": [],
            "//conditions:default": ["//fuzz:replay_main"],
        }),
    )
