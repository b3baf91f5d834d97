"""Training on a GPU: a recorded step against the plain one, precisions, resume. Skipped where there is no GPU."""

from __future__ import annotations

import pytest
import torch

import sdcaffe
from sdcaffe import proto
from sdcaffe.solver.captured import WARM_UP, CapturedStep

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
ITERATIONS = WARM_UP + 10


@pytest.fixture(autouse=True)
def deterministic(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def make_solver(mechanism="self_distilled", **fields):
    param = sdcaffe.read_solver(f"prototxt/quickstart/solver_{mechanism}.prototxt")
    for field in ("test_iter", "test_interval", "display", "snapshot"):
        param.ClearField(field)
    param.snapshot_after_train = False
    for name, value in fields.items():
        setattr(param, name, value)
    return sdcaffe.Solver(param, device="cuda")


def train(solver, iterations=ITERATIONS):
    losses = []
    for _ in range(iterations):
        solver.step(1)
        losses.append(solver.losses[-1])
    return [*losses, *solver.net.parameters(), *solver.update.history]


@pytest.mark.parametrize("fields", [{}, {"iter_size": 2}, {"clip_gradients": 1.0}, {"type": "Adam"}])
def test_a_recorded_step_trains_as_the_plain_one(fields):
    recorded = make_solver(**fields)
    assert isinstance(recorded.step_once, CapturedStep)
    mine = train(recorded)
    assert recorded.step_once._replay is not None
    plain = make_solver(**fields)  # made now: making a solver seeds the generators, which all solvers draw from
    plain.step_once = lambda batches, rate: plain.work(batches, torch.tensor(rate, device="cuda"))
    for a, b in zip(mine, train(plain), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_a_gpu_trains_as_the_cpu_does():
    param = sdcaffe.read_solver("prototxt/quickstart/solver_baseline.prototxt")
    net = sdcaffe.read_net(param.net)
    for layer in net.layer:
        if layer.type == "Distort":
            layer.distort_param.mirror = False  # the two devices draw differently
            layer.distort_param.pad = 0
    for field in ("net", "test_iter", "test_interval"):
        param.ClearField(field)
    param.net_param.CopyFrom(net)
    param.base_lr = 0.01
    losses = {}
    for device in ("cpu", "cuda"):
        solver = sdcaffe.Solver(param, device=device)
        losses[device] = [float(loss) for loss in train(solver, 8)[:8]]
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=1e-3)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_lower_precision_trains_close_by(precision):
    exact, rough = make_solver("baseline"), make_solver("baseline", precision=precision)
    first = [float(loss) for loss in train(exact, 5)[:5]]
    assert [float(loss) for loss in train(rough, 5)[:5]] == pytest.approx(first, rel=0.05)


def test_a_run_resumes_where_it_was(tmp_path):
    whole = make_solver(snapshot_prefix=str(tmp_path / "whole"))
    train(whole, 12)
    first = make_solver(snapshot_prefix=str(tmp_path / "part"))
    train(first, 6)
    state = first.snapshot()
    second = make_solver(snapshot_prefix=str(tmp_path / "part"))
    second.restore(state)
    train(second, 6)
    for a, b in zip(whole.net.parameters(), second.net.parameters(), strict=True):
        torch.testing.assert_close(b, a, rtol=0, atol=0)


def test_a_layer_that_asks_for_values_runs_unrecorded_and_the_log_says_why(caplog):
    @sdcaffe.register("Asking")
    class Asking(sdcaffe.Layer):
        def setup(self, bottom_shapes):
            return bottom_shapes

        def forward(self, bottom):
            return bottom * abs(bottom.sum().item())

    net = proto.NetParameter()
    text = """
    layer { name: "x" type: "DummyData" top: "x" dummy_data_param { shape { dim: 4 dim: 1 } data_filler { value: 2 } } }
    layer { name: "fc" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 1 } }
    layer { name: "ask" type: "Asking" bottom: "y" top: "z" }
    layer { name: "loss" type: "EuclideanLoss" bottom: "z" bottom: "x" top: "loss" }"""
    proto.text.parse(text, net, "net.prototxt")
    param = proto.SolverParameter(base_lr=0.1, lr_policy="fixed", snapshot_after_train=False)
    param.net_param.CopyFrom(net)
    solver = sdcaffe.Solver(param, device="cuda")
    with caplog.at_level("WARNING", "sdcaffe"):
        train(solver)
    assert any("is not recorded as a CUDA graph" in message for message in caplog.messages)
    assert torch.isfinite(solver.losses[-1])
