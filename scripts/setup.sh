#!/bin/sh
# Make .venv with bdray and all it needs, in the versions of constraints.txt, or bring it up to date.
# Usage: scripts/setup.sh; PYTHON names an interpreter other than the first suitable one on the PATH.
set -eu
cd "$(dirname "$0")/.."

fail() {
    echo "setup: $*" >&2
    exit 2
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    for python in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python}; do
        if is_new_enough "$python"; then
            echo "$python"
            return
        fi
    done
    fail "bdray needs Python 3.11 or newer, but ${PYTHON:-python3} is missing or older." \
        "Install one, or name it: make setup PYTHON=/path/to/python3.11"
}

# Without a uv of the user's, fetch one into a folder of ours: pip may not touch a system's own Python (PEP 668).
find_uv() {
    if uv --version >/dev/null 2>&1; then
        echo uv
        return
    fi
    if ! [ -x .uv/bin/uv ]; then
        echo "Fetching uv into .uv" >&2
        "$1" -m pip install --quiet --disable-pip-version-check --target .uv uv >&2 ||
            fail "uv cannot be fetched with pip. Install pip (Debian: apt install python3-pip), or uv itself."
    fi
    echo .uv/bin/uv
}

if is_new_enough .venv/bin/python; then
    python=.venv/bin/python
else
    python=$(find_python)
fi
uv=$(find_uv "$python")
if [ "$python" != .venv/bin/python ]; then
    "$uv" venv --quiet --allow-existing --no-project --python "$python" .venv
fi

# The default of 30 seconds is short for the largest wheels.
export UV_HTTP_TIMEOUT="${UV_HTTP_TIMEOUT:-300}"
# Byte code is compiled here, so that neither the first run nor any of its workers has to.
"$uv" pip install --python .venv/bin/python --compile-bytecode --editable '.[dev]' --constraint constraints.txt
.venv/bin/python -m compileall -q bdray
