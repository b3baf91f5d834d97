"""A net whose layers run in ONNX Runtime: torch's numbers and Caffe's, and torch itself wherever that is not sure."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
import torch

from sdcaffe import layers, proto
from sdcaffe.cli import main
from sdcaffe.errors import GraphError, LayerError
from sdcaffe.net import Net
from sdcaffe.net.engine.engine import Session

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "converters"))
from onnx_nets import TINY, arrays, recorded_layer, recordings, write_net, write_recorded  # noqa: E402

DEPLOYED = sorted((ROOT / "prototxt").glob("**/deploy.prototxt"))
LARGE = ("densenet100", "preact_resnet34", "wrn28_10", "wrn16_8", "wrn40_4", "resnet110", "preact_resnet18", "imagenet")


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with each pass of a session."""
    found: list[int] = []
    right = Session._run
    monkeypatch.setattr(Session, "_run", lambda self, bottoms: (found.append(1), right(self, bottoms))[1])
    return found


def filled(model: str | Path) -> Net:
    layers.discover()
    net = Net(model, proto.TEST)
    torch.manual_seed(1)
    with torch.no_grad():
        for layer in net.layers.values():
            for i, blob in enumerate(layer.blobs):
                if layer.type in ("BatchNorm", "BN"):
                    blob.fill_(1.0 if i else 0.1)
                elif blob.dim() > 1:
                    blob.normal_(0, (2 / blob[0].numel()) ** 0.5)
    return net


def passed(net: Net, batch: int = 2, keep: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    generator = torch.Generator().manual_seed(batch)
    given = {n: torch.randn(batch, *net.blob_shapes[n][1:], generator=generator) for n in net.inputs}
    with torch.no_grad():
        return {name: blob.numpy().copy() for name, blob in net(given, keep=keep).items()}


def same(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> bool:
    assert got.keys() == expected.keys()
    for name, array in expected.items():
        assert got[name].shape == array.shape
        if not np.abs(got[name] - array).max() <= 1e-5 * np.abs(array).max():
            return False
    return True


def tiny(folder: Path, **settings: object) -> Net:
    model, weights = write_net(TINY, folder)
    net = Net(model, proto.TEST, weights)
    net.use_engine("onnxruntime", **settings)  # type: ignore[arg-type]
    return net


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(path, marks=pytest.mark.slow if any(name in str(path) for name in LARGE) else ())
        for path in DEPLOYED
        if "cifar100" not in path.parts or "resnet32" in path.parts
    ],
    ids=lambda path: "-".join(path.parts[-3:-1]),
)
def test_a_deployed_net_gives_what_torch_gives(model: Path, runs: list[int]) -> None:
    net = filled(model)
    batch = net.blob_shapes[net.inputs[0]][0]
    expected = passed(net, batch)
    net.use_engine("onnxruntime")
    for _ in range(3):
        assert same(passed(net, batch), expected)
    assert net.execution.engine is not None
    reason = net.execution.engine.reason
    if "imagenet" in model.parts and reason:  # sums this long differ by more on some processors: torch runs then
        assert "numbers differ by" in reason
        assert float(reason.split()[-1]) < 5e-5
    else:
        assert not reason
    assert len(runs) == (1 if reason else 3)


def test_recorded_layers_give_caffes_numbers(tmp_path: Path, runs: list[int]) -> None:
    names = recordings()
    model, weights = write_recorded(names, tmp_path)
    net = Net(model, proto.TEST, weights)
    net.use_engine("onnxruntime")
    given = {}
    for name in names:
        given.update(zip(recorded_layer(name).bottom, arrays(name, "bottom"), strict=True))
    with torch.no_grad():
        net({blob: given[blob] for blob in net.inputs})
        got = net({blob: given[blob] for blob in net.inputs})
    assert runs
    (running,) = net.execution.engine._running.values()  # type: ignore[union-attr]
    assert running is not None
    assert not running.broken
    assert sum(len(op.layers) for op in running.ops if not isinstance(op.run, Session)) < len(names) / 4
    for name in names:
        for blob, expected in zip(recorded_layer(name).top, arrays(name, "top"), strict=True):
            scale = float(np.abs(expected).max(initial=0)) or 1.0
            if blob in got and blob not in given:
                assert np.abs(got[blob].numpy() - expected).max(initial=0) <= 1e-4 * scale, name


def test_another_batch_size_and_back(tmp_path: Path, runs: list[int]) -> None:
    net, plain = tiny(tmp_path), Net(*_files(tmp_path))
    for batch in (1, 3, 1, 5, 3):
        assert same(passed(net, batch), passed(plain, batch))
    assert len(runs) == 3 + 2


