"""Two nodes: where a runner may run, and what is said and done while a node is drained, hangs, stands still or is gone."""

import contextlib
import threading

from kit import (
    COLLECTION,
    FIRST,
    OUT_OF_SERVICE,
    SECOND,
    SYSTEM,
    api,
    equal,
    frozen,
    headless,
    kubectl,
    local,
    on,
    only_second,
    open_second,
    ready,
    renamed,
    runners,
    scale,
    slow,
    switch_off,
    switch_on,
    until,
)

# A pod leaves a node that does not answer after 5 s instead of 5 minutes.
GONE = [{"key": f"node.kubernetes.io/{what}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5} for what in ("unreachable", "not-ready")]
FAST = {"batchSize": 500, "delay": "0s"}
NOTHING_WRONG = {"lost": 0, "twice": 0, "foreign": 0}


def _two_nodes(scenario):
    """It runs alone, in a cluster whose second node it may break. It is given a claim `dev` on the first one."""
    scenario.alone = scenario.own_cluster = scenario.two_nodes = True
    return scenario


@contextlib.contextmanager
def _one_mover(s):
    """Fails if movers of two pods were alive at a time, by the processes of both nodes and by what the API server tells."""
    most, done = [], threading.Event()

    def count():
        while not done.wait(0.1):
            most.append(len(runners()))

    counter = threading.Thread(target=count)
    with s.one_runner_at_a_time():
        counter.start()
        try:
            yield
        finally:
            done.set()
            counter.join()
    equal("movers whose processes were alive at a time", max(most), 1)


def _on_the_second(s, name, collection, **spec):
    """A migration from a server of its own to the shared one, copying on the second node; it may run on both."""
    server = s.chroma("source", node=FIRST)
    s.migrate(f"fill-{name}", local("dev"), server.endpoint(), pacing=FAST).verified(2000)
    with only_second():
        spec = {"pacing": slow(20, "1s"), "runner": {"podTemplate": {"spec": {"tolerations": GONE}}}} | spec
        m = s.migrate(name, server.endpoint(), s.prod.endpoint(), collections=renamed(collection), **spec)
        m.copying()
    on(s.pod(m.running_pod()), SECOND)
    return m


def _faster(m):
    """The rest without pauses, from the next Job on."""
    m.patch(suspend=True)
    m.reaches("Suspended")
    m.patch(suspend=False, pacing=FAST)


@_two_nodes
def beside_the_user_of_a_claim(s):
    """A claim that one node at a time can mount is in use on one that others keep away from: the runner goes there, and nowhere else."""
    with open_second():
        kubectl("taint", "node", SECOND, "tests=busy:NoSchedule")
        tolerated = [{"key": "tests", "operator": "Exists"}]
        s.claim("moves", node=FIRST, anywhere=True)
        s.use("moves", node=SECOND, tolerations=tolerated)
        s.fill("moves", 2000)
        m = s.migrate("beside", local("moves"), s.prod.endpoint())
        m.verified(2000)
        on(m.pods()[0], SECOND)
        s.prod.holds(COLLECTION, 2000)


@_two_nodes
def claims_on_different_nodes(s):
    """Two local volumes on two nodes: said, with the way out; through a server they are moved."""
    with open_second():
        s.claim("there", node=SECOND)
        m = s.migrate("apart", local("dev"), local("there"))
        said = m.reaches("ClaimsOnDifferentNodes")
        equal(f"the way out is said: {said}", "migrate through a server" in said, True)
        equal("no runner pod", [p for p in m.pods() if p["status"].get("phase") != "Pending"], [])
        m.delete()
        server = s.chroma("there", claim="there", path="/data/chroma_db", node=SECOND)
        s.migrate("through", local("dev"), server.endpoint(), pacing=FAST).verified(2000)
        equal("the official client", s.judged(server, COLLECTION, 2000), NOTHING_WRONG)


@_two_nodes
def claims_in_use_on_different_nodes(s):
    """Two claims that could be on either node are in use on two: the pods are named, and it goes on when one has ended."""
    with open_second():
        s.claim("from", 2000, node=SECOND, anywhere=True)
        s.claim("into", node=SECOND, anywhere=True)
        s.use("from", node=FIRST, read_only=True)
        s.use("into", node=SECOND, read_only=True)
        m = s.migrate("apart", local("from"), local("into"))
        said = m.reaches("ClaimsOnDifferentNodes")
        for word in ("uses-from", "uses-into", FIRST, SECOND):
            equal(f"{word} is named: {said}", word in said, True)
        s.free("from")
        m.verified(2000)
        on(m.pods()[0], SECOND)
        s.free("into")
        server = s.chroma("look", claim="into", path="/data/chroma_db", node=SECOND)
        equal("the official client", s.judged(server, COLLECTION, 2000), NOTHING_WRONG)


@_two_nodes
def drained_to_the_other_node(s):
    """The runner's node is drained: it ends what it writes, goes on on the other node, and no try is counted."""
    with open_second(), _one_mover(s):
        m = _on_the_second(s, "moved", "drained")
        kubectl("drain", SECOND, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=120s")
        until("it goes on", lambda: m.running_pod() in [p["metadata"]["name"] for p in m.pods() if p["spec"].get("nodeName") == FIRST])
        _faster(m)
        status = m.verified(2000)
        equal("failures", status.get("failures", 0), 0)
        equal("it went on where it stopped", status["counts"]["present"] > 0, True)
        equal("the official client", s.judged(s.prod, "drained", 2000), NOTHING_WRONG)


@_two_nodes
def node_without_its_kubelet(s):
    """The node's kubelet and containerd hang while the mover goes on: said, and nothing is started, not even for an edit."""
    with open_second(), _one_mover(s):
        m = _on_the_second(s, "unseen", "unseen", pacing=slow(100, "2s"), runner={})
        with headless():
            said = m.reaches("NodeLost")
            equal(f"node and way out are named: {said}", SECOND in said and "out-of-service" in said, True)
            m.patch(collections=renamed("unseen_edited"), pacing=FAST)
            m.seen()
            until("it still says so", lambda: (m.condition()["reason"] == "NodeLost", m.say()))
            equal("pods", len(m.pods()), 1)
        m.verified(2000)
        equal("the official client", s.judged(s.prod, "unseen_edited", 2000), NOTHING_WRONG)


@_two_nodes
def node_that_stands_still(s):
    """The whole node stands still until Kubernetes gives its pod up, and goes on: the old mover ends before another begins."""
    with open_second(), _one_mover(s):
        m = _on_the_second(s, "paused", "paused")
        pod = m.running_pod()
        with frozen():
            said = m.reaches("NodeLost")
            equal(f"node and way out are named: {said}", SECOND in said and "out-of-service" in said, True)
            until("its pod was told to end", lambda: s.pod(pod)["metadata"].get("deletionTimestamp"))
            until("that is said once its time is over", lambda: ("was told to end" in m.say(), m.say()))
            equal("pods", [p["metadata"]["name"] for p in m.pods()], [pod])
        until("another pod", lambda: m.running_pod() != pod)
        _faster(m)
        equal("failures", m.verified(2000).get("failures", 0), 0)
        equal("the official client", s.judged(s.prod, "paused", 2000), NOTHING_WRONG)


@_two_nodes
def node_switched_off(s):
    """The node is gone: nothing is started until a person says so with a taint; then the run goes on on the other node."""
    with open_second(), _one_mover(s):
        m = _on_the_second(s, "orphan", "orphan")
        pod = m.running_pod()
        switch_off()
        said = m.reaches("NodeLost")
        equal(f"the taint is named: {said}", f"kubectl taint node {SECOND} {OUT_OF_SERVICE}" in said, True)
        equal("pods", [p["metadata"]["name"] for p in m.pods()], [pod])
        # As the message and docs/troubleshooting.md say.
        kubectl("taint", "node", SECOND, OUT_OF_SERVICE)
        until("a pod on the other node", lambda: s.pod(m.running_pod())["spec"]["nodeName"] == FIRST)
        switch_on()
        until(f"{SECOND} is ready", lambda: ready(SECOND))
        kubectl("taint", "node", SECOND, "node.kubernetes.io/out-of-service-")
        _faster(m)
        equal("failures", m.verified(2000).get("failures", 0), 0)
        equal("the official client", s.judged(s.prod, "orphan", 2000), NOTHING_WRONG)


@_two_nodes
def leaders_node_lost(s):
    """The node with the leader and the node with the runner are one, and stand still: the other replica leads and says it."""
    lease = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/memory-migration-operator-leader"
    leader = lambda: api().get(lease)["spec"].get("holderIdentity") or ""
    where = lambda: {p["metadata"]["name"]: p["spec"].get("nodeName") for p in api().get(f"/api/v1/namespaces/{SYSTEM}/pods")["items"]}
    with open_second():
        try:
            with only_second():
                kubectl("-n", SYSTEM, "delete", "pods", "--all")
                scale(2)
            equal("nodes of the replicas", set(where().values()), {SECOND})
            until("one leads", lambda: _pod(leader(), where()))
            follower = next(pod for pod in where() if not leader().startswith(pod))
            kubectl("-n", SYSTEM, "delete", "pod", follower)
            until("the follower is on the first node", lambda: (set(where().values()) == {FIRST, SECOND}, where()))
            equal("the leader's node", where()[_pod(leader(), where())], SECOND)
            with _one_mover(s):
                m = _on_the_second(s, "both", "both", pacing=slow(100, "2s"), runner={})
                with frozen():
                    until("another leads", lambda: where().get(_pod(leader(), where())) == FIRST)
                    m.reaches("NodeLost")
                equal("attempts", m.verified(2000)["attempts"], 1)
                equal("the official client", s.judged(s.prod, "both", 2000), NOTHING_WRONG)
        finally:
            scale(1)
            kubectl("cordon", SECOND)
            kubectl("-n", SYSTEM, "delete", "pods", "--all", "--wait=false")
            kubectl("-n", SYSTEM, "rollout", "status", "deployment/memory-migration-operator", "--timeout=120s")


def _pod(identity, pods):
    """The pod whose process this is: its identity starts with the pod's name."""
    return next((pod for pod in pods if identity.startswith(pod)), None)
