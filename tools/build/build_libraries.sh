# build_libraries.sh: builds the libraries for tools/install and tools/run, which source it. It uses Bazel where that is
# installed, with the compiler that it is set up for; elsewhere CMake with any C compiler, which needs a tenth of the
# packages. Uses `root`; sets `folder`, where the libraries are.

# True when Bazel and its compiler are installed.
has_bazel() { command -v bazel >/dev/null && command -v clang-19 >/dev/null && command -v ld.lld-19 >/dev/null; }

# True when all that CMake's build needs is installed, from any source.
has_compiler() {
    command -v cmake >/dev/null && command -v make >/dev/null && command -v objcopy >/dev/null &&
        { command -v "${CC:-cc}" >/dev/null || command -v gcc >/dev/null || command -v clang >/dev/null; }
}

build_by_bazel() { # TARGET...
    local quiet=(--noshow_progress --ui_event_filters=-info)
    [ $# = 1 ] || quiet=()
    (cd "$root" && bazel build --show_result=0 --noshow_loading_progress "${quiet[@]}" "${@/#///allocator:}") >&2 || return 1
    folder=$(cd "$root" && realpath "$(bazel info bazel-bin 2>/dev/null)/allocator")
}

# A library is a target without its lib and its suffix; an archive's ends in -a.
build_by_cmake() { # TARGET...
    local names=("${@#lib}") log
    names=("${names[@]/%.so/}")
    names=("${names[@]/%.a/-a}")
    folder=$root/out/cmake
    log=$(mktemp)
    if { cmake -S "$root" -B "$folder" -DBUILD_TESTING=OFF && cmake --build "$folder" -j "$(nproc)" --target "${names[@]}"; } >"$log" 2>&1; then
        rm -f "$log"
    else
        tail -n 20 "$log" >&2
        return 1
    fi
}

# libhakmem.so, libhakmem-hardened-dlopen.so, libhakmem.a and so on. HOW: bazel, cmake, or empty.
build_libraries() { # HOW FILE...
    local how=$1
    shift
    [ -n "$how" ] || { has_bazel && how=bazel; } || how=cmake
    if [ "$how" = bazel ]; then
        "$root/tools/setup" build >&2 && build_by_bazel "$@"
    else
        has_compiler || "$root/tools/setup" compile >&2 || return 1
        build_by_cmake "$@"
    fi
}
