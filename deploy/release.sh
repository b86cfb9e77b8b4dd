#!/usr/bin/env bash
# Makes what a release consists of, as far as one x86_64 Linux can, and checks it: image, charts, manifests, SBOM, the command,
# checksums, and a signature by a key that is thrown away. Called by `make release-check`; publishes nothing.
# Usage: release.sh NEW_FOLDER
#        RELEASE_WITHOUT_BUILD=1   leaves out image and command, which compile for 10 minutes, and says so
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

out=${1:?usage: release.sh NEW_FOLDER}
mkdir "$out"
out=$(cd "$out" && pwd)
PATH=$(tests/charts/install.sh):$PATH
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

step() { echo "== $*"; }
fail() { echo "release.sh: $*" >&2; exit 1; }

step "notes"
awk -v version="$version" '/^## /{on = ($0 ~ "[[ ]" version "($|[] ])") || (!seen && /Unreleased/); if (on) seen = 1} on' CHANGELOG.md >"$out/NOTES.md"
[ -s "$out/NOTES.md" ] || fail "CHANGELOG.md has no section for $version, and none for what is unreleased"

step "charts, rendered from their packages"
for chart in memory-migration-operator-crds memory-migration-operator; do
  helm package "charts/$chart" --destination "$out" >/dev/null
  helm template x "$out/$chart-$version.tgz" --set image.repository=registry.example.com/x >"$scratch/packaged" 2>"$scratch/why" ||
    helm template x "$out/$chart-$version.tgz" >"$scratch/packaged"
  helm template x "charts/$chart" --set image.repository=registry.example.com/x 2>/dev/null >"$scratch/folder" ||
    helm template x "charts/$chart" >"$scratch/folder"
  cmp -s "$scratch/packaged" "$scratch/folder" || fail "the package of $chart renders something else than its folder"
done

step "manifests"
tests/charts/generate.sh --check
cp deploy/crds.yaml deploy/operator.yaml "$out"

step "SBOM (SPDX 2.3)"
python3 deploy/sbom.py >"$out/sbom.spdx.json"
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet --disable-pip-version-check spdx-tools==0.8.5
"$scratch/venv/bin/pyspdxtools" -i "$out/sbom.spdx.json" || fail "the SBOM is not valid"

if [ -n "${RELEASE_WITHOUT_BUILD:-}" ]; then
  echo "not made here: image and command, as RELEASE_WITHOUT_BUILD asks"
else
  step "image, twice"
  deploy/image.sh "$out/image-amd64.tar"
  touch src/main.rs
  deploy/image.sh "$scratch/again.tar"
  cmp "$out/image-amd64.tar" "$scratch/again.tar" || fail "the image of the same source differs"
  step "command"
  cargo build --locked --release --bin memory-migration
  folder=$(cargo metadata --locked --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
  tar -c -z --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -f "$out/memory-migration-$version-x86_64-linux.tar.gz" \
    -C "$folder/release" memory-migration -C "$PWD" LICENSE README.md
  tar -x -z -f "$out/memory-migration-$version-x86_64-linux.tar.gz" -C "$scratch" memory-migration
  "$scratch/memory-migration" --version | grep -qF "$version" || fail "the packed command is not version $version"
fi

step "checksums, and a signature by a key that is thrown away"
(cd "$out" && find . -type f ! -name SHA256SUMS -printf '%P\n' | sort | xargs sha256sum >SHA256SUMS)
openssl genpkey -algorithm ed25519 -out "$scratch/key" 2>/dev/null
openssl pkey -in "$scratch/key" -pubout -out "$scratch/key.pub"
openssl pkeyutl -sign -inkey "$scratch/key" -rawin -in "$out/SHA256SUMS" -out "$out/SHA256SUMS.sig"
verify() { openssl pkeyutl -verify -pubin -inkey "$scratch/key.pub" -rawin -in "$1" -sigfile "$out/SHA256SUMS.sig" >/dev/null 2>&1; }
verify "$out/SHA256SUMS" || fail "the signature does not hold"
(cd "$out" && sha256sum --check --quiet SHA256SUMS)
{ cat "$out/SHA256SUMS"; echo; } >"$scratch/changed"
if verify "$scratch/changed"; then fail "the signature holds for changed checksums, too"; fi

ls -l "$out"
cat <<'END'
Not made here, and not run yet. A release workflow has to make these:
  image for arm64, and one name for both       no workflow yet
  cosign keyless signatures of image and charts no workflow yet
  SLSA provenance                               no workflow yet
  charts pushed as OCI artefacts                no workflow yet
  command for arm64 Linux and macOS             no workflow yet
END
