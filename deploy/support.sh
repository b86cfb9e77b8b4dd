#!/usr/bin/env bash
# Collects what a maintainer needs to know of one migration or schedule, with kubectl alone, and writes nothing to the cluster. It
# reads no Secret. Of each object it asks for named fields, never for the value of a variable. Of logs it takes only the lines that
# the operator's own program writes, without debug lines. Values of memories and what still looks like a credential are blotted out.
# Ids of records, names of collections, claims, images and hosts are in it: look through the file first.
# Usage: support.sh NAMESPACE NAME [FILE.txt]             of a MemoryMigration
#        support.sh NAMESPACE memsched/NAME [FILE.txt]    of a MemoryMigrationSchedule
#        OPERATOR_NAMESPACE is where the operator runs; by default it is looked for in all namespaces.
#        OPERATOR_SELECTOR (app.kubernetes.io/name=memory-migration-operator) are labels of its Deployment and pods: the chart's
#        nameOverride changes them.
set -euo pipefail

namespace=${1:?usage: support.sh NAMESPACE [memsched/]NAME [FILE.txt]}
name=${2:?usage: support.sh NAMESPACE [memsched/]NAME [FILE.txt]}
kind=memmig title=MemoryMigration spec=spec
case $name in memsched/*) kind=memsched title=MemoryMigrationSchedule spec=spec.template.spec ;; esac
name=${name#"$kind/"}
file=${3:-support-$namespace-$name.txt}
selector=${OPERATOR_SELECTOR:-app.kubernetes.io/name=memory-migration-operator}
command -v kubectl >/dev/null || { echo "support.sh: needs kubectl: https://kubernetes.io/docs/tasks/tools" >&2; exit 1; }
kubectl -n "$namespace" get "$kind" "$name" >/dev/null

# The second net. Words in any case, for not every sed has a flag for that; more than needed rather than less.
word='[tT][oO][kK][eE][nN]|[pP][aA][sS][sS]|[pP][wW][dD]|[sS][eE][cC][rR][eE][tT]|[aA][uU][tT][hH]|[cC][oO][oO][kK][iI][eE]|[cC][rR][eE][dD]|[kK][eE][yY]|[jJ][wW][tT]|_[pP][aA][tT]|[sS][eE][sS][sS][iI][oO][nN]'
named="($word)[A-Za-z0-9_-]*"
text='([^"\\]|\\.)*' # the inside of a JSON string
scheme='[Bb][Ee][Aa][Rr][Ee][Rr]|[Bb][Aa][Ss][Ii][Cc]'
# In JSON up to the end of the string, so that what follows stays; elsewhere up to the end of the line.
in_json=(-e "s#(\"[^\"\\\\]*($word)[^\"\\\\]*\"[[:space:]]*:[[:space:]]*)(\"$text\"|\\[[^]]*\\]|[^][{},\"\\\\[:space:]]+)#\\1\"…\"#g"
  -e "s#(\"[vV]alue\"[[:space:]]*:[[:space:]]*)\"$text\"#\\1\"…\"#g"
  -e "s#(($named|[vV]alue)[\\\\]*[\"']?[\\\\]*[\"']?[[:space:]]*[:=]+)[[:space:]]*([^\"\\\\[:space:][{]|\\\\.)$text#\\1…#g"
  -e "s#(-($named|u|-user|H|-header)[[:space:]=]+)[^\"]$text#\\1…#g"
  -e "s#(($scheme)[[:space:]]+)[^\"[:space:]]+#\\1…#g")
in_text=(-e "s#($named[\\\\]*[\"']*[[:space:]]*[:=]).+#\\1…#" -e "s#([\"'][vV]alue[\"'][[:space:]]*:).+#\\1…#"
  -e "s#(-($named|u|-user|H|-header)[[:space:]=]+).+#\\1…#" -e "s#(($scheme)[[:space:]]+)[^[:space:]]+#\\1…#g")
always=(-e "s#(\"detail\"[[:space:]]*:[[:space:]]*)\"$text\"#\\1\"…\"#g" -e "s#([rR][eE][sS][pP][oO][nN][sS][eE]=)[\\\\\"']*[^\"'\\\\,[:space:]]+#\\1…#g"
  -e 's#(://)[^[:space:]"]*@#\1…@#g' -e 's#(://[^[:space:]"?]*\?)[^[:space:]"]+#\1…#g')
blot() {
  sed -E "${always[@]}" -e '/[{[]"/!b text' "${in_json[@]}" -e b -e ': text' "${in_text[@]}"
}
# The lines of the operator's program, as JSON and as text. A value of several lines ends with the first, a line of something
# else is no line of it, and debug lines are those of libraries. Lines with a part of the report have parts of its values.
own='^\{"(timestamp|memmig)":|^[0-9]{4}-[0-9]{2}-[0-9]{2}T[^ ]+ +(ERROR|WARN|INFO) |^error: '
ours() {
  grep -E "$own" | grep -vE '^\{"timestamp":"[^"]*","level":"(DEBUG|TRACE)"|^\{"memmig":"report"' || true
}
logs() { # NAMESPACE pod/NAME LINES CONTAINER...
  local where=$1 pod=$2 lines=$3 container
  shift 3
  for container in "$@"; do
    heading -n "$where" logs "$pod" --container="$container"
    kubectl -n "$where" logs "$pod" --container="$container" --tail="$lines" 2>/dev/null | ours | blot || echo "(no log)"
    if [ -n "$(kubectl -n "$where" get "$pod" -o "jsonpath={.status.initContainerStatuses[?(@.name==\"$container\")].lastState.terminated}{.status.containerStatuses[?(@.name==\"$container\")].lastState.terminated}" 2>/dev/null)" ]; then
      heading -n "$where" logs "$pod" --container="$container" --previous
      kubectl -n "$where" logs "$pod" --container="$container" --previous --tail="$lines" 2>/dev/null | ours | blot || echo "(no log)"
    fi
  done
}
heading() { printf '\n## kubectl %s\n' "$*"; }
show() { heading "$@"; kubectl "$@" 2>&1 | blot || true; }
# Named fields of an object, one a line.
fields() { # TITLE KUBECTL-ARGUMENT... -- FIELD...
  local title=$1 query='' arguments=()
  shift
  while [ "$1" != -- ]; do arguments+=("$1"); shift; done
  shift
  for field in "$@"; do query+="$field: {.$field}{\"\\n\"}"; done
  printf '\n## %s\n' "$title"
  kubectl "${arguments[@]}" -o "jsonpath=$query" 2>&1 | blot || true
}
# What of containers is shown: variables by their names alone.
containers() { # PATH
  printf '%s' "{range $1[*]}{.name}{\": image \"}{.image}{\", resources \"}{.resources}{\", securityContext \"}{.securityContext}{\", variables \"}{.env[*].name}{\"\\n\"}{end}"
}
events() { # NAMESPACE NAME
  show -n "$1" get events --field-selector "involvedObject.name=$2" -o 'custom-columns=FIRST:.metadata.creationTimestamp,LAST:.lastTimestamp,TYPE:.type,REASON:.reason,MESSAGE:.message'
}

field() { kubectl -n "$namespace" get "$kind" "$name" -o "jsonpath=$1"; }
uid=$(field '{.metadata.uid}')
report=$(field '{.status.report.configMap}')
claims=$(field "{.$spec.source.local.claimName} {.$spec.target.local.claimName}")
of_migration=(mode source target collections databases pacing onConflict duplicates verification allowEmpty dryRun suspend runId report
  backoffLimit activeDeadlineSeconds jobTTLSecondsAfterFinished runner.podTemplate.spec.securityContext)
of_schedule=(schedule timeZone suspend concurrencyPolicy startingDeadlineSeconds generations)
[ $kind = memsched ] || of_schedule=()
system=${OPERATOR_NAMESPACE:-}
missing=
if [ -z "$system" ]; then
  # who may not list Deployments everywhere gets an error here
  system=$(kubectl get deployments --all-namespaces -l "$selector" -o 'jsonpath={.items[*].metadata.namespace}' 2>/dev/null | cut -d' ' -f1) || true
  if [ -z "$system" ]; then
    system=memory-migration-system
    missing="the operator was not found in any namespace that you may list: looked in $system. If it runs elsewhere, set OPERATOR_NAMESPACE and run this again"
    echo "support.sh: $missing" >&2
  fi
fi
{
  date -u +%Y-%m-%dT%H:%M:%SZ
  show version
  show get nodes -o 'custom-columns=VERSION:.status.nodeInfo.kubeletVersion,OS:.status.nodeInfo.osImage,ARCH:.status.nodeInfo.architecture,RUNTIME:.status.nodeInfo.containerRuntimeVersion'
  fields "$title $namespace/$name" -n "$namespace" get $kind "$name" -- metadata.creationTimestamp metadata.deletionTimestamp \
    metadata.generation metadata.finalizers ${of_schedule[@]+"${of_schedule[@]/#/spec.}"} "${of_migration[@]/#/$spec.}"
  show -n "$namespace" get $kind "$name" -o "jsonpath=$(containers ".$spec.runner.podTemplate.spec.containers")"
  show -n "$namespace" get $kind "$name" -o 'jsonpath={.status}'
  events "$namespace" "$name"
  [ -z "$report" ] || show -n "$namespace" get configmap "$report" -o 'jsonpath={.data.report\.json}'
  if [ $kind = memsched ]; then
    heading "-n $namespace get memmig, those of the schedule (for more of one: support.sh $namespace NAME)"
    kubectl -n "$namespace" get memmig -o 'custom-columns=NAME:.metadata.name,CREATED:.metadata.creationTimestamp,READY:.status.conditions[?(@.type=="Ready")].reason,OWNER:.metadata.ownerReferences[*].uid' 2>&1 |
      grep -E "^NAME |$uid" | blot || true
  fi
  for job in $(kubectl -n "$namespace" get jobs -l "memory-migration.dev/uid=$uid" -o name 2>/dev/null); do
    fields "$job" -n "$namespace" get "$job" -- metadata.creationTimestamp spec.backoffLimit spec.activeDeadlineSeconds \
      spec.suspend spec.podFailurePolicy spec.template.spec.securityContext 'spec.template.spec.volumes[*].persistentVolumeClaim' status
    show -n "$namespace" get "$job" -o "jsonpath=$(containers .spec.template.spec.initContainers)$(containers .spec.template.spec.containers)"
    events "$namespace" "${job##*/}"
  done
  show -n "$namespace" get pods -l "memory-migration.dev/uid=$uid" -o wide
  for claim in $claims; do show -n "$namespace" get pvc "$claim"; done
  for pod in $(kubectl -n "$namespace" get pods -l "memory-migration.dev/uid=$uid" -o name 2>/dev/null); do
    fields "$pod" -n "$namespace" get "$pod" -- status.phase status.reason status.conditions \
      'status.initContainerStatuses[*].name' 'status.initContainerStatuses[*].restartCount' \
      'status.containerStatuses[*].name' 'status.containerStatuses[*].restartCount' \
      'status.initContainerStatuses[*].state.terminated.exitCode' 'status.containerStatuses[*].state.terminated.exitCode' \
      'status.containerStatuses[*].state.terminated.reason' 'status.containerStatuses[*].lastState.terminated.reason' \
      'status.containerStatuses[*].state.waiting.reason'
    events "$namespace" "${pod#pod/}"
    if [ $kind = memsched ]; then
      logs "$namespace" "$pod" 300 prune
    else
      logs "$namespace" "$pod" 300 preflight fill mover
      echo "(Logs of other containers are not collected, among them Chroma's: kubectl -n $namespace logs $pod --container=chroma)"
    fi
  done
  [ -z "$missing" ] || printf '\n%s\n' "$missing"
  show -n "$system" get deployment,pods -l "$selector" -o wide
  show -n "$system" get leases memory-migration-operator-leader
  show -n "$system" get leases -l app.kubernetes.io/managed-by=memory-migration-operator
  for pod in $(kubectl -n "$system" get pods -l "$selector" -o name 2>/dev/null); do
    logs "$system" "$pod" 500 controller
  done
} >"$file"
echo "$file: look through it for what you do not want to share, then attach it"
