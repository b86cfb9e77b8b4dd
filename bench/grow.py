"""Lays out a store of very many records in the files of Chroma 1.5, faster than Chroma writes them: for reading alone.

Chroma makes the tables and the index of the first records; further rows and vectors are added in their layout. Of the
full-text table only the list of its rows is made, and the graph's links are left out: no reader of records uses more, and Chroma
itself is never started on the result.
"""

import os
import pickle
import sqlite3
import struct
from pathlib import Path

import numpy

import records

SEED = 2000


def grow(folder, count):
    """A store of `count` records in a new folder."""
    records.write(folder, SEED)
    database = sqlite3.connect(folder / "chroma.sqlite3")
    (vector_segment,) = database.execute("SELECT id FROM segments WHERE scope = 'VECTOR'").fetchone()
    (metadata_segment,) = database.execute("SELECT id FROM segments WHERE scope = 'METADATA'").fetchone()
    (last,) = database.execute("SELECT max(seq_id) FROM embeddings").fetchone()
    database.execute("PRAGMA journal_mode = OFF")
    database.execute("PRAGMA synchronous = OFF")
    for start in range(SEED, count, records.CHUNK):
        rows = range(start, min(start + records.CHUNK, count))
        insert(database, metadata_segment, rows, last)
    end = last + count - SEED
    database.execute("DELETE FROM embeddings_queue")
    database.execute("UPDATE max_seq_id SET seq_id = ?", (end,))
    database.commit()
    database.close()
    index(folder / vector_segment, count)


def insert(database, segment, rows, last):
    """Rows of a chunk. The first SEED records have the numbers from 1 on, in order."""
    numbered = [(row + 1, name, last + row + 1 - SEED) for row, name in zip(rows, records.ids(rows))]
    database.executemany(
        "INSERT INTO embeddings (id, segment_id, embedding_id, seq_id) VALUES (?, ?, ?, ?)",
        [(number, segment, name, sequence) for number, name, sequence in numbered],
    )
    cells = []
    for row in rows:
        cells.append((row + 1, "chroma:document", records.document(row), None, None, None))
        for key, value in records.metadata(row).items():
            text = value if isinstance(value, str) else None
            truth = int(value) if isinstance(value, bool) else None
            number = value if isinstance(value, int) and truth is None else None
            double = value if isinstance(value, float) else None
            cells.append((row + 1, key, text, number, double, truth))
    database.executemany(
        "INSERT INTO embedding_metadata (id, key, string_value, int_value, float_value, bool_value) VALUES (?, ?, ?, ?, ?, ?)",
        cells,
    )
    database.executemany(
        "INSERT INTO embedding_fulltext_search_docsize (id, sz) VALUES (?, ?)", [(row + 1, b"\x64") for row in rows]
    )


def index(folder, count):
    """The index's files, with every vector and without a link."""
    header = bytearray((folder / "header.bin").read_bytes())
    (size,) = struct.unpack_from("<Q", header, 28)
    label_at, vector_at = struct.unpack_from("<QQ", header, 36)
    struct.pack_into("<QQ", header, 12, count, count)
    (folder / "header.bin").write_bytes(header)
    with open(folder / "data_level0.bin", "wb") as level, open(folder / "length.bin", "wb") as lengths:
        for start in range(0, count, records.CHUNK):
            rows = range(start, min(start + records.CHUNK, count))
            vectors = records.vectors(rows)
            norms = numpy.sqrt((vectors.astype(numpy.float64) ** 2).sum(axis=1)).astype(numpy.float32)
            block = numpy.zeros((len(rows), size), dtype=numpy.uint8)
            unit = (vectors / norms[:, None]).astype("<f4")
            block[:, vector_at : vector_at + 4 * records.DIMENSION] = unit.view(numpy.uint8).reshape(len(rows), -1)
            labels = numpy.arange(start + 1, rows.stop + 1, dtype="<u8")
            block[:, label_at : label_at + 8] = labels.view(numpy.uint8).reshape(len(rows), 8)
            level.write(block.tobytes())
            lengths.write(norms.astype("<f4").tobytes())
    (folder / "link_lists.bin").write_bytes(b"\0" * 4 * count)
    state_file = folder / "index_metadata.pickle"
    state = pickle.loads(state_file.read_bytes())
    names = records.ids(range(count))
    state["total_elements_added"] = count
    state["id_to_label"] = {name: row + 1 for row, name in enumerate(names)}
    state["label_to_id"] = {row + 1: name for row, name in enumerate(names)}
    state_file.write_bytes(pickle.dumps(state))
