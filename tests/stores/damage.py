"""Damages a local store on purpose: damage.py STORE HOW [ARGUMENT...]

    hot-journal                 leaves chroma.sqlite3 in the middle of a transaction that is in the file but not
                                committed, with the journal that rolls it back, as a killed writer does; prints how many
                                rows of embeddings are committed. What a reader sees that ignores the journal varies
    hot-journal-at-commit       the same at the last moment of a commit: the file is whole, and such a reader sees
                                exactly 5000 rows too many
    wal-mode                    puts the database into WAL mode, with a commit that only the WAL file holds
    unknown-migration           adds a migration that no version has
    truncate-database BYTES     cuts chroma.sqlite3 to that many bytes
    lose-vector COLLECTION ID   takes one record's vector out of the HNSW mapping and out of the log
    truncate COLLECTION FILE BYTES   cuts a file of the collection's HNSW folder to that many bytes
    tear COLLECTION             gives the HNSW folder the header of a later moment: more elements than the files hold
    swap-index                  swaps two entries in the last leaf of the index that finds rows of embeddings by id
    tear-database OLDER PART OF puts back the pages of an older chroma.sqlite3 after the first PART of OF, as in a copy of
                                a store that was being written
    flip-journal BYTE           flips a bit of the journal
    watermark COLLECTION SCOPE SEQ_ID   sets how far a segment (METADATA or VECTOR) says it has followed the log
    unapply COLLECTION ID       takes a record out of the tables, as if its entries of the log had never been applied
    lose-document COLLECTION ID takes a record's document out of embedding_metadata, but not out of the full-text table
    swap-pages BTREE A B        exchanges two leaves of a table or index, at these hundredths of it: valid pages in wrong places
    copy-page BTREE A B         puts a copy of one leaf in the place of another
    lay-page BTREE OTHER        puts the first leaf of another table over that of a table
    drop-cells BTREE A COUNT    makes the header of a leaf count so many rows fewer than it has: they are gone without a trace
    bad-page BTREE [KIND]       makes the middle page of a table or index unreadable; of these KINDs (leaf or internal)
    space SPACE COLLECTION [everywhere]   sets the distance in the metadata of the VECTOR segment, and in the collection's
    pickle COLLECTION HOW       makes one entry of the mapping contradict another (two-ids, five-missing), or odd (negative, huge, text,
                                nameless)
    foreign-pickle COLLECTION   replaces the mapping by a pickle that would make the file `executed` beside the store

COLLECTION is a name of the default tenant and database.
"""

import os
import pickle
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys

ROLLBACK_MAGIC = bytes.fromhex("d9d505f920a163d7")


def database(store):
    return os.path.join(store, "chroma.sqlite3")


def segment(store, collection):
    """The ids of a collection and of the segment that keeps its vectors."""
    with sqlite3.connect(f"file:{database(store)}?mode=ro", uri=True) as tables:
        found = tables.execute(
            "select c.id, s.id from collections c join segments s on s.collection = c.id "
            "join databases d on d.id = c.database_id where c.name = ? and s.scope = 'VECTOR' "
            "and d.name = 'default_database' and d.tenant_id = 'default_tenant'",
            (collection,),
        ).fetchone()
    return found or sys.exit(f"{store} has no collection {collection}")


def hnsw_file(store, collection, name):
    path = os.path.join(store, segment(store, collection)[1], name)
    return path if os.path.exists(path) else sys.exit(f"no {path}: the collection was never synced")


def in_child(code, *arguments):
    """Runs code that ends by killing itself, so that nothing is closed or rolled back on the way out."""
    done = subprocess.run([sys.executable, "-c", code, *arguments])
    if done.returncode != -signal.SIGKILL:
        sys.exit(f"the writer was to die by SIGKILL, but returned {done.returncode}")


def rows(path, parameters):
    with sqlite3.connect(f"file:{path}?{parameters}", uri=True) as tables:
        return tables.execute("select count(*) from embeddings").fetchone()[0]


