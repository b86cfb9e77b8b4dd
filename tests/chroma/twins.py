"""Makes, asks and changes a store through the official client, the same way for the same seed: to see whether two stores are
twins. Answers are printed as JSON lines.

    twins.py make PATH SEED            collections of random records of every kind
    twins.py plain PATH [SPACE SYNC [NAME]]   one collection of 60 records, each with every kind of metadata
    twins.py answer PATH               what the client answers to gets, queries and filters, after a fresh start
    twins.py live PATH_OR_URL SEED COUNT   random adds, updates, upserts and deletes, so many in each collection
    twins.py drop PATH NAME            deletes a collection
    twins.py vectors PATH              collections of 2,000 vectors: random, in groups, the same many times; several settings
    twins.py found PATH                of each collection, the share of the ten nearest that queries for its own vectors find
"""

import json
import os
import random
import sys

os.environ["ANONYMIZED_TELEMETRY"] = "False"

import chromadb  # noqa: E402
import numpy  # noqa: E402
from chromadb.config import Settings  # noqa: E402

ARRAYS = tuple(int(part) for part in chromadb.__version__.split(".")[:2]) >= (1, 5)
TEXTS = ["", "plain text", "a\0b", "\U0001f600\U0001f468\u200d\U0001f469", "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627", 'q"\\%_', "e\u0301 \u00e9", "line\nline"]


def client(path):
    if path.startswith("http://"):
        host, port = path.removeprefix("http://").split(":")
        return chromadb.HttpClient(host, int(port), settings=Settings(anonymized_telemetry=False))
    return chromadb.PersistentClient(path, settings=Settings(anonymized_telemetry=False))


def text(dice):
    words = ["memory", "agent", "tool", "%d" % dice.randrange(50), dice.choice(TEXTS)]
    return " ".join(dice.choice(words) for _ in range(dice.randrange(1, 30)))


def scalar(dice, kind):
    return {
        "str": lambda: dice.choice(TEXTS) if dice.random() < 0.5 else text(dice),
        "int": lambda: dice.choice([0, -1, 1, 2**63 - 1, -(2**63), dice.randrange(100)]),
        "float": lambda: dice.choice([0.0, 0.5, 1e300, -2.25, 1.0, float(dice.randrange(100))]),
        "bool": lambda: dice.random() < 0.5,
    }[kind]()


def value(dice):
    kind = dice.choice(["str", "int", "float", "bool"])
    if ARRAYS and dice.random() < 0.2:
        return [scalar(dice, kind) for _ in range(dice.randrange(1, 5))]
    return scalar(dice, kind)


def metadata(dice):
    keys = ["k%d" % n for n in range(6)] + ["\u00fc", "with space", "a.b"]
    return {key: value(dice) for key in dice.sample(keys, dice.randrange(0, 6))} or None


def vector(dice, dimension):
    return [dice.choice([-1, 1]) * (dice.random() + 0.001) for _ in range(dimension)]


def one(dice, name, dimension):
    document = None if dice.random() < 0.2 else text(dice)
    return {"id": name, "embedding": vector(dice, dimension), "document": document, "metadata": metadata(dice),
            "uri": "file:///" + name if dice.random() < 0.3 else None}


def add(collection, records):
    """In groups that have the same parts: the client takes no null among documents."""
    groups = {}
    for record in records:
        parts = tuple(part for part in ("document", "metadata", "uri") if record[part] is not None)
        groups.setdefault(parts, []).append(record)
    for parts, group in sorted(groups.items()):
        columns = {part + "s": [record[part] for record in group] for part in parts}
        collection.add(ids=[r["id"] for r in group], embeddings=[r["embedding"] for r in group], **columns)


