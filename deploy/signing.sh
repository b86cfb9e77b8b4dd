#!/usr/bin/env bash
# Prints a folder with cosign, which signs, and crane, which pushes images and is a registry for a check. Builds them into the
# cache, once for each state of deploy/signing/go.sum, which pins them. Needs Go; cosign takes 15 minutes.
# Usage: signing.sh [crane]    with crane: it alone, in a minute; a release has cosign from its own action
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/signing"

cache=${MEMORY_MIGRATION_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/memory-migration-operator}
out=$cache/tools/signing-$(cat go.mod go.sum | sha256sum | cut -c1-12)
declare -A packages=([crane]=github.com/google/go-containerregistry/cmd/crane [cosign]=github.com/sigstore/cosign/v3/cmd/cosign)
[ $# -gt 0 ] || set -- crane cosign
for tool in "$@"; do
  [ -n "${packages[$tool]:-}" ] || { echo "signing.sh: $tool is neither crane nor cosign" >&2; exit 1; }
  if [ ! -x "$out/$tool" ]; then
    command -v go >/dev/null || { echo "signing.sh: needs Go: https://go.dev/dl" >&2; exit 1; }
    echo "signing.sh: building $tool" >&2
    mkdir -p "$out"
    CGO_ENABLED=0 GOFLAGS=-p=2 nice -n 10 go build -buildvcs=false -ldflags "-s -w" -o "$out/$tool.new" "${packages[$tool]}" >&2
    mv "$out/$tool.new" "$out/$tool"
  fi
done
echo "$out"
