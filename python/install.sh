#!/usr/bin/env bash
# Installs maturin and mypy into the cache, once for each state of requirements.txt, and prints the environment's folder.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${MEMORY_MIGRATION_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/memory-migration-operator}
unset PYTHONPATH PYTHONHOME
out=$cache/tools/python-$(cksum <"$here/requirements.txt" | cut -d' ' -f1)

if ! { [ -f "$out/complete" ] && "$out/bin/python" -c '' 2>/dev/null; }; then
  python=$(command -v python3.11 || command -v python3) || { echo "python/install.sh: needs python3 with venv" >&2; exit 1; }
  rm -rf "$out"
  mkdir -p "$(dirname "$out")"
  "$python" -m venv "$out" >&2
  "$out/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r "$here/requirements.txt" >&2
  touch "$out/complete"
fi
echo "$out"
