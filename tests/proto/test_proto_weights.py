"""Weight, snapshot and blob files: Caffe's own read, ours written with the same fields, broken ones refused."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdcaffe import proto
from sdcaffe.errors import SdcaffeError, SnapshotError, WeightsError
from sdcaffe.proto import schema

GOLDENS = Path(__file__).parents[1] / "goldens"
FILES = GOLDENS / "files"
MODELS = sorted(GOLDENS.glob("**/*.caffemodel"))
STATES = sorted(GOLDENS.glob("**/*.solverstate"))


def plain_array(blob):
    """A BlobProto's numbers the slow way, one Python float each."""
    return np.array(blob.data, np.float32).reshape(blob.shape.dim)


def same(one, other):
    assert one.dtype == other.dtype
    np.testing.assert_array_equal(one, other)


def refusal(error, call, *args):
    with pytest.raises(error) as caught:
        call(*args)
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    return str(caught.value)


def name_of(path):
    return f"{path.parent.name}/{path.name}"


@pytest.mark.parametrize("path", MODELS, ids=name_of)
def test_caffes_weights_read_and_written_again_are_the_same_bytes(path, tmp_path):
    wanted = proto.NetParameter.FromString(path.read_bytes())
    found = proto.read_weights(path)
    assert [(entry.name, entry.type) for entry in found] == [(layer.name, layer.type) for layer in wanted.layer]
    for entry, layer in zip(found, wanted.layer, strict=True):
        for array, blob in zip(entry.blobs, layer.blobs, strict=True):
            same(array, plain_array(blob))
            assert array.flags.writeable
    ours = tmp_path / "ours.caffemodel"
    proto.write_weights(ours, wanted, {entry.name: entry.blobs for entry in found})
    assert ours.read_bytes()[17:] == path.read_bytes()


@pytest.mark.parametrize("path", STATES, ids=name_of)
def test_caffes_states_read_and_written_again_are_the_same_bytes(path, tmp_path):
    wanted = proto.SolverState.FromString(path.read_bytes())
    state = proto.read_state(path)
    assert (state.iter, state.learned_net) == (wanted.iter, wanted.learned_net)
    assert (state.current_step, state.sdcaffe_state) == (wanted.current_step, b"")
    for array, blob in zip(state.history, wanted.history, strict=True):
        same(array, plain_array(blob))
    proto.write_state(tmp_path / "ours", state)
    assert (tmp_path / "ours").read_bytes()[17:] == path.read_bytes()


def test_final_parameters_are_those_of_the_recorded_trace():
    for path in sorted(GOLDENS.glob("training/*/final.caffemodel")):
        with np.load(path.with_name("trace.npz")) as trace:
            recorded = {key: trace[key] for key in trace.files}
        for entry in proto.read_weights(path):
            for i, blob in enumerate(entry.blobs):
                matches = [v for v in recorded.values() if v.shape == blob.shape and np.array_equal(v, blob)]
                assert matches, f"{path}: {entry.name} {i}"


@pytest.mark.parametrize("iteration", [15, 30])
def test_caffes_hdf5_snapshots(iteration):
    import h5py

    path = FILES / f"tiny_h5_iter_{iteration}.caffemodel.h5"
    with h5py.File(path) as file:
        wanted = {name: [group[str(i)][()] for i in range(len(group))] for name, group in file["data"].items()}
    found = {entry.name: entry.blobs for entry in proto.read_weights(path)}
    assert wanted.keys() == found.keys()
    for name, blobs in wanted.items():
        for one, other in zip(blobs, found[name], strict=True):
            same(one, other)
    state = proto.read_state(path.with_name(path.name.replace("caffemodel", "solverstate")))
    assert (state.iter, state.current_step) == (iteration, {15: 0, 30: 2}[iteration])
    assert state.learned_net == path.name
    assert [array.shape for array in state.history] == [(8, 3, 5, 5), (8,), (3, 1568), (3,)]


def test_caffes_hdf5_and_binary_snapshots_of_one_run_agree():
    wanted = {e.name: e.blobs for e in proto.read_weights(FILES / "tiny_iter_15.caffemodel")}
    found = {e.name: e.blobs for e in proto.read_weights(FILES / "tiny_h5_iter_15.caffemodel.h5")}
    assert wanted.keys() == found.keys()
    for name, blobs in wanted.items():
        for one, other in zip(blobs, found[name], strict=True):
            same(one, other)
    one = proto.read_state(FILES / "tiny_iter_15.solverstate")
    other = proto.read_state(FILES / "tiny_h5_iter_15.solverstate.h5")
    assert (one.iter, one.current_step) == (other.iter, other.current_step)
    for array, same_array in zip(one.history, other.history, strict=True):
        same(array, same_array)


