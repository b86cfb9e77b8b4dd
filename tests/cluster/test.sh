#!/usr/bin/env bash
# End-to-end scenarios: installs the operator by its chart and a Chroma server, then runs scenarios/.
# Usage: test.sh [--jobs N] [--module NAME] [SCENARIO...]
#        test.sh --demo          shows one migration instead, and leaves the cluster up
#        test.sh --faults ARGS   the fault campaign instead, see faults.py
#        test.sh --soak ARGS     the soak instead, see soak.py
# NODES=2 starts a cluster of two nodes.
# The cluster is the one of cluster.sh: it is started, and ended afterwards, unless it is up already; the operator's image
# is built from this tree. Or, with MEMORY_MIGRATION_KUBECONFIG, the cluster of that file, which must be able to pull
# OPERATOR_IMAGE, CHROMA_IMAGE, OLD_CHROMA_IMAGE, PYTHON_IMAGE and BOX_IMAGE.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${MEMORY_MIGRATION_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/memory-migration-operator}
demo= program=run.py
case ${1:-} in
  --demo) demo=1 ;;
  --faults | --soak) program=${1#--}.py && shift ;;
esac

if [ -n "${MEMORY_MIGRATION_KUBECONFIG:-}" ]; then
  for name in OPERATOR_IMAGE CHROMA_IMAGE OLD_CHROMA_IMAGE PYTHON_IMAGE BOX_IMAGE; do
    [ -n "${!name:-}" ] || { echo "test.sh: $name is not set: name an image that the cluster can pull" >&2; exit 2; }
  done
  command -v kubectl >/dev/null || { echo "test.sh: needs kubectl: https://kubernetes.io/docs/tasks/tools" >&2; exit 2; }
  export KUBECONFIG=$MEMORY_MIGRATION_KUBECONFIG
  unset STATE
  inside() { "$@"; }
  # The scenarios install, upgrade and remove the operator and its CRD, and restrict the namespace prod.
  start() {
    local thing tests="jsonpath={.metadata.labels.memory-migration\.dev/tests}"
    for thing in namespace/prod namespace/memory-migration-system; do
      if k get "$thing" >/dev/null 2>&1 && [ "$(k get "$thing" -o "$tests")" != true ]; then
        echo "test.sh: $thing of this cluster is not of these tests, which would change it: use a cluster without it" >&2
        exit 2
      fi
    done
    if ! k get namespace/memory-migration-system >/dev/null 2>&1 &&
      k get crd memorymigrations.memory-migration.dev >/dev/null 2>&1; then
      echo "test.sh: this cluster has MemoryMigrations already, and the scenarios delete their CRD: use another cluster" >&2
      exit 2
    fi
  }
else
  inside() { "$here/cluster.sh" sh "$@"; }
  start() {
    local images image=$here/../../target/test-image.tar
    "$here/cluster.sh" install
    [ -e "$("$here/build.sh" --where)/complete" ] || echo "test.sh: the first time it needs about 20 minutes on 2 idle cores before the" \
      "first scenario: the operator's image (7) and the cluster's programs (12); later 2" >&2
    # One cluster at a time on a machine, and one run on it. The cluster itself must not hold the lock.
    exec 9>"$cache/cluster.lock"
    flock --nonblock 9 || { echo "test.sh: waits for another run on this machine's cluster to end" >&2; flock 9; }
    mkdir -p "$(dirname "$image")"
    "$here/../../deploy/image.sh" "$image" localhost/memory-migration:test
    PROGRAM=$("$here/../../deploy/program.sh")
    export PROGRAM
    images="$("$here/images.sh" more) $image"
    IMAGE_DIGEST=sha256-$(sha256sum "$image" | cut -c1-12)
    export IMAGE_DIGEST
    if inside true 2>/dev/null; then
      "$here/cluster.sh" load $images >/dev/null
    else
      [ -n "$demo" ] || trap '"$here/cluster.sh" down' EXIT
      "$here/cluster.sh" up $images 9>&- || {
        [ $? != 3 ] || trap - EXIT # it is somebody else's
        exit 1
      }
    fi
  }
fi
k() { inside kubectl "$@"; }

# Stores of demo.py with as many memories as their names say, packed; `hot` is one of 300 with a hot journal.
stores() {
  local python out work count
  out=$cache/stores-$(cat "$here"/../stores/{demo,damage}.py "$here/../../deploy/quickstart/agent.py" "$here/../chroma/requirements-server.txt" | sha256sum | cut -c1-12)
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

if [ -n "$demo" ] && ! "$here/cluster.sh" sh true 2>/dev/null && [ -z "${MEMORY_MIGRATION_KUBECONFIG:-}" ]; then
  echo "test.sh: in total about 20 minutes the first time on 2 idle cores, then 1: helm (2), the operator (7), Kubernetes (12)" >&2
fi
PATH=$("$here/../charts/helm.sh"):$PATH
export PATH
start
STORES=$(stores)
# The Python of Chroma's official client: it judges where the outcome counts.
JUDGE=$("$here/../chroma/install.sh" 1.5.9 | cut -d' ' -f2-)/bin/python
export STORES JUDGE
sed "s#localhost/chroma:1.5.9#${CHROMA_IMAGE:-&}#" "$here/chroma.yaml" | k apply --server-side --force-conflicts -f - >/dev/null
k -n prod rollout status statefulset/chroma --timeout=120s >/dev/null
if [ -z "$demo" ]; then
  inside python3 "$here/$program" "$@"
  exit
fi
inside python3 "$here/demo.py"
if [ -z "${MEMORY_MIGRATION_KUBECONFIG:-}" ]; then
  printf '\nThe cluster is up: look around with `make cluster-shell`, end it with `make cluster-down`.\n'
fi
