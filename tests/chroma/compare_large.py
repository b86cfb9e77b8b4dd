"""Compares a collection of a local store with that of a server through the official client: compare_large.py FOLDER URL NAME

For collections that are too large to be dumped. The folder is opened as it is: give a copy. Tolerances as in `dump.rs`.
"""

import math
import os
import sys
from urllib.parse import urlsplit

os.environ["ANONYMIZED_TELEMETRY"] = "False"

import chromadb  # noqa: E402
import numpy  # noqa: E402
from chromadb.config import Settings  # noqa: E402

WINDOW = 2000
ULPS = 4


def ordered(vectors):
    """Components as integers in the order of the floats, one step for each ULP."""
    bits = numpy.asarray(vectors, dtype=numpy.float32).view(numpy.int32).astype(numpy.int64)
    return numpy.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def same_value(left, right):
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return abs(left - right) <= ULPS * math.ulp(left)
    return left == right


def rows(collection, ids):
    answer = collection.get(ids=ids, include=["documents", "embeddings", "metadatas", "uris"])
    order = sorted(range(len(answer["ids"])), key=answer["ids"].__getitem__)
    column = lambda name: [answer[name][row] for row in order]  # noqa: E731
    return column("ids"), column("embeddings"), column("documents"), column("uris"), column("metadatas")


def main():
    folder, url, name = sys.argv[1:]
    settings = Settings(anonymized_telemetry=False)
    server = urlsplit(url)
    left = chromadb.PersistentClient(folder, settings=settings).get_collection(name)
    right = chromadb.HttpClient(host=server.hostname, port=server.port, settings=settings).get_collection(name)
    ids = sorted(left.get(include=[])["ids"])
    if ids != sorted(right.get(include=[])["ids"]):
        sys.exit("not the same ids")
    exact = left.configuration_json["hnsw"]["space"] != "cosine"
    for start in range(0, len(ids), WINDOW):
        window = ids[start : start + WINDOW]
        one, two = rows(left, window), rows(right, window)
        if one[0] != two[0] or one[2:4] != two[2:4]:
            sys.exit(f"ids, documents or uris differ after {window[0]}")
        if numpy.abs(ordered(one[1]) - ordered(two[1])).max() > (0 if exact else ULPS):
            sys.exit(f"vectors differ after {window[0]}")
        for id_, a, b in zip(one[0], one[4], two[4]):
            if a.keys() != b.keys() or not all(same_value(a[key], b[key]) for key in a):
                sys.exit(f"metadata of {id_} differs: {a} {b}")
    print(f"{len(ids)} records are the same")


if __name__ == "__main__":
    main()
