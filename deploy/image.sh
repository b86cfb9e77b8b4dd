#!/usr/bin/env bash
# Makes the image of controller and runner without a container engine, as an OCI archive: one static program, CA
# certificates and an empty /tmp; no shell, no package manager. The Dockerfile makes the same one with an engine.
# The same source, compiler, C library and certificates give the same bytes, wherever the checkout and its build output are.
# Usage: image.sh OUT.tar [NAME]    NAME is a full reference; by default localhost/memory-migration-operator and this version.
#        IMAGE_ARCH="amd64 arm64"   for these architectures; by default for this machine's.
set -euo pipefail

out=${1:?usage: image.sh OUT.tar [NAME]}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
limit=45000000

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

case $(uname -m) in x86_64) here=amd64 ;; aarch64) here=arm64 ;; *) here=$(uname -m) ;; esac
parts=()
trap 'rm -f "$out".*.new "$out.new"' EXIT
for architecture in ${IMAGE_ARCH:-$here}; do
  program=$("$root/deploy/program.sh" "$architecture")
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
