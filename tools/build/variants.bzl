"""The products of hakmem, once per variant, and the rules that run tests on both.

hak_core        core_speed, core_hardened: the core with asserts on and without the names of malloc, for tests and
                fuzzers
hak_products    hakmem[-hardened] (for `malloc =`), the .a, the .so, the .so for programs that dlopen it, and
                hakmem[-hardened]-fast (for `malloc =` of the benchmark's FAST build)
hak_variant_test, hak_preload_test    one test per variant
hak_test_program    the program of such a test
hak_tree_test       a test of the source tree itself
"""

load("@rules_cc//cc:defs.bzl", "cc_binary", "cc_library", "cc_test")
load("@rules_shell//shell:sh_test.bzl", "sh_test")

VARIANTS = {
    "speed": [],
    "hardened": ["HAK_HARDENED=1"],
}

# The name that a variant's products carry.
PRODUCTS = {
    "speed": "hakmem",
    "hardened": "hakmem-hardened",
}

# Sanitizers and coverage bring their own malloc: for targets that replace it.
NOT_INSTRUMENTED = select({
    "//tools:instrumented": ["//tools:incompatible"],
    "//conditions:default": [],
})

# For tests about clang's own code.
PLAIN_CLANG = select({
    "//tools:gcc": ["//tools:incompatible"],
    "//tools:instrumented": ["//tools:incompatible"],
    "//conditions:default": [],
})

# -fno-builtin: the compiler must not make a malloc out of our malloc's body, nor a calloc out of our calloc's.
HAK_COPTS = [
    "-std=gnu17",
    "-D_GNU_SOURCE",
    "-O2",
    "-Wall",
    "-Wextra",
    "-Wno-missing-field-initializers",  # fields that are not named are 0
    "-Werror",
    "-fno-builtin",
]

_PRODUCT_COPTS = HAK_COPTS + [
    "-fvisibility=hidden",
    "-fno-semantic-interposition",
    "-fno-plt",
    "-fomit-frame-pointer",  # Bazel's toolchain keeps it
    "-gdwarf-4",  # valgrind before 3.20 (Debian 12) cannot read clang's DWARF 5, and then runs nothing
]

# The FAST build of the benchmark: one static program, optimised as a whole, so that unused parts are left out.
FAST_COPTS = [
    "-O3",
    "-fno-pie",
    "-ftls-model=local-exec",
    "-ffunction-sections",
    "-fdata-sections",
] + select({
    "//tools:gcc": ["-flto"],
    "//conditions:default": [
        "-flto=thin",
        "-ffat-lto-objects",  # GNU ar, which makes the .a, complains of each object that is bitcode only
    ],
})

FAST_LINKOPTS = [
    "-static",
    "-O3",
    "-Wl,--gc-sections",
] + select({
    "//tools:gcc": ["-flto"],
    "//conditions:default": [
        "-flto=thin",
        "-ffat-lto-objects",
        "-fuse-ld=lld-19",
    ],
})

def hak_core(srcs, variant_srcs, hdrs):
    """core_<variant>: cc_library of `srcs` + `variant_srcs[variant]`.

    core_<variant>_objects: the same, but targets that depend on it are not compiled for that variant.
    core_<variant>_archive: the .a itself.
    """
    for variant, defines in VARIANTS.items():
        cc_library(
            name = "core_%s_objects" % variant,
            srcs = srcs + variant_srcs[variant],
            hdrs = hdrs,
            copts = HAK_COPTS,
            local_defines = ["HAK_DEBUG=1"] + defines,
            linkopts = ["-pthread"],
            linkstatic = True,
            visibility = ["//visibility:public"],
        )
        cc_library(
            name = "core_" + variant,
            defines = defines,
            visibility = ["//visibility:public"],
            deps = [":core_%s_objects" % variant],
        )

        # For tests that read it: a cc_library as data gives no file.
        native.filegroup(
            name = "core_%s_archive" % variant,
            srcs = [":core_%s_objects" % variant],
            output_group = "archive",
            visibility = ["//visibility:public"],
        )

def _shared_object(name, srcs, defines, tls_model, version_script):
    cc_binary(
        name = name,
        srcs = srcs,
        additional_linker_inputs = [version_script],
        copts = _PRODUCT_COPTS + ["-ftls-model=" + tls_model] + select({
            "//tools:gcc": [],
            "//conditions:default": ["-flto=thin"],
        }),
        linkopts = [
            "-Wl,--as-needed",  # Bazel appends -lstdc++ -lm
            "-Wl,--version-script=$(location %s)" % version_script,
            "-Wl,-Bsymbolic-functions",
            "-Wl,-z,now,-z,relro",
            "-Wl,-z,nodelete",  # objects and thread-exit handlers outlive a dlclose
            "-Wl,-soname," + name,
        ] + select({
            "//tools:gcc": [],
            "//conditions:default": [
                "-flto=thin",
                "-fuse-ld=lld-19",
                # Addresses are offsets in the file, too: perf 6 takes one for the other where it sets probes.
                "-Wl,-z,separate-loadable-segments",
            ],
        }),
        linkshared = True,
        linkstatic = True,
        local_defines = defines,
        target_compatible_with = NOT_INSTRUMENTED,
        visibility = ["//visibility:public"],
    )

