#!/usr/bin/env bash
# Makes the wheel: the command and the module that starts it.
# Usage: wheel.sh FOLDER           with the release's command, for any Linux of this architecture, or for macOS
#        wheel.sh FOLDER --debug   with the command as tests build it, for this machine
set -euo pipefail

out=${1:?usage: wheel.sh FOLDER [--debug]}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")"
maturin=$(./install.sh)/bin/maturin
cp ../LICENSE .
trap 'rm -f LICENSE' EXIT

if [ "${2:-}" = --debug ]; then
  "$maturin" build --quiet --locked --profile dev --strip --compatibility linux --out "$out" >&2
elif [ "$(uname -s)" = Linux ]; then
  # static: it asks nothing of the C library that is there, so the oldest tag that pip knows is true
  # shellcheck disable=SC2016 # program.sh sets the variable
  ../deploy/program.sh '' sh -c '"$0" build --quiet --locked --release --target "$PROGRAM_TARGET" --out "$1" \
    --compatibility manylinux2014' "$maturin" "$out" >&2
else
  "$maturin" build --quiet --locked --release --out "$out" >&2
fi
ls "$out"/*.whl
