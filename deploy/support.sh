#!/usr/bin/env bash
# Collects what a maintainer needs to know of one migration, with kubectl alone, and writes nothing to the cluster. It reads no
# Secret. Ids of records, names of collections, claims and hosts are in it, and parts of memories where records differ: look
# through the file first.
# Usage: support.sh NAMESPACE NAME [FILE.txt]
#        OPERATOR_NAMESPACE is where the operator runs; by default it is looked for in all namespaces.
#        OPERATOR_SELECTOR (app.kubernetes.io/name=memory-migration-operator) are labels of its Deployment and pods: the chart's
#        nameOverride changes them.
set -euo pipefail

namespace=${1:?usage: support.sh NAMESPACE NAME [FILE.txt]}
name=${2:?usage: support.sh NAMESPACE NAME [FILE.txt]}
file=${3:-support-$namespace-$name.txt}
selector=${OPERATOR_SELECTOR:-app.kubernetes.io/name=memory-migration-operator}
command -v kubectl >/dev/null || { echo "support.sh: needs kubectl: https://kubernetes.io/docs/tasks/tools" >&2; exit 1; }
kubectl -n "$namespace" get memmig "$name" >/dev/null

# Whatever a log, an object or an environment could hold of these is blotted out. Words in any case, for not every sed has a
# flag for that; more than needed rather than less.
secret='[tT][oO][kK][eE][nN]|[pP][aA][sS][sS][wW]|[sS][eE][cC][rR][eE][tT]|[aA][uU][tT][hH][oO][rR][iI][zZ][aA][tT][iI][oO][nN]|[cC][oO][oO][kK][iI][eE]|[cC][rR][eE][dD][eE][nN][tT][iI][aA][lL]|[kK][eE][yY]'
blot() {
  sed -E -e 's#(://)[^[:space:]"]*@#\1…@#g' -e 's#^([[:space:]]*Value:[[:space:]]*).+#\1…#' \
    -e "s#(($secret)[A-Za-z0-9_-]*\\\\?\"?[:=][[:space:]]*\\\\?\"?)[^\",}]+#\\1…#g" \
    -e 's#(([Bb][Ee][Aa][Rr][Ee][Rr]|[Bb][Aa][Ss][Ii][Cc])[[:space:]]+)[^[:space:]"]+#\1…#g'
}
# Logs of a pod, and of what ran in it before a restart.
logs() { # NAMESPACE pod/NAME LINES
  local container
  show -n "$1" logs "$2" --all-containers --prefix --tail="$3"
  for container in $(kubectl -n "$1" get "$2" -o 'jsonpath={.status.initContainerStatuses[?(@.restartCount>0)].name} {.status.containerStatuses[?(@.restartCount>0)].name}'); do
    show -n "$1" logs "$2" --container="$container" --previous --tail="$3"
  done
}
show() { printf '\n## kubectl %s\n' "$*"; kubectl "$@" 2>&1 | blot || true; }

job=$(kubectl -n "$namespace" get memmig "$name" -o jsonpath='{.status.jobName}')
report=$(kubectl -n "$namespace" get memmig "$name" -o jsonpath='{.status.report.configMap}')
system=${OPERATOR_NAMESPACE:-$(kubectl get deployments --all-namespaces -l "$selector" -o 'jsonpath={.items[*].metadata.namespace}' 2>/dev/null | cut -d' ' -f1)}
system=${system:-memory-migration-system}
uid=$(kubectl -n "$namespace" get memmig "$name" -o jsonpath='{.metadata.uid}')
{
  date -u +%Y-%m-%dT%H:%M:%SZ
  show version
  show get nodes -o 'custom-columns=VERSION:.status.nodeInfo.kubeletVersion,OS:.status.nodeInfo.osImage,ARCH:.status.nodeInfo.architecture,RUNTIME:.status.nodeInfo.containerRuntimeVersion'
  show -n "$namespace" describe memmig "$name"
  show -n "$namespace" get memmig "$name" -o 'jsonpath={.status}'
  [ -z "$report" ] || show -n "$namespace" get configmap "$report" -o 'jsonpath={.data.report\.json}'
  [ -z "$job" ] || show -n "$namespace" describe job "$job"
  show -n "$namespace" get pods -l "memory-migration.dev/uid=$uid" -o wide
  show -n "$namespace" get pvc
  for pod in $(kubectl -n "$namespace" get pods -l "memory-migration.dev/uid=$uid" -o name); do
    logs "$namespace" "$pod" 300
  done
  show -n "$system" get deployment,pods -o wide
  show -n "$system" get leases
  for pod in $(kubectl -n "$system" get pods -l "$selector" -o name); do
    logs "$system" "$pod" 500
  done
} >"$file"
echo "$file: look through it for what you do not want to share, then attach it"
