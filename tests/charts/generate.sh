#!/usr/bin/env bash
# What is made from crds/ and the charts' values, and committed: the CRD chart's template, the chart's README.md,
# deploy/crds.yaml and deploy/operator.yaml. `make charts-generate` writes them.
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

crd_template() { python "$here/crd_template.py" crds/memorymigrations.memory-migration.dev.yaml; }

readme() { helm-docs --chart-search-root $chart --template-files README.md.gotmpl --log-level error --dry-run; }

# Apart from the operator, so that nobody removes every migration together with it.
crds() {
  local file
  cat <<END
# Generated from crds/ by \`make charts-generate\`: do not edit. The custom resources, for plain kubectl:
#   kubectl apply --server-side -f deploy/crds.yaml
# Deleting them deletes every migration of the cluster.
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
for pair in crd_template:charts/memory-migration-operator-crds/templates/memorymigrations.yaml readme:$chart/README.md \
  crds:deploy/crds.yaml operator:deploy/operator.yaml; do
  file=${pair#*:}
  made=$(mktemp)
  ${pair%%:*} >"$made"
  if [ "${1:-}" != --check ]; then
    cat "$made" >"$file"
  elif ! diff -u --label "$file" --label "as it would be made" "$file" "$made" | head -n 40; then
    echo "generate.sh: $file is stale: run 'make charts-generate' and commit it" >&2
    stale=1
  fi
  rm -f "$made"
done
exit $stale