# A small cache makes SQLite spill changed pages into the file long before a commit, and sync the journal first.
# In delete mode the removal of the journal is the commit: a second name for it keeps it as it was just before.
WRITER = """
import os, signal, sqlite3, sys
path, at_commit = sys.argv[1], sys.argv[2] == "at-commit"
tables = sqlite3.connect(path, isolation_level=None)
tables.execute("pragma journal_mode = delete")
tables.execute("pragma cache_size = 4")
tables.execute("begin immediate")
segment = tables.execute("select id from segments where scope = 'METADATA' limit 1").fetchone()[0]
for row in range(5000):
    tables.execute(
        "insert into embeddings (segment_id, embedding_id, seq_id) values (?, ?, ?)",
        (segment, f"uncommitted-{row}", 10**9 + row),
    )
if at_commit:
    os.link(path + "-journal", path + "-kept")
    tables.execute("commit")
    os.rename(path + "-kept", path + "-journal")
os.kill(os.getpid(), signal.SIGKILL)
"""


def ignoring_journal(path):
    try:
        return rows(path, "immutable=1")
    except sqlite3.DatabaseError as error:
        return str(error)


def hot_journal(store, moment="before", surplus=None):
    path, scratch = database(store), database(store) + ".check"
    before = rows(path, "mode=ro")
    in_child(WRITER, path, moment)
    with open(path + "-journal", "rb") as journal:
        if journal.read(8) != ROLLBACK_MAGIC:
            sys.exit("the journal is not hot: it has no header")
    ignoring = ignoring_journal(path)
    # Opening the copy for writing rolls it back: the proof that this journal is needed and whole.
    shutil.copy(path, scratch)
    shutil.copy(path + "-journal", scratch + "-journal")
    after = rows(scratch, "mode=rw")
    os.remove(scratch)
    wrong = ignoring != before if surplus is None else ignoring == before + surplus
    if not (wrong and after == before):
        sys.exit(f"the journal is not hot: {before} rows, {ignoring} without it, {after} rolled back")
    print(after)


def hot_journal_at_commit(store):
    hot_journal(store, "at-commit", 5000)


WAL_WRITER = """
import os, signal, sqlite3, sys
tables = sqlite3.connect(sys.argv[1], isolation_level=None)
tables.execute("pragma journal_mode = wal")
tables.execute("pragma wal_autocheckpoint = 0")
tables.execute("create table only_in_the_wal (row)")
os.kill(os.getpid(), signal.SIGKILL)
"""


def wal_mode(store):
    in_child(WAL_WRITER, database(store))
    if not os.path.getsize(database(store) + "-wal"):
        sys.exit("the WAL file is empty")


class PersistentData:
    """Stands in for the class of that name that versions up to 0.6 pickle; written back under their name."""

    def __setstate__(self, state):
        self.__dict__.update(state)


class Mapping(pickle.Unpickler):
    def find_class(self, module, name):
        if name != "PersistentData":
            raise pickle.UnpicklingError(f"{module}.{name} in a mapping")
        PersistentData.__module__ = module
        return PersistentData


def write_mapping(path, mapping):
    if isinstance(mapping, PersistentData):
        # pickle looks the class up under its own name before it writes a reference to it.
        module = type(sys)(PersistentData.__module__)
        module.PersistentData = PersistentData
        parts = PersistentData.__module__.split(".")
        for length in range(1, len(parts)):
            sys.modules.setdefault(".".join(parts[:length]), type(sys)(parts[length - 1]))
        sys.modules[PersistentData.__module__] = module
    with open(path, "wb") as file:
        pickle.dump(mapping, file, protocol=4)


def lose_vector(store, collection, id_):
    path = hnsw_file(store, collection, "index_metadata.pickle")
    with open(path, "rb") as file:
        mapping = Mapping(file).load()
    fields = mapping if isinstance(mapping, dict) else mapping.__dict__
    fields["label_to_id"].pop(fields["id_to_label"].pop(id_))
    fields["id_to_seq_id"].pop(id_, None)
    write_mapping(path, mapping)
    with sqlite3.connect(database(store)) as tables:
        topic = f"%/{segment(store, collection)[0]}"
        tables.execute("delete from embeddings_queue where topic like ? and id = ?", (topic, id_))