def _files(folder: Path) -> tuple[str, int, str]:
    return str(folder / "net.prototxt"), proto.TEST, str(folder / "net.caffemodel")


def _replaced(net: Net) -> None:
    net.layers["conv"].blobs[0] = torch.nn.Parameter(net.layers["conv"].blobs[0].detach() * 2)


WRITES: dict[str, Callable[[Net], object]] = {
    "in place": lambda net: net.params["conv"][0].detach().mul_(2),
    "data": lambda net: net.params["fc"][1].data.add_(1),
    "other data": lambda net: setattr(net.params["fc"][1], "data", torch.ones(5)),
    "numpy": lambda net: net.params["fc"][0].detach().numpy().__setitem__((0, 0), 9),
    "one statistic": lambda net: net.params["bn"][1].data.mul_(3),
    "another parameter": _replaced,
    "a file": lambda net: net.load_weights(net.files),
    "copied": lambda net: under_no_grad(lambda: net.params["conv"][0].copy_(torch.ones(6, 1, 3, 3))),
    "set": lambda net: under_no_grad(lambda: net.params["fc"][1].set_(torch.ones(5))),
    "an optimizer's step": lambda net: stepped(net),
    "a state": lambda net: net.load_state_dict({name: value + 1 for name, value in net.state_dict().items()}),
    "an assigned state": lambda net: net.load_state_dict(
        {name: value + 1 for name, value in net.state_dict().items()}, assign=True
    ),
    "dlpack": lambda net: torch.from_dlpack(net.params["fc"][0].detach()).neg_(),
    "shared memory": lambda net: net.share_memory().params["fc"][0].data.neg_(),
    "swapped": lambda net: torch.utils.swap_tensors(net.params["fc"][1], torch.nn.Parameter(torch.ones(5))),
    "past the module": lambda net: net.layers["fc"].blobs._parameters.update({"1": torch.nn.Parameter(torch.ones(5))}),
    "other blobs": lambda net: setattr(
        net.layers["fc"], "blobs", torch.nn.ParameterList([blob + 1 for blob in net.layers["fc"].blobs])
    ),
    "an address": lambda net: ctypes.memset(net.params["conv"][0].data_ptr(), 0, 200),
}
EARLIER: dict[str, tuple[Callable[[torch.Tensor], Any], Callable[[Any], object]]] = {  # had before, written later
    "numpy": (lambda blob: blob.detach().numpy(), lambda array: array.__imul__(-2)),
    "a slice": (lambda blob: blob.detach()[1:], lambda part: part.mul_(-2)),
    "a slice of data": (lambda blob: blob.data[:1], lambda part: part.add_(1)),
    "one element": (lambda blob: blob.detach().view(-1)[-1:], lambda part: part.sub_(1)),
    "dlpack": (lambda blob: torch.from_dlpack(blob.detach()), lambda other: other.mul_(-2)),
    "a storage": (lambda blob: blob.untyped_storage(), lambda storage: storage.__setitem__(2, storage[2] ^ 64)),
    "two exchanged": (lambda blob: blob.detach().numpy().reshape(-1), lambda array: exchange(array)),
}


def under_no_grad(write: Callable[[], object]) -> None:
    with torch.no_grad():
        write()


def stepped(net: Net) -> None:
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    net({"data": torch.ones(1, 3, 8, 8)})["prob"][0, 0].backward()
    optimizer.step()


def exchange(array: np.ndarray) -> None:
    array[[0, 1]] = array[[1, 0]]


@pytest.mark.parametrize("how", WRITES)
def test_changed_weights_are_noticed(how: str, tmp_path: Path, runs: list[int]) -> None:
    net = tiny(tmp_path)
    other = filled(tmp_path / "net.prototxt")
    other.save(tmp_path / "other.caffemodel")
    net.files = str(tmp_path / "other.caffemodel")  # type: ignore[assignment]
    before = passed(net)
    assert same(passed(net), before)
    WRITES[how](net)
    after = passed(net)
    assert not same(after, before)
    assert same(passed(net), after)
    assert len(runs) == 4
    net.use_engine("torch")
    assert same(passed(net), after)


@pytest.mark.parametrize("layer", ["conv", "fc"])
@pytest.mark.parametrize("how", EARLIER)
def test_a_write_through_what_was_at_hand_before_is_noticed(layer: str, how: str, tmp_path: Path) -> None:
    net = tiny(tmp_path)
    reach, write = EARLIER[how]
    reached = reach(net.params[layer][0])
    before = passed(net)
    assert same(passed(net), before)
    for _ in range(2):
        write(reached)
        after = passed(net)
        assert not np.array_equal(after["prob"], before["prob"])
        net.use_engine("torch")
        assert same(passed(net), after)
        net.use_engine("onnxruntime")
        before = passed(net)
        assert same(passed(net), before)


