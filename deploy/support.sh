#!/usr/bin/env bash
# Collects what a maintainer needs to know of one migration, with kubectl alone, and writes nothing to the cluster. It reads no
# Secret and no memory. Ids of records, names of collections, claims and Services are in it: look through the file first.
# Usage: support.sh NAMESPACE NAME [FILE.txt]
#        OPERATOR_NAMESPACE (memory-migration-system) is where the operator runs.
set -euo pipefail

namespace=${1:?usage: support.sh NAMESPACE NAME [FILE.txt]}
name=${2:?usage: support.sh NAMESPACE NAME [FILE.txt]}
file=${3:-support-$namespace-$name.txt}
system=${OPERATOR_NAMESPACE:-memory-migration-system}
command -v kubectl >/dev/null || { echo "support.sh: needs kubectl: https://kubernetes.io/docs/tasks/tools" >&2; exit 1; }
kubectl -n "$namespace" get memmig "$name" >/dev/null

# Whatever a log or an environment could hold of these is blotted out.
blot() { sed -E 's#(://)[^/@[:space:]]+@#\1…@#g; s#(([Bb]earer|[Bb]asic)[[:space:]]+)[^[:space:]"]+#\1…#g; s#(([Tt]oken|[Pp]assword|[Ss]ecret|[Aa]uthorization)"?[:=][[:space:]]*"?)[^[:space:]",}]+#\1…#g'; }
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
