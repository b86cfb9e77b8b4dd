"""The oracle: everything that the official client reads from a store or a server, as JSON lines in a canonical form.

    dump.py --path FOLDER | --url URL  [--tenant T --database D]

One line for each collection, followed by one for each of its records, sorted; floats as bits, so that nothing is
rounded on the way. A folder is dumped as a copy: starting the engine on a store may change it. Of a folder all tenants
and databases are read unless one is named; of a server, the default ones.
"""

import argparse
import json
import os
import shutil
import sqlite3
import struct
import sys
import tempfile
from urllib.parse import urlsplit

os.environ["ANONYMIZED_TELEMETRY"] = "False"

import chromadb  # noqa: E402
from chromadb.config import Settings  # noqa: E402

MAJOR = int(chromadb.__version__.split(".")[0])
INCLUDE = ["documents", "embeddings", "metadatas", "uris"]
BY_IDS = 500


def typed(value):
    if isinstance(value, bool):
        return {"bool": value}
    if isinstance(value, int):
        return {"int": str(value)}
    if isinstance(value, float):
        return {"float": struct.pack(">d", value).hex()}
    if isinstance(value, str):
        return {"str": value}
    if isinstance(value, (list, tuple)):
        return {"list": [typed(item) for item in value]}
    raise TypeError(f"no metadata type of Chroma: {type(value)}")


def typed_metadata(metadata):
    # `{}` and null are the same to Chroma; a null value is an absent one.
    return {key: typed(value) for key, value in sorted((metadata or {}).items()) if value is not None}


def bits(vector):
    """Components as big-endian f32 bits; Chroma answers null for a component that is not finite."""
    if vector is None:
        return None
    return "".join("nullnull" if part is None else struct.pack(">f", part).hex() for part in vector)


def space(collection):
    """The distance that the engine uses: up to 0.6 the metadata says it, whatever the legacy configuration says."""
    if MAJOR >= 1:
        return ((collection.configuration_json or {}).get("hnsw") or {}).get("space") or "l2"
    return (collection.metadata or {}).get("hnsw:space", "l2")


def column(answer, name, count):
    values = answer.get(name)
    return [None] * count if values is None else values


def read(collection, ids):
    """Answers of `get` for these ids; a record whose vector the engine itself has lost comes without one."""
    try:
        answer = collection.get(ids=ids, include=INCLUDE)
        # 0.4 leaves such a vector out, so that the others would go to the wrong ids, or raises an IndexError.
        whole = len(answer["embeddings"]) == len(answer["ids"])
    except IndexError:
        whole = False
    if whole:
        yield answer
    elif len(ids) > 1:
        for id_ in ids:
            yield from read(collection, [id_])
    else:
        yield collection.get(ids=ids, include=[column for column in INCLUDE if column != "embeddings"])


def records(collection):
    ids = sorted(collection.get(include=[])["ids"])
    answers = (answer for start in range(0, len(ids), BY_IDS) for answer in read(collection, ids[start : start + BY_IDS]))
    for answer in answers:
        count = len(answer["ids"])
        columns = [column(answer, name, count) for name in ("embeddings", "documents", "uris", "metadatas")]
        for id_, embedding, document, uri, metadata in sorted(zip(answer["ids"], *columns), key=lambda row: row[0]):
            yield {
                "id": id_,
                "embedding": bits(embedding),
                "document": document,
                "uri": uri,
                "metadata": typed_metadata(metadata),
            }


def dump(client, tenant, database, out):
    names = sorted(item if isinstance(item, str) else item.name for item in client.list_collections())
    for name in names:
        collection = client.get_collection(name)
        header = {
            "collection": name,
            "id": str(collection.id),
            "tenant": tenant,
            "database": database,
            "space": space(collection),
            "metadata": typed_metadata(collection.metadata),
            "configuration": collection.configuration_json if MAJOR >= 1 else None,
            "count": collection.count(),
        }
        print(json.dumps(header), file=out)
        for record in records(collection):
            print(json.dumps(record), file=out)


def databases(folder):
    with sqlite3.connect(f"file:{folder}/chroma.sqlite3?mode=ro", uri=True) as tables:
        return sorted(tables.execute("select tenant_id, name from databases"))


def dump_folder(original, only, out):
    with tempfile.TemporaryDirectory() as scratch:
        folder = os.path.join(scratch, "store")
        shutil.copytree(original, folder)
        for tenant, database in [only] if only else databases(folder):
            settings = Settings(anonymized_telemetry=False)
            client = chromadb.PersistentClient(folder, settings=settings, tenant=tenant, database=database)
            dump(client, tenant, database, out)


def dump_server(url, only, out):
    tenant, database = only or ("default_tenant", "default_database")
    parts = urlsplit(url)
    client = chromadb.HttpClient(
        host=parts.hostname,
        port=parts.port,
        ssl=parts.scheme == "https",
        settings=Settings(anonymized_telemetry=False),
        tenant=tenant,
        database=database,
    )
    dump(client, tenant, database, out)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--path")
    where.add_argument("--url")
    parser.add_argument("--tenant")
    parser.add_argument("--database")
    arguments = parser.parse_args()
    only = None
    if arguments.tenant or arguments.database:
        only = (arguments.tenant or "default_tenant", arguments.database or "default_database")
    if arguments.path:
        dump_folder(arguments.path, only, sys.stdout)
    else:
        dump_server(arguments.url, only, sys.stdout)


if __name__ == "__main__":
    main()
