"""HDF5Data: rows of files in order, wrapped around, shuffled by seed and epoch; and lists that cannot be used."""

from __future__ import annotations

import logging

import data_layers
import h5py
import numpy as np
import pytest

from sdcaffe.data.hdf5 import Hdf5Rows
from sdcaffe.errors import DataError, LayerError
from sdcaffe.layers import hdf5_data

TRAINING = data_layers.FILES.parent / "training"
CASES = sorted(path.parent.name for path in TRAINING.glob("*/train.h5"))


def hdf5(source, batch, tops=("data", "label"), extra=""):
    named = " ".join(f'top: "{top}"' for top in tops)
    return data_layers.make(
        f'type: "HDF5Data" {named} hdf5_data_param {{ source: "{source}" batch_size: {batch} {extra} }}'
    )


def write(folder, *files):
    """One .h5 for each dict of arrays, and list.txt that names them."""
    for i, arrays in enumerate(files):
        with h5py.File(folder / f"{i}.h5", "w") as file:
            for name, array in arrays.items():
                file.create_dataset(name, data=array)
    (folder / "list.txt").write_text("".join(f"{i}.h5\n" for i in range(len(files))))
    return "list.txt"


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=["resident", "streamed"])
def memory(request, monkeypatch):
    """Whether the files stay in memory or are read a file at a time."""
    if request.param == "streamed":
        monkeypatch.setattr(hdf5_data, "RESIDENT_BYTES", 0)


def rows(count, start=0):
    return np.arange(start, start + count)


@pytest.mark.parametrize("case", CASES)
def test_batches_of_the_recorded_runs_are_the_files_rows_again_and_again(case, monkeypatch):
    monkeypatch.chdir(TRAINING / case)
    with h5py.File("train.h5") as file:
        expected = {name: dataset[...] for name, dataset in file.items()}
    layer = hdf5("train.txt", 16, tops=list(expected))
    count = len(expected["label"])
    found = data_layers.batches(layer, 2 * count // 16 + 1)
    layer.close()
    for whole, array in zip(found, expected.values(), strict=True):
        assert whole.dtype == np.float32
        assert np.array_equal(whole, np.concatenate([array, array, array])[: len(whole)])


def test_batches_run_over_files_and_wrap_inside_a_batch(tmp_path, memory):
    write(tmp_path, {"data": rows(3)}, {"data": rows(1, 3)}, {"data": rows(4, 4)})
    layer = hdf5("list.txt", 5, tops=["data"])
    assert layer.top_shapes == [(5,)]
    assert data_layers.batches(layer, 4)[0].tolist() == [i % 8 for i in range(20)]
    layer.close()


def test_every_kind_of_number_becomes_float32(tmp_path, memory):
    values = np.array([[1, 2], [3, 250]])
    kinds = {"a": np.float64, "b": np.uint8, "c": np.int64, "d": np.float16, "e": np.float32}
    write(tmp_path, {name: (values / 3).astype(kind) for name, kind in kinds.items()})
    layer = hdf5("list.txt", 2, tops=kinds)
    for top, kind in zip(layer.next_batch(data_layers.CPU), kinds.values(), strict=True):
        assert top.numpy().tolist() == (values / 3).astype(kind).astype(np.float32).tolist()
    layer.close()


def test_shuffled_epochs_hold_every_row_once_file_by_file(tmp_path, memory):
    write(tmp_path, {"data": rows(5)}, {"data": rows(7, 5)}, {"data": rows(4, 12)})
    layer = hdf5("list.txt", 4, tops=["data"], extra="shuffle: true")
    layer.seed = 3
    epochs = data_layers.batches(layer, 40)[0].astype(int).reshape(10, 16)
    assert (np.sort(epochs, axis=1) == np.arange(16)).all()
    assert len({tuple(epoch) for epoch in epochs}) == 10
    file_of = np.repeat([0, 1, 2], [5, 7, 4])
    orders = {tuple(dict.fromkeys(file_of[epoch].tolist())) for epoch in epochs}
    assert all((np.diff(file_of[epoch]) != 0).sum() == 2 for epoch in epochs)
    assert len(orders) > 2
    layer.cursor = 13
    assert data_layers.batches(layer, 1)[0].tolist() == epochs.reshape(-1)[52:56].tolist()
    layer.seed = 4
    layer.cursor = 0
    assert data_layers.batches(layer, 4)[0].tolist() != epochs[0].tolist()
    layer.close()


def test_a_large_file_is_read_once_an_epoch(tmp_path, monkeypatch):
    write(tmp_path, {"data": rows(6)}, {"data": rows(6, 6)}, {"data": rows(6, 12)})
    opened = []
    original = Hdf5Rows._read_file
    monkeypatch.setattr(Hdf5Rows, "_read_file", lambda self, number: opened.append(number) or original(self, number))
    source = Hdf5Rows("list.txt", ["data"])
    for start in range(0, 18, 2):
        source.read(np.arange(start, start + 2))
    assert opened == [0, 1, 2]


def test_a_file_that_is_listed_often_is_looked_into_once(tmp_path, monkeypatch):
    write(tmp_path, {"data": rows(2)}, {"data": rows(1, 2)})
    (tmp_path / "list.txt").write_text("0.h5 1.h5 " * 5000)
    looked = []
    original = Hdf5Rows._inspect
    monkeypatch.setattr(Hdf5Rows, "_inspect", lambda self, path: looked.append(path) or original(self, path))
    source = Hdf5Rows("list.txt", ["data"])
    assert looked == ["0.h5", "1.h5"]
    assert source.read(np.arange(14_998, 15_000))[0].tolist() == [1, 2]


def test_what_caffe_logs(tmp_path, caplog):
    caplog.set_level(logging.INFO, "sdcaffe")
    write(tmp_path, {"data": rows(2)}, {"data": rows(2)})
    hdf5("list.txt", 2, tops=["data"]).close()
    messages = [record.message for record in caplog.records]
    assert messages == ["Loading list of HDF5 filenames from: list.txt", "Number of HDF5 files: 2"]


def test_rows_that_differ_between_datasets(tmp_path):
    write(tmp_path, {"data": rows(3), "label": rows(4)})
    with pytest.raises(DataError, match=r"0\.h5: datasets have different numbers of rows: data 3, label 4"):
        hdf5("list.txt", 1)


def test_rows_that_differ_between_files(tmp_path):
    write(tmp_path, {"data": np.zeros((3, 2, 5))}, {"data": np.zeros((3, 2, 6))})
    with pytest.raises(DataError, match=r'1\.h5: rows of dataset "data" have shape \[2, 6\], but \[2, 5\] in 0\.h5'):
        hdf5("list.txt", 1, tops=["data"])


def test_a_missing_dataset_is_said_with_what_there_is(tmp_path):
    write(tmp_path, {"images": rows(3), "label": rows(3)})
    with pytest.raises(DataError, match=r'0\.h5: there is no dataset "data"; the file holds images, label'):
        hdf5("list.txt", 1)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([b"text"]), 'dataset "data" is of type .* only numbers are read'),
        (np.float32(3), 'dataset "data" is a scalar'),
        (np.zeros((0, 2)), "the datasets have no rows"),
        (np.array([True, False]), "only numbers are read"),
    ],
)
def test_datasets_that_are_no_rows_of_numbers(array, message, tmp_path):
    write(tmp_path, {"data": array})
    with pytest.raises(DataError, match=message):
        hdf5("list.txt", 1, tops=["data"])


