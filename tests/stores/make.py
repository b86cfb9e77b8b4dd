"""Makes the committed store of one Chroma version, with that version's own client: make.py NEW_FOLDER
`make.sh` runs it for all versions and packs the results.

What the version refuses is left out and printed, one line each. Everything else is the same on each run, but for
UUIDs and times. The database `unsendable` holds what no server of 1.x takes or keeps, and `broken` what the version
itself cannot give back.
"""

import os
import random
import struct
import sys

os.environ["ANONYMIZED_TELEMETRY"] = "False"
os.environ["CHROMA_HUGGINGFACE_API_KEY"] = "never used"

import chromadb  # noqa: E402
from chromadb.config import Settings  # noqa: E402

VERSION = tuple(int(part) for part in chromadb.__version__.split("."))
SYNC_THRESHOLD = 10
BATCH = 5


def attempt(what, act):
    """Versions differ in what they take; the store holds what this one took."""
    try:
        return act()
    except Exception as error:  # noqa: BLE001: clients raise what they like
        reason = " ".join(str(error).split())[:160]
        print(f"{chromadb.__version__} refuses {what}: {type(error).__name__}: {reason}")


def f32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def vectors(name, count, dimension, scale=3.0):
    """Deterministic, exact in f32, of many norms."""
    source = random.Random(f"{name} {dimension}")
    return [[f32(source.gauss(0, 1) * scale * (1 + row % 4)) for _ in range(dimension)] for row in range(count)]


def change_document(collection, id_, document, **more):
    """Of the document alone. The client would compute a vector for it; what it then calls takes it as it is."""
    collection._client._update(collection.id, ids=[id_], documents=[document], **more)


class Maker:
    def __init__(self, folder):
        self.folder = folder
        self.settings = Settings(anonymized_telemetry=False, allow_reset=False)
        self.default = self.client("default_tenant", "default_database")

    def client(self, tenant, database):
        return chromadb.PersistentClient(self.folder, settings=self.settings, tenant=tenant, database=database)

    def create(self, name, space, synced=False, client=None, metadata=None, **more):
        """Up to 0.6 distance and thresholds are metadata, from 1.0 on the configuration."""
        metadata = dict(metadata or {})
        if VERSION >= (1, 0, 0):
            hnsw = {"space": space}
            if synced:
                hnsw.update(sync_threshold=SYNC_THRESHOLD, batch_size=BATCH)
            more.setdefault("embedding_function", None)
            more["configuration"] = {"hnsw": hnsw}
        else:
            metadata["hnsw:space"] = space
            if synced:
                metadata.update({"hnsw:sync_threshold": SYNC_THRESHOLD, "hnsw:batch_size": BATCH})
            more["embedding_function"] = None
        return (client or self.default).create_collection(name, metadata=metadata or None, **more)


def history(collection, dimension, filled):
    """Adds, updates, upserts, deletes and re-adds; with `filled` so many of them that the index is synced under it."""
    name = collection.name
    for start in range(0, filled, BATCH):
        rows = range(start, start + BATCH)
        collection.add(
            ids=[f"synced-{row}" for row in rows],
            embeddings=vectors(f"{name} {start}", BATCH, dimension),
            documents=[f"document {row} of {name}" for row in rows],
            metadatas=[{"row": row, "even": row % 2 == 0, "share": row / 7} for row in rows],
        )
    ids = [f"tail-{row}" for row in range(8)]
    fresh = vectors(f"{name} tail", 24, dimension)
    collection.add(
        ids=ids, embeddings=fresh[:8], documents=[f"first of {i}" for i in ids], metadatas=[{"step": 1, "kept": i} for i in ids]
    )
    # Deleted early and added again late: 0.4 loses the vector of a record that is added again in the batch of its delete.
    collection.delete(ids=["tail-6", "tail-7"] + (["synced-2", "synced-3", "synced-4"] if filled else []))
    both = ["tail-1"] + (["synced-1"] if filled else [])
    for at, one in enumerate(both):
        collection.update(ids=[one], embeddings=[fresh[8 + at]])
    change_document(collection, "tail-2", "second document")
    collection.update(ids=["tail-3"], metadatas=[{"step": 2, "new": "key"}])
    # The clients of 0.x refuse what their servers take.
    collection._client._update(collection.id, ids=["tail-3"], metadatas=[{"kept": None}])
    collection.upsert(ids=["tail-4"], embeddings=[fresh[10]], documents=["upserted"], metadatas=[{"step": 3}])
    collection.upsert(ids=["tail-upserted"], embeddings=[fresh[11]])
    collection.add(ids=["tail-0"], embeddings=[fresh[12]], documents=["ignored: the id exists"])
    attempt("an update of a missing id", lambda: collection.update(ids=["missing"], embeddings=[fresh[13]]))
    attempt("an upsert with an empty document", lambda: collection.upsert(ids=["tail-5"], embeddings=[fresh[14]], documents=[""]))
    collection.add(ids=["tail-7"], embeddings=[fresh[15]], metadatas=[{"again": True}])
    if filled:
        collection.add(ids=["synced-2"], embeddings=[fresh[16]], documents=["added again"])
        collection.upsert(ids=["synced-3"], embeddings=[fresh[17]], metadatas=[{"again": 2}])
        collection.delete(ids=["synced-3"])
        collection.delete(ids=["synced-5"])
        change_document(collection, "synced-6", "changed after the sync", metadatas=[{"row": -6}])


