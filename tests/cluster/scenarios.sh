#!/usr/bin/env bash
# End-to-end scenarios on the cluster that is up: what a user applies, sees and finds in Chroma afterwards.
# Usage: scenarios.sh PROGRAM [SCENARIO...]   PROGRAM is a build of memory-migration; default: all scenarios
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
program=${1:?usage: scenarios.sh PROGRAM [SCENARIO...]}
shift
seconds=${SCENARIO_SECONDS:-180}
records=2000
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

k() { "$here/cluster.sh" kubectl "$@"; }
say() { printf '\n== %s\n' "$*"; }
fail() { echo "FAILED: $*" >&2; return 1; }

field() { k -n work get memmig "$1" -o jsonpath="$2"; }
reason() { field "$1" '{.status.conditions[?(@.type=="Ready")].reason}'; }
reading() { echo "Ready=$(field "$1" '{.status.conditions[?(@.type=="Ready")].status}') $(reason "$1") $(field "$1" '{.status.phase}')"; }

await() { # EXPECTED COMMAND...: until its output is that, a bash pattern
  local expected=$1 end=$((SECONDS + seconds)) seen
  shift
  # shellcheck disable=SC2053
  until seen=$("$@" 2>&1) && [[ $seen == $expected ]]; do
    if [ $SECONDS -ge $end ]; then
      k -n work get memmig,jobs,pods >&2
      k -n work describe memmig >&2
      fail "after $seconds s '$*' still gives '$seen', not '$expected'"
      return 1
    fi
    sleep 0.3
  done
}

equals() { [ "$2" = "$3" ] || fail "$1: '$2', expected '$3'"; }

claim() { # NAME: with a pod that uses it, ready
  sed "s/@CLAIM@/$1/" "$here/claim.yaml" | k -n work apply -f -
  k -n work wait --for=condition=Ready "pod/uses-$1" --timeout="${seconds}s"
}

release() { k -n work delete pod "uses-$1" --wait; }

# The number of records that a server in the cluster gives for a collection.
served() { # COLLECTION
  local base=http://chroma.prod.svc.cluster.local:8000/api/v2/tenants/default_tenant/databases/default_database/collections id
  id=$("$here/cluster.sh" sh curl -sf "$base/$1" | python3 -c 'import json, sys; print(json.load(sys.stdin)["id"])')
  "$here/cluster.sh" sh curl -sf "$base/$id/count"
}

migration() { # NAME TARGET_NAME [EXTRA SPEC LINES...]: from the claim dev-memories into the server
  local name=$1 target=$2
  shift 2
  k -n work apply -f - <<M
apiVersion: memory-migration.dev/v1alpha1
kind: MemoryMigration
metadata: {name: $name}
spec:
  source: {local: {claimName: dev-memories, path: chroma_db}}
  target: {remote: {service: {name: chroma, namespace: prod, port: 8000}}}
  collections: [{name: memory_collection, targetName: $target}]
$(printf '  %s\n' "$@")
M
}

restore() { # NAME SOURCE_NAME CLAIM [EXTRA SPEC LINES...]: from the server into a claim
  local name=$1 source=$2 claim=$3
  shift 3
  k -n work apply -f - <<M
apiVersion: memory-migration.dev/v1alpha1
kind: MemoryMigration
metadata: {name: $name}
spec:
  source: {remote: {service: {name: chroma, namespace: prod, port: 8000}}}
  target: {local: {claimName: $claim, path: chroma_db}}
  collections: [{name: $source, targetName: memory_collection}]
$(printf '  %s\n' "$@")
M
}

