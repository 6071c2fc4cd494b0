#!/usr/bin/env bash
# How many texts a second the router carries with an encoder student on this machine's card.
#
#     examples/gpu/run.sh --out results                      # within eight minutes
#     examples/gpu/run.sh --device cpu --toy --out results   # its twin, anywhere
#
# Needs Python 3.12, torch >= 2.11 and transformers, and beside this file wheels/ as collected by
# collect_wheels.sh; reaches nothing outside this machine and installs nothing into it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
wheels=${WHEELS:-$here/wheels}

path=$(cd "$here/../.." && pwd)
if compgen -G "$wheels/*.whl" >/dev/null; then
    site=$(mktemp -d)
    trap 'rm -rf "$site"' EXIT
    for wheel in "$wheels"/*.whl; do "$python" -m zipfile -e "$wheel" "$site"; done
    path=$path:$site
fi
export PYTHONPATH=$path${PYTHONPATH:+:$PYTHONPATH}
if ! missing=$("$python" -c "import torch, transformers, locust, fastapi" 2>&1); then
    echo "torch, transformers or the wheels are missing ($(tail -n 1 <<<"$missing")): install the" \
        "first two, and collect the wheels with $here/collect_wheels.sh where a registry is" >&2
    exit 2
fi
"$python" "$here/run.py" "$@"
