"""Writes to a collection until SIGTERM, as an agent would, and logs every acknowledged change: the oracle of a moving source.

usage: writer.py URL COLLECTION LOG SECONDS_BETWEEN
Each line of LOG is {"id": ..., "document": text or null}; null says that the record was deleted.
"""

import json
import random
import signal
import sys
import time
from urllib.parse import urlparse

import chromadb

url, name, log, pause = sys.argv[1:5]
server = urlparse(url)
collection = chromadb.HttpClient(host=server.hostname, port=server.port).get_collection(name)
first = collection.get(limit=1, include=["embeddings"])
dimension = len(first["embeddings"][0])
ids = sorted(collection.get(include=[])["ids"])
stopped = False


def stop(*_):
    global stopped
    stopped = True


signal.signal(signal.SIGTERM, stop)
chance = random.Random(11)


def vector():
    """With a vector of its own no write asks for an embedding model, which the client would download."""
    return [chance.random() for _ in range(dimension)]


with open(log, "a") as out:
    n = 0
    while not stopped:
        n += 1
        kind = chance.choice(["add", "update", "update", "delete"])
        document = f"written {n}"
        if kind == "add":
            one = f"late-{n}"
            collection.add(ids=[one], embeddings=[vector()], documents=[document])
            ids.append(one)
        else:
            one = chance.choice(ids)
            if kind == "update":
                collection.update(ids=[one], embeddings=[vector()], documents=[document], metadatas=[{"version": n}])
            else:
                collection.delete(ids=[one])
                ids.remove(one)
                document = None
        out.write(json.dumps({"id": one, "document": document}) + "\n")
        out.flush()
        time.sleep(float(pause))