def test_mean_image():
    mean = proto.read_blob(FILES / "mean.binaryproto")
    assert mean.shape == (1, 3, 40, 40)
    np.testing.assert_array_equal(mean[0], np.load(FILES / "mean.npy").reshape(3, 40, 40))


# ---- What is written ----


def small_net():
    net = proto.NetParameter(name="small")
    net.layer.add(name="a", type="InnerProduct", bottom=["x"], phase=proto.TRAIN).inner_product_param.num_output = 2
    net.layer.add(name="b", type="ReLU")
    net.layer.add(name="c", type="BatchNorm")
    return net


def small_blobs():
    draw = np.random.default_rng(0)
    return {
        "a": [draw.normal(size=(2, 3)).astype(np.float32), draw.normal(size=2).astype(np.float32)],
        "c": [np.array([0.5], np.float32), np.float32(3).reshape(()), np.zeros((0, 3), np.float32)],
    }


def small_state():
    draw = np.random.default_rng(1)
    return proto.State(
        iter=7,
        learned_net="x_iter_7.caffemodel",
        current_step=2,
        history=[draw.normal(size=(2, 3)).astype(np.float32), draw.normal(size=2)],
        sdcaffe_state=b"\x00ours\xff",
    )


@pytest.mark.parametrize("suffix", [".caffemodel", ".caffemodel.h5"])
def test_weights_round_trip(tmp_path, suffix):
    path, blobs = tmp_path / f"x{suffix}", small_blobs()
    blobs["a"].append(np.array([1e-300, 1 / 3]))  # a double stays one
    proto.write_weights(path, small_net(), blobs)
    found = proto.read_weights(path)
    assert [entry.name for entry in found] == ["a", "b", "c"]
    assert [entry.type for entry in found] == (
        ["", "", ""] if suffix.endswith("h5") else ["InnerProduct", "ReLU", "BatchNorm"]
    )
    for entry in found:
        for one, other in zip(entry.blobs, blobs.get(entry.name, []), strict=True):
            same(one, other)


def test_weights_have_the_nets_name_and_layers_and_nothing_else(tmp_path):
    net = small_net()
    net.state.phase = proto.TRAIN
    net.force_backward = True
    net.layer[0].blobs.add(data=[1])
    net.sdcaffe_seal.size, net.sdcaffe_seal.crc32 = 1, 2
    proto.write_weights(tmp_path / "x", net, {})
    assert proto.read_binary(tmp_path / "x", "NetParameter") == small_net()


def test_writing_keeps_parameters_of_plugins(tmp_path, monkeypatch):
    class Param:
        depth: int = 0

    monkeypatch.setattr(schema, "_declared", dict(schema._declared))
    monkeypatch.setattr(schema, "_pools", {})
    schema.declare("tint_param", 4010, Param)
    net = proto.NetParameter(name="n")
    net.layer.add(name="a").tint_param.depth = 4
    proto.write_weights(tmp_path / "x", net, {"a": [np.ones(2, np.float32)]})
    assert proto.read_binary(tmp_path / "x", "NetParameter").layer[0].tint_param.depth == 4


def test_gradients_go_along_where_they_are_given(tmp_path):
    import h5py

    blobs = small_blobs()
    diffs = {"a": [2 * array for array in blobs["a"]]}
    proto.write_weights(tmp_path / "x", small_net(), blobs, diffs)
    layer = proto.NetParameter.FromString((tmp_path / "x").read_bytes()).layer[0]
    np.testing.assert_array_equal(layer.blobs[0].diff, 2 * blobs["a"][0].ravel())
    assert not proto.NetParameter.FromString((tmp_path / "x").read_bytes()).layer[2].blobs[0].diff
    proto.write_weights(tmp_path / "x.h5", small_net(), blobs, diffs)
    with h5py.File(tmp_path / "x.h5") as file:
        assert sorted(file["diff"]) == ["a", "b", "c"]
        same(file["diff/a/1"][()], 2 * blobs["a"][1])


