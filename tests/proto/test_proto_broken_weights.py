"""Weight and snapshot files that are cut, damaged, of another kind, or made to mislead: one clear error each."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from weight_files import FILES, refusal, small_blobs, small_net, small_state, written

from sdcaffe import proto
from sdcaffe.errors import SnapshotError, WeightsError


def test_files_of_another_kind(tmp_path):
    state, model, mean = (
        FILES / f for f in ("tiny_iter_15.solverstate", "tiny_iter_15.caffemodel", "mean.binaryproto")
    )
    state_h5, model_h5 = FILES / "tiny_h5_iter_15.solverstate.h5", FILES / "tiny_h5_iter_15.caffemodel.h5"
    assert "is a .solverstate" in refusal(WeightsError, proto.read_weights, state)
    assert "it is a solver state" in refusal(WeightsError, proto.read_weights, state_h5)
    assert "is a single blob" in refusal(WeightsError, proto.read_weights, mean)
    assert "is text" in refusal(WeightsError, proto.read_weights, FILES / "net.prototxt")
    assert "is a .caffemodel" in refusal(SnapshotError, proto.read_state, model)
    assert "it is a file of weights" in refusal(SnapshotError, proto.read_state, model_h5)
    assert "is a single blob" in refusal(SnapshotError, proto.read_state, mean)
    assert "is text" in refusal(SnapshotError, proto.read_state, FILES / "solver.prototxt")
    assert "is a .caffemodel" in refusal(WeightsError, proto.read_blob, model)
    assert "is a .solverstate" in refusal(WeightsError, proto.read_blob, state)
    for ours in (tmp_path / "x", tmp_path / "x.h5"):
        proto.write_state(ours, small_state())
        refusal(WeightsError, proto.read_weights, ours)
        proto.write_weights(ours, small_net(), small_blobs())
        refusal(SnapshotError, proto.read_state, ours)
    (tmp_path / "x").write_bytes(b"\x0a\x01a")
    assert "holds no layers" in refusal(WeightsError, proto.read_weights, tmp_path / "x")
    (tmp_path / "x").write_bytes(b"\x12\x01a")
    assert "is a .caffemodel" in refusal(SnapshotError, proto.read_state, tmp_path / "x")
    (tmp_path / "x").write_bytes(b"\x20\x01")
    assert "holds no iteration" in refusal(SnapshotError, proto.read_state, tmp_path / "x")


@pytest.mark.parametrize(
    ("read", "error"),
    [(proto.read_weights, WeightsError), (proto.read_state, SnapshotError), (proto.read_blob, WeightsError)],
)
def test_missing_and_empty_files(tmp_path, read, error):
    assert refusal(error, read, tmp_path / "no") == f"{tmp_path}/no: No such file or directory"
    assert "Is a directory" in refusal(error, read, tmp_path)
    (tmp_path / "empty").write_bytes(b"")
    assert refusal(error, read, tmp_path / "empty") == f"{tmp_path}/empty: is empty"


@pytest.mark.parametrize("kind", ["x.caffemodel", "x.solverstate", "mean.binaryproto"])
def test_a_file_cut_at_any_byte_is_refused(tmp_path, kind):
    path, read, error = written(tmp_path, kind)
    whole = path.read_bytes()
    assert len(whole) < 1000
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        refusal(error, read, path)
    path.write_bytes(whole)
    read(path)


@pytest.mark.parametrize("kind", ["x.caffemodel.h5", "x.solverstate.h5"])
def test_an_hdf5_file_cut_at_any_byte_is_refused(tmp_path, kind):
    path, read, error = written(tmp_path, kind)
    whole = path.read_bytes()
    for size in [*range(600), *range(600, len(whole), 37), *range(len(whole) - 100, len(whole))]:
        path.write_bytes(whole[:size])
        refusal(error, read, path)
    path.write_bytes(whole)
    read(path)


@pytest.mark.parametrize("kind", ["x.caffemodel", "x.solverstate"])
def test_a_changed_byte_or_a_longer_file_is_refused(tmp_path, kind):
    path, read, error = written(tmp_path, kind)
    whole = path.read_bytes()
    for at in range(3, len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        refusal(error, read, path)
    path.write_bytes(whole + b"\0")
    assert "has something appended" in refusal(error, read, path)


def test_caffes_own_files_are_checked_as_far_as_they_can_be(tmp_path):
    whole = (FILES / "tiny_iter_15.caffemodel").read_bytes()
    path = tmp_path / "x"
    refused = 0
    for size in range(1, len(whole), 101):
        path.write_bytes(whole[:size])
        try:
            proto.read_weights(path)
        except WeightsError as error:
            refused += "\n" not in str(error)
    assert refused == len(range(1, len(whole), 101))  # none of these cuts lies between two layers
    path.write_bytes(whole[:5000])
    assert "field 100 at byte" in refusal(WeightsError, proto.read_weights, path)


@pytest.mark.parametrize("dims", [[2**31, 2**31], [2**40], [-1], [-2, -3], [7], [1] * 33, []])
def test_declared_shapes_are_held_against_the_numbers_before_anything_is_made(tmp_path, dims):
    net = proto.NetParameter()
    blob = net.layer.add(name="a").blobs.add(data=[1, 2, 3, 4, 5, 6])
    blob.shape.dim.extend(dims)
    (tmp_path / "x").write_bytes(net.SerializeToString())
    message = refusal(WeightsError, proto.read_weights, tmp_path / "x")
    assert message.startswith(f'{tmp_path}/x: blob 0 of layer "a" has ')


def test_a_shape_that_holds_nothing_along_axes_beyond_what_an_array_can_have(tmp_path):
    net = proto.NetParameter()
    net.layer.add(name="a").blobs.add().shape.dim.extend([0, 2**62])
    (tmp_path / "x").write_bytes(net.SerializeToString())
    assert "the impossible shape [0, 4611686018427387904]" in refusal(WeightsError, proto.read_weights, tmp_path / "x")


def test_history_blobs_are_named_in_errors(tmp_path):
    state = proto.SolverState(iter=1)
    state.history.add(data=[1, 2]).shape.dim.append(3)
    (tmp_path / "x").write_bytes(state.SerializeToString())
    assert "history blob 0 has shape [3], which is 3 numbers, but holds 2" in refusal(
        SnapshotError, proto.read_state, tmp_path / "x"
    )


def test_declared_sizes_beyond_the_file(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"\x0a\x01n\xa2\x06\xff\xff\xff\xff\x07ab")
    assert "field 100 at byte 3 goes on after the end" in refusal(WeightsError, proto.read_weights, path)


# ---- HDF5 files made to mislead ----


@pytest.fixture
def hdf5(tmp_path):
    import h5py

    def make(fill):
        with h5py.File(tmp_path / "x.h5", "w") as file:
            fill(file)
        return tmp_path / "x.h5"

    return make


def test_hdf5_sizes_beyond_the_file(hdf5):
    def fill(file):
        file.create_dataset("data/a/0", shape=(2**20, 2**20), dtype="f4")  # declared, never written

    assert "declares 4398046511104 bytes, but the file has 0" in refusal(WeightsError, proto.read_weights, hdf5(fill))

    def fill_chunked(file):
        file.create_dataset("data/a/0", shape=(2**20, 2**20), dtype="f4", chunks=(4, 4))[0, 0] = 1

    assert "declares" in refusal(WeightsError, proto.read_weights, hdf5(fill_chunked))


def test_hdf5_data_of_many_names(hdf5, monkeypatch):
    """Each name of the same 40 kB would be another array of them."""

    def fill(file):
        file["data/a0/0"] = np.ones(10_000, "f4")
        for i in range(1, 100):
            file[f"data/a{i}/0"] = file["data/a0/0"]

    path = hdf5(fill)
    assert len(proto.read_weights(path)) == 100
    monkeypatch.setattr("sdcaffe.proto.hdf5._GROWTH_FREE", 3_999_999)
    assert "claims many times as many, packed or by many names" in refusal(WeightsError, proto.read_weights, path)


@pytest.mark.parametrize("names", [[""], ["/"], ["a//b"], ["."], ["a/./b"], ["a\0b"], ["a", "a/0"], ["a", "a/0/b"]])
def test_names_that_hdf5_cannot_hold_are_refused_when_written(names, tmp_path):
    net, blobs = proto.NetParameter(), {name: [np.ones(2, np.float32)] for name in names}
    for name in names:
        net.layer.add(name=name)
    assert "HDF5 cannot hold a layer named" in refusal(WeightsError, proto.write_weights, tmp_path / "x.h5", net, blobs)
    assert not (tmp_path / "x.h5").exists()


def test_hdf5_data_that_are_not_in_the_file(hdf5, tmp_path):
    import h5py

    (tmp_path / "secret").write_bytes(b"12345678")

    def link(file):
        file.create_group("data/a")
        file["data/a/0"] = h5py.ExternalLink("other.h5", "/data/a/0")

    def soft_link(file):
        file.create_group("data/a")
        file["data/a/0"] = h5py.SoftLink("/data/a/0")

    def external(file):
        file.create_dataset("data/a/0", (2,), "f4", external=[(str(tmp_path / "secret"), 0, 8)])

    def virtual(file):
        layout = h5py.VirtualLayout((2,), "f4")
        layout[:] = h5py.VirtualSource("other.h5", "x", (2,))
        file.create_virtual_dataset("data/a/0", layout)

    for fill, word in ((link, "is a link"), (soft_link, "is a link"), (external, "not in"), (virtual, "not in")):
        assert word in refusal(WeightsError, proto.read_weights, hdf5(fill))


def test_hdf5_files_of_other_makers(hdf5):
    assert "no file of Caffe's" in refusal(WeightsError, proto.read_weights, hdf5(lambda file: None))
    assert "no file of Caffe's" in refusal(SnapshotError, proto.read_state, hdf5(lambda file: None))

    def dataset_for_group(file):
        file["data"] = [1.0]

    def word_for_number(file):
        file["data/a/weight"] = [1.0]

    def huge_number(file):
        file["data/a/99999999999"] = [1.0]

    def text(file):
        file["data/a/0"] = np.array([b"abc"])

    def loop(file):
        group = file.create_group("data/a")
        group["b"] = file["data"]

    for fill, word in (
        (dataset_for_group, 'no group "data"'),
        (word_for_number, "is no blob"),
        (huge_number, "is no blob"),
        (text, "not numbers"),
        (loop, "contains itself"),
    ):
        assert word in refusal(WeightsError, proto.read_weights, hdf5(fill))


def test_hdf5_states_that_lack_something(hdf5):
    def no_history(file):
        file["iter"] = np.array([1], "i4")

    def gap(file):
        file["iter"] = np.array([1], "i4")
        file["current_step"] = np.array([1], "i4")
        file["history/1"] = [1.0]

    def wrong_type(file):
        file["iter"] = [1.5]
        file.create_group("history")

    for fill, word in ((no_history, 'no group "history"'), (gap, "lacks one"), (wrong_type, "not one whole number")):
        assert word in refusal(SnapshotError, proto.read_state, hdf5(fill))


def test_hdf5_numbers_of_other_types(hdf5):
    def fill(file):
        file["data/a/0"] = np.array([1, 2], ">f8")
        file["data/a/1"] = np.array([1, 2], "i2")
        file.create_dataset("data/a/2", data=np.zeros(5000, "f2"), compression="gzip")

    found = proto.read_weights(hdf5(fill))[0].blobs
    assert [array.dtype for array in found] == [np.float64, np.float32, np.float32]
    assert found[0].tolist() == found[1].tolist() == [1, 2]


@given(st.sampled_from(["caffemodel", "solverstate", "caffemodel.h5", "solverstate.h5"]), st.data())
@settings(max_examples=100)
def test_damaged_files_of_caffe_are_read_or_refused(tmp_path_factory, kind, data):
    """No seal guards these: some damage shows only in the numbers. None may end in anything but a refusal."""
    prefix = "tiny_h5" if kind.endswith("h5") else "tiny"
    whole = bytearray((FILES / f"{prefix}_iter_15.{kind}").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "x"
    path.write_bytes(whole)
    for read, error in ((proto.read_weights, WeightsError), (proto.read_state, SnapshotError)):
        with contextlib.suppress(error):
            read(path)