TEXTS = {
    "plain": "plain text",
    "with spaces": "  leading, inner  double, trailing  ",
    "with \"double\" and 'single' quotes; -- drop": "\"quoted\" 'text' `ticks` ''doubled'' \\backslash\\",
    "line\nbreak": "first\nsecond\r\nthird\ttab",
    "nul\x00inside": "before\x00after\x00",
    "emoji \U0001f9e0\U0001f469\u200d\U0001f52c": "memory \U0001f9e0, a family \U0001f468\u200d\U0001f469\u200d\U0001f467, a flag \U0001f1eb\U0001f1f7",
    "\u05de\u05d6\u05d4\u05d4 \u202eevil\u202c": "\u0627\u0644\u0630\u0627\u0643\u0631\u0629 \u05d6\u05d9\u05db\u05e8\u05d5\u05df mixed with English",
    "cafe\u0301": "decomposed cafe\u0301 and composed caf\u00e9",
    "caf\u00e9": "a different id than the decomposed one",
    "/slash?query=1&x=%20#fragment": "https://example.com/?a=b&c=d#e",
    "\u6f22\u5b57": "\u8a18\u61b6\u306f\u5927\u5207\u3067\u3059",
    "\uffff\ue000 edge": "noncharacter \ufffe, private \ue000, replacement \ufffd, BOM \ufeff",
    "control \x01\x1f\x7f\u0085\u2028": "controls \x01\x02\x1b[31m\x7f and separators \u2028\u2029",
    "{\"json\": [1]}": "{\"json\": [1, 2.0, null], \"nested\": {\"a\": \"b\"}}",
    "long " + "x" * 1000: "long document " + "word " * 4000,
}

VALUES = {
    "zero": 0,
    "one": 1,
    "minus one": -1,
    "past 2^53": 2**53 + 1,
    "minus past 2^53": -(2**53) - 1,
    "2^62": 2**62 + 1,
    "-2^62": -(2**62),
    "largest": 2**63 - 1,
    "smallest": -(2**63),
    "true": True,
    "false": False,
    "0.0": 0.0,
    "-0.0": -0.0,
    "whole 1.0": 1.0,
    "whole 1e15": 1e15,
    "2^53 as float": float(2**53),
    "0.1": 0.1,
    "third": 1 / 3,
    "timestamp": 1733859612.4387264,
    "negative": -123456.789,
    "subnormal": 5e-324,
    "subnormal 2": 2.2250738585072009e-308,
    "least normal": 2.2250738585072014e-308,
    "1e300": 1e300,
    "largest float": 1.7976931348623157e308,
    "empty": "",
    "text 1": "1",
    "text true": "true",
}


def make_texts(maker, name, synced):
    collection = maker.create(name, "l2", synced=synced)
    for (id_, document), vector in zip(TEXTS.items(), vectors(name, len(TEXTS), 1)):
        def add(key=id_, document=document, vector=vector):
            collection.add(ids=[key], embeddings=[vector], documents=[document], metadatas=[{key: document, "id": key}])

        attempt(f"a record with id and key {id_[:40]!r}", add)


def make_values(maker):
    collection = maker.create("values", "l2", synced=True)
    for (name, value), vector in zip(VALUES.items(), vectors("values", len(VALUES), 3)):
        attempt(f"the value {name}", lambda: collection.add(ids=[name], embeddings=[vector], metadatas=[{"value": value}]))
    attempt("all values in one record", lambda: collection.add(ids=["all"], embeddings=[[1.0, 2.0, 3.0]], metadatas=[VALUES]))
    # One key, another type on each write.
    for value in (1, "one", 1.5, True):
        attempt(
            f"a key that becomes {value!r}",
            lambda: collection.upsert(ids=["changing"], embeddings=[[1.0, 0.0, 0.0]], metadatas=[{"value": value}]),
        )


