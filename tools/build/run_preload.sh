#!/bin/bash
# run_preload.sh VARIANT preload|no-preload LIBRARY PROBE PROGRAM ARGS...: what hak_preload_test runs.
set -euo pipefail
export HAKMEM_TEST_VARIANT=$1
export HAKMEM_TEST_LIBRARY
HAKMEM_TEST_LIBRARY=$(readlink -e "$3") # ld.so takes a relative path from wherever a child has gone
mode=$2
probe=$(readlink -e "$4")
program=$(readlink -e "$5")
shift 5

# ld.so only complains and goes on without a library that it cannot load.
# And one that it loads may be without malloc: the probe says so.
if ! complaint=$(LD_PRELOAD=$HAKMEM_TEST_LIBRARY "$probe" "$HAKMEM_TEST_LIBRARY" 2>&1) || [ -n "$complaint" ]; then
    echo "$complaint" >&2
    exit 1
fi
if [ "$mode" = preload ]; then
    export LD_PRELOAD=$HAKMEM_TEST_LIBRARY
    # These programs are right: what is by default reported once ends them.
    export HAKMEM_HARDENING=${HAKMEM_HARDENING-all:abort}
fi
exec "$program" "$@"
