"""A pass that the memory cannot hold is refused before it begins; one that it can hold never is."""

from __future__ import annotations

import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from small_nets import APART, CHAIN, HEAD, LONG, net_of
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sdcaffe import Net, Solver, proto, reading
from sdcaffe.cli import main
from sdcaffe.errors import GraphError, LayerError, SolverError
from sdcaffe.layers.blob import Blob
from sdcaffe.net import room
from sdcaffe.pycaffe.net import Net as PycaffeNet

CONV = """layer { name: "c%d" type: "Convolution" bottom: "%s" top: "y%d"
  convolution_param { num_output: 6 kernel_size: 3 pad: 1 } }\n"""
DEEP = "".join(CONV % (i, f"y{i - 1}" if i else "x", i) for i in range(6))
MANY = """
layer { name: "slice" type: "Slice" bottom: "x" top: "a" top: "b" slice_param { slice_point: 1 } }
layer { name: "drop" type: "Dropout" bottom: "b" top: "d" }
layer { name: "pool" type: "Pooling" bottom: "d" top: "p" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "up" type: "Deconvolution" bottom: "p" top: "u" convolution_param { num_output: 2 kernel_size: 2 stride: 2 } }
layer { name: "crop" type: "Crop" bottom: "u" bottom: "a" top: "k" crop_param { axis: 2 } }
layer { name: "cat" type: "Concat" bottom: "a" bottom: "k" top: "t" }
layer { name: "sum" type: "Eltwise" bottom: "t" bottom: "t" top: "s" }
layer { name: "flat" type: "Flatten" bottom: "s" top: "f" }
layer { name: "tile" type: "Tile" bottom: "f" top: "w" tile_param { axis: 1 tiles: 3 } }
layer { name: "fc" type: "InnerProduct" bottom: "w" top: "z" inner_product_param { num_output: 300 } }
layer { name: "norm" type: "Softmax" bottom: "z" top: "q" }
"""  # noqa: E501
NETS = {"chain": CHAIN, "apart": APART, "long": LONG, "deep": DEEP, "many": MANY}


class Account(TorchDispatchMode):
    """What the tensors that torch's operators give hold together, each storage once, until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.held = self.highest = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and (at := tensor.untyped_storage().data_ptr()) not in self.known:
                storage = tensor.untyped_storage()
                self.known.add(at)
                self.held += storage.nbytes()
                self.highest = max(self.highest, self.held)
                weakref.finalize(storage, self.let_go, at, storage.nbytes())
        return out

    def let_go(self, at: int, size: int) -> None:
        self.known.discard(at)
        self.held -= size


def taken(net: Net, learns: bool) -> int:
    """Bytes that a pass holds at its highest, the inputs included."""
    inputs = {name: torch.rand(net.blob_shapes[name]) for name in net.inputs}
    size = sum(value.untyped_storage().nbytes() for value in inputs.values())
    with torch.set_grad_enabled(learns), Account() as account:
        net.forward(inputs)
    return account.highest + size


@pytest.mark.parametrize("learns", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_what_fits_is_never_refused_and_a_fraction_is(name: str, learns: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    param = proto.NetParameter()
    head = HEAD.replace("dim: 2 dim: 3 dim: 4 dim: 4", "dim: 16 dim: 3 dim: 32 dim: 32")
    proto.text.parse(head + NETS[name], param, "net")
    net = Net(param, proto.TRAIN)
    highest = taken(net, learns)
    part = highest // (64 if name == "many" else 8)
    monkeypatch.setattr(room, "_SMALL", 0)
    monkeypatch.setattr(reading, "free_memory", lambda: highest)
    with torch.set_grad_enabled(learns):
        net.assembled.fits = 0
        net.execution.check_room(net.precision, net.device)
        monkeypatch.setattr(reading, "free_memory", lambda: part)
        net.assembled.fits = 0
        with pytest.raises(LayerError, match=f"more than the {part} bytes of memory that are free"):
            net.execution.check_room(net.precision, net.device)


def test_a_backward_needs_what_weights_were_multiplied_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six convolutions: at once two tops without a backward, all that have a reader with it."""
    net = net_of(DEEP, proto.TRAIN)
    top = 4 * 2 * 6 * 4 * 4
    monkeypatch.setattr(room, "_SMALL", 0)
    monkeypatch.setattr(reading, "free_memory", lambda: 3 * top)
    with torch.no_grad():
        net.load()
    with pytest.raises(LayerError):
        net.load()