def make_absent(maker):
    """Presence and absence of document, uri and metadata, in all combinations, in the index and in the log."""
    collection = maker.create("absent", "cosine", synced=True)
    row = 0
    for round_ in ("early", "late"):
        for document in (None, "", "a document"):
            for uri in (None, "", "file:///data/memory one.txt"):
                for metadata in (None, {"key": "value"}):
                    columns = {"documents": document, "uris": uri, "metadatas": metadata}
                    given = {key: [value] for key, value in columns.items() if value is not None}
                    id_ = f"{round_} document={document!r} uri={uri!r} metadata={metadata!r}"
                    vector = vectors(id_, 1, 3)
                    attempt(f"a record with {id_}", lambda: collection.add(ids=[id_], embeddings=vector, **given))
                    row += 1
    attempt("empty metadata", lambda: collection.add(ids=["{}"], embeddings=[[1.0, 2.0, 2.0]], metadatas=[{}]))


def make_numbers(maker):
    """Vectors at the edge of f32, which l2 and ip keep bit by bit."""
    edges = [
        [1e-40, -1e-45, 0.0],
        [3.4028234663852886e38, -3.4028234663852886e38, 1.0],
        [-0.0, 0.0, 1.1754943508222875e-38],
        [0.1, 0.2, 0.3],
        [16777217.0, 1e10, 1e-10],
        [0.0, 0.0, 0.0],
    ]
    for space in ("l2", "ip"):
        collection = maker.create(f"edges_{space}", space, synced=True)
        for row, vector in enumerate(edges * 2):
            vector = [f32(part) for part in vector]
            attempt(f"the vector {vector} in {space}", lambda: collection.add(ids=[f"edge-{row}"], embeddings=[vector]))


def make_described(maker):
    metadata = {
        "text": "a \"quoted\" description \U0001f9e0\nin two lines",
        "empty": "",
        "int": 2**53 + 1,
        "negative": -(2**62),
        "float": 0.1,
        "whole": 3.0,
        "large": 1e300,
        "true": True,
        "false": False,
        "\u05de\u05e4\u05ea\u05d7 with spaces": "right-to-left key",
    }
    # One at a time first, so that a refusal names the culprit and the rest is kept.
    for key in list(metadata):
        probe = f"probe{abs(hash(key)) % 1000000}"
        if attempt(f"collection metadata {key!r}", lambda: maker.create(probe, "l2", metadata={key: metadata[key]})) is None:
            del metadata[key]
        else:
            maker.default.delete_collection(probe)
    collection = maker.create("described", "ip", metadata=metadata)
    collection.add(ids=["one"], embeddings=[[1.0, 2.0, 3.0]])


def make_tenants(maker):
    admin = chromadb.AdminClient(Settings(is_persistent=True, persist_directory=maker.folder, anonymized_telemetry=False))
    admin.create_tenant("team-a")
    admin.create_tenant("team b")
    places = [("default_tenant", "archive"), ("team-a", "default_database"), ("team-a", "notes"), ("team b", "notes")]
    for tenant, database in places:
        admin.create_database(database, tenant=tenant)
        client = maker.client(tenant, database)
        collection = maker.create("same_name", "l2", client=client)
        place = f"{tenant}/{database}"
        collection.add(ids=["one", place], embeddings=vectors(place, 2, 3), documents=[place, place], metadatas=[{"place": place}] * 2)
    collection = maker.create("same_name", "cosine")
    collection.add(ids=["one"], embeddings=[[3.0, 4.0, 0.0]], documents=["the default one"])
    for database in ("broken", "unsendable"):
        admin.create_database(database, tenant="default_tenant")


def make_broken(maker):
    """A record without a vector, where the version loses one (0.4): added again in the batch of its delete."""
    collection = maker.create("added_again", "l2", synced=True, client=maker.client("default_tenant", "broken"))
    rows = vectors("added again", 31, 3)
    for start in range(0, 30, 5):
        if start == 10:
            collection.delete(ids=["record-1"])
            collection.add(ids=["record-1"], embeddings=rows[30:], documents=["added again"], metadatas=[{"again": True}])
        ids = [f"record-{row}" for row in range(start, start + 5)]
        collection.add(ids=ids, embeddings=rows[start : start + 5], documents=ids)


