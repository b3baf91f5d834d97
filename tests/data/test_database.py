"""Databases that Caffe wrote, and every way in which one can be unfit."""

from __future__ import annotations

import builtins
import gc
import io
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import lmdb
import numpy as np
import opencv
import plyvel
import pytest
from PIL import Image

from sdcaffe import proto
from sdcaffe.data import database as stores
from sdcaffe.data.database import DatumSource
from sdcaffe.errors import DataError


def write(path, values, backend="LMDB"):
    """A database of values under the keys 00000000, 00000001, ..."""
    items = {f"{i:08d}".encode(): value for i, value in enumerate(values)}
    if backend == "LMDB":
        with lmdb.open(str(path), map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
            for key, value in items.items():
                transaction.put(key, value)
    else:
        with plyvel.DB(str(path), create_if_missing=True) as database:
            for key, value in items.items():
                database.put(key, value)
    return str(path)


def datum(**fields):
    return proto.Datum(**fields).SerializeToString()


def recorded(name, tmp_path):
    shutil.copytree(opencv.FILES / name, tmp_path / name)
    return str(tmp_path / name)


GOOD = dict(channels=1, height=2, width=2, data=b"abcd", label=7)


@pytest.mark.parametrize(("name", "backend"), [("lmdb_raw", "LMDB"), ("lmdb_enc", "LMDB"), ("leveldb_raw", "LEVELDB")])
def test_caffes_own_databases_open_unchanged(name, backend, tmp_path):
    """All three were made by convert_imageset from the same list, so they hold the same 24 images."""
    reference = DatumSource(recorded("lmdb_raw", tmp_path / "reference"), "LMDB")
    source = DatumSource(recorded(name, tmp_path), backend)
    labels = [int(line.split()[1]) for line in (opencv.FILES / "list.txt").read_text().splitlines()]
    assert len(source) == 24
    for i, label in enumerate(labels):
        image, found = source.read(i)
        assert image.dtype == np.uint8
        assert np.array_equal(image, reference.read(i)[0])
        assert found == label
    assert "im05.png" in source.name(5)
    assert source.encoded == (name == "lmdb_enc")
    source.close()
    reference.close()


@pytest.mark.parametrize("backend", ["LMDB", "LEVELDB"])
def test_one_database_has_several_users(backend, tmp_path):
    path = write(tmp_path / "db", [datum(**GOOD)], backend)
    first, second = DatumSource(path, backend), DatumSource(path, backend)
    first.close()
    assert second.read(0)[1] == 7
    second.close()
    again = DatumSource(path, backend)
    assert again.read(0)[1] == 7
    again.close()


@pytest.mark.parametrize("backend", ["LMDB", "LEVELDB"])
def test_threads_read_at_the_same_time(backend, tmp_path):
    values = [datum(**{**GOOD, "data": bytes([i % 256] * 4), "label": i}) for i in range(300)]
    source = DatumSource(write(tmp_path / "db", values, backend), backend)
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(source.read, range(300)))
    assert [label for _, label in read] == list(range(300))
    assert all((image == i % 256).all() for i, (image, _) in enumerate(read))
    source.close()


def test_float_data_is_read_as_float32(tmp_path):
    values = [0.5, -1.25, 3.0, 1e-3, 5.5, 6.5]
    source = DatumSource(write(tmp_path / "db", [datum(channels=1, height=2, width=3, float_data=values)]), "LMDB")
    image, label = source.read(0)
    assert image.dtype == np.float32
    assert image.tolist() == np.array(values, np.float32).reshape(1, 2, 3).tolist()
    assert label == 0
    source.close()


@pytest.mark.parametrize(("color", "channels"), [("native", 1), ("color", 3), ("gray", 1)])
def test_encoded_images_become_color_or_gray_as_asked(color, channels, tmp_path):
    file = io.BytesIO()
    Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4)).save(file, "PNG")
    path = write(tmp_path / "db", [datum(data=file.getvalue(), encoded=True, label=1)])
    source = DatumSource(path, "LMDB", color=color)
    image = source.read(0)[0]
    assert image.tolist() == [np.arange(12).reshape(3, 4).tolist()] * channels
    source.close()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"\xff\xff\xff garbage", r"record 1 \(key '00000001'\) is no Datum"),
        (datum(), "record 1 .* holds no image: 0 x 0 x 0"),
        (datum(channels=3, height=2, width=2, data=b"short"), "says 3 x 2 x 2 = 12 values but holds 5 bytes"),
        (datum(channels=1, height=2, width=2, data=b"too long"), "says 1 x 2 x 2 = 4 values but holds 8 bytes"),
        (datum(channels=1, height=2, width=2, float_data=[1.0]), "= 4 values but holds 1 float values"),
        (datum(channels=2**30, height=2**30, width=2**30, data=b"x"), "but holds 1 bytes"),
        (datum(channels=-1, height=-2, width=2, data=b"abcd"), "holds no image: -1 x -2 x 2"),
        (datum(data=b"no picture", encoded=True), r"db, record 1 \(key '00000001'\): cannot decode the image"),
    ],
)
def test_records_that_are_no_images(value, message, tmp_path):
    source = DatumSource(write(tmp_path / "db", [datum(**GOOD), value]), "LMDB")
    with pytest.raises(DataError, match=message):
        source.read(1)
    source.close()


