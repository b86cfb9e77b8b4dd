"""The controller itself, and the cluster's own parts: killed, replaced, restarted, kept to a namespace, idle."""

import os
import pathlib
import signal
import subprocess
import time

from kit import COLLECTION, HERE, OPERATOR, SYSTEM, api, equal, install, kill, kubectl, local, process, process_of, scale, slow, until

LEADER = "/apis/coordination.k8s.io/v1/namespaces/memory-migration-system/leases/memory-migration-operator-leader"


def _alone(scenario):
    """It stops what the other scenarios need. It is given a claim `dev` with 2,000 memories."""
    scenario.alone = True
    return scenario


def _leader():
    """The process that leads: its pod's name, and what tells one start from the next."""
    return api().get(LEADER)["spec"].get("holderIdentity")


def _controllers():
    pods = api().get(f"/api/v1/namespaces/{SYSTEM}/pods?labelSelector=app.kubernetes.io%2Fname%3D{OPERATOR}")["items"]
    return [p["metadata"]["name"] for p in pods if not p["metadata"].get("deletionTimestamp")]


@_alone
def controller_killed(s):
    """The controller is killed in the middle and comes back: the run goes on, and is counted once."""
    m = s.migrate("survives", local("dev"), s.prod.endpoint(), pacing=slow(100))
    m.copying()
    job = m.status["jobName"]
    for pod in _controllers():
        kubectl("-n", SYSTEM, "delete", "pod", pod, "--grace-period=0", "--force")
    status = m.verified(2000)
    equal("the Job", status["jobName"], job)
    equal("attempts", status["attempts"], 1)
    s.prod.holds(COLLECTION, 2000)


@_alone
def leader_change(s):
    """Of two replicas the leader dies without a word: another process leads in under 20 s and finishes the run."""
    scale(2)
    try:
        m = s.migrate("handed-over", local("dev"), s.prod.endpoint(), pacing=slow(100))
        m.copying()
        first = _leader()
        controller = next(pod for pod in _controllers() if first.startswith(pod))
        kill(SYSTEM, controller, ["memory-migration", "controller"])
        started = time.monotonic()
        # Its own container starts anew at once, and may be the one: that is another process all the same.
        until("another leads", lambda: _leader() not in ("", None, first))
        took = time.monotonic() - started
        s.say(f"another leader after {took:.1f} s")
        # Not the speed of this machine: the Lease lasts 15 s, and the others look every 2 s.
        equal("a takeover in under 20 s", took < 20, True)
        m.verified(2000)
        s.prod.holds(COLLECTION, 2000)
    finally:
        scale(1)


leader_change.own_cluster = True


@_alone
def api_server_restarted(s):
    """The API server hangs until the leader gives up, then dies and comes back: the run ends verified."""
    m = s.migrate("patient", local("dev"), s.prod.endpoint(), pacing=slow(100))
    m.copying()
    server = process(["kube-apiserver", "--etcd-servers"])
    leader = process_of(SYSTEM, _controllers()[0], ["memory-migration", "controller"])
    os.kill(server, signal.SIGSTOP)
    try:
        until("the leader, which cannot renew its Lease, ends", lambda: not pathlib.Path(f"/proc/{leader}").exists())
    finally:
        os.kill(server, signal.SIGKILL)
    m.verified(2000)
    s.prod.holds(COLLECTION, 2000)


api_server_restarted.own_cluster = True


@_alone
def drained_node(s):
    """The node is cordoned in the middle: the run goes on; a new one says why it waits, and runs when the node is back."""
    m = s.migrate("runs", local("dev"), s.prod.endpoint(), pacing=slow(100))
    m.copying()
    nodes = [n["metadata"]["name"] for n in api().get("/api/v1/nodes")["items"] if not n["spec"].get("unschedulable")]
    kubectl("cordon", *nodes)
    try:
        waits = s.migrate("waits", local("dev"), s.prod.within("default_tenant", "default_database").endpoint(), dryRun=True)
        equal("it says why", "unschedulable" in waits.reaches("PodUnschedulable"), True)
        m.verified(2000)
    finally:
        kubectl("uncordon", *nodes)
    waits.reaches("DryRunCompleted")
    s.prod.holds(COLLECTION, 2000)


@_alone
def one_namespace(s):
    """A controller with Roles only, told to watch one namespace, works there without an error in its log."""
    scale(0)
    try:
        install(s.namespace, **{"watchNamespaces[0]": s.namespace, "crds.enabled": "false"})
        s.migrate("here", local("dev"), s.prod.endpoint()).verified(2000)
        s.prod.holds(COLLECTION, 2000)
        equal("errors in its log", _errors(s.namespace), [])
    finally:
        scale(1)


def _errors(namespace):
    log = kubectl("-n", namespace, "logs", f"deployment/{OPERATOR}").splitlines()
    return [line for line in log if '"ERROR"' in line or '"WARN"' in line]


@_alone
def ten_minutes_idle(s):
    """Ten minutes in which nothing changes: no error in the log, and under one API write a minute but for the leader's Lease."""
    s.migrate("done", local("dev"), s.prod.endpoint()).verified(2000)
    kubectl("-n", SYSTEM, "rollout", "restart", f"deployment/{OPERATOR}")
    kubectl("-n", SYSTEM, "rollout", "status", f"deployment/{OPERATOR}", "--timeout=120s")
    until("it leads", lambda: any(pod in (_leader() or "") for pod in _controllers()))
    # The one wait for time itself: idling is what is measured.
    time.sleep(600)
    equal("errors in its log", _errors(SYSTEM), [])
    user = f"system:serviceaccount:{SYSTEM}:{OPERATOR}"
    command = ["python3", str(HERE / "audit.py"), os.environ["STATE"] + "/log/audit.jsonl", user, "590"]
    counted = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    print(counted)
    equal("the Lease's renewals are in it", any("leader" in line for line in counted.splitlines()), True)
    writes = [line.split() for line in counted.splitlines() if line.startswith("write") and "leader" not in line]
    equal("writes a minute are under one", sum(int(line[1]) for line in writes) < 10, True)


ten_minutes_idle.own_cluster = ten_minutes_idle.long = True

