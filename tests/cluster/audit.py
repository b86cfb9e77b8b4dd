"""Counts a client's requests in the API server's audit log: audit.py LOG USER SECONDS

Of the last SECONDS before the log's end, by verb and resource, one a line, writes first; the renewals of the leader's
Lease are on a line of their own.
"""

import collections
import datetime
import json
import sys

WRITES = {"create", "update", "patch", "delete", "deletecollection"}


def main(log, user, seconds):
    events = []
    with open(log, encoding="utf-8") as lines:
        for line in lines:
            event = json.loads(line)
            if event["user"]["username"] == user and event["stage"] != "ResponseStarted":
                events.append((datetime.datetime.fromisoformat(event["stageTimestamp"].replace("Z", "+00:00")), event))
    start = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=seconds)
    counts = collections.Counter()
    for when, event in events:
        if when >= start:
            what = event.get("objectRef", {})
            name = what.get("name", "") if what.get("resource") == "leases" else ""
            kind = "/".join(filter(None, [what.get("resource"), what.get("subresource"), name]))
            counts[event["verb"] not in WRITES, event["verb"], kind, event["responseStatus"]["code"]] += 1
    for (read, verb, kind, code), count in sorted(counts.items()):
        print(f"{'read ' if read else 'write'} {count:6} {verb} {kind} {code}")


main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
