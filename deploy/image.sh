#!/usr/bin/env bash
# Makes the image of controller and runner without a container engine, as an OCI archive: one static program, CA
# certificates and an empty /tmp; no shell, no package manager. The Dockerfile makes the same one with an engine.
# The same source, compiler, C library and certificates give the same bytes, wherever the checkout and its build output are.
# Usage: image.sh OUT.tar [NAME]    NAME is a full reference; by default localhost/memory-migration-operator and this version.
#        IMAGE_ARCH="amd64 arm64"   for these architectures; by default for this machine's.
set -euo pipefail

out=${1:?usage: image.sh OUT.tar [NAME]}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
limit=40000000

fail() { echo "image.sh: $*" >&2; exit 1; }
mkimage() { python3 "$root/tests/cluster/mkimage.py" "$@"; }

name=${2:-}
if [ -z "$name" ]; then
  package=$(cargo pkgid --manifest-path "$root/Cargo.toml")
  name=localhost/memory-migration-operator:${package##*[@#]}
fi
case ${name##*/} in *:?*) ;; *) fail "$name has no tag: name it as $name:TAG" ;; esac

# This machine's: whoever publishes the image vouches for what is trusted here.
certificates=
for bundle in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem; do
  if [ -s "$bundle" ]; then certificates=$bundle; break; fi
done
[ -n "$certificates" ] || fail "this machine has no CA certificates to put in: on Debian 'apt-get install ca-certificates'"

# Sets program. A target is named also for this machine's, so that build scripts and macros, which the compiler loads, stay
# dynamic.
build() { # ARCHITECTURE
  local machine target linker folder flags headers
  case $1 in amd64) machine=x86_64 ;; arm64) machine=aarch64 ;; *) fail "IMAGE_ARCH: $1 is neither amd64 nor arm64" ;; esac
  target=$(rustc -vV | sed -n 's/^host: //p')
  if [ "${target%%-*}" != $machine ]; then
    target=$machine-unknown-linux-gnu
    [ -d "$(rustc --print target-libdir --target $target)" ] || fail "no standard library for $1: 'rustup target add $target'"
    linker=CARGO_TARGET_$(tr a-z- A-Z_ <<<"$target")_LINKER
    export "$linker=${!linker:-$machine-linux-gnu-gcc}"
    command -v "${!linker}" >/dev/null ||
      fail "no C compiler for $1, or set $linker: on Debian 'apt-get install gcc-${machine/_/-}-linux-gnu libc6-dev-$1-cross'"
  fi
  # Where the sources of the dependencies and the build output are, is in the program otherwise: places in messages.
  folder=$(cargo metadata --manifest-path "$root/Cargo.toml" --locked --no-deps --format-version 1 |
    sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
  flags=(--remap-path-prefix "$root=/src" --remap-path-prefix "$folder=/target"
    --remap-path-prefix "${CARGO_HOME:-$HOME/.cargo}=/cargo" -C target-feature=+crt-static)
  # shellcheck disable=SC2206 # several words, as cargo takes them
  flags=(${RUSTFLAGS:-} "${flags[@]}")
  program=$(CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f' && echo "${flags[*]}") cargo build --manifest-path "$root/Cargo.toml" \
    --locked --release --bin memory-migration --target "$target" --message-format=json-render-diagnostics |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
  headers=$(LC_ALL=C readelf --program-headers "$program")
  case $headers in *INTERP*) fail "$program is not static: it would not start in an image that holds nothing else" ;; esac
}

case $(uname -m) in x86_64) here=amd64 ;; aarch64) here=arm64 ;; *) here=$(uname -m) ;; esac
parts=()
trap 'rm -f "$out".*.new "$out.new"' EXIT
for architecture in ${IMAGE_ARCH:-$here}; do
  build "$architecture"
  part=$out.$architecture.new
  mkimage "$name" "$part" --architecture "$architecture" --entrypoint /usr/bin/memory-migration --user 65532:65532 \
    --dir /tmp:1777 "$program:/usr/bin/memory-migration" "$certificates:/etc/ssl/certs/ca-certificates.crt"
  size=$(stat -c %s "$part")
  [ "$size" -le $limit ] || fail "the image for $architecture has $size bytes, more than $limit: look what made it grow"
  parts+=("$part")
done
if [ ${#parts[@]} -gt 1 ]; then
  mkimage "$name" "$out.new" --merge "${parts[@]}"
else
  mv "${parts[0]}" "$out.new"
fi
mv "$out.new" "$out"
echo "$out: $name, ${IMAGE_ARCH:-$here}, $(stat -c %s "$out") bytes"
