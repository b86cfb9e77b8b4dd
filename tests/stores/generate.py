"""Makes a large local store of one collection, `generated`: generate.py NEW_FOLDER COUNT DIMENSION SPACE

Deterministic but for UUIDs: record N has the id `record-N`, a vector of its own, a document of about 300 characters
and the metadata of a memory. Written in the largest batches that the version takes; 3,072 dimensions go in smaller ones.
"""

import os
import random
import sys

os.environ["ANONYMIZED_TELEMETRY"] = "False"

import chromadb  # noqa: E402
import numpy  # noqa: E402
from chromadb.config import Settings  # noqa: E402

WORDS = "memory agent service cluster volume vector record backup restore query latency budget review note".split()
BYTES_PER_BATCH = 32 << 20


def document(row):
    source = random.Random(row)
    return f"Record {row}: " + " ".join(source.choice(WORDS) for _ in range(42))


def metadata(row):
    return {
        "content_hash": f"{row:064x}",
        "memory_type": "note" if row % 3 else "decision",
        "timestamp": 1700000000.0 + row * 1.37,
        "tags": "generated,test",
    }


def main():
    folder, count, dimension, space = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    client = chromadb.PersistentClient(folder, settings=Settings(anonymized_telemetry=False))
    # The default graph costs most of the time at 100,000 records, and no test looks for neighbours.
    light = count > 10_000
    if int(chromadb.__version__.split(".")[0]) >= 1:
        how = {"configuration": {"hnsw": {"space": space, **({"ef_construction": 16, "max_neighbors": 8} if light else {})}}}
    else:
        how = {"metadata": {"hnsw:space": space, **({"hnsw:construction_ef": 16, "hnsw:M": 8} if light else {})}}
    collection = client.create_collection("generated", embedding_function=None, **how)
    largest = getattr(client, "max_batch_size", 0) or client.get_max_batch_size()
    size = max(1, min(largest, 5000, BYTES_PER_BATCH // (4 * dimension)))
    vectors = numpy.random.default_rng(count * 31 + dimension)
    for start in range(0, count, size):
        rows = range(start, min(start + size, count))
        collection.add(
            ids=[f"record-{row}" for row in rows],
            embeddings=vectors.standard_normal((len(rows), dimension), dtype=numpy.float32).tolist(),
            documents=[document(row) for row in rows],
            metadatas=[metadata(row) for row in rows],
        )
    client._system.stop()


if __name__ == "__main__":
    main()