SHARED = (
    'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 40 } } }'
    'layer { name: "a" type: "InnerProduct" bottom: "data" top: "a" param { name: "w" } param { name: "b" } '
    "inner_product_param { num_output: 30 } }"
)
TWICE = (
    'layer { name: "b" type: "InnerProduct" bottom: "data" top: "b" param { name: "w" } param { name: "b" } '
    'inner_product_param { num_output: 30 } } layer { name: "s" type: "Scale" bottom: "b" top: "s" }'
)


@pytest.mark.parametrize("text", [SHARED, SHARED + TWICE], ids=["one", "two, of which one is scaled"])
@pytest.mark.parametrize("batches", [(1,), (2,), (1, 3, 1)], ids=str)
def test_factors_written_behind_torchs_back_count(text: str, batches: tuple[int, ...], tmp_path: Path) -> None:
    model, _ = write_net(text, tmp_path)
    net = filled(model)
    net.use_engine("onnxruntime")
    weight = net.params["a"][0].detach().numpy()
    for step in range(3):
        for batch in batches:
            given = np.random.default_rng(step).normal(size=(batch, 40)).astype("f")
            expected = given.astype("d") @ weight.astype("d").T
            with torch.no_grad():
                for _ in range(2):
                    found = net({"data": given})
                    assert all(np.abs(blob.numpy() - expected).max() < 1e-5 for blob in found.values())
        weight[step, 3:9] = step + 2
        weight[[5, 6]] = weight[[6, 5]]
    net.params["a"][0].data = torch.ones(30, 40)
    with torch.no_grad():
        found = net({"data": given})
    assert all(np.abs(b.numpy() - given.sum(1, dtype="d")[:, None]).max() < 1e-4 for b in found.values())


KINDS: dict[str, Callable[[torch.Tensor], object]] = {
    "as before": lambda blob: blob.clone(),
    "with a gradient": lambda blob: blob.clone().requires_grad_(),
    "channels last": lambda blob: blob.to(memory_format=torch.channels_last),
    "a view": lambda blob: torch.stack([blob, blob], 4)[..., 1],
    "float64": lambda blob: blob.double(),
    "an array": lambda blob: blob.numpy(),
    "a parameter": lambda blob: torch.nn.Parameter(blob),
}


@pytest.mark.parametrize("channels", [3, 16])
@pytest.mark.parametrize("scale", [-0.7, 0])
def test_a_product_by_a_number_behind_a_window(scale: float, channels: int, tmp_path: Path, runs: list[int]) -> None:
    model, weights = write_net(
        'layer { name: "data" type: "Input" top: "data" input_param { '
        f"shape {{ dim: 2 dim: {channels} dim: 8 dim: 8 }} }} }}"
        'layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 16 '
        'kernel_size: 3 weight_filler { type: "msra" } } }'
        'layer { name: "max" type: "Pooling" bottom: "data" top: "max" pooling_param { kernel_size: 1 stride: 2 } }'
        f'layer {{ name: "by" type: "Power" bottom: "max" top: "by" power_param {{ scale: {scale} }} }}'
        f'layer {{ name: "on" type: "Power" bottom: "conv" top: "on" power_param {{ scale: {scale} shift: 2 }} }}',
        tmp_path,
    )
    net, plain = Net(model, proto.TEST, weights, engine="onnxruntime"), Net(model, proto.TEST, weights)
    data = torch.randn(2, channels, 8, 8)
    data[0, 0] *= 1e30
    with torch.no_grad():
        got, expected = ({name: top.numpy() for name, top in one({"data": data}).items()} for one in (net, plain))
    assert runs
    assert not net.execution.engine.reason  # type: ignore[union-attr]
    assert {name: top.shape for name, top in got.items()} == {"by": (2, channels, 4, 4), "on": (2, 16, 6, 6)}
    assert same(got, expected)
    np.testing.assert_array_equal(got["by"], expected["by"])