def make(path, seed):
    dice = random.Random(seed)
    database = client(path)
    for space in ["l2", "cosine", "ip"]:
        dimension = dice.choice([1, 3, 8])
        hnsw = {"space": space, "sync_threshold": dice.choice([20, 1000])}
        collection = database.create_collection("random_" + space, metadata={"seed": seed}, configuration={"hnsw": hnsw})
        records = [one(dice, "%s %04d %s" % (space, n, dice.choice(TEXTS[1:])), dimension) for n in range(dice.randrange(1, 60))]
        records.append({**one(dice, "large", dimension), "document": "0123456789abcdef" * 65536})
        records.append({**one(dice, "without words", dimension), "document": ""})
        add(collection, records)
    database.create_collection("random_empty", metadata={"e": 1.5})


def make_plain(path, space="l2", sync="1000", name="plain"):
    hnsw = {"space": space, "sync_threshold": int(sync), "batch_size": min(100, int(sync))}
    collection = client(path).create_collection(name, configuration={"hnsw": hnsw})
    for n in range(60):
        metadata = {"n": n, "f": n + 0.5, "b": n % 2 == 0, "s": "text %d" % (n % 7), "l": [n, n + 1]}
        collection.add(ids=["id %02d" % n], embeddings=[[n * 0.1, 1.0, n % 5]], documents=["the document of record %d" % n], metadatas=[metadata])


def plain(item):
    if isinstance(item, dict):
        return {key: plain(value) for key, value in sorted(item.items())}
    if isinstance(item, (list, tuple)):
        return [plain(value) for value in item]
    return item.tolist() if hasattr(item, "tolist") else item


def rows(found):
    columns = [found[name] if found.get(name) is not None else [None] * len(found["ids"]) for name in ("embeddings", "documents", "metadatas", "uris")]
    return sorted(([id_, *map(plain, values)] for id_, *values in zip(found["ids"], *columns)), key=lambda row: row[0])


