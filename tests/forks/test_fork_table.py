"""Every layer of a fork, by its written example: it runs, trains, resumes bit for bit, and its files come back."""

from __future__ import annotations

from pathlib import Path

import cv2
import h5py
import lmdb
import numpy as np
import pytest
import torch
from fork_examples import EXAMPLES
from fork_layers import net_param
from fork_numbers import NUMBERS, UNSEEN

import sdcaffe
from sdcaffe import proto
from sdcaffe.cli import main
from sdcaffe.layers.base import class_of, makers, registered
from sdcaffe.plugins import origin

sdcaffe.discover()
FORKS = {
    cls.__name__: (kind, cls)
    for kind in registered()
    for cls in makers(kind)
    if cls.__module__.startswith("sdcaffe.forks")
}
SIDE = """
layer { name: "side" type: "DummyData" top: "side" dummy_data_param {
  shape { dim: 2 dim: 2 } data_filler { value: 1 } } }
layer { name: "fc" type: "InnerProduct" bottom: "side" top: "fc" inner_product_param { num_output: 1
  weight_filler { value: 1 } } }
layer { name: "fc_loss" type: "Reduction" bottom: "fc" top: "fc_loss" loss_weight: 1
  reduction_param { operation: SUMSQ } }
"""


def test_every_layer_of_a_fork_has_an_example():
    assert set(FORKS) == set(EXAMPLES)
    for name, example in EXAMPLES.items():
        assert class_of(net_param(example.layer()).layer[0]) is FORKS[name][1], name


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with the pictures that data layers name."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_pictures(folder):
    random = np.random.RandomState(5)
    writer = cv2.VideoWriter("video.avi", cv2.VideoWriter_fourcc(*"MJPG"), 10, (16, 12))
    for i in range(4):
        image = random.randint(0, 256, (12, 16, 3)).astype(np.uint8)
        cv2.imwrite(f"image{i}.png", image)
        cv2.imwrite(f"label{i}.png", random.randint(0, 3, (12, 16)).astype(np.uint8))
        writer.write(image)
    writer.release()
    (folder / "pairs.txt").write_text("".join(f"image{i}.png label{i}.png\n" for i in range(4)))
    (folder / "list.txt").write_text("".join(f"image{i}.png {i}\n" for i in range(4)))
    (folder / "clips.txt").write_text("".join(f"video.avi {i} {i}\n" for i in range(3)))
    databases = [lmdb.open(str(folder / name)) for name in ("images", "boxes")]
    for i in range(4):
        record = proto.AnnotatedDatum(type="BBOX")
        record.datum.encoded, record.datum.label = True, i
        record.datum.data = (folder / f"image{i}.png").read_bytes()
        group = record.annotation_group.add(group_label=1 + i % 2)
        group.annotation.add().bbox.CopyFrom(proto.NormalizedBBox(xmin=0.1, ymin=0.2, xmax=0.5, ymax=0.4 + 0.1 * i))
        for database, message in zip(databases, (record.datum, record), strict=True):
            with database.begin(write=True) as writing:
                writing.put(f"{i:08}".encode(), message.SerializeToString())
    for database in databases:
        database.close()


def sourced(example):
    """A net that learns what comes before the example, from files in the current folder."""
    text, bottoms = "", []
    for i, bottom in enumerate(example.bottoms):
        with h5py.File(f"b{i}.h5", "w") as file:
            file[f"b{i}"] = bottom.array
        Path(f"b{i}.txt").write_text(f"b{i}.h5\n")
        text += f'layer {{ name: "b{i}" type: "HDF5Data" top: "b{i}" hdf5_data_param {{ source: "b{i}.txt" '
        text += f"batch_size: {len(bottom.array)} }} }}\n"
        if bottom.learned:
            text += f'layer {{ name: "s{i}" type: "Scale" bottom: "b{i}" top: "s{i}" scale_param {{ axis: 0 '
            text += f"num_axes: {bottom.array.ndim} }} }}\n"
        bottoms.append(f"{'s' if bottom.learned else 'b'}{i}")
    text += example.layer(bottoms=bottoms)
    cls = class_of(net_param(example.layer()).layer[0])
    if any(bottom.learned and i not in cls.index_bottoms for i, bottom in enumerate(example.bottoms)) * (
        not example.loss
    ):
        for i in range(example.tops):
            text += (
                f'layer {{ name: "w{i}" type: "Scale" bottom: "x{i}" top: "w{i}" param {{ lr_mult: 0 }} scale_param {{ '
            )
            text += 'axis: 0 num_axes: -1 filler { type: "uniform" min: 0.5 max: 1.5 } } }\n'
            text += f'layer {{ name: "sum{i}" type: "Reduction" bottom: "w{i}" top: "sum{i}" loss_weight: 1 '
            text += "reduction_param { operation: SUMSQ } }\n"
    return text + SIDE