MINUS = "".join(
    f'layer {{ name: "{n}" type: "Input" top: "{n}" input_param {{ shape {{ dim: 2 dim: 3 dim: 4 dim: 4 }} }} }}'
    for n in "ab"
) + (
    'layer { name: "m" type: "Eltwise" bottom: "b" bottom: "a" top: "m" eltwise_param { coeff: 1 coeff: -2 } }'
    'layer { name: "s" type: "InnerProduct" bottom: "m" top: "s" inner_product_param { num_output: 2 '
    'bias_term: false weight_filler { type: "constant" value: 0.5 } } }'
)


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_of_every_kind_and_order_give_the_same(kind: str, tmp_path: Path, runs: list[int]) -> None:
    model, _ = write_net(MINUS, tmp_path)
    net = Net(model, proto.TEST, engine="onnxruntime")
    a, b = (torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    expected = (b.double().numpy() - 2 * a.double().numpy()).sum((1, 2, 3))[:, None] / 2
    with torch.no_grad():
        for given in ({"a": a, "b": b}, {"b": b, "a": a}, {"b": KINDS[kind](b), "a": KINDS[kind](a)}):
            for _ in range(2):
                (found,) = net(given).values()
                assert np.abs(found.numpy() - expected).max() < 1e-5
        assert len(runs) == 6
        with pytest.raises(LayerError, match="takes the inputs a, b"):
            net({"a": a, "c": b})
        with pytest.raises(LayerError, match="takes the inputs a, b"):
            net({"a": a})
    assert net({"a": a, "b": b})["s"].requires_grad  # from torch
    assert len(runs) == 6


def test_what_one_pass_gave_stays_after_the_next(tmp_path: Path) -> None:
    model, _ = write_net(MINUS, tmp_path)
    net = Net(model, proto.TEST, engine="onnxruntime")
    with torch.no_grad():
        found = [net({"a": torch.full((2, 3, 4, 4), float(i)), "b": torch.zeros(2, 3, 4, 4)})["s"] for i in range(4)]
    assert [blob.tolist() for blob in found] == [[[-48.0 * i] * 2] * 2 for i in range(4)]


@pytest.mark.parametrize("watched", [True, False])
def test_threads_share_a_net(watched: bool, tmp_path: Path, runs: list[int]) -> None:
    net, plain = tiny(tmp_path, watched=watched), Net(*_files(tmp_path))
    given = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        expected = [plain({"data": given * i})["prob"].numpy() for i in range(4)]
        net({"data": given})
    wrong: list[int] = []

    def work(i: int) -> None:
        with torch.no_grad():
            for _ in range(200):
                if np.abs(net({"data": given * i})["prob"].numpy() - expected[i]).max() > 1e-5:
                    wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(runs) == 801


def test_inputs_with_a_negative_bit(tmp_path: Path) -> None:
    model, _ = write_net(
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 1 } } }'
        'layer { name: "y" type: "Power" bottom: "data" top: "z" power_param { shift: 1 } }'
        'layer { name: "w" type: "InnerProduct" bottom: "z" top: "y" inner_product_param { num_output: 1 '
        'weight_filler { type: "constant" value: 2 } } }',
        tmp_path,
    )
    net = Net(model, proto.TEST, engine="onnxruntime")
    given = torch.tensor([[3 + 4j]]).conj().imag
    assert given.is_neg()
    with torch.no_grad():
        assert [float(net({"data": given})["y"]) for _ in range(3)] == [-6.0] * 3


def test_blobs_between_come_from_torch_unless_they_were_named(tmp_path: Path, runs: list[int]) -> None:
    net, plain = tiny(tmp_path), Net(*_files(tmp_path))
    assert same(passed(net, keep=("up", "conv")), passed(plain, keep=("up", "conv")))
    assert not runs
    net.use_engine("onnxruntime", keep=["up"])
    assert same(passed(net, keep=("up",)), passed(plain, keep=("up",)))
    assert same(passed(net), passed(plain))
    assert len(runs) == 2


def test_gradients_come_from_torch(tmp_path: Path, runs: list[int]) -> None:
    net = tiny(tmp_path)
    top = net({"data": torch.ones(1, 3, 8, 8)})["prob"]
    top[0, 0].backward()
    assert net.params["conv"][0].grad is not None
    assert not runs


PYTHON = """
import numpy as np
import caffe

class Clipped(caffe.Layer):
    def setup(self, bottom, top): pass
    def reshape(self, bottom, top): top[0].reshape(*bottom[0].data.shape)
    def forward(self, bottom, top): top[0].data[...] = np.clip(bottom[0].data, -0.1, 0.1)
    def backward(self, top, propagate_down, bottom): pass
"""


