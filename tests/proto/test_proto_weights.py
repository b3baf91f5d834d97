"""Weight, snapshot and blob files: Caffe's own read, ours written with the same fields."""

from __future__ import annotations

import numpy as np
import pytest
from weight_files import FILES, GOLDENS, MODELS, STATES, refusal, same, small_blobs, small_net, small_state

from sdcaffe import proto
from sdcaffe.errors import SdcaffeError, SnapshotError, WeightsError
from sdcaffe.proto import schema


def plain_array(blob):
    """A BlobProto's numbers the slow way, one Python float each."""
    return np.array(blob.data, np.float32).reshape(blob.shape.dim)


def name_of(path):
    return f"{path.parent.name}/{path.name}"


@pytest.mark.parametrize("path", MODELS, ids=name_of)
def test_caffes_weights_read_and_written_again_are_the_same_bytes(path, tmp_path):
    wanted = proto.NetParameter.FromString(path.read_bytes())
    found = proto.read_weights(path)
    assert proto.read_net_name(path) == wanted.name
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
    assert proto.read_binary(tmp_path / "x", proto.NetParameter) == small_net()


def test_writing_keeps_parameters_of_plugins(tmp_path, monkeypatch):
    class Param:
        depth: int = 0

    monkeypatch.setattr(schema, "_declared", dict(schema._declared))
    monkeypatch.setattr(schema, "_pools", {})
    schema.declare("tint_param", 4010, Param)
    net = proto.NetParameter(name="n")
    net.layer.add(name="a").tint_param.depth = 4
    proto.write_weights(tmp_path / "x", net, {"a": [np.ones(2, np.float32)]})
    assert proto.read_binary(tmp_path / "x", proto.NetParameter).layer[0].tint_param.depth == 4


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
            net = proto.read_binary(FILES / "tiny_iter_30.caffemodel", proto.NetParameter)
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


@pytest.mark.parametrize("length", range(1, 130))
def test_a_net_of_any_name_is_read_again(length, tmp_path):
    """The length of a name is a byte of the file, and may be that of any letter."""
    net = proto.NetParameter(name=("net: " * 30)[:length], layer=[proto.LayerParameter(name="ip")])
    proto.write_weights(tmp_path / "net.caffemodel", net, {"ip": [np.ones(3, np.float32)]})
    (entry,) = proto.read_weights(tmp_path / "net.caffemodel")
    assert entry.blobs[0].tolist() == [1, 1, 1]
