"""Fuzz targets: one harness, and three kinds of drivers.

hak_heap        heap_<variant>: a variant of the core as a table of functions (fuzz/heap_api.h); heap_hardened_apart: for
                targets that depend on heap_speed as well
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
    """<name>_<variant>: `srcs` compiled against that variant; targets that depend on it have no variant.

    <name>_hardened_apart: the same and its core, under names that heap_speed does not have.
    """
    for variant, defines in VARIANTS.items():
        cc_library(
            name = "%s_%s" % (name, variant),
            srcs = srcs,
            hdrs = hdrs,
            copts = HAK_COPTS,
            local_defines = [
                "HAK_DEBUG=1",
                "FUZZ_HEAP=fuzz_heap_" + variant,
                "FUZZ_HARDENED=" + ("1" if variant == "hardened" else "0"),
            ] + defines,
            linkstatic = True,
            visibility = ["//visibility:public"],
            deps = ["//allocator:core_%s_objects" % variant],
        )
    native.filegroup(
        name = name + "_archive",
        srcs = [":%s_hardened" % name],
        output_group = "archive",
    )

    # Of an archive with and one without position-independent code, the last: it serves for both.
    parts = ["//allocator:core_hardened_archive", ":%s_archive" % name]
    last = " ".join(["$$(printf '%%s\\n' $(locations %s) | sort | tail -n 1)" % part for part in parts])
    native.genrule(
        name = name + "_apart",
        srcs = parts,
        outs = ["lib%s_apart.a" % name],
        cmd = "$(location apart.sh) $@ " + last,
        tools = ["apart.sh"],
    )
    cc_library(
        name = name + "_hardened_apart",
        srcs = [":lib%s_apart.a" % name],
        linkopts = ["-pthread"],
        linkstatic = True,
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
