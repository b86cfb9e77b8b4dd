#!/usr/bin/env bash
# Installs what the charts are made and checked with into the cache, once for each state of go.sum, requirements.txt,
# crds.txt and this file, and prints what to put before PATH: helm, helm-unittest, helm-docs, kustomize, promtool, and a
# python. The schemas of crds.txt are in crds beside the first of these folders.
# It needs Go, Python 3.9 or newer with venv, and promtool: from Debian's archive, or on PATH. 5 minutes on 2 cores.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here"
cache=${MEMORY_MIGRATION_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/memory-migration-operator}
out=$cache/tools/charts-$(cat go.mod go.sum requirements.txt crds.txt install.sh | sha256sum | cut -c1-12)
unset PYTHONPATH PYTHONHOME

say() { echo "install.sh: $*" >&2; }
fail() { say "$*"; exit 1; }

# What Debian 12 has. Another version does, too: the rules use nothing new.
promtool_package=prometheus=2.42.0+ds-5+deb12u1

go_tools() {
  command -v go >/dev/null || fail "needs Go, at least $(grep -m1 '^go ' go.mod): install it from https://go.dev/dl"
  say "building helm, helm-unittest, helm-docs and kustomize (5 minutes the first time)"
  # The compiler ends before its memory matters: collecting garbage only takes time from it.
  CGO_ENABLED=0 GOGC=off GOMEMLIMIT=2GiB GOFLAGS="-p=2" nice -n 10 \
    go build -trimpath -buildvcs=false -ldflags "-s -w" -o "$out/bin/" tool >&2
}

download() { (cd "$out/deb" && apt-get download -q -o APT::Sandbox::User="$(id -un)" "$1" >&2); }

promtool() {
  if command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null; then
    # Unpacked, not installed: no root, and no server that starts.
    mkdir -p "$out/deb"
    if { download $promtool_package || download prometheus || { apt-get update -q >&2 && download prometheus; }; } &&
      dpkg-deb -x "$out"/deb/*.deb "$out/deb"; then
      mv "$out/deb/usr/bin/promtool" "$out/bin/"
      rm -rf "$out/deb"
      return
    fi
    rm -rf "$out/deb"
  fi
  command -v promtool >/dev/null || fail "needs promtool: install Prometheus (on Debian, 'apt-get install prometheus')"
  ln -sf "$(command -v promtool)" "$out/bin/promtool"
}

python() {
  local python
  python=$(command -v python3.11 || command -v python3) || fail "needs python3 with the venv module"
  "$python" -m venv "$out/python" || fail "needs python3 with the venv module: on Debian, 'apt-get install python3-venv'"
  "$out/python/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.txt >&2
}

crds() {
  local module path sum folder
  mkdir -p "$out/crds"
  while read -r module path sum; do
    # A module is unpacked whole, up to 180 MB: into a folder of its own, which goes.
    folder=$(cd "$out" && GOMODCACHE=$out/modules GOFLAGS=-mod=mod go mod download -json "$module" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
    [ -n "$folder" ] || fail "$module of crds.txt cannot be downloaded"
    echo "$sum  $folder/$path" | sha256sum --check --quiet >&2 || fail "$path of $module is not what crds.txt says"
    install -m 644 "$folder/$path" "$out/crds/"
  done < <(grep -v '^#' crds.txt)
  GOMODCACHE=$out/modules go clean -modcache
}

command -v flock >/dev/null || fail "needs flock: install util-linux"
mkdir -p "$cache/tools"
(
  flock 9
  if [ ! -f "$out/complete" ]; then
    started=$SECONDS
    rm -rf "$out"
    mkdir -p "$out/bin"
    python
    promtool
    go_tools
    crds
    touch "$out/complete"
    say "ready after $((SECONDS - started)) s in $out"
  fi
) 9>"$out.lock"
echo "$out/bin:$out/python/bin"