TOP = 4 * 50 * 4 * 2000 * 4000  # bytes
TERABYTES = """name: "big" layer { name: "d" type: "DummyData" top: "x"
  dummy_data_param { shape { dim: 50 dim: 4 dim: 2000 dim: 4000 } } }
""" + "".join(
    f'layer {{ name: "c{i}" type: "Convolution" bottom: "{f"y{i - 1}" if i else "x"}" top: "y{i}" '
    "convolution_param { num_output: 4 kernel_size: 1 } }\n"
    for i in range(200)
)
WANTED = TOP * 201  # 1.3 TB: the data and all tops, as each but the last is what weights were multiplied with


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reading, "free_memory", lambda: 10_000_000_000)
    loss = 'layer { name: "loss" type: "EuclideanLoss" bottom: "y199" bottom: "y199" top: "loss" }'
    Path("net.prototxt").write_text(TERABYTES + loss)
    Path("s.prototxt").write_text('net: "net.prototxt" base_lr: 1 lr_policy: "fixed" max_iter: 1 snapshot_prefix: "r"')
    return tmp_path


@pytest.mark.parametrize("command", ["train s.prototxt", "time net.prototxt --iterations 1"])
def test_a_net_that_asks_for_terabytes_is_one_line(
    command: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command.split()) == 1
    told = capsys.readouterr().err.split("sdcaffe: error: ")[1]
    assert told.startswith("net.prototxt:1:13: layer ")
    assert f"would take at least {WANTED} bytes, more than the 10000000000 bytes of memory that are free" in told
    assert {path.name for path in folder.iterdir()} <= {"net.prototxt", "s.prototxt", "r.log"}


def test_its_summary_runs_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "net.prototxt"]) == 0
    assert "GiB forward" in capsys.readouterr().out


def test_from_python(folder: Path) -> None:
    solver = Solver("s.prototxt")
    with pytest.raises(LayerError, match="more than the 10000000000 bytes"):
        solver.step(1)
    assert solver.iter == 0


def test_a_script_may_make_the_blobs_smaller_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.prototxt").write_text(HEAD + DEEP)
    monkeypatch.setattr(room, "_SMALL", 0)
    monkeypatch.setattr(reading, "free_memory", lambda: 4 * (3 + 36) * 4 * 4)  # for one image
    net = PycaffeNet(str(tmp_path / "net.prototxt"), proto.TEST)
    with pytest.raises(GraphError, match='the blobs of net "n" take 4992 bytes, more than the 2496 bytes'):
        net.forward()
    net.blobs["x"].reshape(1, 3, 4, 4)
    net.reshape()
    assert net.forward()["y5"].shape == (1, 6, 4, 4)


def test_a_blob_beyond_memory_stays_as_it_was() -> None:
    blob = Blob(2, 3)
    for shape in [(1 << 40, 1 << 10), (1 << 31, 1 << 31)]:
        with pytest.raises(LayerError, match="there is no memory for a blob of shape"):
            blob.reshape(*shape)
    assert blob.shape == (2, 3)
    assert np.array_equal(blob.data, np.zeros((2, 3)))


@pytest.mark.parametrize(("kind", "copies"), [("SGD", 2), ("Adam", 3)])
def test_gradients_and_history_have_to_fit(kind: str, copies: int, monkeypatch: pytest.MonkeyPatch) -> None:
    net = 'layer { name: "p" type: "Parameter" top: "p" parameter_param { shape { dim: 1000 dim: 1000 } } }'
    solver = proto.SolverParameter()
    text = f'type: "{kind}" base_lr: 0.1 lr_policy: "fixed" net_param {{ {net} }} snapshot_prefix: "x"'
    proto.text.parse(text, solver, "solver")
    monkeypatch.setattr(room, "_SMALL", 0)
    monkeypatch.setattr(reading, "free_memory", lambda: copies * 4_000_000)
    Solver(solver)
    monkeypatch.setattr(reading, "free_memory", lambda: copies * 4_000_000 - 1)
    with pytest.raises(SolverError, match=f"history of the weights would take {4 * copies}000000 bytes"):
        Solver(solver)
