#!/usr/bin/env bash
# What is made from crds/ and the charts' values, and committed: the CRD chart's templates, the chart's README.md,
# deploy/crds.yaml, deploy/operator.yaml and the CRD chart's copy in the chart. `make charts-generate` writes them.
# Usage: generate.sh           writes
#        generate.sh --check   only says which are stale
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
PATH=$("$here/install.sh"):$PATH
chart=charts/memory-migration-operator
namespace=memory-migration-system
# No registry can have this name (RFC 2606), so nobody's image runs by default.
unset=image-not-set.invalid

migrations() { python "$here/crd_template.py" crds/memorymigrations.memory-migration.dev.yaml; }
schedules() { python "$here/crd_template.py" crds/memorymigrationschedules.memory-migration.dev.yaml; }

readme() {
  local roles
  roles=$(mktemp)
  helm template memory-migration-operator $chart --namespace $namespace --set image.repository=$unset/memory-migration-operator \
    --show-only templates/rbac.yaml >"$roles"
  helm-docs --chart-search-root $chart --template-files README.md.gotmpl --log-level error --dry-run | python "$here/rights.py" "$roles"
  rm -f "$roles"
}

# Apart from the operator, so that nobody removes every migration together with it.
crds() {
  local file
  cat <<END
# Generated from crds/ by \`make charts-generate\`: do not edit. The custom resources, for plain kubectl:
#   kubectl apply --server-side -f deploy/crds.yaml
# Deleting them deletes every schedule and migration of the cluster.
END
  for file in crds/*.yaml; do
    echo ---
    sed '/^---$/d; /^#/d' "$file"
  done
}

# Without what would say that Helm manages it.
operator() {
  cat <<END
# Generated from charts/ by \`make charts-generate\`: do not edit. The operator, for plain kubectl, after deploy/crds.yaml:
#   kubectl create namespace $namespace
#   sed 's#$unset#REGISTRY#' deploy/operator.yaml | kubectl apply --server-side -f -
# REGISTRY is where you pushed the image. Without it, the pod reports ErrImagePull: $unset does not exist.
# For kustomize, see deploy/kustomization.yaml.
END
  helm template memory-migration-operator $chart --namespace $namespace --skip-tests --set crds.enabled=false \
    --set image.repository=$unset/memory-migration-operator 2>/dev/null |
    sed -E '/^# Source: /d; /^ +helm\.sh\/chart: /d; /^ +app\.kubernetes\.io\/managed-by: Helm$/d'
}

stale=0
check=${1:-}
say_stale() {
  echo "generate.sh: $1 is stale: run 'make charts-generate' and commit it" >&2
  stale=1
}

file() { # FUNCTION FILE
  local made
  made=$(mktemp)
  $1 >"$made"
  if [ "$check" != --check ]; then
    cat "$made" >"$2"
  elif ! diff -u --label "$2" --label "as it would be made" "$2" "$made" | head -n 40; then
    say_stale "$2"
  fi
  rm -f "$made"
}

# A copy, not a link: Helm warns of a link with every command, and an archive of the tree may lose it.
crds_in_the_chart() {
  local copy=$chart/charts/memory-migration-operator-crds made
  made=$(mktemp -d)
  cp -r charts/memory-migration-operator-crds/. "$made"
  rm -rf "$made/tests" "$made/README.md"
  if [ "$check" != --check ]; then
    rm -rf "$copy"
    mkdir -p "$copy"
    cp -r "$made"/. "$copy"
  elif ! diff -r "$copy" "$made"; then
    say_stale "$copy"
  fi
  rm -rf "$made"
}

templates=charts/memory-migration-operator-crds/templates
file migrations $templates/memorymigrations.yaml
file schedules $templates/memorymigrationschedules.yaml
crds_in_the_chart # before what is rendered from the chart
file readme $chart/README.md
file crds deploy/crds.yaml
file operator deploy/operator.yaml
exit $stale
