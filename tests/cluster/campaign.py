"""The rows of the fault campaign that need a cluster: what is broken, how, and how often. `faults.py` runs and counts them.

A trial makes a migration of 300 memories into a collection that another client uses, too, breaks something at a moment that
its seed gives, and waits for the end. Chroma's official client judges.
"""

import contextlib
import dataclasses
import os
import signal
import time

import kit
from kit import FIRST, OPERATOR, SYSTEM, Ended, api, apply, kill, kubectl, local, process, renamed, runners, until
from scenarios import nodes

COUNT = 300
FOREIGN = 4
CRD = "memorymigrations.memory-migration.dev"
LEADER = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/memory-migration-operator-leader"
PACE = {"batchSize": 10, "delay": "300ms"}
FAST = {"batchSize": 500, "delay": "0s"}
SUCCEEDED = ("Verified", "VerifiedWithSkips")


@dataclasses.dataclass
class Row:
    """A fault: how it is produced, and how often. `together` of its trials run side by side, in one namespace."""

    name: str
    how: str
    tries: int
    trial: object
    together: int = 1
    around: object = contextlib.nullcontext
    quick: int = 1
    two_nodes: bool = False


@dataclasses.dataclass
class Look:
    """A collection that is judged at the end: so many memories, so many records of another client. Of one that a run left
    before its end a part may lack."""

    server: object
    collection: str
    count: int = COUNT
    foreign: int = 0
    partly: bool = False


class Trial:
    """One migration that something happens to."""

    def __init__(self, scenario, random, number):
        self.s, self.random, self.number = scenario, random, number
        self.name = f"try-{number}"
        self.looks, self.ends = [], []
        # A database of its own: two runs into one wait for each other.
        self.prod = self.database("")

    def start(self, pacing=PACE, foreign=FOREIGN, name=None):
        """A migration into a collection of its own, in which another client has records."""
        name = name or self.name
        self.shared(name, foreign)
        self.ends.append(self.migrate(self.s, name, pacing))
        return self.ends[-1]

    def database(self, name):
        """A new one of the shared server."""
        name = f"{self.s.namespace}-{self.number}{name}"
        databases = "/tenants/default_tenant/databases"

        def make():
            # Chroma 1.5.9 answers 500 (database is locked) while another database is made.
            self.s.prod.call("DELETE", f"{databases}/{name}", missing_is_fine=True)
            self.s.prod.call("POST", databases, {"name": name})
            return True

        until(f"the server has a new database {name}", make)
        return self.s.prod.within("default_tenant", name)

    def shared(self, collection, foreign=FOREIGN):
        """A collection that will be judged, with records of another client."""
        if foreign:
            self.s.foreign(self.prod, collection, foreign)
        self.looks.append(Look(self.prod, collection, foreign=foreign))

    def migrate(self, s, name, pacing=PACE):
        """From the claim `dev` of this scenario into a collection of the migration's name."""
        return s.migrate(name, local("dev"), self.prod.endpoint(), collections=renamed(name), pacing=pacing)

    def moment(self, earliest=0.0, latest=0.85):
        """Waits for a moment of the copy, by what the server holds: after this part of the memories."""
        at, wanted = self.looks[-1], self.random.uniform(earliest, latest) * COUNT

        def look():
            held = at.server.count(at.collection) - at.foreign if at.server.collection(at.collection) else 0
            return held >= wanted, f"{held} of {wanted:.0f}"

        until("the moment", look)

    def succeed(self):
        """Waits until all have ended well; what they say is not believed, but judged."""
        for m in self.ends:
            until(f"{m.name} has ended well", lambda: _ended(m))


def _ended(m):
    if m.condition("Stalled").get("status") == "True":
        raise Ended(f"{m.name} ended with {m.say()}")
    return has_succeeded(m), m.say()


def has_succeeded(m):
    """As `kubectl wait --for=condition=Ready` sees it: said of the spec as it is now."""
    object = m.object()
    ready = next((c for c in object["status"].get("conditions", []) if c["type"] == "Ready"), {})
    current = ready.get("observedGeneration") == object["metadata"]["generation"]
    return current and ready.get("status") == "True" and ready.get("reason") in SUCCEEDED


def evicted(t):
    m = t.start()
    t.moment()
    pod = m.running_pod()
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": t.s.namespace}}
    api().call("POST", f"/api/v1/namespaces/{t.s.namespace}/pods/{pod}/eviction", eviction)