def filters(records):
    """Filters about what is there, and about what is not."""
    for record in records[:: max(1, len(records) // 12)]:
        for key, value in (record[3] or {}).items():
            if not isinstance(value, list):
                yield {"where": {key: {"$eq": value}}}
                yield {"where": {key: {"$ne": value}}}
                yield {"where": {key: {"$in": [value]}}}
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                yield {"where": {key: {"$gte": value}}}
                yield {"where": {"$and": [{key: {"$lt": value}}, {key: {"$gt": -3}}]}}
        if record[2] and len(record[2]) > 2 and "\0" not in record[2]:
            yield {"where_document": {"$contains": record[2][:40]}}
            yield {"where_document": {"$not_contains": record[2][1:4]}}
    yield {"where": {"nothing": "x"}}
    yield {"where_document": {"$contains": "memory"}}


def answer(path):
    database = client(path)
    for collection in sorted(database.list_collections(), key=lambda c: c.name):
        say = lambda what, found: print(json.dumps([collection.name, what, found], sort_keys=True))
        say("about", [collection.metadata, plain(collection.configuration_json), collection.count()])
        if ARRAYS:
            say("schema", plain(collection.schema.serialize_to_json()) if getattr(collection, "schema", None) else None)
        all_rows = rows(collection.get(include=["embeddings", "documents", "metadatas", "uris"]))
        for row in all_rows:
            say("record", row)
        for filter_ in filters(all_rows):
            say(["get", filter_], sorted(collection.get(**filter_, include=[])["ids"]))
        # by ip an index misses some, and not the same ones each time it is built
        asked = [] if collection.name.endswith("_ip") else all_rows[:: max(1, len(all_rows) // 10)]
        for row in asked:
            for more in [{}, *list(filters([row]))[:2]]:
                if "$not_contains" in json.dumps(more):
                    continue
                found = collection.query(query_embeddings=[row[1]], n_results=10, include=["distances"], **more)
                # the tenth of several that are equally far may be any of them
                say(["query", row[0], more], found["distances"][0])
        page = collection.get(limit=3, offset=2, include=[])["ids"]
        say("page", len(page))


def live(path, seed, count):
    dice = random.Random(seed)
    database = client(path)
    for collection in sorted(database.list_collections(), key=lambda c: c.name):
        found = collection.get(include=["embeddings"], limit=1)
        dimension = len(found["embeddings"][0]) if found["ids"] else 3
        ids = sorted(collection.get(include=[])["ids"])
        for n in range(count):
            kind = dice.choice(["add", "update", "upsert", "delete"])
            record = one(dice, "late %d %d" % (seed, n), dimension)
            if kind != "add" and ids:
                record["id"] = dice.choice(ids)
            change = {part + "s": [record[part]] for part in ("document", "metadata", "uri") if record[part] is not None}
            if kind == "add":
                collection.add(ids=[record["id"]], embeddings=[record["embedding"]], **change)
                ids.append(record["id"])
            elif kind == "delete" and ids:
                collection.delete(ids=[record["id"]])
                ids.remove(record["id"])
            elif kind == "update" and ids:
                collection.update(ids=[record["id"]], embeddings=[record["embedding"]], **change)
            elif kind == "upsert" and ids:
                collection.upsert(ids=[record["id"]], embeddings=[record["embedding"]], **change)
        collection.modify(metadata={"lived": seed})


def vectors_of(kind, dice, count=2000, dimension=16):
    centres = [vector(dice, dimension) for _ in range({"random": count, "groups": 50, "tight": 20, "same": 20}[kind])]
    noise = {"random": 0, "groups": 0.2, "tight": 1e-4, "same": 0}[kind]
    return [[x + noise * (dice.random() - 0.5) for x in centres[n % len(centres)]] for n in range(count)]


def make_vectors(path):
    dice = random.Random(5)
    for kind, space, neighbours, ef in [
        ("random", "l2", 16, 100),
        ("groups", "cosine", 5, 20),
        ("groups", "ip", 48, 100),
        ("tight", "l2", 16, 100),
        ("same", "l2", 16, 100),
        ("same", "cosine", 16, 100),
    ]:
        hnsw = {"space": space, "max_neighbors": neighbours, "ef_construction": ef, "sync_threshold": 100, "batch_size": 100}
        collection = client(path).create_collection(f"{kind}-{space}-{neighbours}", configuration={"hnsw": hnsw})
        all_of_it = vectors_of(kind, dice)
        collection.add(ids=["v%04d" % n for n in range(len(all_of_it))], embeddings=all_of_it)


def found(path):
    for collection in sorted(client(path).list_collections(), key=lambda c: c.name):
        space = collection.configuration_json["hnsw"]["space"]
        got = collection.get(include=["embeddings"])
        held = numpy.asarray(got["embeddings"], dtype=float)[numpy.argsort(got["ids"])]
        hits = 0
        for asked in held[:: len(held) // 100]:
            products = held @ asked
            if space == "l2":
                apart = ((held - asked) ** 2).sum(axis=1)
            else:
                apart = 1 - (products if space == "ip" else products / numpy.linalg.norm(held, axis=1) / numpy.linalg.norm(asked))
            # of several that are equally far any is right
            furthest = sorted(apart)[9] + 1e-5 * max(1, abs(sorted(apart)[9]))
            answer = collection.query(query_embeddings=[asked.tolist()], n_results=10, include=[])["ids"][0]
            hits += sum(apart[int(name[1:])] <= furthest for name in answer)
        print(json.dumps([collection.name, hits / 1000]))


def main():
    what, path, *rest = sys.argv[1:]
    if what == "make":
        make(path, int(rest[0]))
    elif what == "plain":
        make_plain(path, *rest)
    elif what == "answer":
        answer(path)
    elif what == "live":
        live(path, int(rest[0]), int(rest[1]))
    elif what == "vectors":
        make_vectors(path)
    elif what == "found":
        found(path)
    elif what == "drop":
        client(path).delete_collection(rest[0])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
