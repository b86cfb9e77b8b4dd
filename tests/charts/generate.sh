#!/usr/bin/env bash
# What is made from crds/ and the charts' values, and committed: the CRD chart's templates, the chart's README.md and
# deploy/install.yaml. `make charts-generate` writes them.
# Usage: generate.sh           writes
#        generate.sh --check   only says which are stale
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
PATH=$("$here/install.sh"):$PATH
chart=charts/memory-migration-operator
namespace=memory-migration-system

migrations() { python "$here/crd_template.py" crds/memorymigrations.memory-migration.dev.yaml; }
schedules() { python "$here/crd_template.py" crds/memorymigrationschedules.memory-migration.dev.yaml; }

readme() { helm-docs --chart-search-root $chart --template-files README.md.gotmpl --log-level error --dry-run; }

# Without what would say that Helm manages it.
install() {
  cat <<END
# Generated from charts/ by \`make charts-generate\`: do not edit. The CRDs and the controller for plain kubectl:
#   kubectl apply --server-side -f deploy/install.yaml
# Another image has to be set twice, for the controller and as RUNNER_IMAGE: deploy/kustomization.yaml shows how.
apiVersion: v1
kind: Namespace
metadata:
  name: $namespace
  labels:
    pod-security.kubernetes.io/enforce: restricted
END
  helm template memory-migration-operator $chart --namespace $namespace --skip-tests 2>/dev/null |
    sed -E '/^# Source: /d; /^ +helm\.sh\/chart: /d; /^ +app\.kubernetes\.io\/managed-by: Helm$/d'
}

stale=0
templates=charts/memory-migration-operator-crds/templates
for pair in migrations:$templates/memorymigrations.yaml schedules:$templates/memorymigrationschedules.yaml readme:$chart/README.md \
  install:deploy/install.yaml; do
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
