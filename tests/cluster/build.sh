#!/usr/bin/env bash
# Build the test cluster's programs from the Go modules that go.mod pins, once
# for each state of go.sum, the sources and this file. Prints the folder.
# Usage: build.sh [--where]   --where only prints the folder
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

version=v1.36.3 # k8s.io/kubernetes in go.mod
cache=${MEMORY_MIGRATION_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/memory-migration-operator}
hash=$(cat go.mod go.sum cmd/*/main.go build.sh | sha256sum | cut -c1-12)
out=$cache/cluster-$hash
[[ ${1:-} == --where || -e $out/complete ]] && { echo "$out"; exit; }

command -v go >/dev/null || { echo "build.sh: no Go toolchain (go); install one, at least $(grep -m1 '^go ' go.mod)" >&2; exit 1; }
echo "building the cluster's programs into $out (10 to 15 minutes the first time on 2 cores)" >&2

flags="-s -w"
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  flags+=" -X $package.gitVersion=$version -X $package.gitMajor=1 -X $package.gitMinor=36 -X $package.gitTreeState=clean"
  flags+=" -X $package.gitCommit=$(printf '%040d' 0) -X $package.buildDate=1970-01-01T00:00:00Z"
done
containerd=github.com/containerd/containerd/v2/cmd
plugins=github.com/containernetworking/plugins/plugins
# The compiler ends before its memory matters: collecting garbage only takes time from it.
build() {
  CGO_ENABLED=0 GOGC=off GOMEMLIMIT=2GiB GOFLAGS="-p=2 ${GOFLAGS:-}" nice -n 5 \
    go build -trimpath -buildvcs=false -tags "no_btrfs no_devmapper no_zfs no_tracing" -ldflags "$flags" -o "$out/bin/" "$@" >&2
}
mkdir -p "$out/bin"
build ./cmd/... k8s.io/kubernetes/cmd/kubectl "$containerd"/{containerd,containerd-shim-runc-v2,ctr} "$plugins"/{ipam/host-local,main/bridge,main/loopback,meta/portmap}
# Alone: it imports logrus by its old, capital name, which Go refuses beside the new one.
build github.com/rancher/local-path-provisioner
touch "$out/complete"
echo "$out"
