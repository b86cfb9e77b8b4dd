"""Schedules on a real cluster: each due minute is one generation or missed, also when the controller is killed; what is kept is
there, and can be restored. What is applied are the manifests of docs/guides/back-up-production.md. SCHEDULE_MINUTES (15, at least
5) is how long it goes on."""

import contextlib
import datetime
import json
import os
import pathlib
import random
import re
import subprocess
import tempfile
import threading
import time

from kit import (
    CHROMA,
    HERE,
    OPERATOR,
    PROGRAM,
    SYSTEM,
    Failed,
    Migration,
    api,
    equal,
    kubectl,
    listed,
    manifest,
    until,
)

GROUP = "/apis/memory-migration.dev/v1alpha1"
MINUTES = int(os.environ.get("SCHEDULE_MINUTES", "15"))
COLLECTION = "memories"
GUIDE = "guides/back-up-production.md"
# As the guide's manifests have them.
NAME, CLAIM, PATH, LAST = "nightly-backup", "memories-backup", "backups", 3
GOOD = ("Verified", "VerifiedWithSkips")


def _schedule(s):
    return api().get(f"{GROUP}/namespaces/{s.namespace}/memorymigrationschedules/{NAME}")


def _children(s):
    all = api().get(f"{GROUP}/namespaces/{s.namespace}/memorymigrations")["items"]
    return [m for m in all if any(o["name"] == NAME for o in m["metadata"].get("ownerReferences", []))]


def _kill_controllers():
    pods = api().get(f"/api/v1/namespaces/{SYSTEM}/pods?labelSelector=app.kubernetes.io%2Fname%3D{OPERATOR}")["items"]
    for pod in pods:
        kubectl("-n", SYSTEM, "delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force")


