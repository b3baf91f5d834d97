"""What reads files, with real files to begin from; and how these are damaged. A target may raise SdcaffeError alone."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch

from sdcaffe import proto
from sdcaffe.converters.mean_files import read_npy
from sdcaffe.converters.mnist import read_idx
from sdcaffe.converters.onnx_graph import read_graph
from sdcaffe.converters.onnx_import import layers_of
from sdcaffe.converters.torch_files import read_tensors, write_tensors
from sdcaffe.data.database import DatumSource
from sdcaffe.data.decode import decode_image
from sdcaffe.data.hdf5 import Hdf5Rows
from sdcaffe.data.image_list import read_list
from sdcaffe.data.pickles import read_pickle
from sdcaffe.data.windows import read_windows
from sdcaffe.errors import SdcaffeError
from sdcaffe.log import parse_log
from sdcaffe.solver import kept

FILES = Path(__file__).parents[1] / "goldens" / "files"
INTERESTING = [
    *(b"\x00", b"\xff", b"\x7f\xff\xff\xff", b"\xff" * 8, b"\x80" * 9 + b"\x01"),
    *(b"nan", b"-1", b"1e999", b"9" * 400, b"{", b'"', b"\n"),
]


@dataclass
class Target:
    """`seeds` are the contents to begin from; `read` gets the path of a damaged one, whose name is `name`."""

    name: str
    seeds: list[bytes]
    read: Callable[[Path], object]


def damaged(seed: bytes, rng: random.Random) -> bytes:
    """A file with some of its bytes changed, cut, doubled, moved or replaced by what often harms."""
    data = bytearray(seed)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at = rng.randrange(len(data) + 1)
        length = min(rng.choice((1, 1, 2, 4, 8, 64)), len(data) - at)
        match rng.randrange(7):
            case 0 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(data):
                data[at] = rng.randrange(256)
            case 2:
                data[at : at + length] = rng.choice(INTERESTING)
            case 3:
                del data[at : at + length]
            case 4:
                data[at:at] = data[at : at + length] * rng.choice((1, 2, 50))
            case 5:
                del data[at:]
            case _:
                data[at : at + length] = rng.randbytes(length)
    return bytes(data)


def harm(target: Target, data: bytes, folder: Path) -> Exception | None:
    """What a target raises that it may not, given a file of these bytes."""
    path = folder / target.name
    path.write_bytes(data)
    try:
        target.read(path)
    except SdcaffeError as error:
        text = str(error)
        if any(ord(c) < 32 and c not in "\n\t" for c in text):
            return ValueError(f"a control character in {text!r}")
    except Exception as error:
        return error
    return None


def tried(target: Target, count: int, seed: int, folder: Path) -> Iterator[tuple[bytes, Exception]]:
    """Give a target `count` damaged files; what it raised that it may not, with the file."""
    rng = random.Random(f"{target.name} {seed}")
    for _ in range(count):
        data = damaged(rng.choice(target.seeds), rng)
        error = harm(target, data, folder)
        if error is not None:
            yield data, error


def targets(folder: Path) -> list[Target]:
    """Every target; `folder` is for the files that they need."""
    return [*_texts(folder), *_binaries(folder), *_data(folder)]


def _seeds(*names: str) -> list[bytes]:
    return [(FILES / name).read_bytes() for name in names]


def _texts(folder: Path) -> list[Target]:
    (folder / "a.png").write_bytes(b"")
    windows = f"# 0 {folder}/a.png 3 8 8 2\n1 1 0 0 4 4\n0 0.1 1 1 3 3\n".encode()
    return [
        Target("net.prototxt", _seeds("net.prototxt", "v0.prototxt", "v1.prototxt"), proto.read_net),
        Target("solver.prototxt", _seeds("solver.prototxt", "solver_old.prototxt"), proto.read_solver),
        Target("train.log", [seed[:6000] for seed in _seeds("caffe_train.log", "caffe_resume.log")], parse_log),
        Target("list.txt", [f"{folder}/a.png 3\n{folder}/a.png -1\n".encode()], lambda path: read_list(str(path))),
        Target("windows.txt", [windows], lambda path: read_windows(str(path), "", 0.5, 0.5)),
    ]


def _binaries(folder: Path) -> list[Target]:
    write_tensors(folder / "seed.pt", {"a.weight": torch.zeros(2, 3), "a.bias": torch.zeros(2)})
    state = proto.State(iter=3, learned_net="x", history=[np.zeros((2, 3), "f4")])
    state.sdcaffe_state = kept.write(
        kept.Kept("SGD", [{"cpu": torch.get_rng_state()}], [kept.NetState({"d": (1, 2, 3)}, {})], [0.5])
    )
    proto.write_state(folder / "seed.solverstate", state)
    ours = (folder / "seed.solverstate").read_bytes()[17:]  # without the seal, which refuses any damage

    def read_state(path: Path) -> None:
        text = proto.read_state(path).sdcaffe_state
        if text:
            kept.read(text, str(path))

    return [
        Target("w.caffemodel", _seeds("tiny_iter_15.caffemodel"), proto.read_weights),
        Target("w.caffemodel.h5", _seeds("tiny_h5_iter_15.caffemodel.h5"), proto.read_weights),
        Target("s.solverstate", [*_seeds("tiny_iter_15.solverstate"), ours], read_state),
        Target("s.solverstate.h5", _seeds("tiny_h5_iter_15.solverstate.h5"), read_state),
        Target(
            "kept.json", [state.sdcaffe_state[-300:], state.sdcaffe_state], lambda p: kept.read(p.read_bytes(), "x")
        ),
        Target("m.binaryproto", [seed[:4000] for seed in _seeds("mean.binaryproto")], proto.read_blob),
        Target("m.npy", _seeds("mean.npy"), lambda path: read_npy(str(path))),
        Target("t.pt", [(folder / "seed.pt").read_bytes()], read_tensors),
    ]


def _data(folder: Path) -> list[Target]:
    with h5py.File(folder / "seed.h5", "w") as file:
        file["x"] = np.zeros((4, 2), "f4")
        file.create_dataset("y", data=np.ones((4, 1), "i4"), chunks=(2, 1), compression="gzip")
    (folder / "rows.txt").write_text(str(folder / "rows.h5"))
    shutil.copytree(FILES / "lmdb_raw", folder / "lmdb")

    def read_lmdb(path: Path) -> None:
        shutil.copyfile(path, folder / "lmdb" / "data.mdb")
        source = DatumSource(str(folder / "lmdb"), "LMDB")
        try:
            for i in range(min(len(source), 3)):
                source.read(i)
        finally:
            source.close()

    def read_image(path: Path) -> None:
        for color in ("native", "color", "gray"):
            decode_image(path.read_bytes(), color, str(path))

    images = [path.read_bytes() for path in sorted((FILES / "images").iterdir()) if path.is_file()][:4]
    batch = b"\x80\x02}q\x00(U\x04dataq\x01]q\x02(K\x01K\x02eU\x06labelsq\x03]q\x04K\x07au."
    idx = b"\x00\x00\x08\x01\x00\x00\x00\x04\x01\x02\x03\x04"

    def read_rows(path: Path) -> None:
        Hdf5Rows(str(folder / "rows.txt"), ["x", "y"]).read_all()

    return [
        Target("rows.h5", [(folder / "seed.h5").read_bytes()], read_rows),
        Target("data.mdb", _seeds("lmdb_raw/data.mdb"), read_lmdb),
        Target("image", images, read_image),
        Target("data_batch_1", [batch], lambda path: read_pickle(str(path))),
        Target("labels.idx", [idx], lambda path: read_idx(str(path), 0x801)),
        Target("net.onnx", [_onnx()], lambda path: layers_of(read_graph(str(path)))),
    ]


def _onnx() -> bytes:
    """A convolution, a pooling and a product."""
    from onnx import TensorProto, helper, numpy_helper

    weights = [
        numpy_helper.from_array(np.ones(shape, "f4"), name)
        for name, shape in (("w", (2, 3, 3, 3)), ("b", (2,)), ("v", (4, 8)), ("c", (4,)))
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["y"], "conv", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("MaxPool", ["y"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"], "flat"),
        helper.make_node("Gemm", ["f", "v", "c"], ["z"], "fc", transB=1),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", (1, 3, 4, 4)), ("z", (1, 4)))
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return bytes(model.SerializeToString())


def example_of_shapes() -> bytes:
    """A reshape whose size is computed from the shape of what is reshaped, as torch's exporter writes it."""
    from onnx import TensorProto, helper, numpy_helper

    numbers = {"zero": np.array(0, "i8"), "rest": np.array([-1], "i8"), "axes": np.array([0], "i8")}
    nodes = [
        helper.make_node("Shape", ["x"], ["s"], "shape"),
        helper.make_node("Gather", ["s", "zero"], ["n"], "gather", axis=0),
        helper.make_node("Unsqueeze", ["n", "axes"], ["n1"], "unsqueeze"),
        helper.make_node("Concat", ["n1", "rest"], ["to"], "concat", axis=0),
        helper.make_node("Reshape", ["x", "to"], ["r"], "reshape"),
        helper.make_node("Relu", ["r"], ["z"], "relu"),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", ("n", 3, 4, 4)), ("z", None))
    ]
    weights = [numpy_helper.from_array(array, name) for name, array in numbers.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return bytes(model.SerializeToString())
