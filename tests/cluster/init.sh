#!/usr/bin/env bash
# Process 1 of a node's namespaces: prepares them, starts the programs, and ends when the file `stop` appears. The first
# node has the control plane, and the second node within its namespaces; `node-2/off` switches that one off, as a plug does.
# cluster.sh starts it; BIN, STATE, NODES, NODE, NODE_IP, OTHER_IP, CGROUP, IMAGES and AUDIT_POLICY come from there.
set -u

until [ -e "$STATE/go" ]; do
  [ -d "$STATE" ] || exit
  sleep 0.02
done
keys=$STATE/pki
data=$STATE/$NODE log=$STATE/log
first() { [ "$NODE" = node-1 ]; }
first || log=$STATE/log/$NODE
stopping() { [ -e "$STATE/stop" ]; }
mkdir -p "$log" "$data"/{containerd,kubelet,cni,pods,logs,net,volumes}

for folder in /sys/fs/cgroup/*/"$CGROUP/system"; do echo 0 >"$folder/cgroup.procs"; done
hostname "$NODE"
mount --make-rshared /
mount -t tmpfs tmpfs /run
mkdir -p /run/lock /run/netns

second() { # is started again whenever it ends, unless it is switched off
  local outer
  until stopping; do
    if [ ! -e "$STATE/node-2/off" ]; then
      nsenter --net=/run/netns/node-2 unshare --mount --pid --ipc --uts --fork --mount-proc --propagation private \
        env NODE=node-2 NODE_IP="$OTHER_IP" OTHER_IP="$NODE_IP" CGROUP="$CGROUP/node-2" bash "$0" >>"$STATE/log/init-2.log" 2>&1 &
      outer=$!
      until tr -d ' ' <"/proc/$outer/task/$outer/children" | grep . >"$STATE/node-2/pid"; do
        kill -0 $outer 2>/dev/null || break
        sleep 0.05
      done
      wait $outer
      echo "init.sh: node-2 ended with $?" >>"$STATE/log/init-2.log"
    fi
    sleep 0.2
  done
}
# Its network outlives it. Its mounts are a copy of what there is now, before any of ours.
if first && [ "$NODES" = 2 ]; then
  mkdir -p "$STATE/node-2"
  ip netns add node-2
  export STATE NODE_IP OTHER_IP CGROUP
  export -f second stopping
  unshare --mount --propagation private bash -uc second "$0" &
fi

for pair in kubelet:/var/lib/kubelet cni:/var/lib/cni pods:/var/log/pods logs:/var/log/containers net:/etc/cni/net.d volumes:"$STATE/volumes"; do
  mount --bind "$data/${pair%%:*}" "${pair#*:}"
done
mount --make-rshared /var/lib/kubelet
# The kubelet writes these settings of the whole machine: here it writes to files of its own.
for setting in vm/overcommit_memory=1 kernel/panic=10 kernel/panic_on_oops=1; do
  file=/run/sysctl-$(basename "${setting%=*}")
  echo "${setting#*=}" >"$file"
  mount --bind "$file" "/proc/sys/${setting%=*}"
done

# Of one node the other end of its line is here, too.
ip link set lo up
if first; then
  pods=0 others=1
  if [ "$NODES" = 2 ]; then
    ip link add eth0 type veth peer name eth0 netns node-2
  else
    ip link add eth0 type veth peer name eth0p
    ip link set eth0p up
  fi
else
  pods=1 others=0
  until ip link show eth0 >/dev/null 2>&1; do sleep 0.05; done
fi
ip addr replace "$NODE_IP/24" dev eth0
ip link set eth0 up
ip route replace default via "${NODE_IP%.*}.1"
[ "$NODES" = 1 ] || ip route replace "10.244.$others.0/24" via "$OTHER_IP"
sysctl -qw net.ipv4.ip_forward=1
sysctl -qw net.bridge.bridge-nf-call-iptables=1
# CoreDNS has no server to ask beyond the cluster.
echo 'nameserver 127.0.0.1' >/run/resolv.conf
# Programs that run here without a pod resolve Services too, and an image that is not there fails at once.
printf 'search svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5 timeout:1 attempts:1\n' >/run/resolv.host
mount --bind /run/resolv.host /etc/resolv.conf

cat >/etc/cni/net.d/10-test.conflist <<C
{"cniVersion": "1.0.0", "name": "test", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.$pods.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}
]}
C
# restrict_oom_score_adj: without CAP_SYS_RESOURCE runc may not lower it, and says only "EOF".
cat >"$data/containerd.toml" <<C
version = 3
root = "$data/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.devmapper", "io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "localhost/pause:1"
[plugins."io.containerd.cri.v1.runtime"]
  enable_selinux = false
  disable_apparmor = true
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  tolerate_missing_hugetlb_controller = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["$BIN"]
  conf_dir = "/etc/cni/net.d"
[plugins."io.containerd.cri.v1.runtime".containerd]
  default_runtime_name = "runc"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  SystemdCgroup = false
  BinaryName = "$(command -v runc)"
C
cat >"$data/kubelet.yaml" <<C
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /$CGROUP
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $keys/ca.crt}}
authorization: {mode: Webhook}
clusterDomain: cluster.local
clusterDNS: [10.96.0.10]
resolvConf: /run/resolv.conf
failSwapOn: false
volumePluginDir: $data/kubelet-plugins
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: "0%", nodefs.available: "0%", imagefs.available: "0%", nodefs.inodesFree: "0%", imagefs.inodesFree: "0%"}
nodeStatusUpdateFrequency: 5s
C
# The conntrack limits can only be written in the first network namespace: 0 leaves them alone.
cat >"$data/kube-proxy.yaml" <<C
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $keys/kube-proxy.kubeconfig}
mode: nftables
clusterCIDR: 10.244.0.0/16
hostnameOverride: $NODE
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
C

keepers=
keep() { # NAME COMMAND...: starts it, and starts it again when it ends
  local name=$1
  shift
  (
    child=
    trap 'kill -TERM "$child" 2>/dev/null; wait "$child"; exit 0' TERM
    while :; do
      "$@" >>"$log/$name.log" 2>&1 &
      child=$!
      wait "$child"
      echo "init.sh: $name ended with $?" >>"$log/$name.log"
      sleep 1
    done
  ) &
  keepers="$! $keepers"
}

export PATH=$BIN:$PATH
control_plane() {
  keep etcd kube etcd --name test --data-dir "$STATE/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
    --initial-cluster test=http://127.0.0.1:2380
  keep kube-apiserver kube kube-apiserver --etcd-servers http://127.0.0.1:2379 --advertise-address "$NODE_IP" --secure-port 6443 \
    --tls-cert-file "$keys/apiserver.crt" --tls-private-key-file "$keys/apiserver.key" --client-ca-file "$keys/ca.crt" \
    --service-account-issuer https://kubernetes.default.svc.cluster.local \
    --service-account-key-file "$keys/sa.pub" --service-account-signing-key-file "$keys/sa.key" \
    --service-cluster-ip-range 10.96.0.0/16 --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction \
    --allow-privileged=true --kubelet-preferred-address-types InternalIP \
    --kubelet-client-certificate "$keys/apiserver-kubelet.crt" --kubelet-client-key "$keys/apiserver-kubelet.key" \
    --audit-policy-file "$AUDIT_POLICY" --audit-log-path "$STATE/log/audit.jsonl" --audit-log-maxsize 8192
  until kubectl --kubeconfig "$keys/admin.kubeconfig" get --raw /readyz >/dev/null 2>&1; do
    stopping && exit
    sleep 0.2
  done
  keep kube-controller-manager kube kube-controller-manager --kubeconfig "$keys/kube-controller-manager.kubeconfig" \
    --service-account-private-key-file "$keys/sa.key" --root-ca-file "$keys/ca.crt" --cluster-signing-cert-file "$keys/ca.crt" \
    --cluster-signing-key-file "$keys/ca.key" --use-service-account-credentials --leader-elect=false --bind-address 127.0.0.1 \
    --flex-volume-plugin-dir "$data/kubelet-plugins"
  keep kube-scheduler kube kube-scheduler --kubeconfig "$keys/kube-scheduler.kubeconfig" --leader-elect=false --bind-address 127.0.0.1
}
keep containerd containerd -c "$data/containerd.toml" -l warn
(
  until ctr version >/dev/null 2>&1; do sleep 0.1; done
  for image in $IMAGES; do ctr -n k8s.io images import "$image" || echo "init.sh: import of $image failed"; done
  touch "$data/images-imported"
) &
if first; then control_plane; fi
keep kubelet kube kubelet --config "$data/kubelet.yaml" --kubeconfig "$keys/kubelet-$NODE.kubeconfig" \
  --hostname-override "$NODE" --node-ip "$NODE_IP"
keep kube-proxy kube kube-proxy --config "$data/kube-proxy.yaml"

until stopping; do sleep 0.2; done
kill -TERM $keepers 2>/dev/null
for _ in $(seq 20); do
  [ -n "$(jobs -r)" ] || break
  sleep 0.1
done
exit 0
