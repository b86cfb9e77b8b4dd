#!/usr/bin/env bash
# Installs the wheel of a debug build with every Python there is from 3.9 on, runs the tests of its module with each, and
# checks the module's types. Called by `make python-test`; it says which Pythons ran.
# Usage: test.sh [WHEEL]
set -euo pipefail
wheel=${1:+$(cd "$(dirname "$1")" && pwd)/$(basename "$1")}
cd "$(dirname "${BASH_SOURCE[0]}")"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
unset PYTHONPATH PYTHONHOME

if [ -z "$wheel" ]; then
  ./wheel.sh "$scratch/wheel" --debug >/dev/null
  wheel=$(ls "$scratch"/wheel/*.whl)
fi
chroma=$(../tests/chroma/install.sh server | cut -d' ' -f2-)

test_with() { # PYTHON NAME
  "$1" -m venv "$scratch/$2"
  "$scratch/$2/bin/python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-compile "$wheel"
  CHROMA=$chroma "$scratch/$2/bin/python" -W error -m unittest discover --quiet --start-directory tests
}

# Side by side: they wait more than they work.
ran=() running=()
for minor in 9 10 11 12 13 14 15; do
  # asked, not looked up: a version manager's shim is there also for what is not installed
  python=$(for candidate in python3.$minor "$HOME"/.pyenv/versions/3.$minor.*/bin/python python3; do
    if "$candidate" -c "import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, $minor))" 2>/dev/null; then
      echo "$candidate"
      break
    fi
  done)
  [ -n "$python" ] || continue
  ran+=("3.$minor")
  test_with "$python" "3.$minor" >"$scratch/3.$minor.log" 2>&1 &
  running+=($!)
done
for at in "${!ran[@]}"; do
  wait "${running[$at]}" || { cat "$scratch/${ran[$at]}.log"; echo "test.sh: failed with Python ${ran[$at]}" >&2; exit 1; }
done
[ ${#ran[@]} -gt 0 ] || { echo "test.sh: there is no Python from 3.9 on that has venv" >&2; exit 1; }
"$(./install.sh)/bin/mypy" --cache-dir "$scratch/mypy" --config-file pyproject.toml src/memory_migration tests
echo "python: tests passed with Python ${ran[*]}; types checked"
