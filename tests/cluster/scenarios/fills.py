"""A new store on a claim that is filled by its files: `spec.target.local.fill: Files`."""

import json

from kit import COLLECTION, equal, local, renamed, until

RECORDS = 2000


def filled_by_its_files(s):
    """2,000 memories of a server into an empty path on a claim, by its files; a second run says that the server took over; a
    runner that is killed while it fills is tried again; Chroma's official client judges."""
    s.claim("dev", RECORDS)
    s.claim("into")
    s.migrate("fill", local("dev"), s.prod.endpoint(), collections=renamed("by_files")).verified(RECORDS)
    files = {"collections": renamed(COLLECTION, "by_files"), "duplicates": "ByContent"}
    first = s.migrate("first", s.prod.endpoint(), local("into", "stores/first", fill="Files"), **files)
    counts = first.verified(RECORDS)["counts"]
    equal("what was there, and was copied", (counts["targetBefore"], counts["copied"]), (0, RECORDS))
    equal("who wrote it", _filled(s, first).startswith("this program wrote the records"), True)
    equal("the message says nothing else", "were not filled" in first.condition()["message"], False)
    containers = [c["name"] for c in first.pods()[0]["spec"]["initContainers"]]
    equal("init containers", containers, ["preflight", "layout", "fill", "chroma"])

    second = s.migrate("second", s.prod.endpoint(), local("into", "stores/first", fill="Files"), **files)
    equal("records present at the second run", second.verified(RECORDS)["counts"]["present"], RECORDS)
    why = "the target's folder is not empty"
    message = second.condition()["message"]
    equal(f"the status says why: {message}", f"Its files were not filled: {why}" in message, True)
    told = f"the target's Chroma takes the records, its files are not filled: {why}"
    equal("and so does the report", _filled(s, second), told)

    # the scheduler may need a while for it, and the fill itself has seconds
    killed = s.migrate("killed", s.prod.endpoint(), local("into", "stores/killed", fill="Files"), **files)
    pod = until("a pod that fills", lambda: next((p for p in killed.pods(alive=True) if _fills(p)), None))
    s.kill(pod["metadata"]["name"], ["memory-migration", "--layout-url"])
    killed.verified(RECORDS)
    equal("it was tried again", len(killed.pods()) >= 2, True)

    for name in ("first", "killed"):
        server = s.chroma(name, claim="into", path=f"/data/stores/{name}")
        judged = s.judged(server, COLLECTION, RECORDS)
        equal(f"{name}: what the client finds", (judged["lost"], judged["twice"]), (0, 0))
        server.holds(COLLECTION, RECORDS)
        s.k("scale", f"statefulset/{name}", "--replicas=0")
        until(f"server {name} is gone", lambda name=name: s.pod(f"{name}-0") is None)


filled_by_its_files.own_cluster = True


def _fills(pod):
    init = pod["status"].get("initContainerStatuses", [])
    return any(c["name"] == "fill" and "running" in c["state"] for c in init)


def _filled(s, migration):
    """What the check `fill` of a migration's report says."""
    name = until(f"{migration.name} has a report", lambda: migration.status.get("report", {}).get("configMap"))
    data = json.loads(s.k("get", "configmap", name, "-o", "json"))["data"]
    return next(c["message"] for c in json.loads(data["report.json"])["preflight"] if c["check"] == "fill")
