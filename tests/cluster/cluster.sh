#!/usr/bin/env bash
# A real Kubernetes in mount, network, PID, IPC and UTS namespaces of its own: when their first process ends the kernel
# removes all of it, and nothing of it can be reached from outside but through this script. It has one node, or with
# NODES=2 two: the second one in further namespaces within, cordoned until something is to run there.
# Usage: cluster.sh up [IMAGE.tar...]   a fresh cluster with DNS, volumes and these images beside its own
#        cluster.sh load IMAGE.tar...   adds images
#        cluster.sh kubectl ARGS...     kubectl as its administrator
#        cluster.sh sh COMMAND...       runs a command inside: Services resolve, KUBECONFIG is set
#        cluster.sh shell               a shell inside, in the checkout, with kubectl and helm
#        cluster.sh down                ends it and removes its state
#        cluster.sh check               says what this machine lacks
#        cluster.sh install             installs what Debian has of that, then checks
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${MEMORY_MIGRATION_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/memory-migration-operator}
export NODES=${NODES:-1} STATE=$cache/cluster NODE=node-1 NODE_IP=172.30.0.2 OTHER_IP=172.30.0.3
export CGROUP=memory-migration AUDIT_POLICY=$here/audit.yaml
export KUBECONFIG=$STATE/pki/admin.kubeconfig KUBECACHEDIR=$STATE/kubectl
PATH=$("$here/build.sh" --where)/bin:$PATH:/usr/sbin:/sbin # kubectl and ctr; what Debian has only for root
mounted="/var/lib/kubelet /var/lib/cni /var/log/pods /var/log/containers /etc/cni/net.d /etc/cni"
packages="runc nftables iptables iproute2 kmod procps openssl busybox-static python3 python3.11"
start_seconds=300

say() { echo "cluster.sh: $*" >&2; }
fail() { say "$*"; exit 1; }

machine() { # what is missing and no package of Debian gives
  [ "$(uname -s)" = Linux ] || echo "Linux"
  [ "$(id -u)" = 0 ] || echo "root"
  [ -d /sys/fs/cgroup/memory ] || echo "cgroup v1 (this machine has v2 only, or none)"
  command -v go >/dev/null || echo "Go, at least $(sed -n 's/^go //p' "$here/go.mod"): https://go.dev/dl"
}
commands() { # that are missing
  local name
  for name in runc nft iptables ip modprobe sysctl openssl unshare nsenter python3 /bin/busybox /usr/bin/python3.11; do
    command -v "$name" >/dev/null || echo "the command $name"
  done
}

