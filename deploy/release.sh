#!/usr/bin/env bash
# Makes what a release consists of, and checks each part as it is made. Publishes nothing: .github/workflows/release.yml does.
# Usage: release.sh FOLDER PART...    writes these parts into FOLDER
#        release.sh FOLDER check      `make release-check`: all that this machine can make, twice where it has to be the same,
#                                     and a signature by a key that is thrown away
# Parts: notes      what is new, from CHANGELOG.md and changelog.d
#        sbom       of the program, as SPDX
#        program    the command for this machine, in a .tar.gz
#        wheel      the same for Python
#        image      for this machine's architecture, as an OCI archive
#        index      one image of all image-*.tar in FOLDER, as the layout FOLDER/image, and its digest in FOLDER/image.digest
#        charts     both charts, packaged; installs nothing but renders what is in the package
#        manifests  crds.yaml and operator.yaml, and the script support.sh
#        sums       SHA256SUMS of all files in FOLDER but images
# A relative FOLDER is one of the folder that you call from. `check` empties FOLDER first, if an earlier check made it, and
# refuses any other that is not empty.
# RELEASE_IMAGE=REPOSITORY and RELEASE_DIGEST=sha256:…, always both, are set into charts and manifests. Without them there is no
# image in them.
# RELEASE_DOCS=URL/ is where this release's files are read; alerts of the chart lead to its docs/, and links of every page to it.
set -euo pipefail

out=${1:?usage: release.sh FOLDER PART...}
shift
fail() { echo "release.sh: $*" >&2; exit 1; }

image=${RELEASE_IMAGE:-} digest=${RELEASE_DIGEST:-} docs=${RELEASE_DOCS:-}
[ -z "$image" ] || [ -n "$digest" ] || fail "RELEASE_IMAGE without a digest is whatever its tag becomes: set RELEASE_DIGEST"
[ -z "$digest" ] || [ -n "$image" ] || fail "RELEASE_DIGEST is the digest of no image: set RELEASE_IMAGE"
[[ $image =~ ^([^@]*/)?[^:@/]*$ ]] || fail "RELEASE_IMAGE is $image: write the repository, without a tag or a digest"
[[ -z $digest || $digest =~ ^sha256:[0-9a-f]{64}$ ]] || fail "RELEASE_DIGEST is no digest: $digest"

# What `check` made has this file in it.
marker=.release-check
if [[ " $* " == *" check "* && -d $out ]] && [ ! -e "$out/$marker" ] && [ -n "$(ls -A "$out")" ]; then
  fail "$out is not empty, and no release check made it: name another folder, or empty it yourself"
fi
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/.."
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

step() { echo "== $*"; }
# A document as it is read outside the checkout.
linked() { if [ -n "$docs" ]; then python3 deploy/links.py "$docs"; else cat; fi }

notes() {
  step "notes"
  python3 deploy/changelog.py check
  python3 deploy/changelog.py notes "$version" | linked >"$out/NOTES.md"
}

sbom() {
  step "SBOM (SPDX 2.3)"
  python3 deploy/sbom.py >"$out/sbom.spdx.json"
  python3 -m venv "$scratch/venv"
  "$scratch/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes -r deploy/requirements/sbom.txt
  "$scratch/venv/bin/pyspdxtools" -i "$out/sbom.spdx.json" || fail "the SBOM is not valid"
}

program() {
  local built name
  step "command, packed"
  name=memory-migration-$version-$(uname -m | sed 's/^arm64$/aarch64/')-$(uname -s | sed 's/Darwin/macos/; s/Linux/linux/')
  built=$(deploy/program.sh)
  linked <README.md >"$scratch/README.md"
  python3 deploy/pack.py "$out/$name.tar.gz" "$built" LICENSE "$scratch/README.md"
  mkdir "$scratch/unpacked"
  tar -x -z -f "$out/$name.tar.gz" -C "$scratch/unpacked"
  "$scratch/unpacked/memory-migration" --version | grep -qF "$version" || fail "the packed command is not version $version"
  step "the packed command moves 500 memories into a server and back"
  deploy/demo.sh "$scratch/unpacked/memory-migration" >"$scratch/demo" 2>&1 || { cat "$scratch/demo"; fail "the packed command does not work"; }
  tail -n 1 "$scratch/demo"
}

wheel() {
  step "wheel"
  python/wheel.sh "$out"
  python/test.sh "$(ls "$out"/*.whl)"
}