def test_a_dataset_that_claims_more_than_a_blob_can_hold(tmp_path):
    with h5py.File(tmp_path / "0.h5", "w") as file:
        file.create_dataset("data", shape=(2**20, 2**20), dtype="f4", chunks=(1, 1024))
    (tmp_path / "list.txt").write_text("0.h5\n")
    with pytest.raises(DataError, match=r"1099511627776 values, more than 2147483647; split it"):
        hdf5("list.txt", 1, tops=["data"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"list\.txt: cannot read the list of HDF5 files: No such file"),
        (b"", r"list\.txt: the list names no HDF5 files"),
        (b"gone.h5\n", r"gone\.h5: there is no such HDF5 file \(relative to .*; list\.txt lists it"),
        (b"list.txt\n", r"list\.txt: this is not an HDF5 file"),
        (b"\x89HDF\r\n\x1a\n\xff\xfe", r"list\.txt: is no list of HDF5 files"),
    ],
)
def test_lists_that_cannot_be_used(content, message, tmp_path):
    if content is not None:
        (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        hdf5("list.txt", 1)


def test_a_damaged_file(tmp_path):
    write(tmp_path, {"data": np.random.default_rng(0).standard_normal(20_000)})
    path = tmp_path / "0.h5"
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(DataError, match=r"0\.h5: this is not an HDF5 file that can be read"):
        hdf5("list.txt", 1, tops=["data"])


def test_parameters_without_meaning(tmp_path):
    write(tmp_path, {"data": rows(3)})
    with pytest.raises(LayerError, match="batch_size is 0"):
        hdf5("list.txt", 0, tops=["data"])
    with pytest.raises(LayerError, match="HDF5Data does not transform data") as caught:
        data_layers.make(
            'type: "HDF5Data" top: "data" transform_param { scale: 2 } '
            'hdf5_data_param { source: "list.txt" batch_size: 1 }'
        )
    assert caught.value.field == "transform_param"


def test_reading_is_over_after_close(tmp_path):
    write(tmp_path, {"data": rows(3)})
    layer = hdf5("list.txt", 1, tops=["data"])
    layer.close()
    with pytest.raises(LayerError, match="only between setup and close"):
        layer.next_batch(data_layers.CPU)
