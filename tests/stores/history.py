"""Gives a local store a history that reports tell of: history.py STORE STEP...

    cosine      makes the collection `meta` with the distance cosine and 33 records, then replaces its metadata by `modify`;
                on 0.4.24 also `again`, whose metadata `get_or_create_collection` replaces
    ef-search N sets `ef_search` of `meta` (1.x)
    old         makes the collection `drawers` with 5 records
    new         adds 3 records to it
    many N      adds N records to the collection `many`, with documents of 300 characters
    large N BYTES   adds N records with a text of that many bytes to the collection `large`, and 300 small ones around them
    nan         makes the collection `numbers`, whose metadata holds NaN and infinity (0.4 to 0.6 take them)
    nan-vector  makes the collection `teeth` with 3 records, and prints which of 3 more with NaN or infinity in their vector
                Chroma took
    twins       makes the collections `one`, `two` and `turned` with the ids `id0` to `id29`, 3 components and vectors of their
                own; `turned` in the opposite order. All are in their indexes
    retag       changes the metadata of all records of `one`
    dropped     deletes the collection `turned`, and a database with a collection where the version can
    refused     tries to make collections with settings that Chroma up to 0.6 refuses
    ignored N   makes collections of few ids and many operations, drawn by the seed N: adds of records that exist, updates and
                deletes of such that do not. Without deletes on 0.4, which loses what is added again in the same batch
    read        prints, for each collection, what the client reads: vectors by id, and the distance of `id0` from [3, 4, 0]
    integers    makes max_seq_id of 0.6 hold integers, as a repair tool did before Chroma's own migration to 1.x

`id0` is [0, 5, 0]: its distance from [3, 4, 0] is 0.2 by cosine, 10 by l2 and -19 by ip.
"""

import json
import math
import os
import random
import sqlite3
import sys

os.environ["ANONYMIZED_TELEMETRY"] = "False"

import chromadb  # noqa: E402
from chromadb.config import Settings  # noqa: E402

MODERN = int(chromadb.__version__.split(".")[0]) >= 1


def vectors(count, dimension, seed):
    source = random.Random(seed)
    return [[source.gauss(0, 1) * (n + 1) for _ in range(dimension)] for n in range(count)]


def add(collection, ids, embeddings):
    for start in range(0, len(ids), 3):
        part = slice(start, start + 3)
        metadatas = [{"probe": int(id_ == "id0")} for id_ in ids[part]]
        documents = [f"document of {id_}" for id_ in ids[part]]
        collection.add(ids=ids[part], embeddings=embeddings[part], metadatas=metadatas, documents=documents)


def cosine(client):
    small = {"sync_threshold": 10, "batch_size": 5}
    names = ["meta"] + ["again"] * chromadb.__version__.startswith("0.4")
    for name in names:
        if MODERN:
            how = {"configuration": {"hnsw": {"space": "cosine", **small}}}
        else:
            how = {"metadata": {"hnsw:space": "cosine", **{f"hnsw:{key}": value for key, value in small.items()}}}
        collection = client.create_collection(name, embedding_function=None, **how)
        add(collection, [f"id{n}" for n in range(33)], [[0.0, 5.0, 0.0]] + vectors(32, 3, 1))
        if name == "again":
            client.get_or_create_collection(name, metadata={"topic": "b"}, embedding_function=None)
        else:
            collection.modify(metadata={"topic": "b"})


def ef_search(client, value):
    client.get_collection("meta").modify(configuration={"hnsw": {"ef_search": int(value)}})


def old(client):
    collection = client.create_collection("drawers", embedding_function=None)
    add(collection, [f"old{n}" for n in range(5)], vectors(5, 4, 2))


def new(client):
    collection = client.get_collection("drawers", embedding_function=None)
    add(collection, [f"new{n}" for n in range(3)], vectors(3, 4, 3))


def many(client, count):
    collection = client.get_or_create_collection("many", embedding_function=None)
    ids = [f"many-{n}" for n in range(int(count))]
    for start in range(0, len(ids), 500):
        part = ids[start : start + 500]
        documents = [f"{id_} " * 40 for id_ in part]
        collection.add(ids=part, embeddings=vectors(len(part), 4, start), documents=documents, metadatas=[{"n": 1}] * len(part))


def large(client, count, length):
    collection = client.create_collection("large", embedding_function=None)
    many = [f"id{n:03}-{m:02}" for n in range(30) for m in range(10)]
    collection.add(ids=many, embeddings=vectors(300, 4, 1), metadatas=[{"text": "small"}] * 300)
    for n in range(int(count)):
        text = chr(97 + n % 26) * int(length)
        collection.add(ids=[f"id{n:03}-large"], embeddings=vectors(1, 4, n), metadatas=[{"text": text}])


def nan(client):
    collection = client.create_collection("numbers", embedding_function=None)
    for n, score in enumerate(["nan", "inf", "-inf", "1.5"]):
        metadata = {"score": float(score), "source": "a"}
        collection.add(ids=[score], embeddings=[[float(n), 1.0]], documents=[score], metadatas=[metadata])


