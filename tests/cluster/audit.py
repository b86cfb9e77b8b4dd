"""Counts a client's requests in the API server's audit log: audit.py LOG USER SECONDS [NAMESPACE]

Of the last SECONDS before now, by verb and resource, one a line, writes first; the renewals of the leader's Lease are on a
line of their own. With NAMESPACE, as COUNT NAME: the writes for each of its MemoryMigrations, also those that were refused;
those to locks, which lie elsewhere, together as `lock`.
"""

import collections
import datetime
import json
import sys

WRITES = {"create", "update", "patch", "delete", "deletecollection"}


def read(log, user, seconds):
    """A client's requests of the last seconds."""
    start = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=seconds)
    with open(log, encoding="utf-8") as lines:
        # the last line may be on its way
        for line in (line for line in lines if line.endswith("\n")):
            event = json.loads(line)
            if event["user"]["username"] == user and event["stage"] != "ResponseStarted":
                if datetime.datetime.fromisoformat(event["stageTimestamp"].replace("Z", "+00:00")) >= start:
                    yield event


def by_resource(events):
    counts = collections.Counter()
    for event in events:
        what = event.get("objectRef", {})
        name = what.get("name", "") if what.get("resource") == "leases" else ""
        kind = "/".join(filter(None, [what.get("resource"), what.get("subresource"), name]))
        counts[event["verb"] not in WRITES, event["verb"], kind, event["responseStatus"]["code"]] += 1
    for (read, verb, kind, code), count in sorted(counts.items()):
        print(f"{'read ' if read else 'write'} {count:6} {verb} {kind} {code}")


def by_migration(events, namespace):
    """A Job is called NAME-HASH, an Event NAME.HASH. What is created may have no name in its request."""
    counts = collections.Counter()
    for event in (event for event in events if event["verb"] in WRITES):
        what = event.get("objectRef", {})
        kind, name = what.get("resource"), what.get("name", "")
        if kind == "leases" and "leader" not in name:
            counts["lock"] += 1
        elif what.get("namespace") == namespace:
            cut = {"jobs": "-", "events": "."}.get(kind)
            counts[(name.rsplit(cut, 1)[0] if cut else name) or f"some-{kind}"] += 1
    for name, count in sorted(counts.items()):
        print(count, name)


if __name__ == "__main__":
    if len(sys.argv) > 4:
        by_migration(read(sys.argv[1], sys.argv[2], float(sys.argv[3])), sys.argv[4])
    else:
        by_resource(read(sys.argv[1], sys.argv[2], float(sys.argv[3])))
