#!/usr/bin/env bash
# Prints where cosign is: the one on PATH, or one that is built into the cache once, which takes Go and many minutes.
set -euo pipefail

version=v3.1.2
if command -v cosign; then exit; fi
cache=${MEMORY_MIGRATION_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/memory-migration-operator}
out=$cache/tools/cosign-$version
if [ ! -x "$out/cosign" ]; then
  command -v go >/dev/null || { echo "cosign.sh: needs cosign, or Go to build it: https://go.dev/dl" >&2; exit 1; }
  echo "cosign.sh: building cosign $version (once)" >&2
  GOBIN=$out CGO_ENABLED=0 GOFLAGS=-p=2 nice -n 10 go install "github.com/sigstore/cosign/v3/cmd/cosign@$version" >&2
fi
echo "$out/cosign"