def test_a_layer_that_is_python_code_and_what_follows_it_stay_in_torch(
    tmp_path: Path, runs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "clipped_here.py").write_text(PYTHON)
    monkeypatch.syspath_prepend(str(tmp_path))
    code = 'layer { name: "py" type: "Python" bottom: "conv" top: "py" '
    code += 'python_param { module: "clipped_here" layer: "Clipped" } }\nlayer { name: "up" '
    text = TINY.replace('layer { name: "up" ', code, 1).replace('bottom: "conv" top: "up"', 'bottom: "py" top: "up"')
    (tmp_path / "net.prototxt").write_text(text)
    net = filled(tmp_path / "net.prototxt")
    expected = passed(net)
    net.use_engine("onnxruntime")
    assert same(passed(net), expected)
    assert same(passed(net), expected)
    (running,) = net.execution.engine._running.values()  # type: ignore[union-attr]
    assert running is not None
    assert [op.layers[0].name for op in running.ops[:3]] == ["conv", "py", "up"]
    assert [isinstance(op.run, Session) for op in running.ops[:3]] == [True, False, False]
    assert len(runs) == 2


def test_numbers_that_are_not_torchs_are_not_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Session._run
    monkeypatch.setattr(Session, "_run", lambda self, bottoms: tuple(top * 1.001 for top in right(self, bottoms)))
    net, plain = tiny(tmp_path), Net(*_files(tmp_path))
    for _ in range(3):
        assert same(passed(net), passed(plain))
    assert "differ" in net.execution.engine.reason  # type: ignore[union-attr]


def test_short_work_runs_in_torch(tmp_path: Path, runs: list[int]) -> None:
    net = tiny(tmp_path, passes=5)
    for _ in range(5):
        passed(net)
    assert not runs


def test_long_work_runs_in_onnx_runtime_unless_torch_is_as_fast(tmp_path: Path, runs: list[int]) -> None:
    net = tiny(tmp_path, passes=10**9)
    expected = passed(net)
    assert not runs
    for _ in range(4):
        assert same(passed(net), expected)
    assert len(runs) >= 2


def test_what_cannot_be(tmp_path: Path) -> None:
    model, weights = write_net(TINY, tmp_path)
    with pytest.raises(GraphError, match='no engine "oven"'):
        Net(model, proto.TEST, weights, engine="oven")
    with pytest.raises(GraphError, match="TEST phase"):
        Net(model, proto.TRAIN, weights, engine="onnxruntime")
    with pytest.raises(GraphError, match='no blob "nowhere"'):
        Net(model, proto.TEST, weights).use_engine("onnxruntime", keep=["nowhere"])


SCORED = (
    """
layer { name: "data" type: "DummyData" top: "data" top: "label"
  dummy_data_param { shape { dim: 4 dim: 3 dim: 8 dim: 8 } shape { dim: 4 }
    data_filler { type: "gaussian" std: 1 } data_filler { type: "constant" value: 2 } } }
"""
    + TINY[TINY.index('layer { name: "conv"') : TINY.index('layer { name: "prob"')]
    + """
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc_scale" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "fc_scale" bottom: "label" top: "accuracy" }
"""
)


def test_commands_give_the_same_in_both_engines(
    tmp_path: Path, runs: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    model, weights = write_net(SCORED, tmp_path)
    scored, features = {}, {}
    for engine in ("torch", "onnxruntime"):
        torch.manual_seed(3)
        assert main(["test", model, "--weights", weights, "--iterations", "3", "--engine", engine, "--metrics"]) == 0
        lines = capsys.readouterr().err.splitlines()
        scored[engine] = {
            line.partition("] ")[2].partition(" = ")[0]: float(line.split(" = ")[1].split(" ")[0])
            for line in lines
            if " = " in line
        }
        torch.manual_seed(3)
        to = str(tmp_path / engine)
        assert (
            main(["extract-features", weights, model, "pool,fc", f"{to}_p,{to}_f", "3", "lmdb", "--engine", engine])
            == 0
        )
        capsys.readouterr()
        features[engine] = [_rows(f"{to}_{which}") for which in "pf"]
        assert len(runs) == (0 if engine == "torch" else 3 + 3)
    assert scored["torch"].keys() == scored["onnxruntime"].keys()
    for name, value in scored["torch"].items():
        assert scored["onnxruntime"][name] == pytest.approx(value, rel=1e-4), name
    for first, second in zip(*features.values(), strict=True):
        assert first.shape[0] == 12
        assert np.abs(first - second).max() <= 1e-5 * np.abs(first).max()


def _rows(path: str) -> np.ndarray:
    with lmdb.open(path, readonly=True) as env, env.begin() as view:
        return np.array([list(proto.Datum.FromString(value).float_data) for _, value in view.cursor()])
