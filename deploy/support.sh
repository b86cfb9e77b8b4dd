#!/usr/bin/env bash
# Collects what a maintainer needs to know of one migration, with kubectl alone, and writes nothing to the cluster. It reads no
# Secret. Ids of records, names of collections, claims and hosts are in it, and parts of memories where records differ: look
# through the file first.
# Usage: support.sh NAMESPACE NAME [FILE.txt]
#        OPERATOR_NAMESPACE (memory-migration-system) is where the operator runs.
set -euo pipefail

namespace=${1:?usage: support.sh NAMESPACE NAME [FILE.txt]}
name=${2:?usage: support.sh NAMESPACE NAME [FILE.txt]}
file=${3:-support-$namespace-$name.txt}
system=${OPERATOR_NAMESPACE:-memory-migration-system}
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
show() { printf '\n## kubectl %s\n' "$*"; kubectl "$@" 2>&1 | blot || true; }

job=$(kubectl -n "$namespace" get memmig "$name" -o jsonpath='{.status.jobName}')
uid=$(kubectl -n "$namespace" get memmig "$name" -o jsonpath='{.metadata.uid}')
{
  date -u +%Y-%m-%dT%H:%M:%SZ
  show version
  show get nodes -o 'custom-columns=VERSION:.status.nodeInfo.kubeletVersion,OS:.status.nodeInfo.osImage,ARCH:.status.nodeInfo.architecture,RUNTIME:.status.nodeInfo.containerRuntimeVersion'
  show -n "$namespace" describe memmig "$name"
  show -n "$namespace" get memmig "$name" -o 'jsonpath={.status}'
  [ -z "$job" ] || show -n "$namespace" describe job "$job"
  show -n "$namespace" get pods -l "memory-migration.dev/uid=$uid" -o wide
  show -n "$namespace" get pvc
  for pod in $(kubectl -n "$namespace" get pods -l "memory-migration.dev/uid=$uid" -o name); do
    show -n "$namespace" logs "$pod" --all-containers --tail=300
  done
  show -n "$system" get deployment,pods -o wide
  show -n "$system" get leases
  show -n "$system" logs deployment/memory-migration-operator --tail=500
} >"$file"
echo "$file: look through it for what you do not want to share, then attach it"
