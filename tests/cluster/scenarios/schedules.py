"""Schedules on a real cluster: each due minute is one generation or missed, also when the controller is killed; what is kept is
there, and can be restored. SCHEDULE_MINUTES (15) is how long it goes on."""

import contextlib
import datetime
import os
import random
import re
import threading
import time

from kit import OPERATOR, SYSTEM, Failed, api, equal, kubectl, listed, until

GROUP = "/apis/memory-migration.dev/v1alpha1"
MINUTES = int(os.environ.get("SCHEDULE_MINUTES", "15"))
COLLECTION = "memories"
LAST = 5
FAST = {"batchSize": 1000, "delay": "0s"}


def _schedule(s):
    return api().get(f"{GROUP}/namespaces/{s.namespace}/memorymigrationschedules/minutely")


def _children(s):
    all = api().get(f"{GROUP}/namespaces/{s.namespace}/memorymigrations")["items"]
    return [m for m in all if any(o["name"] == "minutely" for o in m["metadata"].get("ownerReferences", []))]


def _kill_controllers():
    pods = api().get(f"/api/v1/namespaces/{SYSTEM}/pods?labelSelector=app.kubernetes.io%2Fname%3D{OPERATOR}")["items"]
    for pod in pods:
        kubectl("-n", SYSTEM, "delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force")


