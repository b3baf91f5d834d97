"""Databases as lists of records, read by the libraries themselves."""

from __future__ import annotations

import shutil
from pathlib import Path

import lmdb
import plyvel

FILES = Path(__file__).parents[1] / "goldens" / "files"

Records = list[tuple[bytes, bytes]]


def lmdb_records(path: Path) -> Records:
    with lmdb.open(str(path), readonly=True, lock=False) as environment, environment.begin() as transaction:
        return [(bytes(key), bytes(value)) for key, value in transaction.cursor()]


def leveldb_records(path: Path, scratch: Path) -> Records:
    """Of a copy in `scratch`: opening a LevelDB writes to it."""
    copy = shutil.copytree(path, scratch / "leveldb_copy")
    database = plyvel.DB(str(copy))
    records = list(database)
    database.close()
    shutil.rmtree(copy)
    return records
