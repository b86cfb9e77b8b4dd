#!/usr/bin/env bash
# Prints a folder with cosign, which signs, and crane, which is a registry for a check. Builds both into the cache once, which
# takes Go and 15 minutes.
set -euo pipefail

cosign=v3.1.2 crane=v0.21.7
cache=${MEMORY_MIGRATION_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/memory-migration-operator}
out=$cache/tools/signing-$cosign-$crane
if [ ! -x "$out/cosign" ] || [ ! -x "$out/crane" ]; then
  command -v go >/dev/null || { echo "signing.sh: needs Go: https://go.dev/dl" >&2; exit 1; }
  echo "signing.sh: building cosign $cosign and crane $crane (15 minutes, once)" >&2
  GOBIN=$out CGO_ENABLED=0 GOFLAGS=-p=2 nice -n 10 go install "github.com/google/go-containerregistry/cmd/crane@$crane" >&2
  GOBIN=$out CGO_ENABLED=0 GOFLAGS=-p=2 nice -n 10 go install "github.com/sigstore/cosign/v3/cmd/cosign@$cosign" >&2
fi
echo "$out"
