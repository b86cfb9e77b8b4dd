#!/usr/bin/env bash
# The quickstart on a cluster of its own: makes one with kind, builds the operator's image and loads it, installs the chart,
# applies deploy/quickstart and the way back, and shows progress and proof. Called by `make kind-demo`.
# Usage: kind-demo.sh      leaves the cluster up; your own kubeconfig is not touched. Run again, it takes that cluster, rolls the
#                          operator if the program has changed, and begins with a new quickstart
#        KIND_CLUSTER (memory-migration) names it, KIND_IMAGE names the node's image, for another Kubernetes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cluster=${KIND_CLUSTER:-memory-migration}
image=localhost/memory-migration-operator
namespace=memory-quickstart

step() { printf '\n== %s\n' "$*"; }
show() { printf '$ %s\n' "$*"; "$@"; }
need() { # COMMAND ADDRESS
  command -v "$1" >/dev/null || { echo "kind-demo.sh: needs $1: install it from $2" >&2; exit 1; }
}
need docker https://docs.docker.com/get-docker
need kind https://kind.sigs.k8s.io
need kubectl https://kubernetes.io/docs/tasks/tools
need helm https://helm.sh/docs/intro/install

scratch=$(mktemp -d)
watching=
trap 'if [ -n "$watching" ]; then kill "$watching" 2>/dev/null || true; fi; rm -rf "$scratch"' EXIT
export KUBECONFIG=$scratch/kubeconfig

# Until it has succeeded or failed: Reconciling is False then, and only then.
follow() { # MIGRATION
  printf '$ kubectl -n %s get memmig %s -w\n' $namespace "$1"
  kubectl -n $namespace get memmig "$1" -w &
  watching=$!
  kubectl -n $namespace wait "memmig/$1" --for=condition=Reconciling=False --timeout=15m >/dev/null || true
  kill "$watching" 2>/dev/null || true
  wait "$watching" 2>/dev/null || true
  watching=
  kubectl -n $namespace wait "memmig/$1" --for=condition=Ready --timeout=1s >/dev/null || {
    kubectl -n $namespace describe memmig "$1"
    kubectl -n $namespace get pods,events
    echo "kind-demo.sh: the migration $1 did not succeed; the cluster is left: kind export kubeconfig --name $cluster" >&2
    exit 1
  }
  kubectl -n $namespace get memmig "$1" -o jsonpath='{.status.conditions[?(@.type=="Ready")].message}{"\n"}'
}

step "1 of 5: a cluster"
if ! kind get clusters 2>/dev/null | grep -qx "$cluster"; then
  show kind create cluster --name "$cluster" ${KIND_IMAGE:+--image "$KIND_IMAGE"} --kubeconfig "$KUBECONFIG" --wait 180s
fi
kind get kubeconfig --name "$cluster" >"$KUBECONFIG"

step "2 of 5: the operator's image (some minutes the first time)"
show docker build --quiet --tag $image:demo .
# A tag of its own for each program: with one that stays, the old pods would stay, too.
id=$(docker image inspect --format '{{.Id}}' $image:demo)
tag=demo-$(cut -c1-12 <<<"${id#sha256:}")
docker tag $image:demo "$image:$tag"
show kind load docker-image "$image:$tag" --name "$cluster"

step "3 of 5: the operator"
show helm upgrade --install memory-migration-operator charts/memory-migration-operator --namespace memory-migration-system \
  --create-namespace --set "image.repository=$image,image.tag=$tag" --wait

step "4 of 5: 500 memories on a claim go into a Chroma server"
# an earlier run's verdict would be shown as this one's
kubectl delete namespace $namespace --ignore-not-found
show kubectl apply -k deploy/quickstart
follow promote

step "5 of 5: and back, into another claim"
show kubectl apply -k deploy/quickstart/back
follow restore

cat <<END

Done: 500 memories went there and back, and every one was compared.
Look around: kind export kubeconfig --name $cluster
End it:      kind delete cluster --name $cluster
END
