#!/usr/bin/env bash
# Collect what examples/gpu/run.sh needs on a machine that reaches no registry: about 40 MB.
#
#     examples/gpu/collect_wheels.sh [FOLDER]          # default: examples/gpu/wheels
#
# For Python 3.12 on Linux x86_64, or PYTHON_VERSION. Of torch and transformers nothing is fetched.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$here/wheels}
version=${PYTHON_VERSION:-3.12}
python=${PYTHON:-python3}
most_mb=40

mkdir -p "$folder"
rm -f "$folder"/*.whl
platforms=()
for glibc in 2_28 2_27 2_26 2_24 2_17 2_12 2_5; do platforms+=(--platform "manylinux_${glibc}_x86_64"); done
for name in 2014 2010 1; do platforms+=(--platform "manylinux${name}_x86_64"); done
"$python" -m pip download --quiet --no-deps --only-binary=:all: --dest "$folder" \
    --implementation cp --python-version "$version" "${platforms[@]}" --requirement "$here/wheels.txt"
"$python" -m pip download --quiet --no-deps --only-binary=:all: --dest "$folder" \
    --implementation py --abi none --python-version "$version" --platform any fonttools
"$python" -m pip wheel --quiet --no-deps --wheel-dir "$folder" "$here/../.."

# run.sh unpacks wheels without pip: one that wants files elsewhere cannot be used so.
for wheel in "$folder"/*.whl; do
    if "$python" -m zipfile -l "$wheel" | grep -qE '\.data/(purelib|platlib)/'; then
        echo "$(basename "$wheel") cannot be used by unpacking alone; find another build of it" >&2
        exit 1
    fi
done
kilobytes=$(cat "$folder"/*.whl | wc -c | awk '{ print int($1 / 1000) }')
echo "$(ls "$folder"/*.whl | wc -l) wheels, $((kilobytes / 1000)).$((kilobytes % 1000 / 100)) MB, in $folder"
if [ "$kilobytes" -gt $((most_mb * 1000)) ]; then
    echo "that is more than $most_mb MB; leave out what is not needed" >&2
    exit 1
fi