prepare() {
  local python
  say "operator, Chroma, a claim with $records memories"
  "$here/cluster.sh" load "$("$here/images.sh" operator "$program")"
  k apply --server-side -f - <"$here/../../crds/memorymigrations.memory-migration.dev.yaml"
  k apply -f - <"$here/controller.yaml"
  k apply -f - <"$here/chroma.yaml"
  k create namespace work --dry-run=client -o yaml | k apply -f -
  k label --overwrite namespace work pod-security.kubernetes.io/enforce=restricted
  k -n memory-migration rollout status deployment/controller --timeout="${seconds}s"
  k -n prod rollout status statefulset/chroma --timeout="${seconds}s"
  python=$("$here/../chroma/install.sh" server | cut -d' ' -f2-)/bin/python
  "$python" "$here/../stores/demo.py" "$scratch/chroma_db" $records
  claim dev-memories
  tar -c -C "$scratch" chroma_db | k -n work exec -i uses-dev-memories -- /bin/busybox tar -x -C /data
  release dev-memories
}

there_and_back() {
  say "from a claim to a server and back"
  migration there memories 'batch: {size: 100, delay: 200ms}'
  await '*Copying' reading there
  await '[1-9]*' field there '{.status.progress.records}'
  k -n work get memmig
  await 'Ready=True Verified Succeeded' reading there
  equals "verified" "$(field there '{.status.counts.verified}')" $records
  equals "records in the server" "$(served memories)" $records
  claim restored
  release restored
  restore back memories restored 'batch: {size: 100, delay: 0s}'
  await 'Ready=True Verified Succeeded' reading back
  equals "verified" "$(field back '{.status.counts.verified}')" $records
  equals "one fingerprint" "$(field back '{.status.verification.fingerprint}')" "$(field there '{.status.verification.fingerprint}')"
  k -n work get memmig
  k -n work describe memmig back
  k -n work get events --field-selector involvedObject.kind=MemoryMigration
  "$here/cluster.sh" sh curl -sf http://controller.memory-migration.svc.cluster.local:8080/metrics
}

dry_run() {
  say "a dry run writes nothing"
  migration plan-only planned 'dryRun: true'
  await 'Ready=True DryRunCompleted Succeeded' reading plan-only
  served planned 2>/dev/null && fail "the dry run made the collection"
  k -n work get memmig plan-only
}

suspend_resume() {
  say "suspend and resume"
  migration paused paused 'batch: {size: 100, delay: 300ms}'
  await '*Copying' reading paused
  k -n work patch memmig paused --type merge -p '{"spec":{"suspend":true}}'
  await 'Ready=False Suspended Suspended' reading paused
  await '' k -n work get pods -l "memory-migration.dev/uid=$(field paused '{.metadata.uid}')" -o name
  k -n work patch memmig paused --type merge -p '{"spec":{"suspend":false,"batch":{"delay":"0s"}}}'
  await 'Ready=True Verified Succeeded' reading paused
  equals "records in the server" "$(served paused)" $records
}

delete_mid_run() {
  local uid
  say "deleted while it runs"
  migration deleted deleted 'batch: {size: 10, delay: 1s}'
  await '*Copying' reading deleted
  uid=$(field deleted '{.metadata.uid}')
  k -n work delete memmig deleted
  await '' k -n work get jobs,pods -o name -l "memory-migration.dev/uid=$uid"
  migration deleted deleted 'batch: {size: 100, delay: 0s}'
  await 'Ready=True Verified Succeeded' reading deleted
}

target_in_use() {
  say "a target claim that a pod uses is waited for"
  claim busy
  restore waits memories busy 'batch: {size: 100, delay: 0s}'
  await 'Ready=False VolumeInUse Waiting' reading waits
  field waits '{.status.conditions[?(@.type=="Reconciling")].message}{"\n"}'
  release busy
  await 'Ready=True Verified Succeeded' reading waits
}

if [ $# = 0 ]; then set -- there_and_back dry_run suspend_resume delete_mid_run target_in_use; fi
k -n memory-migration get deployment controller >/dev/null 2>&1 || prepare
for scenario in "$@"; do
  started=$SECONDS
  "$scenario"
  echo "passed: $scenario, $((SECONDS - started)) s"
done