def nan_vector(client):
    collection = client.create_collection("teeth", embedding_function=None)
    collection.add(ids=["a", "b", "c"], embeddings=vectors(3, 3, 1), documents=["a", "b", "c"])
    odd = {"inf": [math.inf, 0.0, 1.0], "nan": [math.nan] * 3, "part": [1.0, math.nan, 2.0]}
    taken = []
    for id_, vector in odd.items():
        try:
            collection.add(ids=[id_], embeddings=[vector], documents=[id_])
            taken.append(id_)
        except Exception as error:
            print(error, file=sys.stderr)
    print(json.dumps(taken))


def twins(client):
    for seed, name in enumerate(["one", "two", "turned"]):
        small = {"sync_threshold": 10, "batch_size": 5}
        if MODERN:
            how = {"configuration": {"hnsw": {"space": "l2", **small}}}
        else:
            how = {"metadata": {"hnsw:space": "l2", **{f"hnsw:{key}": value for key, value in small.items()}}}
        collection = client.create_collection(name, embedding_function=None, **how)
        ids = [f"id{n}" for n in range(30)]
        for id_, vector in zip(reversed(ids) if name == "turned" else ids, vectors(30, 3, 10 + seed)):
            collection.add(ids=[id_], embeddings=[vector], metadatas=[{"n": 1}])
        collection.query(query_embeddings=[[1.0, 2.0, 3.0]], n_results=1)


def retag(client):
    collection = client.get_collection("one", embedding_function=None)
    ids = [f"id{n}" for n in range(30)]
    collection.update(ids=ids, metadatas=[{"n": 2}] * 30)
    collection.query(query_embeddings=[[1.0, 2.0, 3.0]], n_results=1)


def dropped(client):
    client.delete_collection("turned")
    admin = client._admin_client
    if hasattr(admin, "delete_database"):
        admin.create_database("gone")
        other = chromadb.PersistentClient(client._system.settings.persist_directory, settings=client._system.settings, database="gone")
        collection = other.create_collection("gone", embedding_function=None)
        collection.add(ids=["id3"], embeddings=[[1.0, 2.0, 3.0]], metadatas=[{"n": 1}])
        admin.delete_database("gone")


def refused(client):
    for name, metadata in [("small", {"hnsw:batch_size": 2}), ("unknown", {"hnsw:ef": 100})]:
        try:
            client.create_collection(name, metadata=metadata, embedding_function=None)
        except ValueError:
            continue
        raise SystemExit(f"{name} was not refused")


def ignored(client, seed):
    source = random.Random(int(seed))
    kinds = ["add", "update", "upsert", "tag"] + ([] if chromadb.__version__.startswith("0.4") else ["delete"])
    for threshold in [3, 10, 1000]:
        small = {"sync_threshold": threshold, "batch_size": 2 + threshold // 2}
        if MODERN:
            how = {"configuration": {"hnsw": {"space": "l2", **small}}}
        else:
            how = {"metadata": {"hnsw:space": "l2", **{f"hnsw:{key}": value for key, value in small.items()}}}
        collection = client.create_collection(f"ignored-{threshold}", embedding_function=None, **how)
        for _ in range(150):
            kind, ids = source.choice(kinds), [f"r{source.randrange(60)}"]
            vector = vectors(1, 3, source.random())
            if kind == "delete":
                collection.delete(ids=ids)
            elif kind == "tag":
                collection.update(ids=ids, metadatas=[{"n": source.randrange(9)}])
            else:
                getattr(collection, kind)(ids=ids, embeddings=vector)


def read(client):
    found = {}
    for collection in client.list_collections():
        # 0.6 lists names
        name = str(collection) if isinstance(collection, str) else collection.name
        collection = client.get_collection(name, embedding_function=None)
        records = collection.get(include=["embeddings"])
        pairs = zip(records["ids"], records["embeddings"])
        nearest = None
        if "id0" in records["ids"]:
            nearest = collection.query(query_embeddings=[[3.0, 4.0, 0.0]], n_results=1, where={"probe": 1})["distances"][0][0]
        found[name] = {"vectors": {id_: [float(x) for x in vector] for id_, vector in pairs}, "nearest": nearest}
    print(json.dumps(found))


def integers(store):
    tables = sqlite3.connect(os.path.join(store, "chroma.sqlite3"))
    for segment, blob in tables.execute("select segment_id, seq_id from max_seq_id").fetchall():
        tables.execute("update max_seq_id set seq_id = ? where segment_id = ?", (int.from_bytes(blob, "big"), segment))
    tables.commit()
    tables.close()


def main():
    store, *steps = sys.argv[1:]
    settings = Settings(anonymized_telemetry=False)
    client = None
    while steps:
        step = steps.pop(0)
        if step == "integers":
            integers(store)
            continue
        client = client or chromadb.PersistentClient(store, settings=settings)
        arguments = [steps.pop(0) for _ in range({"ef-search": 1, "ignored": 1, "many": 1, "large": 2}.get(step, 0))]
        {"cosine": cosine, "ef-search": ef_search, "old": old, "new": new, "many": many, "large": large, "nan": nan, "nan-vector": nan_vector, "twins": twins, "retag": retag, "dropped": dropped, "refused": refused, "ignored": ignored, "read": read}[step](client, *arguments)
    if client:
        client._system.stop()


if __name__ == "__main__":
    main()