def odd_pickle(store, collection, how):
    path = hnsw_file(store, collection, "index_metadata.pickle")
    with open(path, "rb") as file:
        mapping = Mapping(file).load()
    fields = mapping if isinstance(mapping, dict) else mapping.__dict__
    labels, ids = fields["id_to_label"], fields["label_to_id"]
    first, second, *others = sorted(labels)
    if how == "two-ids":
        labels[first] = labels[second]
    elif how == "five-missing":
        for id_ in others[:5]:
            del labels[id_]
    elif how == "nameless":
        ids[labels[first]] = 5
    else:
        del ids[labels[first]]
        labels[first] = {"negative": -1, "huge": 1 << 70, "text": "one"}[how]
        ids[labels[first]] = first
    write_mapping(path, mapping)


def truncate_database(store, size):
    os.truncate(database(store), int(size))


def truncate(store, collection, name, size):
    os.truncate(hnsw_file(store, collection, name), int(size))


def tear(store, collection):
    with open(hnsw_file(store, collection, "header.bin"), "r+b") as file:
        header = bytearray(file.read())
        capacity, count = struct.unpack_from("<2Q", header, 12)
        struct.pack_into("<2Q", header, 12, capacity * 2, capacity + count)
        file.seek(0)
        file.write(header)


class Foreign:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def foreign_pickle(store, collection):
    with open(hnsw_file(store, collection, "index_metadata.pickle"), "wb") as file:
        pickle.dump(Foreign(os.path.join(os.path.dirname(os.path.abspath(store)), "executed")), file, protocol=2)


def page_size(store):
    with open(database(store), "rb") as file:
        size = struct.unpack(">H", file.read(18)[16:])[0]
    return 65536 if size == 1 else size


def swap_index(store):
    with sqlite3.connect(f"file:{database(store)}?mode=ro", uri=True) as tables:
        page = tables.execute("select rootpage from sqlite_master where name = 'sqlite_autoindex_embeddings_1'").fetchone()[0]
    size = page_size(store)
    with open(database(store), "r+b") as file:
        while True:
            file.seek((page - 1) * size)
            head = file.read(12)
            if head[0] != 2:
                break
            page = struct.unpack(">I", head[8:])[0]
        at = (page - 1) * size + 8 + 2 * 4
        file.seek(at)
        first, second = file.read(2), file.read(2)
        file.seek(at)
        file.write(second + first)


def tear_database(store, older, part, of):
    start = os.path.getsize(older) // page_size(store) * int(part) // int(of) * page_size(store)
    with open(older, "rb") as source, open(database(store), "r+b") as file:
        source.seek(start)
        file.seek(start)
        file.write(source.read())


def flip_journal(store, byte):
    with open(database(store) + "-journal", "r+b") as file:
        file.seek(int(byte))
        old = file.read(1)
        file.seek(int(byte))
        file.write(bytes([old[0] ^ 4]))


def scoped(store, collection, scope):
    found = segment(store, collection)
    with sqlite3.connect(database(store)) as tables:
        sql = "select id from segments where collection = ? and scope = ?"
        return tables.execute(sql, (found[0], scope)).fetchone()[0]


def watermark(store, collection, scope, seq_id):
    with sqlite3.connect(database(store)) as tables:
        kinds = {row[2] for row in tables.execute("pragma table_info(max_seq_id)") if row[1] == "seq_id"}
        value = int(seq_id).to_bytes(8, "big") if kinds == {"BLOB"} else int(seq_id)
        tables.execute("insert or replace into max_seq_id values (?, ?)", (scoped(store, collection, scope), value))


def row(tables, segment_id, id_):
    sql = "select id from embeddings where segment_id = ? and embedding_id = ?"
    return tables.execute(sql, (segment_id, id_)).fetchone()[0]


def unapply(store, collection, id_):
    segment_id = scoped(store, collection, "METADATA")
    with sqlite3.connect(database(store)) as tables:
        number = row(tables, segment_id, id_)
        tables.execute("delete from embedding_fulltext_search where rowid = ?", (number,))
        tables.execute("delete from embedding_metadata where id = ?", (number,))
        tables.execute("delete from embeddings where id = ?", (number,))