image_of_this_machine() {
  case $(uname -m) in x86_64) echo image-amd64.tar ;; aarch64) echo image-arm64.tar ;; *) fail "no image for $(uname -m)" ;; esac
}

image() {
  step "image"
  deploy/image.sh "$out/$(image_of_this_machine)"
}

index() {
  step "one image of all architectures"
  if [ -e "$out/image" ] && [ ! -e "$out/image/oci-layout" ]; then fail "$out/image is no image that this made: move it away"; fi
  rm -rf "$out/image"
  mkdir "$out/image"
  python3 tests/cluster/mkimage.py "memory-migration-operator:$version" "$scratch/index.tar" --merge "$out"/image-*.tar
  tar -x -f "$scratch/index.tar" -C "$out/image"
  digest_of "$scratch/index.tar" >"$out/image.digest"
}

digest_of() { tar -x -O -f "$1" index.json | python3 -c 'import json, sys; print(json.load(sys.stdin)["manifests"][0]["digest"])'; }

# helm, and a Python that can read YAML
tools() { PATH=$(tests/charts/install.sh):$PATH; }

charts() {
  local chart unset=()
  tools
  [ -n "$image" ] || unset=(--set image.repository=registry.example.com/x)
  step "charts, rendered from their packages${image:+, with $image@$digest}"
  for chart in memory-migration-operator-crds memory-migration-operator; do
    python deploy/chart.py "charts/$chart" "$scratch/$chart" "$image" "$digest" "$docs"
    helm lint --quiet --strict "$scratch/$chart" "${unset[@]}" || fail "$chart: see above"
    helm package "$scratch/$chart" --destination "$out" >/dev/null
    # as from the folder, but for the image that a release sets
    helm template mm "$out/$chart-$version.tgz" "${unset[@]}" >"$scratch/packaged.yaml"
    helm template mm "charts/$chart" --set "image.repository=${image:-registry.example.com/x},image.digest=$digest" >"$scratch/folder.yaml"
    diff "$scratch/folder.yaml" "$scratch/packaged.yaml" || fail "the package of $chart renders something else than its folder"
    [ -z "$image" ] || [ -z "$docs" ] || python tests/charts/released.py "$out/$chart-$version.tgz" "$image" "$digest"
    [ -z "$docs" ] || python tests/charts/runbooks.py "$out/$chart-$version.tgz" "$docs"
    python tests/charts/validate.py --from 1.29 --crds crds/*.yaml --files "$scratch/packaged.yaml"
  done
}

manifests() {
  step "manifests${image:+, with $image@$digest}"
  tools
  tests/charts/generate.sh --check
  cp deploy/crds.yaml "$out"
  cp deploy/operator.yaml deploy/support.sh "$out"
  if [ -n "$image" ]; then
    # and the comment says no more how to set one
    sed "s#image-not-set.invalid/memory-migration-operator:$version#$image@$digest#; /^# REGISTRY is where/d
      s%^#   sed .*%#   kubectl apply --server-side -f operator.yaml%" deploy/operator.yaml >"$out/operator.yaml"
    if grep -n 'image-not-set' "$out/operator.yaml"; then fail "operator.yaml: these images are not set"; fi
  fi
  python tests/charts/validate.py --from 1.29 --crds crds/*.yaml --files "$out/crds.yaml" "$out/operator.yaml"
}

sums() {
  step "checksums"
  (cd "$out" && rm -f SHA256SUMS && find . -type f ! -path './image*' ! -name $marker -printf '%P\n' | LC_ALL=C sort | xargs sha256sum >"$scratch/SHA256SUMS")
  mv "$scratch/SHA256SUMS" "$out"
  (cd "$out" && sha256sum --check --quiet SHA256SUMS)
}

# What the workflow does with cosign's keyless signatures and a public registry: here with a key that nobody keeps, without a
# transparency log, in a registry that lives for this check.
throwaway() {
  local registry reference chart pushed
  step "signatures by a key that is thrown away, in a registry of this check's own"
  tools
  PATH=$(deploy/signing.sh):$PATH
  export COSIGN_PASSWORD= DOCKER_CONFIG=$scratch/docker
  # SIGN and VERIFY go without the services of a public signature
  local sign=(--yes --key cosign.key --use-signing-config=false --tlog-upload=false) verify=(--key cosign.pub --insecure-ignore-tlog)
  cd "$scratch"
  quietly cosign generate-key-pair

  cp "$out/SHA256SUMS" sums
  quietly cosign sign-blob "${sign[@]}" --bundle sums.bundle sums
  quietly cosign verify-blob "${verify[@]}" --bundle sums.bundle sums
  echo >>sums
  refused cosign verify-blob "${verify[@]}" --bundle sums.bundle sums
  echo "SHA256SUMS: signed, verified, refused once it is changed"

  registry=localhost:$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
  crane registry serve --address "127.0.0.1:${registry#*:}" >registry.log 2>&1 &
  trap 'kill %1; rm -rf "$scratch"' EXIT
  for _ in $(seq 100); do crane catalog "$registry" >/dev/null 2>&1 && break; sleep 0.1; done
  reference=$(crane push "$out/image" "$registry/memory-migration-operator:$version" 2>push.log) || { cat push.log; fail "crane does not push the image"; }
  [ "${reference#*@}" = "$digest" ] || fail "the image is pushed as $reference, and not as it was made, $digest"
  signed "$reference"
  quietly cosign attest "${sign[@]}" --allow-http-registry --type spdxjson --predicate "$out/sbom.spdx.json" "$reference"
  quietly cosign verify-attestation "${verify[@]}" --allow-http-registry --type spdxjson "$reference"
  echo "image: pushed by its digest, signed, verified; its SBOM is attested"
  for chart in memory-migration-operator-crds memory-migration-operator; do
    helm push "$out/$chart-$version.tgz" "oci://$registry/charts" --plain-http >push.log 2>&1 || { cat push.log; fail "helm does not push $chart"; }
    pushed=$(sed -n 's/^Digest: *//p' push.log)
    signed "$registry/charts/$chart@$pushed"
    helm template mm "oci://$registry/charts/$chart" --version "$version" --plain-http >pulled.yaml 2>pull.log || { cat pull.log; fail "helm cannot pull $chart"; }
    helm template mm "$out/$chart-$version.tgz" | diff - pulled.yaml || fail "$chart from the registry renders something else"
    echo "$chart: pushed, signed, verified, rendered from the registry"
  done
  cd "$OLDPWD"
}

