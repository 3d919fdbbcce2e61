#!/bin/bash
# run_preload.sh VARIANT preload|no-preload LIBRARY PROBE PROGRAM ARGS...: the command of hak_preload_test.
set -euo pipefail
export HAKMEM_TEST_VARIANT=$1
export HAKMEM_TEST_LIBRARY
HAKMEM_TEST_LIBRARY=$(readlink -e "$3") # ld.so takes a relative path from the present folder of a child
mode=$2
probe=$(readlink -e "$4")
program=$(readlink -e "$5")
shift 5

# ld.so only complains and goes on without a library that it cannot load. A loaded library may lack malloc: the probe
# reports that.
if ! complaint=$(LD_PRELOAD=$HAKMEM_TEST_LIBRARY "$probe" "$HAKMEM_TEST_LIBRARY" 2>&1) || [ -n "$complaint" ]; then
    echo "$complaint" >&2
    exit 1
fi
if [ "$mode" = preload ]; then
    export LD_PRELOAD=$HAKMEM_TEST_LIBRARY
    # These programs are correct: errors that are reported once by default end them here.
    export HAKMEM_HARDENING=${HAKMEM_HARDENING-all:abort}
fi
exec "$program" "$@"