def make_unsendable(maker):
    """What an old version took and a server of 1.x refuses, or what cosine destroys: preflight names each of them."""
    client = maker.client("default_tenant", "unsendable")
    collection = maker.create("keys", "l2", client=client)
    for row, key in enumerate(["", "#tag", "$cost"]):
        attempt(f"the key {key!r}", lambda: collection.add(ids=[f"key {key!r}"], embeddings=[[float(row)]], metadatas=[{key: "value"}]))
    collection.add(ids=["good"], embeddings=[[9.0]], metadatas=[{"good": True}])
    extremes = {
        "zero": [0.0, 0.0, 0.0],
        "tiny": [1e-30, 1e-30, 0.0],
        "huge": [1e20, 2e20, 1.0],
        "mixed": [1e10, 1e-30, 1.0],
        "good": [3.0, 4.0, 0.0],
    }
    for name, rounds in (("cosine_log", 1), ("cosine_synced", 3)):
        collection = maker.create(name, "cosine", synced=rounds > 1, client=client)
        for round_ in range(rounds):
            for kind, vector in extremes.items():
                vector = [f32(part) for part in vector]
                attempt(f"the cosine vector {kind}", lambda: collection.add(ids=[f"{kind} {round_}"], embeddings=[vector]))


def make_embedded(maker):
    """An embedding function in the configuration: a name and a config, which a migration keeps."""
    from chromadb.utils import embedding_functions

    makers = {
        "default": embedding_functions.DefaultEmbeddingFunction,
        "huggingface": lambda: embedding_functions.HuggingFaceEmbeddingFunction(
            api_key_env_var="CHROMA_HUGGINGFACE_API_KEY", model_name="sentence-transformers/all-MiniLM-L6-v2"
        ),
    }
    for name, build in makers.items():
        def create(name=name, build=build):
            collection = maker.create(f"embedded_{name}", "cosine", embedding_function=build())
            collection.add(ids=["a", "b"], embeddings=vectors(name, 2, 384), documents=["one", "two"])

        attempt(f"the embedding function {name}", create)


def make_arrays(maker):
    arrays = {
        "strings": ["a", "", "\U0001f9e0", "a"],
        "ints": [1, -(2**62), 2**53 + 1],
        "floats": [0.5, 1.0, 1e300, 5e-324],
        "bools": [True, False, True],
        "one": ["single"],
        "empty": [],
        "mixed": [1, "a"],
    }
    collection = maker.create("arrays", "l2", synced=True)
    kept = {}
    for row, (key, value) in enumerate(arrays.items()):
        def add(key=key, value=value, row=row):
            collection.add(ids=[key], embeddings=[[float(row)]], metadatas=[{key: value}])
            kept[key] = value

        attempt(f"the metadata array {key}", add)
    for row in range(12 if kept else 0):
        collection.add(ids=[f"all-{row}"], embeddings=[[row / 2]], metadatas=[dict(kept, row=row)])
    if "ints" in kept:
        collection.update(ids=["all-1"], metadatas=[{"ints": [7]}])
        collection.update(ids=["all-2"], metadatas=[{"ints": 7, "row": [1, 2]}])


def make_plain(maker):
    maker.create("never_written", "l2")
    emptied = maker.create("emptied", "cosine", synced=True)
    emptied.add(ids=[str(row) for row in range(12)], embeddings=vectors("emptied", 12, 3))
    emptied.delete(ids=[str(row) for row in range(12)])
    maker.create("single", "l2").add(
        ids=["only"], embeddings=[[0.25]], documents=["the only one"], metadatas=[{"n": 1}], uris=["memory://only"]
    )
    deleted = maker.create("deleted", "l2", synced=True)
    history(deleted, 3, 20)
    maker.default.delete_collection("deleted")
    wide = maker.create("wide_cosine", "cosine", synced=True)
    history(wide, 384, 10)
    exact = maker.create("unit_cosine", "cosine")
    exact.add(ids=["norm 5", "norm 1", "negative"], embeddings=[[3.0, 4.0, 0.0], [0.0, 1.0, 0.0], [-3.0, -4.0, 0.0]])


def main():
    (folder,) = sys.argv[1:]
    if os.path.exists(folder):
        sys.exit(f"{folder} exists: name a new folder")
    maker = Maker(folder)
    for space in ("l2", "cosine", "ip"):
        history(maker.create(f"log_{space}", space), 3, 0)
        history(maker.create(f"synced_{space}", space, synced=True), 3, 40)
    history(maker.create("synced_1d", "l2", synced=True), 1, 20)
    make_texts(maker, "texts_log", synced=False)
    make_texts(maker, "texts_synced", synced=True)
    make_values(maker)
    make_absent(maker)
    make_numbers(maker)
    make_described(maker)
    make_plain(maker)
    make_arrays(maker)
    if VERSION >= (1, 0, 0):
        make_embedded(maker)
    make_tenants(maker)
    make_broken(maker)
    make_unsendable(maker)
    maker.default._system.stop()


if __name__ == "__main__":
    main()
