#!/bin/bash
# oss_fuzz_test.sh EMULATE ENGINE SANITIZER TARGET...: the emulation of OSS-Fuzz's build and checks on some targets.
set -euo pipefail
emulate=$(readlink -f "$1")
exec "$emulate" --engine "$2" --sanitizer "$3" --runs 5 "${@:4}"