def force_deleted(t):
    m = t.start()
    t.moment()
    t.s.delete("pod", m.running_pod(), grace=0)


def edited(t):
    m = t.start()
    t.moment()
    # What the first run had written stays: whole memories, and the other client's records as they were.
    t.looks[-1].partly = True
    t.shared(f"{t.name}-edited")
    m.patch(collections=renamed(f"{t.name}-edited"))


def suspended(t):
    m = t.start()
    t.moment()
    m.patch(suspend=True)
    m.reaches("Suspended")
    until("no runner pod is left", lambda: not m.pods(alive=True))
    m.patch(suspend=False)


def deleted(t):
    m = t.start()
    t.moment()
    m.delete()
    until("it is gone", lambda: api().get(m.path) is None)
    t.ends = [t.migrate(t.s, t.name)]


def kubelet_restarted(t):
    t.start()
    t.moment()
    os.kill(process(["kubelet", "--hostname-override", FIRST]), signal.SIGKILL)


def api_server_gone(t):
    """Three runs, of which each ends or still runs at another moment of the two minutes."""
    for number, delay in enumerate(["50ms", "1s", "3s"]):
        t.prod = t.database(f"-{number}")
        t.start(name=f"{t.name}-{number}", pacing={"batchSize": 10, "delay": delay})
    t.moment(0.02, 0.2)
    server = process(["kube-apiserver", "--etcd-servers"])
    os.kill(server, signal.SIGSTOP)
    # The length of the fault itself.
    time.sleep(120)
    os.kill(server, signal.SIGKILL)
    until("the API server is back", lambda: api().get("/readyz"))


@contextlib.contextmanager
def two_replicas():
    kubectl("-n", SYSTEM, "scale", f"deployment/{OPERATOR}", "--replicas=2")
    _rolled_out()
    try:
        yield
    finally:
        kubectl("-n", SYSTEM, "scale", f"deployment/{OPERATOR}", "--replicas=1")
        _rolled_out()


def _rolled_out():
    kubectl("-n", SYSTEM, "rollout", "status", f"deployment/{OPERATOR}", "--timeout=300s")


def _leader():
    return api().get(LEADER)["spec"].get("holderIdentity") or ""


def leader_killed(t):
    t.start()
    t.moment()
    first = _leader()
    pods = api().get(f"/api/v1/namespaces/{SYSTEM}/pods")["items"]
    pod = next(p["metadata"]["name"] for p in pods if first.startswith(p["metadata"]["name"]))
    kill(SYSTEM, pod, ["memory-migration", "controller"])
    # Another one takes its place at once: the kubelet would wait longer from one kill to the next.
    kubectl("-n", SYSTEM, "delete", "pod", pod, "--grace-period=0", "--force")
    until("another leads", lambda: (_leader() not in ("", first), _leader()))


def lease_lost(t):
    """Somebody else takes the leader's Lease, and lets it go."""
    t.start()
    t.moment()
    leader = api().get(LEADER)
    mine = leader["spec"]["holderIdentity"]
    api().call("PATCH", LEADER, {"spec": {"holderIdentity": "somebody-else"}}, "application/merge-patch+json")
    until("it leads again", lambda: (_leader() not in ("", "somebody-else"), f"{_leader()}, before {mine}"))


def rolled_to_a_broken_image(t):
    t.start()
    t.moment(0.05, 0.5)
    where = ["-n", SYSTEM]
    kubectl(*where, "set", "image", f"deployment/{OPERATOR}", "controller=localhost/cannot-start:1")
    try:
        t.succeed()
    finally:
        kubectl(*where, "rollout", "undo", f"deployment/{OPERATOR}")
        _rolled_out()


