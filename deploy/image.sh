#!/usr/bin/env bash
# Makes the image of controller and runner without a container engine, as an OCI archive: one static program, CA
# certificates and an empty /tmp; no shell, no package manager. The Dockerfile makes the same one with an engine.
# Usage: image.sh OUT.tar [NAME]    NAME is a full reference; by default that of the chart, with this version.
set -euo pipefail

out=${1:?usage: image.sh OUT.tar [NAME]}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
limit=40000000

fail() { echo "image.sh: $*" >&2; exit 1; }

name=${2:-}
if [ -z "$name" ]; then
  package=$(cargo pkgid --manifest-path "$here/../Cargo.toml")
  name=ghcr.io/memory-migration/memory-migration-operator:${package##*[@#]}
fi
case ${name##*/} in *:?*) ;; *) fail "$name has no tag: name it as $name:TAG" ;; esac

# This machine's: whoever publishes the image vouches for what is trusted here.
certificates=
for bundle in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem; do
  if [ -s "$bundle" ]; then certificates=$bundle; break; fi
done
[ -n "$certificates" ] || fail "this machine has no CA certificates to put in: on Debian 'apt-get install ca-certificates'"

# A target is named so that build scripts and macros, which the compiler loads, stay dynamic.
target=$(rustc -vV | sed -n 's/^host: //p')
program=$(RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static" cargo build --manifest-path "$here/../Cargo.toml" \
  --locked --release --bin memory-migration --target "$target" --message-format=json-render-diagnostics |
  sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
headers=$(LC_ALL=C readelf --program-headers "$program")
case $headers in *INTERP*) fail "$program is not static: it would not start in an image that holds nothing else" ;; esac

python3 "$here/../tests/cluster/mkimage.py" "$name" "$out.new" --entrypoint /usr/bin/memory-migration --user 65532:65532 \
  --dir /tmp:1777 "$program:/usr/bin/memory-migration" "$certificates:/etc/ssl/certs/ca-certificates.crt"
size=$(stat -c %s "$out.new")
[ "$size" -le $limit ] || { rm "$out.new"; fail "the image has $size bytes, more than $limit: look what made it grow"; }
mv "$out.new" "$out"
echo "$out: $name, $size bytes"