def hak_products(srcs, archive_srcs, preload_srcs, variant_srcs, version_script):
    """Per variant: <product>, lib<product>.a, lib<product>.so and lib<product>-dlopen.so.

    archive_srcs: sources that become part of programs only.
    preload_srcs: sources only for the .so that programs are linked with or that is preloaded.
    """
    for variant, defines in VARIANTS.items():
        product = PRODUCTS[variant]
        all_srcs = srcs + variant_srcs[variant]
        cc_library(
            name = product,
            srcs = all_srcs + archive_srcs,
            copts = _PRODUCT_COPTS + ["-ftls-model=initial-exec"],
            linkopts = ["-pthread"],
            linkstatic = True,
            alwayslink = True,
            local_defines = defines,
            target_compatible_with = NOT_INSTRUMENTED,
            visibility = ["//visibility:public"],
        )

        # Only the functions that a C program calls: without the names of C++.
        cc_library(
            name = product + "-fast",
            srcs = [src for src in all_srcs + archive_srcs if src not in ["shim/shim_new.c", "shim/shim_token_new.c"]],
            copts = _PRODUCT_COPTS + FAST_COPTS,
            linkopts = ["-pthread"],
            linkstatic = True,
            alwayslink = True,
            local_defines = defines,
            target_compatible_with = NOT_INSTRUMENTED,
            visibility = ["//visibility:public"],
        )

        # One object in which only the documented symbols are global: so none of our names can clash with a program's.
        # With -c opt, Bazel makes the library twice, for programs and for shared objects (.pic.lo, which serves for
        # both).
        native.genrule(
            name = "archive_" + variant,
            srcs = [":" + product],
            outs = ["lib%s.a" % product],
            cmd = " && ".join([
                "ld -r --whole-archive $$(printf '%%s\\n' $(SRCS) | sort | tail -n 1) -o $(@D)/%s.o" % product,
                "objcopy --localize-hidden $(@D)/%s.o" % product,
                "rm -f $@",
                "ar rcsD $@ $(@D)/%s.o" % product,
                "rm $(@D)/%s.o" % product,
            ]),
            target_compatible_with = NOT_INSTRUMENTED,
            visibility = ["//visibility:public"],
        )
        _shared_object("lib%s.so" % product, all_srcs + preload_srcs, defines, "initial-exec", version_script)
        _shared_object("lib%s-dlopen.so" % product, all_srcs, defines, "global-dynamic", version_script)

def _variants(only, why):
    if not only:
        return VARIANTS.keys()
    if only not in VARIANTS or not why:
        fail("only = %r needs a variant's name and a reason in why" % only)
    return [only]

def hak_variant_test(name, srcs, deps = [], size = "small", linkopts = [], only = None, why = "", **kwargs):
    """<name>_<variant>_test: a cmocka cc_test on each variant's core. Opt out by only = "hardened", why = "reason"."""
    for variant in _variants(only, why):
        cc_test(
            name = "%s_%s_test" % (name, variant),
            size = size,
            srcs = srcs,
            linkopts = linkopts + ["-lcmocka"],
            linkstatic = True,
            deps = deps + ["//allocator:core_" + variant],
            **kwargs
        )

def hak_test_program(name, copts = [], **kwargs):
    """A program whose calls of malloc stay calls, whatever the compiler knows about malloc."""
    cc_binary(
        name = name,
        testonly = True,
        copts = [
            "-D_GNU_SOURCE",
            "-fno-builtin",
            "-Wno-deprecated-declarations",  # mallinfo
        ] + copts,
        **kwargs
    )

def hak_tree_test(name, size = "small", tags = [], **kwargs):
    """<name>: runs <name>.py on the source tree itself, which Bazel shows a test only through the file WORKSPACE. Always run."""
    sh_test(
        name = name,
        size = size,
        srcs = [name + ".py"],
        args = ["$(location //:WORKSPACE)"],
        data = ["//:WORKSPACE"],
        tags = [
            "external",
            "local",
        ] + tags,
        **kwargs
    )

def hak_preload_test(
        name,
        program,
        args = [],
        data = [],
        size = "medium",
        preload = True,
        flavour = "",
        only = None,
        why = "",
        **kwargs):
    """<name>_<variant>_test: runs `program` (a label: script or cc_binary) with `args` under each variant's .so.

    The program finds HAKMEM_TEST_LIBRARY (absolute path of the .so) and HAKMEM_TEST_VARIANT in its environment;
    with preload = False it is not preloaded and does that itself. flavour = "-dlopen" takes the other .so.
    """
    for variant in _variants(only, why):
        library = "//allocator:lib%s%s.so" % (PRODUCTS[variant], flavour)
        sh_test(
            name = "%s_%s_test" % (name, variant),
            size = size,
            srcs = ["//tools/build:run_preload.sh"],
            args = [
                variant,
                "preload" if preload else "no-preload",
                "$(location %s)" % library,
                "$(location //tools/build:preload_probe)",
                "$(location %s)" % program,
            ] + args,
            data = data + [library, program, "//tools/build:preload_probe"],
            target_compatible_with = NOT_INSTRUMENTED,
            **kwargs
        )
