"""Makes collections whose metadata no longer says by what distance their engine goes.

usage: replace_metadata.py FOLDER

For each distance: `plain-D` (made with it), `replaced-D` (then `modify` with other metadata), and on 0.4, whose
get_or_create replaces metadata, too, `again-D`. Two records each: the vectors are in the log. `synced-cosine` has enough
for the index. `zero-D` and `zeroed-D` hold zero vectors, the latter after `modify`. `contradicted` (0.4) is a cosine collection whose metadata was replaced by one that says l2.
"""

import sys

import chromadb
from chromadb.config import Settings

client = chromadb.PersistentClient(sys.argv[1], settings=Settings(anonymized_telemetry=False))
V04 = chromadb.__version__.startswith("0.4")
VECTORS = [[3.0, 4.0, 0.0], [1.0, 2.0, 2.0]]


def make(name, space, count=2):
    collection = client.create_collection(name, metadata={"hnsw:space": space, "hnsw:sync_threshold": 20, "hnsw:batch_size": 10})
    for start in range(0, count, 2):
        vectors = [[x + start * 0.25 for x in vector] for vector in VECTORS]
        collection.add(ids=[f"{start}-a", f"{start}-b"], embeddings=vectors)
    return collection


for space in ["l2", "cosine", "ip"]:
    make(f"plain-{space}", space)
    make(f"replaced-{space}", space).modify(metadata={"topic": "b"})
    if V04:
        make(f"again-{space}", space)
        client.get_or_create_collection(f"again-{space}", metadata={"topic": "b"})
make("synced-cosine", "cosine", 60).modify(metadata={"topic": "b"})
for space in ["l2", "cosine", "ip"]:
    for name in [f"zero-{space}", f"zeroed-{space}"]:
        zero = client.create_collection(name, metadata={"hnsw:space": space})
        zero.add(ids=["a", "b"], embeddings=[[0.0] * 3] * 2)
    zero.modify(metadata={"topic": "b"})
if V04:
    make("contradicted", "cosine")
    client.get_or_create_collection("contradicted", metadata={"hnsw:space": "l2"})
emptied = make("emptied-cosine", "cosine")
emptied.delete(ids=["0-a", "0-b"])