check() {
  local missing
  mapfile -t missing < <(machine; commands)
  [ ${#missing[@]} = 0 ] && return
  say "this machine cannot run the test cluster; it lacks:"
  printf '  - %s\n' "${missing[@]}" >&2
  [ -z "$(commands)" ] || say "On Debian: apt-get install $packages"
  say "Any other cluster will do instead (kind, k3s): set MEMORY_MIGRATION_KUBECONFIG, see tests/cluster/README.md."
  return 1
}

apt() { DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends --no-upgrade -o DPkg::Lock::Timeout=120 $packages; }
install() {
  mkdir -p "$cache"
  if [ -z "$(machine)" ] && [ -n "$(commands)" ] && command -v apt-get >/dev/null; then
    say "apt-get install $packages"
    { apt || { apt-get update -q && apt; }; } >"$cache/apt.log" 2>&1 || tail -n 5 "$cache/apt.log" >&2
  fi
  check
}

# Only a process that is ours: a number may have been given to another one since.
pid() {
  local pid
  pid=$(cat "$STATE/init.pid" 2>/dev/null) && grep -qaF tests/cluster/init.sh "/proc/$pid/cmdline" 2>/dev/null && echo "$pid"
}
inside() {
  local first
  first=$(pid) || fail "the cluster is not up: make cluster-up"
  nsenter -t "$first" -m -n -p -i -u -- "$@"
}
k() { inside kubectl "$@"; }

await() { # WHAT COMMAND...: until it succeeds, or says what was seen last
  local what=$1 end=$((SECONDS + start_seconds)) seen
  shift
  until seen=$("$@" 2>&1); do
    if [ $SECONDS -ge $end ]; then
      say "after $start_seconds s still not: $what; last seen:"
      printf '%s\n' "$seen" >&2
      tail -n 5 "$STATE"/log/*.log >&2
      return 1
    fi
    sleep 0.2
  done
}

each_hierarchy() { find /sys/fs/cgroup -mindepth 1 -maxdepth 1 -type d ! -name unified; }

make_cgroups() {
  local hierarchy file folder folders="$CGROUP $CGROUP/system"
  # Those of the second node are within, so that all of it can be frozen.
  [ "$NODES" = 1 ] || folders="$folders $CGROUP/node-2 $CGROUP/node-2/system"
  for folder in $folders; do
    for hierarchy in $(each_hierarchy); do mkdir -p "$hierarchy/$folder"; done
    # A new cpuset has no CPUs until it is told.
    for file in cpuset.cpus cpuset.mems; do cat "/sys/fs/cgroup/cpuset/$file" >"/sys/fs/cgroup/cpuset/$folder/$file"; done
  done
  echo 1 2>/dev/null >"/sys/fs/cgroup/memory/$CGROUP/memory.use_hierarchy" || true
}

ready() { # NODE
  [ "$(k get node "$1" -o jsonpath='{.status.conditions[?(@.type=="Ready")].status}')" = True ] && k get serviceaccount default
}

images_imported() { [ "$(find "$STATE" -maxdepth 2 -name images-imported | wc -l)" = "$NODES" ]; }

up() {
  local outer first= image
  case $NODES in 1 | 2) ;; *) fail "NODES=$NODES: there are one or two" ;; esac
  install
  exec 8>"$cache/cluster-up.lock"
  if ! flock --nonblock 8 || pid >/dev/null; then
    say "the cluster is up already, or starting: make cluster-down ends it"
    exit 3
  fi
  modprobe br_netfilter 2>/dev/null || true
  [ -d /proc/sys/net/bridge ] || fail "the kernel lacks br_netfilter, without which pods do not reach Services on their own node"
  BIN=$("$here/build.sh")/bin
  IMAGES="$("$here/images.sh" base) $*"
  export BIN IMAGES
  for image in $IMAGES; do [ -f "$image" ] || fail "there is no image file $image"; done
  clean
  mkdir -p "$STATE"/{log,etcd,volumes} $mounted
  "$here/pki.sh" "$STATE/pki" "$NODE_IP" node-1 node-2
  make_cgroups
  setsid unshare --mount --net --pid --ipc --uts --fork --mount-proc --propagation private \
    bash "$here/init.sh" >"$STATE/log/init.log" 2>&1 </dev/null 8>&- &
  outer=$!
  disown
  until first=$(tr -d ' ' <"/proc/$outer/task/$outer/children") && [ -n "$first" ]; do
    kill -0 $outer 2>/dev/null || fail "unshare failed: $(cat "$STATE/log/init.log")"
    sleep 0.05
  done
  echo "$first" >"$STATE/init.pid"
  touch "$STATE/go"
  await "node $NODE is ready" ready "$NODE"
  if [ "$NODES" = 2 ]; then
    await "node node-2 is ready" ready node-2
    k cordon node-2 >/dev/null
  fi
  sed "s#@VOLUMES@#$STATE/volumes#" "$here/addons.yaml" | k apply -f - >/dev/null
  await "images are there" images_imported
  k -n kube-system rollout status deployment/coredns --timeout "${start_seconds}s" >/dev/null
  k -n volumes rollout status deployment/local-path-provisioner --timeout "${start_seconds}s" >/dev/null
  say "up after $SECONDS s; look around: make cluster-shell; end it: make cluster-down"
}

clean() {
  local hierarchy folder
  for hierarchy in $(each_hierarchy); do
    if [ -d "$hierarchy/$CGROUP" ]; then find "$hierarchy/$CGROUP" -depth -type d -exec rmdir {} +; fi
  done
  rm -rf "$STATE"
  # Ours alone are empty now.
  for folder in $mounted; do rmdir "$folder" 2>/dev/null || true; done
}

down() {
  local first
  if first=$(pid); then
    touch "$STATE/stop"
    for _ in $(seq 100); do kill -0 "$first" 2>/dev/null || break; sleep 0.1; done
    kill -KILL "$first" 2>/dev/null || true
    for _ in $(seq 100); do kill -0 "$first" 2>/dev/null || break; sleep 0.1; done
  fi
  clean
}

load() {
  local image
  for image in "$@"; do
    image=$(realpath "$image")
    inside ctr -n k8s.io images import "$image"
    if [ -e "$STATE/node-2/pid" ]; then
      inside nsenter -t "$(cat "$STATE/node-2/pid")" -m -n -p -i -u -- ctr -n k8s.io images import "$image"
    fi
  done
}

command=${1:-}
[ $# -gt 0 ] && shift
case $command in
  up) up "$@" ;;
  down) down ;;
  check | install) "$command" ;;
  load) load "$@" ;;
  kubectl) k "$@" ;;
  sh) inside "$@" ;;
  shell)
    PATH=$("$here/../charts/helm.sh"):$PATH
    inside sh -c 'cd "$1" && exec bash' sh "$(cd "$here/../.." && pwd)"
    ;;
  *) sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