def _second(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def _folder(name):
    """Of the generation that this migration made."""
    return re.sub(r".*-(\d{8})t(\d{4})$", r"\1T\g<2>00Z", name)


class _Repeated:
    """Something that is done again and again in a thread of its own, until it is stopped."""

    def __init__(self, pause, step):
        self.pause, self.step, self.stop = pause, step, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stop.wait(self.pause):
            with contextlib.suppress(Failed, OSError):
                self.step()

    def ends(self):
        self.stop.set()
        self.thread.join()


class _Writer:
    """A client that adds, changes and deletes memories all the time, and notes when each write began and ended."""

    def __init__(self, server):
        self.server, self.dice, self.log = server, random.Random(7), []
        self.living, self.made = [], 0
        database = f"/tenants/default_tenant/databases/{server.database}/collections"
        server.call("POST", database, {"name": COLLECTION, "get_or_create": True})
        self.path = server.path(COLLECTION)
        for _ in range(20):
            self.write("add", [self.new() for _ in range(10)])
        self.works = _Repeated(0.3, lambda: self.step(self.dice.choice(["add", "update", "update", "delete"])))

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

    def step(self, what):
        if what == "add":
            self.write("add", [self.new() for _ in range(3)])
        elif what == "update":
            self.write("update", self.dice.sample(self.living, 2))
        elif len(self.living) > 150:
            gone = self.dice.choice(self.living)
            self.living.remove(gone)
            self.write("delete", [gone])

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


def _begin(s):
    """The guide's claim and schedule, each minute, from a server of this namespace."""
    text = manifest(
        GUIDE,
        None,
        namespace=("namespace: backup", f"namespace: {s.namespace}"),
        server=("namespace: prod", f"namespace: {s.namespace}"),
        when=('"0 2 * * *"', '"* * * * *"'),
        zone=("Europe/Berlin", "Etc/UTC"),
        image=("chromadb/chroma:1.5.9", CHROMA),
    )
    for told in (f"name: {NAME}\n", f"name: {CLAIM}\n", f"path: {PATH}\n", f"last: {LAST}\n"):
        equal(f"the guide says {told!r}", told in text, True)
    kubectl("apply", "--server-side", "-f", "-", stdin=text)


def _suspend(s, is_suspended):
    text = json.dumps({"spec": {"suspend": is_suspended}})
    kubectl("-n", s.namespace, "patch", "memsched", NAME, "--type=merge", f"--patch={text}")


def _ended(s):
    """Suspends it; its status once nothing of it works."""
    _suspend(s, True)

    def settled():
        status = _schedule(s)["status"]
        reason = next((c["reason"] for c in status["conditions"] if c["type"] == "Ready"), "")
        works = status.get("active") or status["pruning"]["working"]
        return (reason == "Suspended" and not works, (reason, status.get("active"), status["pruning"]))

    until("the last migration and the last prune Job to end", settled)
    return _schedule(s)["status"]


def _on_the_claim(s):
    """Folder to verdict and report, by the files."""
    s.use(CLAIM, 65532, read_only=True)
    sh = lambda text: s.k("exec", f"uses-{CLAIM}", "--", "sh", "-c", f"cd /data/{PATH} && {text}")
    there = {}
    for folder in sh("ls -A").split():
        record, report = (sh(f"cat {folder}/{file} || true") for file in ("generation.json", "report.json"))
        there[folder] = (json.loads(record)["state"] if record else "no record", json.loads(report) if report else None)
    s.free(CLAIM)
    return there


def _restored(s, folder, name):
    """A generation, restored into a new server by the guide's manifest, as the official client reads it."""
    server = s.chroma(name)
    text = manifest(
        GUIDE,
        "Restore",
        name=("name: restore", f"name: {name}"),
        namespace=("namespace: backup", f"namespace: {s.namespace}"),
        server=("name: chroma\n        namespace: prod", f"name: {name}\n        namespace: {s.namespace}"),
        folder=("20261126T010000Z", folder),
    )
    kubectl("apply", "--server-side", "-f", "-", stdin=text)
    Migration(s, name).reaches("Verified")
    return listed(server, COLLECTION)


def _kept(good):
    """Of these folders, what the guide's `keep` asks for, in a quarter of an hour: weeks and months keep one of a day's."""
    newest_of_day = {folder[:8]: folder for folder in good}
    return sorted({*good[-LAST:], *newest_of_day.values()})


def _report_outlives_its_pod(s, child, beside):
    """The pod is gone, and the whole report is there: as it lies beside the copy, and as a page that a browser opens."""
    name = child["metadata"]["name"]
    s.delete("job", child["status"]["jobName"])
    left = lambda: [p["metadata"]["name"] for p in s.list("v1", "pods") if p["metadata"]["name"].startswith(name)]
    until("its pod to be gone", lambda: (not left(), left()))
    equal("where the report is", child["status"]["report"], {"configMap": f"{name}-report"})
    kept = s.k("get", "configmap", f"{name}-report", "-o", "json")
    report = json.loads(json.loads(kept)["data"]["report.json"])
    differences = [d for c in report["collections"] for d in c["differences"]]
    equal("values in the ConfigMap", [d for d in differences if d["detail"]], [])
    for collection in beside["collections"]:
        collection["differences"] = [d | {"detail": ""} for d in collection["differences"]]
    equal("the report in the ConfigMap, and that beside the copy", report, beside)
    counts = {key: value for key, value in report["counts"].items() if value}
    equal("its counts, and those of the status", counts, {k: v for k, v in child["status"]["counts"].items() if v})
    if not PROGRAM:
        return s.say("the report's page is not made: PROGRAM names no command")
    with tempfile.TemporaryDirectory() as folder:
        page = pathlib.Path(folder, "report.html")
        subprocess.run([PROGRAM, "report", "-", "--html", page], input=kept, text=True, check=True)
        equal("its title", "<title>Succeeded: Verified" in page.read_text(), True)
        browser = HERE.parent / "page" / "browser.py"
        seen = subprocess.run(["python3", browser, "check", page], capture_output=True, text=True)
        if "no Chromium" in seen.stderr:
            return s.say("no Chromium: the page of the report was made, and not opened")
        seen = json.loads(seen.stdout)
    equal("what the browser complains of, and asks for", (seen["console"], seen["requests"]), ([], []))
    headings = {"Succeeded: Verified", "Rate over time", "Collections"}
    equal("headings that it shows", headings - {h.replace("✓", "").strip() for h in seen["headings"]}, set())


def _kept_as_asked(s, status, seen, created):
    """Whether each minute is accounted for, and claim, status and objects agree on what is kept. Its folders, and all on the claim."""
    reasons = {name: m["status"]["conditions"][0]["reason"] for name, m in seen.items()}
    s.say(f"{len(seen)} migrations, {status['missed']} missed, verdicts {sorted(set(reasons.values()))}")
    equal("each name holds its due time", [n for n in seen if not re.fullmatch(NAME + r"-\d{8}t\d{4}", n)], [])
    newest = max(_second(status["lastScheduleTime"]), _second(status.get("lastMissedTime", created)))
    equal("every minute is a migration or missed", len(seen) + status["missed"], newest // 60 - _second(created) // 60)
    good = sorted(_folder(n) for n, reason in reasons.items() if reason in GOOD)
    kept, there = _kept(good), _on_the_claim(s)
    equal("folders that were only renamed", [f for f in there if not re.fullmatch(r"\d{8}T\d{6}Z", f)], [])
    equal("good generations on the claim", sorted(f for f, (state, _) in there.items() if state in GOOD), kept)
    equal("what the status says", [g["folder"] for g in status["generations"] if g["verdict"] in GOOD], kept)
    equal("kept, in kubectl get", status["goodGenerations"], len(kept))
    listed_good = [m for m in _children(s) if m["status"]["conditions"][0]["reason"] in GOOD]
    equal("migrations that succeeded, in kubectl get", sorted(_folder(m["metadata"]["name"]) for m in listed_good), kept)
    if len(good) <= LAST:
        raise Failed(f"only {len(good)} good generations in {MINUTES} minutes: none had to go")
    s.say(f"{len(kept)} of {len(good)} good generations are kept, and {len(there) - len(kept)} other folders")
    return kept, there


def every_minute_for_a_quarter_of_an_hour(s):
    """A generation every minute while a client writes and the controller is killed twice: what is to be kept is there, what is
    not is gone, and the third newest can be restored."""
    server = s.chroma("chroma")
    writer, seen = _Writer(server), {}
    _begin(s)
    created = _schedule(s)["metadata"]["creationTimestamp"]
    # Objects beyond the limits go: each is seen while it is there.
    witness = _Repeated(2, lambda: seen.update({m["metadata"]["name"]: m for m in _children(s)}))
    # What is measured is what becomes of these minutes: the one wait is for time itself.
    for share in (0.3, 0.3, 0.4):
        time.sleep(MINUTES * 60 * share)
        if share < 0.4:
            _kill_controllers()
    status = _ended(s)
    writer.works.ends()
    witness.ends()
    seen |= {m["metadata"]["name"]: m for m in _children(s)}
    kept, there = _kept_as_asked(s, status, seen, created)
    print(kubectl("-n", s.namespace, "get", "memsched,memmig"), flush=True)
    child = {_folder(name): m for name, m in seen.items()}
    _report_outlives_its_pod(s, child[kept[-1]], there[kept[-1]][1])

    # The third newest, by what the writer knows.
    third = child[kept[-3]]["status"]
    may, still = writer.between(_second(third["startTime"]), _second(third["verification"]["comparedAt"]) + 1)
    found = _restored(s, kept[-3], "third")
    equal("records that the source never held then", {n: d for n, d in found.items() if d not in may.get(n, ())}, {})
    equal("records that stood still and are missing", sorted(set(still) - set(found)), [])
    s.say(f"restored the third newest: {len(found)} records, {len(still)} of them stood still, {len(writer.log)} writes in all")
    # With the writer paused: one more generation, identical to the source.
    _suspend(s, False)
    before = status["lastSuccess"]["scheduleTime"]

    def newer():
        success = _schedule(s)["status"]["lastSuccess"]
        return (success["scheduleTime"] > before and success["identical"], success)

    until("a success with the writer paused", newer)
    last = _ended(s)["generations"][-1]["folder"]
    equal("the newest copy and its source", _restored(s, last, "last"), listed(server, COLLECTION))
    kubectl("-n", s.namespace, "delete", "memsched", NAME)
    until("its migrations to go", lambda: (not _children(s), len(_children(s))))
    left = _on_the_claim(s)
    equal("the newest copy, after the schedule was deleted", left.get(last, ("gone",))[0], "Verified")


for _marker in ("alone", "own_cluster", "long"):
    setattr(every_minute_for_a_quarter_of_an_hour, _marker, True)
