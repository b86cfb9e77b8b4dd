"""Plays an agent of the quickstart: writes memories to a Chroma server, as mcp-memory-service does. agent.py URL COUNT

Collection `memory_collection`, cosine, 384 dimensions; the same memories on each run. The collection gets its name when it is
complete, so that a migration that looks earlier waits for it. Standard library only.
"""

import datetime
import hashlib
import json
import math
import random
import sys
import time
import urllib.error
import urllib.request

COLLECTION = "memory_collection"
DIMENSION = 384
BATCH = 100
START_SECONDS = 300
FIRST = datetime.datetime(2025, 1, 6, 8, 0, tzinfo=datetime.timezone.utc)

TEMPLATES = {
    "decision": (
        "We decided to {verb} the {part} of {project} because {reason}. {person} argued for the alternative, but the "
        "measurements from last {day} settled it. The change goes out behind a flag first; if {metric} stays below the "
        "agreed limit for a week, the old path is removed. Revisit when {event}."
    ),
    "note": (
        "Meeting with {person} about {project}: the {part} needs attention before {event}. Open questions are who owns the "
        "{other} and whether we may {verb} it without downtime. {person} will write up the options until {day}, and I "
        "promised numbers for {metric} from the staging cluster."
    ),
    "reference": (
        "How to {verb} the {part} in {project}: drain the {other} first, check {metric} on the dashboard, then apply the "
        "manifest and wait until it reports ready. If it does not, roll back at once, since {reason}. Last verified "
        "on a {day} together with {person}."
    ),
    "error": (
        "Incident in {project}: the {part} returned errors for eleven minutes after {event}. Cause: {reason}. The {other} "
        "was restarted by hand, which hid the symptom; {metric} showed it only later. Follow-up for {person}: alert on "
        "it, and {verb} the {other} so that it recovers by itself."
    ),
    "preference": (
        "{person} prefers short reviews with one concern per comment, and asks not to be paged before nine unless {metric} "
        "is out of bounds. For {project} that means: batch the questions about the {part}, send them on {day}, and never "
        "{verb} the {other} on the same evening, because {reason}."
    ),
}

FILLS = {
    "verb": ["split", "migrate", "cache", "rewrite", "scale", "restart", "partition", "back up", "rename", "throttle"],
    "part": ["ingest queue", "vector index", "session store", "token issuer", "search gateway", "job runner", "audit log"],
    "other": ["scheduler", "read replica", "load balancer", "feature flag service", "nightly export", "secret rotation"],
    "project": ["Atlas", "the billing rewrite", "the support assistant", "Harbor", "the mobile backend", "the data lake"],
    "person": ["Amina", "Jonas", "Priya", "Mateo", "Sofia", "Kenji", "Ruth", "Oleksandr"],
    "metric": ["p99 latency", "the error rate", "queue depth", "memory per pod", "the cost per request", "replica lag"],
    "event": ["the quarterly release", "the region failover", "the audit", "the price change", "the cluster upgrade"],
    "day": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"],
    "reason": [
        "the lock is held across a network call",
        "two writers share one volume",
        "the retries multiply under load",
        "nobody could explain the last outage without it",
        "the default timeout is longer than the client's patience",
        "its data outgrew a single node in spring",
    ],
}

TAGS = ["architecture", "cost", "team", "incident", "planning", "kubernetes", "python", "rust", "review", "follow-up"]


def embed(text):
    """A stand-in for a model: similar texts get near vectors of length 1, and no weights have to be fetched."""
    total = [0.0] * DIMENSION
    for word in text.lower().split():
        source = random.Random(word)
        for at in range(24):
            total[source.randrange(DIMENSION)] += source.gauss(0, 1)
    norm = math.sqrt(sum(part * part for part in total))
    return [part / norm for part in total]


def memory(row):
    source = random.Random(f"memory {row}")
    kind = source.choice(list(TEMPLATES))
    text = TEMPLATES[kind].format(**{key: source.choice(values) for key, values in FILLS.items()}) + f" (#{row + 1})"
    created = (FIRST + datetime.timedelta(minutes=37 * row)).timestamp() + source.random()
    content_hash = hashlib.sha256(text.encode()).hexdigest()
    metadata = {
        "content_hash": content_hash,
        "memory_type": kind,
        "timestamp": float(int(created)),
        "created_at": created,
        "created_at_iso": datetime.datetime.fromtimestamp(created, datetime.timezone.utc).isoformat().replace("+00:00", "Z"),
        "tags": ",".join(sorted(source.sample(TAGS, source.randint(1, 3)))),
    }
    return content_hash, text, metadata


def call(url, body=None, method=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def answers(url, gone=lambda: False, seconds=START_SECONDS):
    """The URL of the default database's collections, once the server answers."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            call(f"{url}/api/v2/heartbeat")
            return f"{url}/api/v2/tenants/default_tenant/databases/default_database/collections"
        except (urllib.error.URLError, ConnectionError):
            if gone() or time.monotonic() > deadline:
                sys.exit(f"{url} does not answer")
            time.sleep(0.05)


def remember(collections, name, count):
    """Makes a collection with so many memories, and returns its URL."""
    new = {
        "name": name,
        "metadata": {"description": "memories of an assistant"},
        "configuration": {"hnsw": {"space": "cosine"}},
    }
    records = f"{collections}/{call(collections, new)['id']}"
    for start in range(0, count, BATCH):
        memories = [memory(row) for row in range(start, min(start + BATCH, count))]
        ids, documents, metadatas = (list(column) for column in zip(*memories))
        vectors = [embed(text) for text in documents]
        call(f"{records}/add", {"ids": ids, "embeddings": vectors, "documents": documents, "metadatas": metadatas})
    held = call(f"{records}/count")
    if held != count:
        sys.exit(f"added {count} memories, but Chroma holds {held}")
    return records


def main():
    collections, count = answers(sys.argv[1]), int(sys.argv[2])
    names = [found["name"] for found in call(collections)]
    if COLLECTION in names:
        print(f"{COLLECTION} is there already")
        return
    draft = f"{COLLECTION}-draft"
    if draft in names:  # of a try that was interrupted
        call(f"{collections}/{draft}", method="DELETE")
    call(remember(collections, draft, count), {"new_name": COLLECTION}, "PUT")
    print(f"{COLLECTION} has {count} memories")


if __name__ == "__main__":
    main()