def test_hdf5_layout_is_caffes(tmp_path):
    """The same groups, types, string form and shapes as in the files of Caffe, read without our code."""
    import h5py

    def layout(path):
        found = {}

        def visit(name, item):
            if isinstance(item, h5py.Group):
                found[name] = "group"
            else:
                kind = item.id.get_type()
                padding = kind.get_strpad() if isinstance(kind, h5py.h5t.TypeStringID) else None
                found[name] = (item.shape, item.dtype.str, padding, item.chunks, item[()].tobytes())

        with h5py.File(path) as file:
            file.visititems(visit)
        return found

    for kind in ("caffemodel", "solverstate"):
        caffes, ours = FILES / f"tiny_h5_iter_30.{kind}.h5", tmp_path / f"x.{kind}.h5"
        if kind == "caffemodel":
            net = proto.read_binary(FILES / "tiny_iter_30.caffemodel", "NetParameter")
            proto.write_weights(ours, net, {entry.name: entry.blobs for entry in proto.read_weights(caffes)})
        else:
            proto.write_state(ours, proto.read_state(caffes))
        assert layout(ours) == layout(caffes)


def test_a_shared_parameter_stands_once_in_hdf5(tmp_path):
    net = proto.NetParameter(name="n")
    for name in ("first", "second"):
        layer = net.layer.add(name=name)
        layer.param.add(name="w")
        layer.param.add()
    blobs = {name: [np.full((2, 2), 3, np.float32), np.full(2, 4, np.float32)] for name in ("first", "second")}
    proto.write_weights(tmp_path / "x.h5", net, blobs)
    first, second = proto.read_weights(tmp_path / "x.h5")
    same(first.blobs[0], blobs["first"][0])
    assert second.blobs[0] is None
    same(second.blobs[1], blobs["second"][1])
    proto.write_weights(tmp_path / "x", net, blobs)
    same(proto.read_weights(tmp_path / "x")[1].blobs[0], blobs["second"][0])


def test_layer_names_with_slashes_in_hdf5(tmp_path):
    net = proto.NetParameter(name="n")
    blobs = {}
    for i, name in enumerate(["conv", "conv/1x1", "block_3a/relu", "block_3a/1x1"]):
        net.layer.add(name=name)
        blobs[name] = [np.full(2, i, np.float32)] * (name != "block_3a/relu")
    proto.write_weights(tmp_path / "x.h5", net, blobs)
    found = {entry.name: entry.blobs for entry in proto.read_weights(tmp_path / "x.h5")}
    assert found.keys() == blobs.keys()
    for name in blobs:
        assert [array.tolist() for array in found[name]] == [array.tolist() for array in blobs[name]]


@pytest.mark.parametrize("suffix", [".solverstate", ".solverstate.h5"])
def test_state_round_trip(tmp_path, suffix):
    path, wanted = tmp_path / f"x{suffix}", small_state()
    proto.write_state(path, wanted)
    found = proto.read_state(path)
    for field in ("iter", "learned_net", "current_step", "sdcaffe_state"):
        assert getattr(found, field) == getattr(wanted, field)
    for one, other in zip(found.history, wanted.history, strict=True):
        same(one, other)


def test_an_empty_state_round_trip(tmp_path):
    for path in (tmp_path / "x", tmp_path / "x.h5"):
        proto.write_state(path, proto.State())
        found = proto.read_state(path)
        assert (found.iter, found.learned_net, found.history, found.sdcaffe_state) == (0, "", [], b"")


@pytest.mark.parametrize(
    "array", [np.arange(6, dtype=np.float32).reshape(1, 2, 3), np.float64(3).reshape(()), np.arange(4)]
)
def test_blob_round_trip(tmp_path, array):
    proto.write_blob(tmp_path / "x", array)
    found = proto.read_blob(tmp_path / "x")
    assert found.dtype == (np.float64 if array.dtype == np.float64 else np.float32)
    np.testing.assert_array_equal(found, array)
    message = proto.array_to_blob(array, diff=array)
    assert list(message.shape.dim) == list(array.shape)
    assert list(message.data or message.double_data) == array.ravel().tolist()
    assert list(message.diff or message.double_diff) == array.ravel().tolist()
    np.testing.assert_array_equal(proto.blob_to_array(message), array)


def test_names_that_the_net_lacks(tmp_path):
    message = refusal(WeightsError, proto.write_weights, tmp_path / "x", small_net(), {"z": []})
    assert 'no layer "z" in the net' in message


def test_more_than_protobuf_can_hold(tmp_path):
    huge = np.broadcast_to(np.float32(0), (2**15, 2**15))
    for call in (
        lambda: proto.write_weights(tmp_path / "x", small_net(), {"a": [huge]}),
        lambda: proto.write_blob(tmp_path / "x", huge),
    ):
        assert "larger than 2 GiB" in refusal(WeightsError, call)
    assert "use the HDF5 form" in refusal(SnapshotError, proto.write_state, tmp_path / "x", proto.State(history=[huge]))
    assert not list(tmp_path.iterdir())


# ---- Files of older Caffes and of forks ----


