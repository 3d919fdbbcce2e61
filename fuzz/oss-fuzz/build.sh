#!/bin/bash
# Copyright 2026 The hakmem authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
#
# OSS-Fuzz asks for this licence of what it builds with; hakmem itself has that of LICENSE.
#
# build.sh [TARGET...]: builds the fuzz targets as OSS-Fuzz and ClusterFuzzLite ask for it, without Bazel: compilers, flags and
# engine from CC, CXX, CFLAGS, CXXFLAGS, LIB_FUZZING_ENGINE; the results go to OUT, scratch files to WORK. The whole core is
# in every target. tools/fuzz, tools/mutants and fuzz/oss_fuzz_emulate use it as well.
set -euo pipefail
cd "${HAKMEM_SOURCE:-$(dirname "$0")/../..}"
: "${CC:=clang}" "${CXX:=clang++}" "${CFLAGS:=}" "${CXXFLAGS:=}" "${LIB_FUZZING_ENGINE:=-fsanitize=fuzzer}"
: "${OUT:?where the targets go}"
export AFL_LLVM_DENYLIST=${AFL_LLVM_DENYLIST:-$PWD/fuzz/afl_denylist.txt}
work=${WORK:-$(mktemp -d)}
mkdir -p "$OUT" "$work"
jobs=${HAKMEM_JOBS:-$(nproc)}
common="-std=gnu17 -D_GNU_SOURCE -g -I."

wanted() { [ $# = 1 ] || [[ " ${*:2} " == *" $1 "* ]]; } # NAME [TARGET...]: no TARGET: all
# OSS-Fuzz names the build in SANITIZER, and wants finds to be repeatable: the meeting of threads depends on chance.
reproducible() { [ -z "${SANITIZER:-}" ] || [ "$SANITIZER" = thread ] || [[ "$1" != fuzz_race_* ]]; } # NAME
targets() { # prints the lines of targets.txt that are wanted and can be built
    grep -v '^#' fuzz/targets.txt | while read -r name rest; do
        reproducible "$name" || continue
        if wanted "$name" "$@"; then echo "$name $rest"; fi
    done
}

# Compile commands, one a line, run in parallel below.
compile() { echo "$CC $CFLAGS $common $3 -c $2 -o $work/$1.o"; } # OBJECT SOURCE FLAGS
core_flags() {
    case $1 in
    speed) echo "-fno-builtin -DHAK_DEBUG=1" ;;
    hardened) echo "-fno-builtin -DHAK_DEBUG=1 -DHAK_HARDENED=1" ;;
    esac
}
core_sources() {
    ls allocator/*.c allocator/*/*.c | grep -v /shim_
    if [ "$1" = hardened ]; then ls hardening/*.c; fi
}
compile_core() { # VARIANT
    local hardened=0 source
    [ "$1" = speed ] || hardened=1
    core_sources "$1" | while read -r source; do
        compile "core_$1_$(basename "$source" .c)" "$source" "$(core_flags "$1")"
    done
    compile "core_$1_heap_api" fuzz/heap_api.c "$(core_flags "$1") -DFUZZ_HEAP=fuzz_heap_$1 -DFUZZ_HARDENED=$hardened"
}
compile_lab() {
    local part
    for part in ops ops_print shadow play verdict mutator engine_mutator; do
        if [ -e "fuzz/$part.c" ]; then compile "lab_$part" "fuzz/$part.c" ""; fi
    done
}
compile_targets() {
    local name source variant corpus dictionary kind flags
    while read -r name source variant corpus dictionary kind; do
        flags="-DFUZZ_HEAP=fuzz_heap_$variant"
        if [ "$kind" = part ]; then flags=$(core_flags "$variant"); fi
        compile "target_$name" "fuzz/$source.c" "$flags"
    done
}

link() { # NAME VARIANT KIND
    local objects=("$work/target_$1.o")
    case $2 in
    both) objects+=("$work"/core_speed_*.o "$work/apart.a") ;;
    *) objects+=("$work/core_$2"_*.o) ;;
    esac
    if [ "$3" != part ]; then objects+=("$work"/lab_*.o); fi
    echo "$CXX $CXXFLAGS ${objects[*]} $LIB_FUZZING_ENGINE -pthread -o $OUT/$1"
}
package() { # NAME CORPUS DICTIONARY KIND
    rm -f "$OUT/$1_seed_corpus.zip"
    (cd "fuzz/corpus/$2" && zip -q -r -X "$OUT/$1_seed_corpus.zip" .)
    if [ "$3" != - ]; then cp "fuzz/dictionaries/$3.dict" "$OUT/$1.dict"; fi
    printf '[libfuzzer]\nmax_len = 4096\ntimeout = 25\n\n[asan]\nallocator_may_return_null = 1\n' >"$OUT/$1.options"
    # The target makes errors, and hakmem's own handlers report them: otherwise ClusterFuzz lets a sanitizer have these
    # signals.
    if [ "$1" = fuzz_attack ]; then printf 'handle_abort = 0\nhandle_segv = 0\nhandle_sigbus = 0\n' >>"$OUT/$1.options"; fi
}

OUT=$(cd "$OUT" && pwd)
list=$(targets "$@")
[ -n "$list" ] || { echo "build.sh: no such target: $*" >&2 && exit 2; }
{
    for variant in speed hardened; do
        if grep -Eq " ($variant|both) " <<<"$list"; then compile_core "$variant"; fi
    done
    compile_lab
    compile_targets <<<"$list"
} | xargs -P "$jobs" -d '\n' -n 1 bash -c
if grep -q " both " <<<"$list"; then fuzz/apart.sh "$work/apart.a" "$work"/core_hardened_*.o; fi
while read -r name source variant corpus dictionary kind; do
    link "$name" "$variant" "$kind"
done <<<"$list" | xargs -P "$jobs" -d '\n' -n 1 bash -c
while read -r name source variant corpus dictionary kind; do
    package "$name" "$corpus" "$dictionary" "$kind"
done <<<"$list"
[ -n "${WORK:-}" ] || rm -r "$work"
