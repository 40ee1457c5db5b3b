#!/bin/sh
# Make the environment of one cluster node, or bring it up to date: Python 3.11 and bdray in the versions of constraints.txt.
# The launcher copies the sources to ~/bdray first (file_mounts of cluster.yaml and on_premise.yaml) and then runs this.
set -eu
source="$HOME/bdray"
venv="$HOME/.bdray-venv"
tools="$HOME/.bdray-uv"

# Into a folder of ours: pip may not touch a system's own Python (PEP 668).
if ! [ -x "$tools/bin/uv" ]; then
    python3 -m pip install --quiet --disable-pip-version-check --target "$tools" 'uv==0.13.8'
fi
"$tools/bin/uv" venv --quiet --allow-existing --no-project --python 3.11 "$venv"
# Byte code is compiled here, so that no worker has to.
"$tools/bin/uv" pip install --quiet --python "$venv/bin/python" --compile-bytecode \
    --constraint "$source/constraints.txt" "${source}[cluster,postgres]"

# For `ray exec`, `ray attach` and job entry points: this environment, and never a cluster without its token.
mark='# bdray: environment of the cluster'
if ! grep -qsF "$mark" "$HOME/.bashrc"; then
    printf '%s\n' "$mark" ". $venv/bin/activate" 'export RAY_AUTH_MODE=token' >>"$HOME/.bashrc"
fi
