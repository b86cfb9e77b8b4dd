#!/usr/bin/env bash
# End-to-end scenarios: installs the operator and a Chroma server in a cluster, then runs scenarios/ on it.
# Usage: test.sh PROGRAM [--jobs N] [SCENARIO...]   PROGRAM is a static build of memory-migration
# The cluster is the one of cluster.sh, which must be up; or, with MEMORY_MIGRATION_KUBECONFIG, the one of that file,
# which must be able to pull OPERATOR_IMAGE, CHROMA_IMAGE, OLD_CHROMA_IMAGE, PYTHON_IMAGE and BOX_IMAGE.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${MEMORY_MIGRATION_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/memory-migration-operator}
program=${1:?usage: test.sh PROGRAM [--jobs N] [SCENARIO...]}
shift

if [ -n "${MEMORY_MIGRATION_KUBECONFIG:-}" ]; then
  export KUBECONFIG=$MEMORY_MIGRATION_KUBECONFIG
  inside() { "$@"; }
  load() { :; }
else
  inside() { "$here/cluster.sh" sh "$@"; }
  load() {
    local image images
    images="$("$here/images.sh" more) $("$here/images.sh" operator "$program")"
    for image in $images; do "$here/cluster.sh" load "$image" >/dev/null; done
  }
fi
k() { inside kubectl "$@"; }

# Stores of demo.py with as many memories as their names say, packed; `hot` is one of 300 with a hot journal.
stores() {
  local python out work count
  out=$cache/stores-$(cat "$here"/../stores/{demo,damage}.py "$here/../chroma/requirements-server.txt" | sha256sum | cut -c1-12)
  if [ ! -d "$out" ]; then
    python=$("$here/../chroma/install.sh" server | cut -d' ' -f2-)/bin/python
    work=$(mktemp -d "$cache/stores.XXXXXX")
    for count in 300 2000; do
      "$python" "$here/../stores/demo.py" "$work/$count/chroma_db" "$count"
      tar -c -f "$work/$count.tar" -C "$work/$count" chroma_db
    done
    "$python" "$here/../stores/damage.py" "$work/300/chroma_db" hot-journal-at-commit >/dev/null
    tar -c -f "$work/hot.tar" -C "$work/300" chroma_db
    rm -r "$work/300" "$work/2000"
    mv -T "$work" "$out"
  fi
  echo "$out"
}

STORES=$(stores)
export STORES
load
k apply --server-side -f - <"$here/../../crds/memorymigrations.memory-migration.dev.yaml" >/dev/null
k wait --for=condition=Established crd/memorymigrations.memory-migration.dev >/dev/null
for file in controller chroma; do
  sed -e "s#localhost/memory-migration:test#${OPERATOR_IMAGE:-&}#; s#localhost/chroma:1.5.9#${CHROMA_IMAGE:-&}#" "$here/$file.yaml" |
    k apply --server-side --force-conflicts -f - >/dev/null
done
k -n memory-migration rollout restart deployment/controller >/dev/null
k -n memory-migration rollout status deployment/controller --timeout=120s >/dev/null
k -n prod rollout status statefulset/chroma --timeout=120s >/dev/null
inside python3 "$here/run.py" "$@"
