#!/usr/bin/env bash
# Installs what tests and demo need of Chroma, outside the checkout, and prints one line for each: its name and its folder.
# Usage: install.sh all | server | VERSION...
#   VERSION  server and official Python client of that version, pinned by requirements-VERSION.txt
#   server   the server alone, pinned by requirements-server.txt: seconds instead of a minute
# What is installed already is only printed. Cache: $MEMORY_MIGRATION_CACHE, else the user's cache folder.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${MEMORY_MIGRATION_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/memory-migration-operator}
unset PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE

say() { echo "install.sh: $*" >&2; }
fail() { say "$*"; exit 1; }

# The lock files name what Python 3.11 can install; the server alone takes any Python from 3.9 on.
can_venv() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 9))' 2>/dev/null; }

find_python() {
  local candidate
  for candidate in python3.11 /usr/bin/python3.11 python3; do
    if command -v "$candidate" >/dev/null && can_venv "$candidate"; then command -v "$candidate"; return; fi
  done
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "no Python with venv: apt-get install python3.11-venv"
    { apt-get install -y -q python3.11-venv || { apt-get update -q && apt-get install -y -q python3.11-venv; }; } >&2 || true
    if command -v python3.11 >/dev/null && can_venv python3.11; then command -v python3.11; return; fi
  fi
  fail "needs Python 3.11 (or a python3 from 3.9 on) with the venv module: install it, on Debian and Ubuntu as root with 'apt-get install python3.11-venv'"
}

# Tests know a server by the command `chroma`; without the full package only the native module can give it.
write_launcher() {
  cat >"$1/bin/chroma" <<EOF
#!/bin/sh
exec "$1/bin/python" -c 'import signal, sys, chromadb_rust_bindings as native
signal.signal(signal.SIGINT, signal.SIG_DFL)
native.cli(["chroma", *sys.argv[1:]])' "\$@"
EOF
  chmod +x "$1/bin/chroma"
}

# Locks file 9, for as long as it is open. Not every system has the command.
lock() {
  if command -v flock >/dev/null; then flock 9; else python3 -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)'; fi
}

install() {
  local name=$1 lock=$here/requirements-$1.txt hash folder python started=$SECONDS
  [ -f "$lock" ] || fail "there is no $lock; known are:$(cd "$here" && for f in requirements-*.txt; do f=${f#requirements-}; printf ' %s' "${f%.txt}"; done)"
  # macOS has the second one
  hash=$({ sha256sum "$lock" 2>/dev/null || shasum -a 256 "$lock"; } | cut -c1-12)
  folder=$cache/chroma-$name-$hash
  mkdir -p "$cache"
  # An environment cannot be renamed (its scripts hold its path): the lock and the marker, written last, make it atomic.
  (
    lock
    if ! { [ -f "$folder/complete" ] && "$folder/bin/python" -c '' 2>/dev/null; }; then
      say "Chroma $name: installing into $folder"
      rm -rf "$folder"
      python=$(find_python)
      "$python" -m venv "$folder"
      # The lock file is complete, so nothing has to be resolved. Where it has hashes, pip checks them.
      "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-compile -r "$lock" >&2 ||
        fail "Chroma $name: pip failed; lock files are made for Python 3.11, this is $("$folder/bin/python" -V)"
      if [ "$name" = server ]; then write_launcher "$folder"; else "$folder/bin/python" -c 'import chromadb'; fi
      touch "$folder/complete"
      say "Chroma $name: ready after $((SECONDS - started)) s"
    fi
  ) 9>"$folder.lock"
  echo "$name $folder"
}

[ $# -gt 0 ] || fail "usage: install.sh all | server | VERSION..."
[ "$1" = all ] && set -- 1.5.9 1.0.20 0.6.3 0.5.23 0.4.24
for wanted in "$@"; do install "$wanted"; done
