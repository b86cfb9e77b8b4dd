"""The records of the benchmarks: 384 components, documents of about 300 characters, 6 metadata fields.

Deterministic: record N is the same wherever it is made, so that every run writes the same. Also stores of them.
"""

import base64
import hashlib
import json
import os
import random
import shutil
import sys
from pathlib import Path

os.environ["ANONYMIZED_TELEMETRY"] = "False"

import numpy  # noqa: E402

DIMENSION = 384
CHUNK = 1000
NAME = "bench"
WORDS = "memory agent service cluster volume vector record backup restore query latency budget review note".split()


def ids(rows):
    return [f"record-{row:07}" for row in rows]


def vectors(rows):
    """Rows must begin at a multiple of CHUNK."""
    parts = []
    for start in range(rows.start, rows.stop, CHUNK):
        wanted = min(CHUNK, rows.stop - start)
        parts.append(numpy.random.default_rng(start).standard_normal((CHUNK, DIMENSION), dtype=numpy.float32)[:wanted])
    return numpy.concatenate(parts)


def document(row):
    source = random.Random(row)
    return f"Record {row}: " + " ".join(source.choices(WORDS, k=42))


def metadata(row):
    return {
        "content_hash": f"{row:064x}",
        "memory_type": "note" if row % 3 else "decision",
        "timestamp": 1700000000.0 + row * 1.37,
        "tags": "generated,bench",
        "importance": row % 10,
        "pinned": row % 7 == 0,
    }


def bodies(count, batch):
    """The bodies of adds, prepared, with base64 vectors as our own have them."""
    made, rows = [], range(count)
    encoded = [base64.b64encode(vector.tobytes()).decode() for vector in vectors(rows)]
    documents, metadatas, names = [document(row) for row in rows], [metadata(row) for row in rows], ids(rows)
    for start in range(0, count, batch):
        cut = slice(start, start + batch)
        body = {"ids": names[cut], "embeddings": encoded[cut], "documents": documents[cut], "metadatas": metadatas[cut]}
        made.append(json.dumps({**body, "uris": None}).encode())
    return made


def write(folder, count):
    """Lets Chroma write a store."""
    import chromadb
    from chromadb.config import Settings

    client = chromadb.PersistentClient(str(folder), settings=Settings(anonymized_telemetry=False))
    collection = client.create_collection(NAME, embedding_function=None, configuration={"hnsw": {"space": "cosine"}})
    for start in range(0, count, 5 * CHUNK):
        rows = range(start, min(start + 5 * CHUNK, count))
        collection.add(
            ids=ids(rows),
            embeddings=vectors(rows),
            documents=[document(row) for row in rows],
            metadatas=[metadata(row) for row in rows],
        )
    client._system.stop()


def store(cache, count, writers=(write,)):
    """The folder of a store of so many records, made once and kept. It is not to be opened by Chroma: copy it first."""
    import chromadb

    text = b"".join(Path(__file__).with_name(name).read_bytes() for name in ("records.py", "grow.py"))
    kept = Path(cache) / f"bench-{chromadb.__version__}-{count}-{hashlib.sha256(text).hexdigest()[:12]}"
    if not kept.exists():
        print(f"making a store of {count} records in {kept}", file=sys.stderr)
        fresh = kept.with_name(kept.name + ".fresh")
        shutil.rmtree(fresh, ignore_errors=True)
        writers[0](fresh, count)
        fresh.rename(kept)
    return kept