def read_layers(tmp_path, net):
    (tmp_path / "x").write_bytes(net.SerializeToString())
    return [(entry.name, entry.type, [b.tolist() for b in entry.blobs]) for entry in proto.read_weights(tmp_path / "x")]


def test_v1_and_v0_weights(tmp_path):
    net = proto.NetParameter()
    layer = net.layers.add(name="ip", type="INNER_PRODUCT")
    layer.blobs.add(num=1, channels=1, height=2, width=1, data=[1, 2])
    layer.blobs.add(num=1, channels=1, height=1, width=1, data=[3])
    net.layers.add(name="s", type="SOFTMAX_LOSS")
    old = net.layers.add().layer
    old.name, old.type = "c", "conv"
    old.blobs.add(num=2, channels=1, height=1, width=1, data=[4, 5])
    assert read_layers(tmp_path, net) == [
        ("ip", "InnerProduct", [[[[[1], [2]]]], [[[[3]]]]]),
        ("s", "SoftmaxWithLoss", []),
        ("c", "Convolution", [[[[[4]]], [[[5]]]]]),
    ]


def test_numbers_that_are_not_packed_or_come_in_pieces(tmp_path):
    def blob(*parts):
        (tmp_path / "x").write_bytes(b"".join(parts))
        return proto.read_blob(tmp_path / "x").tolist()

    shape = b"\x3a\x03\x0a\x01\x03"  # shape { dim: [3] }
    one, two, three = (np.float32(n).tobytes() for n in (1, 2, 3))
    assert blob(shape, b"\x2a\x0c", one, two, three) == [1, 2, 3]
    assert blob(shape, b"\x2a\x08", one, two, b"\x2a\x04", three) == [1, 2, 3]
    assert blob(b"\x2d", one, b"\x2d", two, b"\x2d", three, shape) == [1, 2, 3]
    assert "holds 2" in refusal(WeightsError, blob, b"\x2d", one, b"\x2a\x08", two, three, shape)
    doubles = b"".join(b"\x41" + np.float64(n).tobytes() for n in (1, 2, 3))
    assert blob(doubles, shape) == [1, 2, 3]


def test_old_axes_win_over_the_shape_and_no_shape_is_one_number():
    message = proto.BlobProto(num=1, channels=2, data=[1, 2], height=1, width=1)
    message.shape.dim.append(2)
    assert proto.blob_to_array(message).shape == (1, 2, 1, 1)
    assert proto.blob_to_array(proto.BlobProto(data=[5])).shape == ()
    assert proto.blob_to_array(proto.BlobProto(num=0)).shape == (0, 0, 0, 0)


def test_double_data_wins():
    message = proto.BlobProto(data=[1, 2], double_data=[1 / 3, 2])
    message.shape.dim.append(2)
    same(proto.blob_to_array(message), np.array([1 / 3, 2]))


@pytest.mark.parametrize(("kind", "dtype"), [(0, "<f8"), (1, "<f4"), (2, "<f2")])
def test_raw_data_of_nvidias_caffe(tmp_path, kind, dtype):
    numbers = np.array([0.5, -2, 3], dtype)
    data = b"\x3a\x03\x0a\x01\x03\x50" + bytes([kind]) + b"\x62" + bytes([numbers.nbytes]) + numbers.tobytes()
    (tmp_path / "x").write_bytes(b"\xa2\x06" + bytes([len(data) + 2]) + b"\x3a" + bytes([len(data)]) + data)
    found = proto.read_weights(tmp_path / "x")[0].blobs[0]
    same(found, np.array([0.5, -2, 3], np.float64 if kind == 0 else np.float32))


# ---- Files that are not what they should be ----


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


def written(tmp_path, kind):
    path = tmp_path / kind
    if "state" in kind:
        proto.write_state(path, small_state())
        return path, proto.read_state, SnapshotError
    if "model" in kind:
        proto.write_weights(path, small_net(), small_blobs())
        return path, proto.read_weights, WeightsError
    proto.write_blob(path, np.arange(6, dtype=np.float32).reshape(2, 3))
    return path, proto.read_blob, WeightsError


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


def test_a_write_that_fails_leaves_the_old_snapshot(tmp_path):
    path = tmp_path / "x.solverstate"
    proto.write_state(path, small_state())
    before = path.read_bytes()
    with pytest.raises(SdcaffeError):
        proto.write_state(tmp_path / "no" / "x.solverstate", small_state())
    with pytest.raises((TypeError, ValueError)):
        proto.write_state(path, proto.State(history=[np.array(["not a number"])]))
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.solverstate"]


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