signed() { # REFERENCE
  refused cosign verify "${verify[@]}" --allow-http-registry "$1"
  quietly cosign sign "${sign[@]}" --allow-http-registry "$1"
  quietly cosign verify "${verify[@]}" --allow-http-registry "$1"
}

quietly() { "$@" >said.log 2>&1 || { cat said.log; fail "$1 $2 failed"; }; }
refused() { if "$@" >said.log 2>&1; then fail "$1 $2 takes what nobody signed"; fi; }

check() {
  rm -rf "${out:?}"/*
  touch "$out/$marker"
  docs=https://git.example.com/you/memory-migration-operator/blob/v$version/
  notes
  sbom
  image
  step "image, again"
  touch src/lib.rs
  deploy/image.sh "$scratch/again.tar" >/dev/null
  cmp "$out/$(image_of_this_machine)" "$scratch/again.tar" || fail "the image of the same source differs"
  echo "the same twice: $(digest_of "$scratch/again.tar")"
  # the image of the other architecture is the workflow's to make: something stands in for it
  [ -e "$out/image-arm64.tar" ] && other=amd64 || other=arm64
  python3 tests/cluster/mkimage.py "memory-migration-operator:$version" "$out/image-$other.tar" --architecture "$other" LICENSE:/LICENSE
  index
  rm "$out/image-$other.tar"
  digest=$(cat "$out/image.digest")
  program
  wheel
  # a name that nobody can register (RFC 2606)
  image=registry.example.com/memory-migration-operator
  charts
  manifests
  sums
  throwaway
  cat "$out/SHA256SUMS"
  cat <<'END'
Not made here. These jobs of .github/workflows/release.yml make it, and no release has run them yet:
  command and wheel for arm64 Linux and for macOS     programs
  image for arm64                                     programs
  one image of both architectures                     assemble
  image: pushed under its name                        image
  image: keyless signature, SBOM, SLSA provenance     image
  charts pushed as OCI artefacts, signed, provenance  charts
  checksums: keyless signature; provenance of files   publish
  wheels on PyPI                                      pypi
END
}

[ $# -gt 0 ] || fail "name a part: see the head of this file"
for part in "$@"; do
  case $part in
    notes | sbom | program | wheel | image | index | charts | manifests | sums | check) $part ;;
    *) fail "there is no part $part: see the head of this file" ;;
  esac
done
