"""Makes collections of which one record cannot be answered for.

usage: one_bad.py FOLDER

`mem`: 25 records id0 to id24, all in the index (`damage.py lose-vector` then takes one out of it). `good`: one record.
Where this version takes them: `values` has metadata that is NaN or infinite beside a record without, `vectors` vectors with
NaN and infinity beside two without. `tuned` has metadata that only `modify` takes.
"""

import sys

import chromadb
from chromadb.config import Settings

client = chromadb.PersistentClient(sys.argv[1], settings=Settings(anonymized_telemetry=False))
OLD = chromadb.__version__.startswith("0.")
SYNC = {"hnsw:sync_threshold": 10, "hnsw:batch_size": 5}


def make(name, metadata=None, configuration=None):
    more = {} if configuration is None or OLD else {"configuration": configuration}
    return client.create_collection(name, metadata=metadata, embedding_function=None, **more)


mem = make("mem", SYNC if OLD else None, {"hnsw": {"sync_threshold": 10, "batch_size": 5}})
for start in range(0, 25, 5):
    ids = range(start, start + 5)
    mem.add(
        ids=[f"id{i}" for i in ids],
        embeddings=[[i + 0.5, 1.0, 2.0, 3.0] for i in ids],
        documents=[f"doc {i}" for i in ids],
    )
    mem.count()
make("good").add(ids=["g"], embeddings=[[1.0, 2.0]], documents=["g"])
make("tuned", {"k": 1}).modify(metadata={"k": 1, "hnsw:ef": 50})
client.get_collection("tuned", embedding_function=None).add(ids=["t", "u"], embeddings=[[1.0, 2.0], [3.0, 1.0]])
if OLD:
    values = make("values")
    odd = {"fine": 1.5, "inf": float("inf"), "nan": float("nan"), "ninf": float("-inf")}
    for n, (name, value) in enumerate(odd.items()):
        values.add(ids=[name], embeddings=[[n, 1.0, 2.0]], documents=[name], metadatas=[{"score": value, "of": "a"}])
    vectors = make("vectors")
    vectors.add(ids=["a", "b"], embeddings=[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], documents=["a", "b"])
    for name, vector in {"inf": [float("inf"), 0.0, 1.0], "part": [1.0, float("nan"), 2.0]}.items():
        vectors.add(ids=[name], embeddings=[vector], documents=[name])
