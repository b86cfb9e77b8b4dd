#!/usr/bin/env bash
# Builds helm alone, which is all that a demo needs of install.sh's tools, and prints what to put before PATH. If all of those
# tools are there, it takes that helm. Needs Go; 2 minutes on 2 cores, once for each state of go.sum.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

cache=${MEMORY_MIGRATION_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/memory-migration-operator}
all=$cache/tools/charts-$(cat go.mod go.sum requirements.txt crds.txt install.sh | sha256sum | cut -c1-12)
if [ -f "$all/complete" ]; then
  echo "$all/bin"
  exit
fi
out=$cache/tools/helm-$(cat go.mod go.sum | sha256sum | cut -c1-12)
if [ ! -x "$out/helm" ]; then
  command -v go >/dev/null || { echo "helm.sh: needs Go, at least $(grep -m1 '^go ' go.mod): install it from https://go.dev/dl" >&2; exit 1; }
  echo "helm.sh: building helm (2 minutes on 2 cores)" >&2
  mkdir -p "$out"
  CGO_ENABLED=0 GOGC=off GOMEMLIMIT=2GiB GOFLAGS="-p=2" nice -n 10 \
    go build -trimpath -buildvcs=false -ldflags "-s -w" -o "$out/helm.new" helm.sh/helm/v4/cmd/helm >&2
  mv "$out/helm.new" "$out/helm"
fi
echo "$out"