def weights(file):
    return {layer.name: [np.array(blob) for blob in layer.blobs] for layer in proto.read_weights(file)}


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_trains_and_resumes_bit_for_bit(name, folder):
    example = EXAMPLES[name]
    write_pictures(folder)
    (folder / "net.prototxt").write_text(sourced(example))
    (folder / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.001 momentum: 0.9 lr_policy: "fixed" max_iter: 4 snapshot: 1 '
        'snapshot_prefix: "net" random_seed: 3 display: 1'
    )
    assert main(["train", "-solver", "solver.prototxt"]) == 0
    files = ["net_iter_4.caffemodel", "net_iter_4.solverstate"]
    whole = [(folder / file).read_bytes() for file in files]
    before, after = weights("net_iter_1.caffemodel"), weights("net_iter_4.caffemodel")
    for i, bottom in enumerate(example.bottoms):
        if bottom.learned:
            moved = bool((after[f"s{i}"][0] != 1).any())
            assert np.isfinite(after[f"s{i}"][0]).all()
            deaf = i in FORKS[name][1].index_bottoms
            assert moved != (example.stuck or deaf), f"bottom {i}"
    net = sdcaffe.Net(proto.read_net("net.prototxt"), proto.TRAIN)
    net.close()
    for blob, first, last in zip(net.layers["x"].blobs, before.get("x", ()), after.get("x", ()), strict=True):
        assert np.isfinite(last).all()
        assert not blob.requires_grad or (first != last).any() or example.still
    assert main(["train", "-solver", "solver.prototxt", "-snapshot", "net_iter_2.solverstate"]) == 0
    assert [(folder / file).read_bytes() for file in files] == whole


@pytest.mark.parametrize("name", EXAMPLES)
def test_its_files_come_back(name, folder):
    example = EXAMPLES[name]
    write_pictures(folder)
    (folder / "net.prototxt").write_text(sourced(example))
    net = proto.read_net("net.prototxt")
    again = net_param(proto.format(net))
    assert again == net
    proto.write_binary(folder / "net.binaryproto", net)
    stored = proto.read_binary(folder / "net.binaryproto", proto.NetParameter)
    assert proto.format(stored) == proto.format(net)
    made = sdcaffe.Net(net, proto.TRAIN)
    torch.manual_seed(1)
    for layer in made.layers.values():
        for blob in layer.blobs:
            blob.data.uniform_(0.1, 1)
    made.save("a.caffemodel")
    made.save("a.caffemodel.h5")
    made.close()
    for file in ("a.caffemodel", "a.caffemodel.h5"):
        other = sdcaffe.Net(net, proto.TRAIN, weights=file)
        other.close()
        for key, blobs in made.blob_arrays().items():
            for mine, back in zip(blobs, other.blob_arrays()[key], strict=True):
                assert mine.shape == back.shape
                assert np.array_equal(mine, back)
    (kept,) = [
        one for one in proto.NetParameter.FromString((folder / "a.caffemodel").read_bytes()).layer if one.name == "x"
    ]
    del kept.blobs[:]
    (first,) = [one for one in net.layer if one.name == "x"]
    for field, value in first.ListFields():
        assert getattr(kept, field.name) == value
    added = {field.name for field, _ in kept.ListFields()} - {field.name for field, _ in first.ListFields()}
    assert added <= {"phase", "loss_weight", "param"}  # which Caffe's layers write into their own parameters, too


def fields_of(message):
    """The numbers of the fields that stand in a message's bytes, by protobuf's own rules."""
    data, place, found = message.SerializeToString(), 0, set()

    def varint():
        nonlocal place
        value = shift = 0
        while True:
            byte = data[place]
            place += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while place < len(data):
        key = varint()
        found.add(key >> 3)
        length = {1: 8, 5: 4}.get(key & 7) or varint()  # a number's own bytes are read by now
        place += length if key & 7 else 0
    return found


@pytest.mark.parametrize("name", EXAMPLES)
def test_its_fields_have_the_numbers_of_a_fork(name):
    """Or else every number that a fork gives the field is another field's here."""
    param = net_param(EXAMPLES[name].layer()).layer[0]
    written = fields_of(param)
    mine = proto.LayerParameter.DESCRIPTOR
    for field, _ in param.ListFields():
        if field.name in NUMBERS:
            numbers = NUMBERS[field.name]
            assert field.number in written
            assert field.number in numbers or all(n in mine.fields_by_number for n in numbers), numbers
        elif field.name not in UNSEEN:
            assert field.number <= 147, f"{field.name} is in no schema"  # BVLC Caffe's own


@pytest.mark.parametrize("name", EXAMPLES)
def test_layers_names_the_fork(name, capsys):
    kind, cls = FORKS[name]
    assert main(["layers", kind]) == 0
    found = capsys.readouterr().out
    head = found.splitlines()[0] + "".join(line for line in found.splitlines() if line.startswith("dialects:"))
    assert origin(cls) in head
    assert origin(cls) != "a fork of Caffe"
