"""Makes a collection `syncing` that its server syncs all the time, and writes to it until SIGTERM.

usage: syncing.py URL LOG COLD HOT SPACE
Records cold-N never change; hot-N are added, replaced and deleted in turn. The vector of each says what its document says: all
have one direction, so that in a cosine index only the norms tell them apart.
Each line of LOG is a number of a write that was acknowledged.
"""

import signal
import sys
from urllib.parse import urlparse

import chromadb

url, log, cold, hot = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
server = urlparse(url)
DIMENSION, BATCH = 16, 5000
settings = {"hnsw:space": sys.argv[5], "hnsw:sync_threshold": 10, "hnsw:batch_size": 5, "hnsw:M": 4, "hnsw:construction_ef": 10}
client = chromadb.HttpClient(host=server.hostname, port=server.port)
collection = client.create_collection("syncing", metadata=settings, embedding_function=None)


def put(ids, numbers):
    vectors = [[float(n)] * DIMENSION for n in numbers]
    collection.upsert(ids=ids, embeddings=vectors, documents=[str(n) for n in numbers])


for start in range(0, cold, BATCH):
    part = range(start, min(start + BATCH, cold))
    put([f"cold-{n:06}" for n in part], list(part))
stopped = False


def stop(*_):
    global stopped
    stopped = True


signal.signal(signal.SIGTERM, stop)
with open(log, "a") as out:
    n = cold
    while not stopped:
        n += 1
        one = f"hot-{n % hot}"
        if n % 7 == 0:
            collection.delete(ids=[one])
        if n % 3:
            put([one], [n])
        out.write(f"{n}\n")
        out.flush()