def _second(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


class _Writer:
    """A client that adds, changes and deletes memories all the time, and notes when each write began and ended."""

    def __init__(self, server):
        self.server, self.dice, self.log, self.stop = server, random.Random(7), [], threading.Event()
        self.living, self.made, self.thread = [], 0, threading.Thread(target=self.run, daemon=True)
        database = f"/tenants/default_tenant/databases/{server.database}/collections"
        server.call("POST", database, {"name": COLLECTION, "get_or_create": True})
        self.path = server.path(COLLECTION)
        for _ in range(20):
            self.write("add", [self.new() for _ in range(10)])

    def new(self):
        self.made += 1
        return f"m{self.made:06}"

    def write(self, what, ids):
        documents = {name: None if what == "delete" else f"{name} at {len(self.log)}" for name in ids}
        body = {"ids": ids}
        if what != "delete":
            vectors = [[self.dice.random() for _ in range(8)] for _ in ids]
            body |= {"documents": list(documents.values()), "embeddings": vectors}
        began, ended = time.time(), float("inf")
        try:
            self.server.call("POST", f"{self.path}/{what}", body)
            ended = time.time()
        finally:
            # one that failed may have been applied, or be applied later
            self.log.append((began, ended, documents))
        if what == "add":
            self.living.extend(ids)

    def run(self):
        while not self.stop.wait(0.3):
            with contextlib.suppress(Failed, OSError):
                self.step(self.dice.choice(["add", "update", "update", "delete"]))

    def step(self, what):
        if what == "add":
            self.write("add", [self.new() for _ in range(3)])
        elif what == "update":
            self.write("update", self.dice.sample(self.living, 2))
        elif len(self.living) > 150:
            gone = self.dice.choice(self.living)
            self.living.remove(gone)
            self.write("delete", [gone])

    def ends(self):
        self.stop.set()
        self.thread.join()

    def between(self, start, end):
        """What each memory may have held between two times (None: it was not there), and which stood still throughout."""
        may, still = {}, {}
        for began, ended, documents in self.log:
            for name, document in documents.items():
                if ended < start:
                    may[name], still[name] = {document}, document
                elif began <= end:
                    may.setdefault(name, {None}).add(document)
                    still[name] = None
        return may, {name: document for name, document in still.items() if document is not None}


def _apply(s, source):
    template = {
        "source": source,
        "target": {"local": {"claimName": "backup", "path": "copies"}},
        "pacing": FAST,
        "backoffLimit": 3,
    }
    spec = {
        "schedule": "* * * * *",
        "successfulHistoryLimit": 30,
        "failedHistoryLimit": 1,
        "generations": {"keep": {"last": LAST, "daily": 1}},
        "template": {"spec": template},
    }
    kind = {"apiVersion": "memory-migration.dev/v1alpha1", "kind": "MemoryMigrationSchedule"}
    s.apply(kind | {"metadata": {"name": "minutely"}, "spec": spec})


def _suspend(s):
    kubectl("-n", s.namespace, "patch", "memsched", "minutely", "--type=merge", '--patch={"spec":{"suspend":true}}')

    def settled():
        status = _schedule(s)["status"]
        reason = next((c["reason"] for c in status["conditions"] if c["type"] == "Ready"), "")
        works = status.get("active") or status["pruning"]["working"]
        return (reason == "Suspended" and not works, (reason, status.get("active"), status["pruning"]))

    until("the last migration and the last prune Job to end", settled)
    return _schedule(s)["status"]


def _on_the_claim(s):
    """Folder to verdict, by the files."""
    s.use("backup", 65532, read_only=True)
    show = 'cd /data/copies && for d in *; do [ -e "$d/generation.json" ] && echo "$d $(grep state $d/generation.json)"; done'
    text = s.k("exec", "uses-backup", "--", "sh", "-c", show)
    hidden = s.k("exec", "uses-backup", "--", "sh", "-c", "ls -A /data/copies | grep removed || true")
    s.free("backup")
    equal("folders that were only renamed", hidden.split(), [])
    return {line.split()[0]: re.search(r'"state": "(\w+)"', line)[1] for line in text.splitlines()}


def _restored(s, folder, name):
    """A generation in a new database of the shared server, as the official client reads it."""
    place = s.prod.within("default_tenant", f"{s.namespace}-{name}")
    databases = "/tenants/default_tenant/databases"
    place.call("DELETE", f"{databases}/{place.database}", missing_is_fine=True)
    place.call("POST", databases, {"name": place.database})
    source = {"local": {"claimName": "backup", "path": f"copies/{folder}/chroma"}}
    s.migrate(name, source, place.endpoint(), onConflict="Fail", pacing=FAST).reaches("Verified")
    return listed(place, COLLECTION)


def every_minute_for_a_quarter_of_an_hour(s):
    """A generation every minute while a client writes and the controller is killed twice: what is to be kept is there, what is
    not is gone, and the third newest can be restored."""
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    s.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "backup"}, "spec": claim})
    writer = _Writer(s.prod)
    writer.thread.start()
    _apply(s, s.prod.endpoint())
    created = _schedule(s)["metadata"]["creationTimestamp"]
    # What is measured is what becomes of these minutes: the one wait is for time itself.
    for share in (0.3, 0.3, 0.4):
        time.sleep(MINUTES * 60 * share)
        if share < 0.4:
            _kill_controllers()
    status = _suspend(s)
    writer.ends()
    children = {m["metadata"]["name"]: m for m in _children(s)}
    equal("each name holds its due time", [n for n in children if not re.fullmatch(r"minutely-\d{8}t\d{4}", n)], [])
    reasons = {name: m["status"]["conditions"][0]["reason"] for name, m in children.items()}
    s.say(f"{len(children)} migrations, {status['missed']} missed, verdicts {sorted(set(reasons.values()))}")
    newest = max(_second(status["lastScheduleTime"]), _second(status.get("lastMissedTime", created)))
    equal("every minute is a migration or missed", len(children) + status["missed"], newest // 60 - _second(created) // 60)

    def folder(name):
        return re.sub(r".*-(\d{8})t(\d{4})$", r"\1T\g<2>00Z", name)

    good = sorted(folder(n) for n, reason in reasons.items() if reason in ("Verified", "VerifiedWithSkips"))
    there = _on_the_claim(s)
    kept = good[-LAST:]
    equal("good generations on the claim", sorted(f for f, state in there.items() if state in ("Verified", "VerifiedWithSkips")), kept)
    equal("what the status says", [g["folder"] for g in status["generations"] if g["verdict"].startswith("Verified")], kept)
    equal("kept, in kubectl get", status["goodGenerations"], len(kept))
    if len(good) <= LAST:
        raise AssertionError(f"only {len(good)} good generations in {MINUTES} minutes: none had to go")
    s.say(f"{len(kept)} of {len(good)} good generations are kept, and {len(there) - len(kept)} others")

    # The third newest, by what the writer knows.
    third = children[next(n for n in children if folder(n) == kept[-3])]
    start, end = _second(third["status"]["startTime"]), _second(third["status"]["verification"]["comparedAt"]) + 1
    may, still = writer.between(start, end)
    seen = _restored(s, kept[-3], "third")
    equal("records that the source never held then", {n: d for n, d in seen.items() if d not in may.get(n, ())}, {})
    equal("records that stood still and are missing", sorted(set(still) - set(seen)), [])
    # With the writer paused: one more generation, identical to the source.
    kubectl("-n", s.namespace, "patch", "memsched", "minutely", "--type=merge", '--patch={"spec":{"suspend":false}}')
    before = status["lastSuccess"]["scheduleTime"]

    def newer():
        success = _schedule(s)["status"]["lastSuccess"]
        return (success["scheduleTime"] > before and success["identical"], success)

    until("a success with the writer paused", newer)
    status = _suspend(s)
    last = status["generations"][-1]["folder"]
    equal("the newest copy and its source", _restored(s, last, "last"), listed(s.prod, COLLECTION))
    print(kubectl("-n", s.namespace, "get", "memsched,memmig"), flush=True)
    kubectl("-n", s.namespace, "delete", "memsched", "minutely")
    until("its migrations to go", lambda: (not _children(s), len(_children(s))))


for _marker in ("alone", "own_cluster", "long"):
    setattr(every_minute_for_a_quarter_of_an_hour, _marker, True)
