#!/bin/bash -eu
# The same build as on OSS-Fuzz.
exec "$SRC/hakmem/fuzz/oss-fuzz/build.sh" "$@"
