#!/usr/bin/env bash
# Checks the charts and what is in deploy/: `make charts-test`. Needs no cluster and writes nothing to the tree.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
tools=$("$here/install.sh")
PATH=$tools:$PATH
chart=charts/memory-migration-operator
crds=charts/memory-migration-operator-crds
oldest=1.29
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

step() { echo "== $*"; }
fail() { echo "check.sh: $*" >&2; exit 1; }
image=(--set image.repository=registry.example.com/memory-migration-operator)
render() { helm template mm $chart --namespace memory-migration --kube-version $oldest "${image[@]}" "$@"; }

step "versions"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
for folder in $chart $crds; do
  grep -qx "version: $version" $folder/Chart.yaml && grep -qx "appVersion: $version" $folder/Chart.yaml ||
    fail "$folder/Chart.yaml: version and appVersion must be $version, as in Cargo.toml"
done
grep -qx "    version: $version" $chart/Chart.yaml || fail "$chart/Chart.yaml: the dependency's version must be $version"

step "what is generated is fresh"
"$here/generate.sh" --check

step "lint and render"
helm lint --quiet --strict $crds
for values in "$here"/values/*.yaml; do
  name=$(basename "$values" .yaml)
  helm lint --quiet --strict $chart "${image[@]}" --values "$values" >"$out/lint" || fail "lint with $name: $(cat "$out/lint")"
  render --values "$values" >"$out/$name.yaml" || fail "values/$name.yaml does not render"
done
helm template crds $crds >"$out/crds-alone.yaml"
for values in "$here"/refused/*.yaml; do
  if render --values "$values" >"$out/refused" 2>"$out/why"; then fail "$values is taken, and should be refused"; fi
  grep -q "values don't meet the specifications" "$out/why" || fail "$values: refused, but not by the schema: $(cat "$out/why")"
done
if helm template mm $chart "${image[@]}" --kube-version 1.28 >/dev/null 2>&1; then fail "Kubernetes 1.28 has no native sidecars, and is taken"; fi

# A default would be an image of whoever registers that name.
if helm template mm $chart --kube-version $oldest >"$out/unset" 2>&1; then fail "the chart renders without image.repository"; fi
grep -q 'image.repository is not set, and no image is published yet: build one' "$out/unset" ||
  fail "without image.repository the chart fails for another reason: $(cat "$out/unset")"

step "package"
# What is published holds the CRD chart, and nothing that only the source tree needs.
helm package $chart --destination "$out/package" >/dev/null
helm template mm "$out/package/memory-migration-operator-$version.tgz" --namespace memory-migration \
  --kube-version $oldest "${image[@]}" --values "$here/values/monitoring.yaml" | diff "$out/monitoring.yaml" - ||
  fail "the packaged chart renders something else than the folder"
# As a release makes it, its alerts lead to that release's pages.
docs=https://git.example.com/you/memory-migration-operator/blob/v$version/
digest=sha256:$(printf '%064d' 0)
for folder in $chart $crds; do
  released=$(basename $folder)
  python deploy/chart.py $folder "$out/released/$released" registry.example.com/x "$digest" $docs
  helm package "$out/released/$released" --destination "$out/released" >/dev/null
  python "$here/released.py" "$out/released/$released-$version.tgz" registry.example.com/x "$digest"
done
python "$here/runbooks.py" "$out/released/memory-migration-operator-$version.tgz" $docs
if tar -tzf "$out"/package/*.tgz | grep -E '/tests/.*_test\.yaml$|gotmpl$'; then fail "these do not belong into the package"; fi

step "kubectl and kustomize"
if grep -n '^kind: CustomResourceDefinition\|^kind: Namespace' deploy/operator.yaml; then
  fail "deploy/operator.yaml: deleting it would delete migrations"
fi
[ "$(grep -c '^kind:' deploy/crds.yaml)" = "$(grep -c '^kind: CustomResourceDefinition$' deploy/crds.yaml)" ] ||
  fail "deploy/crds.yaml holds something else than CRDs"
# The one substitution that README.md shows sets both images.
sed 's#image-not-set.invalid#registry.example.com#' deploy/operator.yaml >"$out/kubectl.yaml"
if grep -n 'image-not-set' <(grep -v '^#' "$out/kubectl.yaml"); then fail "deploy/operator.yaml: sed leaves these images"; fi
[ "$(grep -c 'registry.example.com/memory-migration-operator:' "$out/kubectl.yaml")" = 2 ] ||
  fail "deploy/operator.yaml: the image does not stand in two places"
kustomize build deploy >"$out/kustomized.yaml"
# The example in its comment: the image changes wherever it stands.
cp -r deploy "$out/deploy"
mkdir "$out/overlay"
sed -n 's/^#   //p' deploy/kustomization.yaml | sed 's|https://git.example.com/[^ ]*|../deploy|' >"$out/overlay/kustomization.yaml"
kustomize build "$out/overlay" >"$out/overlay.yaml"
if grep -n 'image-not-set' "$out/overlay.yaml"; then fail "deploy/kustomization.yaml: its example leaves these images"; fi

step "schemas"
mapfile -t deployed < <(find deploy -name '*.yaml' ! -name kustomization.yaml | sort)
kustomize build deploy/quickstart >"$out/quickstart.yaml"
kustomize build deploy/quickstart/back >"$out/back.yaml"
mapfile -t documents < <(find README.md docs charts -name '*.md' | sort)
foreign=${tools%%:*}/../crds
python "$here/validate.py" --from $oldest --crds crds/*.yaml "$foreign"/*.yaml --files "$out"/*.yaml "${deployed[@]}" "${documents[@]}"

step "unit tests"
helm-unittest --strict $chart $crds >"$out/unit" 2>&1 || { cat "$out/unit"; fail "helm-unittest: see above"; }
grep -E '^(Charts|Test Suites|Tests):' "$out/unit"

step "alert rules and dashboard"
promtool check rules --lint-fatal $chart/rules/*.yaml >"$out/rules" || { cat "$out/rules"; fail "promtool: see above"; }
promtool test rules "$here"/rules/*_test.yaml
# The dashboard's queries as if they were rules: Prometheus can read each.
python - $chart/dashboards/memory-migration.json >"$out/queries.yaml" <<'END'
import json, sys

targets = [target for panel in json.load(open(sys.argv[1]))["panels"] for target in panel["targets"]]
queries = [target["expr"].replace("$namespace", ".*").replace("$__rate_interval", "5m") for target in targets]
rules = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(queries)]
json.dump({"groups": [{"name": "dashboard", "rules": rules}]}, sys.stdout)
END
promtool check rules "$out/queries.yaml" >"$out/rules" 2>&1 || { cat "$out/rules"; fail "the dashboard: see above"; }

echo "charts: all checks passed in $SECONDS s"
