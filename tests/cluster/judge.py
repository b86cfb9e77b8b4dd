"""Judges a collection by Chroma's official client, without the operator's code. Needs the Python of chromadb 1.5.9.

judge.py foreign URL DATABASE COLLECTION FOREIGN        makes the collection with 3 or 4 records of another client
judge.py list URL DATABASE COLLECTION                   prints {id: document} as JSON
judge.py look URL DATABASE COLLECTION COUNT FOREIGN     prints {"lost", "twice", "foreign"} as JSON

The fourth has the id of memory 0 of `stores/demo.py` and other content; it must stay. `lost`: of the first COUNT memories,
those that the collection lacks or holds with other content. `twice`: ids listed more than once or that nobody sent, and
documents under two ids. `foreign`: of the other client's records those that are changed or gone.
"""

import json
import pathlib
import sys
import urllib.parse

import chromadb

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "stores"))
import demo  # noqa: E402

PAGE = 200
SAME_ID = demo.memory(0)[0]
FOREIGN = {  # the order counts
    name: (f"what another client wrote: {name}", {"owner": "another client", "row": row}, demo.embed(name))
    for row, name in enumerate(["foreign-1", "foreign-2", "foreign-3", SAME_ID])
}


def client(url, database):
    where = urllib.parse.urlsplit(url)
    settings = chromadb.Settings(anonymized_telemetry=False)
    return chromadb.HttpClient(host=where.hostname, port=where.port, database=database, settings=settings)


def theirs(number):
    return dict(list(FOREIGN.items())[:number])


def foreign(url, database, name, number):
    made = client(url, database).create_collection(
        name,
        metadata={"description": "memories of an assistant"},
        configuration={"hnsw": {"space": "cosine"}},
        embedding_function=None,
    )
    documents, metadatas, vectors = (list(column) for column in zip(*theirs(number).values()))
    made.add(ids=list(theirs(number)), documents=documents, metadatas=metadatas, embeddings=vectors)


def same(seen, expected):
    """Exact but for what Chroma itself moves: doubles by a few units in the last place, vectors of cosine."""
    (text, metadata, vector), (document, held, held_vector) = expected, seen
    near = lambda a, b: a == b or (isinstance(a, float) and isinstance(b, float) and abs(a - b) <= 1e-9 * abs(a))
    return (
        document == text
        and sorted(held or {}) == sorted(metadata)
        and all(near(value, held[key]) for key, value in metadata.items())
        and all(abs(a - b) <= 1e-6 for a, b in zip(vector, held_vector, strict=True))
    )


def look(url, database, name, count, number=0):
    collection = client(url, database).get_collection(name)
    ids = collection.get(include=[])["ids"]
    records = {}
    for start in range(0, len(ids), PAGE):
        got = collection.get(ids=ids[start : start + PAGE], include=["documents", "metadatas", "embeddings"])
        rows = zip(got["documents"], got["metadatas"], got["embeddings"], strict=True)
        records |= dict(zip(got["ids"], rows, strict=True))
    memories = {(made := demo.memory(row))[0]: made for row in range(count)}
    expected = {id: (text, metadata, demo.embed(text)) for id, text, metadata in memories.values()}
    other = theirs(number)
    differs = lambda id, content: id not in records or not same(records[id], content)
    lost = sum(differs(id, content) for id, content in expected.items() if id not in other)
    changed = sum(differs(id, content) for id, content in other.items())
    texts = [document for document, _, _ in records.values()]
    twice = len(ids) - len(set(ids)) + len(texts) - len(set(texts))
    twice += len(set(records) - set(expected) - set(other)) + abs(collection.count() - len(ids))
    print(json.dumps({"lost": lost, "twice": twice, "foreign": changed}))


def listed(url, database, name):
    collection = client(url, database).get_collection(name)
    ids, records = collection.get(include=[])["ids"], {}
    for start in range(0, len(ids), PAGE):
        got = collection.get(ids=ids[start : start + PAGE], include=["documents"])
        records |= dict(zip(got["ids"], got["documents"], strict=True))
    if len(records) != len(ids) or collection.count() != len(ids):
        sys.exit(f"{name}: {len(ids)} ids, {len(records)} records, count {collection.count()}")
    print(json.dumps(records))


command, url, database, name, *numbers = sys.argv[1:]
{"foreign": foreign, "look": look, "list": listed}[command](url, database, name, *map(int, numbers))
