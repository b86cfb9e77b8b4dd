"""A MemoryMigration as its user sees it: conditions, counts, pods, Events."""

from .cluster import SYSTEM, Failed, api, equal, until

GROUP = "/apis/memory-migration.dev/v1alpha1"


class Ended(Exception):
    """A migration that ended otherwise: waiting longer is of no use."""


class Migration:
    """A MemoryMigration that was applied."""

    def __init__(self, scenario, name):
        self.scenario, self.namespace, self.name = scenario, scenario.namespace, name
        self.path = f"{GROUP}/namespaces/{self.namespace}/memorymigrations/{name}"

    def object(self):
        found = api().get(self.path)
        if found is None:
            raise Failed(f"MemoryMigration {self.namespace}/{self.name} is gone")
        return found

    @property
    def status(self):
        return self.object()["status"]

    def condition(self, kind="Ready"):
        return next((c for c in self.status.get("conditions", []) if c["type"] == kind), {})

    def say(self):
        ready = self.condition()
        return f"Ready={ready.get('status')} {ready.get('reason')}: {ready.get('message')}"

    def reaches(self, reason):
        """Waits until this is the reason, and returns its message. Another end fails at once."""

        def look():
            object = self.object()
            status = object["status"]
            conditions = {c["type"]: c for c in status.get("conditions", [])}
            ready = conditions.get("Ready", {})
            current = status.get("observedGeneration") == object["metadata"]["generation"]
            if current and ready.get("reason") == reason:
                return (ready["message"], None)
            ended = ready.get("status") == "True" or conditions.get("Stalled", {}).get("status") == "True"
            if current and ended:
                raise Ended(f"{self.name} ended with {ready['reason']}, not {reason}: {ready['message']}")
            return (None, f"{ready.get('reason')}: {ready.get('message')}")

        return until(f"{self.name} is {reason}", look)

    def verified(self, count):
        """Waits for the end, and for a status that adds up."""
        self.reaches("Verified")
        object = self.object()
        counts = object["status"]["counts"]
        equal(f"{self.name}: counts.source", counts["source"], count)
        equal(f"{self.name}: counts.verified", counts["verified"], count)
        for bad in ("different", "missing", "changed", "unreadable"):
            equal(f"{self.name}: counts.{bad}", counts[bad], 0)
        conditions = {c["type"]: c["status"] for c in object["status"]["conditions"]}
        equal(f"{self.name}: conditions", conditions, {"Ready": "True", "Reconciling": "False", "Stalled": "False"})
        return object["status"]

    def copying(self, at_least=1):
        """Waits until records were copied, as its status tells, while it still copies."""

        def look():
            status = self.status
            progress = status.get("progress") or {}
            busy = progress.get("stage") == "Copying" and progress.get("records", 0) >= at_least
            if status.get("phase") in ("Succeeded", "Failed"):
                raise Ended(f"{self.name} ended before it was seen copying: {self.say()}")
            return (busy, f"{status.get('phase')} {progress}")

        return until(f"{self.name} is copying", look)

    def seen(self):
        """Waits until the controller has answered the last edit."""

        def look():
            object = self.object()
            return object["status"]["observedGeneration"] == object["metadata"]["generation"]

        until(f"{self.name}: the edit is seen", look)

    def patch(self, **spec):
        return api().call("PATCH", self.path, {"spec": spec}, "application/merge-patch+json")

    def delete(self):
        api().call("DELETE", self.path)

    def locks(self):
        """The names of the locks that it holds."""
        label = f"memory-migration.dev%2Fuid%3D{self.object()['metadata']['uid']}"
        leases = api().get(f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases?labelSelector={label}")
        return [lease["metadata"]["name"] for lease in leases["items"]]

    def pods(self, alive=False):
        uid = self.object()["metadata"]["uid"]
        pods = self.scenario.list("v1", "pods", f"memory-migration.dev/uid={uid}")
        return [p for p in pods if not alive or p["status"].get("phase") in ("Pending", "Running")]

    def running_pod(self):
        def look():
            running = [p for p in self.pods() if p["status"].get("phase") == "Running"]
            return (running[0]["metadata"]["name"] if running else None, "no running pod")

        return until(f"{self.name} has a running pod", look)

    def events(self):
        events = self.scenario.list("events.k8s.io/v1", "events")
        return [(e["reason"], e["note"]) for e in events if e["regarding"].get("name") == self.name]


def most_alive(changes):
    """The most pods of runs that lived at a time, by the changes of a watch."""
    alive, most = set(), 0
    for change in changes:
        pod = change["object"]
        equal("a change of the watch is of", pod["kind"], "Pod")
        if "memory-migration.dev/uid" not in pod["metadata"].get("labels", {}):
            continue
        ended = change["type"] == "DELETED" or pod["status"].get("phase") in ("Succeeded", "Failed")
        (alive.discard if ended else alive.add)(pod["metadata"]["name"])
        most = max(most, len(alive))
    return most