def crd_deleted(t):
    t.start()
    t.moment()
    crd = api().get(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{CRD}")
    kubectl("delete", "crd", CRD)
    until("no runner is left", lambda: (not runners(), runners()))
    for field in ("resourceVersion", "uid", "creationTimestamp", "managedFields", "generation"):
        crd["metadata"].pop(field, None)
    crd.pop("status", None)
    apply({"kind": "CustomResourceDefinition", "apiVersion": "apiextensions.k8s.io/v1"} | crd)
    kubectl("wait", "--for=condition=Established", f"crd/{CRD}", "--timeout=60s")
    t.ends = [until("it is taken again", lambda: t.migrate(t.s, t.name))]


def namespace_deleted(t):
    """A claim and a namespace of its own: both go."""
    own = kit.Scenario(f"{t.s.name}_{t.number}")
    own.claim("dev", COUNT)
    t.shared(t.name)
    t.migrate(own, t.name)
    t.moment()
    kubectl("delete", "namespace", own.namespace, "--wait=true", "--timeout=300s")
    until("no runner is left", lambda: (not runners(), runners()))
    t.ends = [t.migrate(t.s, t.name)]


def there_and_back_at_once(t):
    """Each side has what the other lacks."""
    a, b = t.database("-a"), t.database("-b")
    _fill(t, a)
    t.s.foreign(b, "both", 3)
    for name, source, target in (("forth", a, b), ("back", b, a)):
        t.ends.append(t.s.migrate(f"{t.name}-{name}", source.endpoint(), target.endpoint(), pacing=PACE, collections=_named("both")))
    for server in (a, b):
        t.looks.append(Look(server, "both", foreign=3))


def chain(t):
    """Three in a row, applied at once, the last one first."""
    servers = [t.database(name) for name in ("-a", "-b", "-c", "-d")]
    _fill(t, servers[0])
    links = list(enumerate(zip(servers, servers[1:])))
    for number, (source, target) in reversed(links):
        t.ends.append(t.s.migrate(f"{t.name}-{number}", source.endpoint(), target.endpoint(), pacing=PACE, collections=_named("both")))
        t.looks.append(Look(target, "both"))


def thirty_at_once(t):
    for number in range(30):
        # Each into a database of its own: otherwise they wait for each other.
        t.prod = t.database(f"-{number}")
        t.start(name=f"{t.name}-{number}", pacing=FAST, foreign=FOREIGN if number % 10 == 0 else 0)


def of_nodes(scenario):
    """A scenario of two nodes as a row: it judges by itself."""

    def trial(t):
        s = kit.Scenario(scenario.__name__)
        s.claim("dev", 2000)
        scenario(s)
        kubectl("delete", "namespace", s.namespace, "--wait=false")

    what = scenario.__name__.replace("_", " ")
    return Row(f"second node: {what}", scenario.__doc__.splitlines()[0], 1, trial, quick=0, two_nodes=True)


def _fill(t, server):
    m = t.s.migrate(f"{t.name}-fill", local("dev"), server.endpoint(), pacing=FAST, collections=renamed("both"))
    m.verified(COUNT)


def _named(name):
    return [{"name": name}]


ROWS = [
    Row("runner's pod evicted", "the API's eviction, at a random moment of the copy", 5, evicted, together=5),
    Row("runner's pod deleted by force", "`kubectl delete pod --force --grace-period=0`", 5, force_deleted, together=5),
    Row("spec edited", "another target collection, at a random moment", 10, edited, together=5, quick=2),
    Row("suspended and resumed", "`spec.suspend`, at a random moment", 10, suspended, together=5, quick=2),
    Row("deleted and applied again", "the object, at a random moment", 10, deleted, together=5, quick=2),
    Row("kubelet restarted", "SIGKILL; it starts again", 3, kubelet_restarted),
    Row("API server gone for 2 minutes", "SIGSTOP, then SIGKILL, while three runs of different speed go on or end", 3, api_server_gone, quick=0),
    Row("leader killed", "SIGKILL of one of two replicas, at a random moment", 10, leader_killed, around=two_replicas),
    Row("leader's Lease lost", "another holder is written into it, while a Job runs", 3, lease_lost),
    Row("operator rolled to an image that cannot start", "`kubectl set image`, while a run is under way", 1, rolled_to_a_broken_image),
    Row("A to B and B to A at once", "two databases, each has what the other lacks", 2, there_and_back_at_once, together=2),
    Row("a chain", "A to B, B to C, C to D, applied at once, the last one first", 2, chain, together=2),
    Row("30 at once", "30 migrations through one controller", 1, thirty_at_once),
    Row("namespace deleted", "with the migration and its claim; applied again in another one", 2, namespace_deleted),
    Row("CRD deleted and created", "all objects go with it; applied again", 2, crd_deleted),
] + [
    of_nodes(scenario)
    for scenario in (
        nodes.drained_to_the_other_node,
        nodes.node_without_its_kubelet,
        nodes.node_that_stands_still,
        nodes.node_switched_off,
        nodes.leaders_node_lost,
    )
]
