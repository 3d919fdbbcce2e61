#!/bin/bash
# apart.sh OUT.a FILE...: the objects and archives as one archive whose external symbols begin with hardened_, so that a
# program can also contain the other variant. The sources know nothing of that.
set -euo pipefail
out=$(realpath "$1") folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
for file in "${@:2}"; do
    case $file in
    *.a) ar x --output "$folder" "$file" ;;
    *) cp "$file" "$folder" ;;
    esac
done
cd "$folder"
chmod u+w ./*.o
nm --defined-only --extern-only --format=posix ./*.o | awk 'NF > 1 && $1 ~ /hak_/ {print $1, "hardened_" $1}' | sort -u >names
for object in *.o; do
    objcopy --redefine-syms=names "$object"
done
rm -f "$out"
ar rcsD "$out" ./*.o
