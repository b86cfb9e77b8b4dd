"""Writes to a collection as it is told, one write at a time, so that a reader can look in between.

The first line of standard input is {"store": FOLDER, "space": SPACE}: it makes the collection `told`, which is synced every ten
entries. Each further one is {"do": "add" | "upsert" | "update" | "delete" | "query", "records": {ID: NUMBER}}. The vector and the document
of a record say its number: all vectors have one direction, so that in a cosine index only the norms tell them apart.
Each is answered by a line `done`.
"""

import json
import os
import sys

os.environ["ANONYMIZED_TELEMETRY"] = "False"

import chromadb  # noqa: E402
from chromadb.config import Settings  # noqa: E402

DIMENSION = 16


def main():
    # what Chroma prints is no answer
    answers, sys.stdout = sys.stdout, sys.stderr
    first = json.loads(sys.stdin.readline())
    client = chromadb.PersistentClient(first["store"], settings=Settings(anonymized_telemetry=False))
    settings = {"hnsw:space": first["space"], "hnsw:sync_threshold": 10, "hnsw:batch_size": 5}
    collection = client.create_collection("told", metadata=settings, embedding_function=None)
    print("done", file=answers, flush=True)
    for line in sys.stdin:
        told = json.loads(line)
        ids, numbers = list(told["records"]), list(told["records"].values())
        if told["do"] == "query":
            # from 1.0 on what was written is taken into the tables and the index when somebody reads
            collection.query(query_embeddings=[[1.0] * DIMENSION], n_results=1)
        elif told["do"] == "delete":
            collection.delete(ids=ids)
        else:
            vectors = [[float(number)] * DIMENSION for number in numbers]
            documents = [str(number) for number in numbers]
            getattr(collection, told["do"])(ids=ids, embeddings=vectors, documents=documents)
        print("done", file=answers, flush=True)


if __name__ == "__main__":
    main()
