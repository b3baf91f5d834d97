"""HDF5Output: what went through is in the file, whole or not at all."""

from __future__ import annotations

import gc
import os
import stat
import subprocess
import sys

import golden
import h5py
import numpy as np
import pytest
import torch

from sdcaffe.errors import DataError, LayerError

SHAPES = ((4, 3, 2, 5), (4,))


def make(path, *shapes):
    text = golden.one_layer("HDF5Output", f'hdf5_output_param {{ file_name: "{path}" }}', bottoms=2, tops=0)
    return golden.build(text, shapes or SHAPES)


def blobs(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(SHAPES[0], generator=generator), torch.arange(4.0) + seed


def read(path):
    with h5py.File(path) as file:
        return {name: dataset[...] for name, dataset in file.items()}


def test_datasets_have_caffes_names_axes_and_type(tmp_path):
    layer = make(tmp_path / "out.h5")
    data, label = blobs()
    assert layer(data.contiguous(memory_format=torch.channels_last), label) == ()
    layer.close()
    found = read(tmp_path / "out.h5")
    assert sorted(found) == ["data", "label"]
    assert np.array_equal(found["data"], data.numpy())
    assert found["label"].shape == (4, 1, 1, 1)
    assert found["label"].ravel().tolist() == [0, 1, 2, 3]
    assert found["data"].dtype == found["label"].dtype == np.float32
    assert os.listdir(tmp_path) == ["out.h5"]


def test_every_pass_is_kept_in_order(tmp_path):
    layer = make(tmp_path / "out.h5")
    for seed in range(3):
        layer(*blobs(seed))
    layer.close()
    found = read(tmp_path / "out.h5")
    assert np.array_equal(found["data"], np.concatenate([blobs(seed)[0].numpy() for seed in range(3)]))
    assert found["label"].ravel().tolist() == [0, 1, 2, 3, 1, 2, 3, 4, 2, 3, 4, 5]


def test_an_older_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "out.h5"
    path.write_bytes(b"older")
    layer = make(path)
    layer(*blobs())
    assert path.read_bytes() == b"older"
    layer.close()
    assert set(read(path)) == {"data", "label"}
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_a_layer_that_is_dropped_finishes_its_file(tmp_path):
    layer = make(tmp_path / "out.h5")
    layer(*blobs())
    del layer
    gc.collect()
    assert len(read(tmp_path / "out.h5")["data"]) == 4


def test_the_end_of_the_program_finishes_the_file(tmp_path):
    program = (
        "import torch, sys; sys.path.insert(0, sys.argv[2]); import test_hdf5_output as t; "
        "layer = t.make(sys.argv[1]); layer(*t.blobs())"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "out.h5"), os.path.dirname(__file__)], check=True)
    assert len(read(tmp_path / "out.h5")["data"]) == 4


def test_no_pass_writes_no_file(tmp_path):
    make(tmp_path / "out.h5").close()
    assert os.listdir(tmp_path) == []


def test_what_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(LayerError, match=r"there is no folder .*none to write"):
        make(tmp_path / "none" / "out.h5")
    with pytest.raises(LayerError, match="hdf5_output_param has no file_name"):
        make("")
    with pytest.raises(LayerError, match="data has 4 rows but label 3"):
        make(tmp_path / "out.h5", (4, 2), (3,))
    with pytest.raises(LayerError, match="needs bottoms of 1 to 4 axes"):
        make(tmp_path / "out.h5", (4, 1, 1, 1, 1), (4,))


def test_rows_of_another_shape_are_refused(tmp_path):
    layer = make(tmp_path / "out.h5")
    layer(*blobs())
    with pytest.raises(DataError, match=r'rows of "data" changed shape from \[3, 2, 5\] to \[3, 2, 6\]'):
        layer(torch.zeros(4, 3, 2, 6), torch.zeros(4))
    layer.close()
    assert len(read(tmp_path / "out.h5")["data"]) == 4