@pytest.mark.parametrize("backend", ["LMDB", "LEVELDB"])
def test_an_empty_database(backend, tmp_path):
    path = write(tmp_path / "db", [], backend)
    with pytest.raises(DataError, match=f"the {backend} holds no records"):
        DatumSource(path, backend)


@pytest.mark.parametrize(("backend", "other"), [("LMDB", "LEVELDB"), ("LEVELDB", "LMDB")])
def test_a_database_of_the_other_kind(backend, other, tmp_path):
    path = write(tmp_path / "db", [datum(**GOOD)], other)
    with pytest.raises(DataError, match=f"this is a {other}, opened as {backend}; write backend: {other}"):
        DatumSource(path, backend)


@pytest.mark.parametrize(("backend", "marker"), [("LMDB", "data.mdb"), ("LEVELDB", "CURRENT")])
def test_folders_and_files_that_are_no_database(backend, marker, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=f"nowhere: there is no {backend} here .*{tmp_path}.*cifar10:train"):
        DatumSource("nowhere", backend)
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=f"folder: this folder is no {backend}: it has no file {marker}"):
        DatumSource("folder", backend)
    (tmp_path / "folder" / marker).write_bytes(b"not a database\n" * 2000)
    with pytest.raises(DataError, match="folder: th"):
        DatumSource("folder", backend)


def test_an_lmdb_that_is_cut_short(tmp_path):
    path = recorded("lmdb_raw", tmp_path)
    file = tmp_path / "lmdb_raw" / "data.mdb"
    content = file.read_bytes()
    for length in (0, 100, 4096, 8192, 12288, len(content) // 2):
        file.write_bytes(content[:length])
        with pytest.raises(DataError, match="lmdb_raw: "):
            DatumSource(path, "LMDB")


def test_an_lmdb_that_is_cut_short_while_it_is_read(tmp_path):
    """Reading what is no longer in a mapped file would end the process with SIGBUS."""
    path = write(tmp_path / "db", [datum(**{**GOOD, "data": bytes(10_000), "width": 5000})] * 3)
    source = DatumSource(path, "LMDB")
    source.read(2)
    os.truncate(tmp_path / "db" / "data.mdb", 4096)
    with pytest.raises(DataError, match="became shorter while it was read"):
        source.read(1)


def test_a_leveldb_that_is_cut_short_while_it_is_read(tmp_path, monkeypatch):
    """As above, of a table that is mapped; one that is only removed stays mapped and is read on."""
    path = write(tmp_path / "db", [datum(**{**GOOD, "data": bytes(10_000), "width": 5000})] * 3, "LEVELDB")
    DatumSource(path, "LEVELDB").close()  # what stood in the log is a table now
    monkeypatch.setattr(stores, "_BETWEEN_LOOKS", 0)
    source = DatumSource(path, "LEVELDB")
    source.read(2)
    (table,) = (tmp_path / "db").glob("*.ldb")
    shutil.copyfile(table, tmp_path / "kept")
    table.unlink()
    source.read(0)
    shutil.copyfile(tmp_path / "kept", table)
    os.truncate(table, 100)
    time.sleep(0.1)
    with pytest.raises(DataError, match="db: the LevelDB became shorter while it was read"):
        source.read(1)


def test_a_leveldb_that_somebody_else_has_open(tmp_path):
    path = write(tmp_path / "db", [datum(**GOOD)], "LEVELDB")
    with plyvel.DB(path), pytest.raises(DataError, match="no other process has open"):
        DatumSource(path, "LEVELDB")


@pytest.mark.parametrize("named", ["../elsewhere\n", "../../../../../../../../../../../../dev/zero\n"])
def test_a_leveldb_that_leads_elsewhere(named, tmp_path):
    path = recorded("leveldb_raw", tmp_path)
    (tmp_path / "leveldb_raw" / "CURRENT").write_text(named)
    with pytest.raises(DataError, match="CURRENT: the LevelDB is damaged: it names a file outside its folder"):
        DatumSource(path, "LEVELDB")


@pytest.mark.parametrize("place", [0.02, 0.5, 0.98])
@pytest.mark.parametrize("kind", ["log", "ldb"])
def test_a_leveldb_with_a_wrong_bit(kind, place, tmp_path):
    """As Caffe's tool left it, all in the log; and as it stands once it has been opened, in a table."""
    path = recorded("leveldb_raw", tmp_path)
    if kind == "ldb":
        DatumSource(path, "LEVELDB").close()
    (file,) = [file for file in (tmp_path / "leveldb_raw").glob(f"*.{kind}") if file.stat().st_size]
    content = bytearray(file.read_bytes())
    content[int(len(content) * place)] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match="leveldb_raw: the LevelDB is damaged: Corruption: "):
        DatumSource(path, "LEVELDB")


