"""A recorded step trains as the plain one does. Here recording is calling again; tests/gpu has the real graphs."""

from __future__ import annotations

import pytest
import torch

import sdcaffe
from sdcaffe import layers, proto
from sdcaffe.errors import LayerError
from sdcaffe.solver.captured import WARM_UP, CapturedStep, refusal

NET = """
name: "small"
layer { name: "data" type: "Data" top: "image" top: "label"
  data_param { source: "synthetic:train" batch_size: 4 shuffle: true } }
layer { name: "distort" type: "Distort" bottom: "image" top: "x"
  distort_param { pad: 2 mirror: true mean_value: 127 std_value: 64 } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "y" param { lr_mult: 2 } param { decay_mult: 0 }
  convolution_param { num_output: 3 kernel_size: 5 stride: 4 weight_filler { type: "msra" } } }
layer { name: "bn" type: "BatchNorm" bottom: "y" top: "y" }
layer { name: "drop" type: "Dropout" bottom: "y" top: "y" }
layer { name: "fc" type: "InnerProduct" bottom: "y" top: "z"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "z" bottom: "label" top: "loss" }
"""
ITERATIONS = WARM_UP + 6


def make_solver(text="", net=NET):
    layers.discover()
    param = proto.SolverParameter()
    head = "base_lr: 0.05 solver_mode: CPU random_seed: 5 snapshot_after_train: false weight_decay: 0.01 "
    policy = "lr_policy: 'multistep' gamma: 0.5 stepvalue: 4 stepvalue: 7 "
    proto.text.parse(head + policy + text, param, "solver.prototxt")
    proto.text.parse(net, param.net_param, "net.prototxt")
    return sdcaffe.Solver(param, device="cpu")


def call_again(work):
    return work


def train(solver, recorder=None):
    """The loss of each iteration, then every parameter, blob and history."""
    if recorder is not None:
        solver.step_once = CapturedStep(solver.work, torch.device("cpu"), recorder)
    losses = []
    for _ in range(ITERATIONS):
        solver.step(1)
        losses.append(solver.losses[-1])
    return [*losses, *solver.net.parameters(), *solver.update.history]


@pytest.mark.parametrize(
    "text",
    [
        "type: 'SGD' momentum: 0.9",
        "type: 'Nesterov' momentum: 0.9 iter_size: 2",
        "type: 'AdaGrad'",
        "type: 'RMSProp'",
        "type: 'AdaDelta' momentum: 0.9",
        "type: 'Adam' momentum: 0.9",
        "type: 'AdamW' momentum: 0.9 ema_decay: 0.5 warmup_iter: 4",
        "type: 'SGD' momentum: 0.9 clip_gradients: 0.5 regularization_type: 'L1'",
    ],
)
def test_a_recorded_step_trains_as_the_plain_one(text):
    plain, recorded = train(make_solver(text)), train(make_solver(text), call_again)
    for a, b in zip(plain, recorded, strict=True):
        torch.testing.assert_close(b, a, rtol=0, atol=0)


@pytest.mark.parametrize("mechanism", ["adversarial", "mixup"])
def test_branches_made_in_the_net_train_recorded_as_they_do_plain(mechanism):
    net = sdcaffe.read_net(f"prototxt/cifar100/resnet32/train_val_{mechanism}.prototxt")
    for layer in net.layer:
        if layer.type == "Data":
            layer.data_param.source = "synthetic:train"
            layer.data_param.batch_size = 2
    assert refusal(make_solver(net=str(net)).net, torch.device("cuda")) is None
    results = [train(make_solver("momentum: 0.9", str(net)), recorder) for recorder in (None, call_again)]
    for plain, recorded in zip(*results, strict=True):
        torch.testing.assert_close(recorded, plain, rtol=0, atol=0)


def test_it_is_recorded_once_after_the_warm_up_and_then_only_replayed():
    calls = []

    def recorder(work):
        calls.append("recorded")

        def replay():
            calls.append("replayed")
            return work()

        return replay

    train(make_solver(), recorder)
    assert calls == ["recorded"] + ["replayed"] * (ITERATIONS - WARM_UP)


@pytest.mark.parametrize("error", [RuntimeError, LayerError])  # torch's own, and what becomes of it in a plugin's layer
def test_what_cannot_be_recorded_runs_as_it_is_and_the_log_says_why(caplog, error):
    def recorder(work):
        raise error("operation not permitted when stream is capturing\nand more")

    plain = train(make_solver())
    with caplog.at_level("WARNING", "sdcaffe"):
        recorded = train(make_solver(), recorder)
    for a, b in zip(plain, recorded, strict=True):
        torch.testing.assert_close(b, a, rtol=0, atol=0)
    assert caplog.messages == [
        "The training step is not recorded as a CUDA graph: operation not permitted when stream is capturing"
    ]


def test_a_batch_of_another_shape_runs_as_it_is():
    solver = make_solver()
    step = CapturedStep(solver.work, torch.device("cpu"), call_again)
    batch = solver.net.load()
    for _ in range(WARM_UP + 1):
        step([batch], 0.1)
    halves = {slot: tensor[:2] for slot, tensor in batch.items()}
    before = solver.net.params["fc"][0].clone()
    step([halves], 0.1)
    assert not torch.equal(solver.net.params["fc"][0], before)
    assert torch.isfinite(step([batch], 0.1).loss)


def test_a_loss_weight_that_changes_counts_in_a_recorded_step():
    changed = make_solver()
    changed.step_once = CapturedStep(changed.work, torch.device("cpu"), call_again)
    changed.step(WARM_UP + 2)
    before = [p.clone() for p in changed.net.parameters() if p.requires_grad]
    changed.net.set_loss_weight("loss", 0)
    changed.param.weight_decay = 0
    changed.step(1)
    for a, b in zip(before, (p for p in changed.net.parameters() if p.requires_grad), strict=True):
        assert torch.equal(a, b)


def test_why_a_net_is_not_recorded(tmp_path, monkeypatch):
    (tmp_path / "identity_layer.py").write_text(
        "import caffe\nclass Identity(caffe.Layer):\n    def setup(self, bottom, top): pass\n"
        "    def reshape(self, bottom, top): top[0].reshape(*bottom[0].shape)\n"
        "    def forward(self, bottom, top): top[0].data[...] = bottom[0].data\n"
        "    def backward(self, top, down, bottom): bottom[0].diff[...] = top[0].diff\n"
    )
    monkeypatch.chdir(tmp_path)
    layer = 'layer { name: "same" type: "Python" bottom: "z" top: "s" '
    layer += 'python_param { module: "identity_layer" layer: "Identity" } }\nlayer { name: "loss"'
    net = NET.replace('layer { name: "loss"', layer).replace(
        'bottom: "z" bottom: "label"', 'bottom: "s" bottom: "label"'
    )
    gpu = torch.device("cuda")
    assert refusal(make_solver(net=net).net, gpu) == 'the shapes of layer "same" (Python) depend on the data'
    assert refusal(make_solver().net, gpu) is None
    assert refusal(make_solver().net, torch.device("cpu")) == "there is no GPU to record for"