def lose_document(store, collection, id_):
    segment_id = scoped(store, collection, "METADATA")
    with sqlite3.connect(database(store)) as tables:
        number = row(tables, segment_id, id_)
        tables.execute("delete from embedding_metadata where id = ? and key = 'chroma:document'", (number,))


def space(store, word, collection, everywhere=""):
    with sqlite3.connect(database(store)) as tables:
        collection_id, segment_id = segment(store, collection)
        tables.execute(
            "insert or replace into segment_metadata (segment_id, key, str_value) values (?, 'hnsw:space', ?)",
            (segment_id, word),
        )
        if everywhere:
            tables.execute(
                "update collection_metadata set str_value = ? where collection_id = ? and key = 'hnsw:space'",
                (word, collection_id),
            )


def pages_of(store, btree, kind="leaf", order="pageno"):
    with sqlite3.connect(f"file:{database(store)}?mode=ro", uri=True) as tables:
        sql = f"select pageno from dbstat where name = ? and pagetype = ? order by {order}"
        pages = [row[0] for row in tables.execute(sql, (btree, kind))]
    return pages or sys.exit(f"{btree} has no {kind} page")


def leaf(store, btree, part):
    """The number of the leaf at this hundredth of a table, in the order of its rows."""
    pages = pages_of(store, btree, order="path")
    return pages[int(part) * (len(pages) - 1) // 100]


def put_pages(store, pages):
    size = page_size(store)
    with open(database(store), "r+b") as file:
        content = {}
        for source in pages.values():
            file.seek((source - 1) * size)
            content[source] = file.read(size)
        for place, source in pages.items():
            file.seek((place - 1) * size)
            file.write(content[source])


def swap_pages(store, btree, one, other):
    one, other = leaf(store, btree, one), leaf(store, btree, other)
    put_pages(store, {one: other, other: one})


def copy_page(store, btree, one, other):
    put_pages(store, {leaf(store, btree, other): leaf(store, btree, one)})


def lay_page(store, btree, other):
    put_pages(store, {leaf(store, btree, 0): leaf(store, other, 0)})


def drop_cells(store, btree, part, count):
    at = (leaf(store, btree, part) - 1) * page_size(store) + 3
    with open(database(store), "r+b") as file:
        file.seek(at)
        (cells,) = struct.unpack(">H", file.read(2))
        file.seek(at)
        file.write(struct.pack(">H", cells - int(count)))


def bad_page(store, btree, kind="leaf"):
    pages = pages_of(store, btree, kind)
    with open(database(store), "r+b") as file:
        file.seek((pages[len(pages) // 2] - 1) * page_size(store))
        file.write(b"\x77")


def unknown_migration(store):
    with sqlite3.connect(database(store)) as tables:
        tables.execute(
            "insert into migrations (dir, version, filename, sql, hash) values "
            "('metadb', 9999, '09999-future.sqlite.sql', 'select 1', 'unknown')"
        )


HOW = {
    "hot-journal": hot_journal,
    "hot-journal-at-commit": hot_journal_at_commit,
    "wal-mode": wal_mode,
    "truncate-database": truncate_database,
    "lose-vector": lose_vector,
    "truncate": truncate,
    "tear": tear,
    "foreign-pickle": foreign_pickle,
    "pickle": odd_pickle,
    "swap-index": swap_index,
    "tear-database": tear_database,
    "flip-journal": flip_journal,
    "watermark": watermark,
    "unapply": unapply,
    "lose-document": lose_document,
    "swap-pages": swap_pages,
    "copy-page": copy_page,
    "lay-page": lay_page,
    "drop-cells": drop_cells,
    "bad-page": bad_page,
    "space": space,
    "unknown-migration": unknown_migration,
}


def main():
    store, how, *arguments = sys.argv[1:]
    if how not in HOW:
        sys.exit(f"no damage {how}; there are: {', '.join(HOW)}")
    HOW[how](store, *arguments)


if __name__ == "__main__":
    main()