def test_a_leveldb_that_is_damaged_while_it_is_read(tmp_path):
    path = recorded("leveldb_raw", tmp_path)
    DatumSource(path, "LEVELDB").close()
    source = DatumSource(path, "LEVELDB")
    (file,) = (tmp_path / "leveldb_raw").glob("*.ldb")
    with file.open("r+b") as opened:
        opened.write(bytes(file.stat().st_size // 2))
    with pytest.raises(DataError, match="leveldb_raw: the LevelDB is damaged: "):
        list(map(source.read, range(24)))
    source.close()


def test_an_lmdb_that_the_program_has_open_itself(tmp_path):
    path = write(tmp_path / "db", [datum(**GOOD)])
    with (
        lmdb.open(path),
        pytest.raises(DataError, match=r"db: this program has the LMDB open itself; close that \(env"),
    ):
        DatumSource(path, "LMDB")
    DatumSource(path, "LMDB").close()


def test_a_source_closes_its_database_from_another_folder(tmp_path, monkeypatch):
    write(tmp_path / "db", [datum(**GOOD)])
    monkeypatch.chdir(tmp_path)
    source = DatumSource("db", "LMDB")
    monkeypatch.chdir("/")
    source.close()
    lmdb.open(str(tmp_path / "db")).close()  # which LMDB refuses where it is open already


def test_leveldb_without_its_package(tmp_path, monkeypatch):
    path = write(tmp_path / "db", [datum(**GOOD)], "LEVELDB")
    original = builtins.__import__

    def without_plyvel(name, *arguments, **keywords):
        if name == "plyvel":
            raise ImportError("No module named 'plyvel'")
        return original(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without_plyvel)
    with pytest.raises(DataError, match="needs the package plyvel: pip install plyvel, or convert"):
        DatumSource(path, "LEVELDB")


def test_a_closed_source_says_so(tmp_path):
    source = DatumSource(write(tmp_path / "db", [datum(**GOOD)]), "LMDB")
    source.close()
    source.close()
    with pytest.raises(DataError, match="the database is closed"):
        source.read(0)


def test_a_source_that_is_dropped_closes_its_database(tmp_path):
    path = write(tmp_path / "db", [datum(**GOOD)], "LEVELDB")
    source = DatumSource(path, "LEVELDB")
    del source
    with plyvel.DB(path) as database:
        assert database.get(b"00000000") is not None


def test_a_source_that_is_forgotten_while_another_opens_is_closed_after_it(tmp_path, monkeypatch):
    """Memory is collected at any time: in a thread that is opening a database too."""
    for name in ("a", "b"):
        write(tmp_path / name, [datum(data=bytes(3), channels=3, height=1, width=1)])
    forgotten = DatumSource(str(tmp_path / "a"), "LMDB")
    forgotten.itself = forgotten  # so that it goes when memory is collected, and not before

    class Collecting(stores._Lmdb):
        def __init__(self, path):
            gc.collect()
            super().__init__(path)

    monkeypatch.setitem(stores._STORES, "LMDB", Collecting)
    del forgotten
    opened = []
    thread = threading.Thread(target=lambda: opened.append(DatumSource(str(tmp_path / "b"), "LMDB")), daemon=True)
    thread.start()
    thread.join(60)
    assert opened, "opening waits for itself"
    opened[0].close()
    with lmdb.open(str(tmp_path / "a"), readonly=True, lock=False):  # which cannot be while it is open here
        pass
