"""Ways to train with a second network or a second tower, on nets small enough to run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from recipe_nets import FILES, built, parsed, without_data

from sdcaffe import Net, Solver, proto
from sdcaffe.errors import WeightsError
from sdcaffe.paper.datasets import CIFAR100, SYNTHETIC
from sdcaffe.paper.mechanisms import Baseline, MuByStage, SeparateBranches, TwoBranches, mu_stage
from sdcaffe.paper.networks.resnet import ResNet
from sdcaffe.paper.networks.wide_resnet import WideResNet
from sdcaffe.paper.recipes import MUS, RECIPES
from sdcaffe.paper.teaching import Peer, Teacher

STUDENT = ResNet(8, 10, width=4)
SEPARATE = SeparateBranches("separate", "separate", kl_weight=1, mmd_weight=0.0005)
JOINT = TwoBranches("joint", "joint", kl_weight=1, mmd_weight=0.0005)


def batch(n: int, seed: int = 0) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {"image": 255 * torch.rand(n, 3, 32, 32, generator=random), "label": torch.arange(n) % 10}


def set_statistics(net: Net) -> None:
    """Statistics as after training: mean 0, variance 1, collected once."""
    for name, blobs in net.params.items():
        if name.endswith("_bn"):
            for blob, value in zip(blobs, (0, 1, 1), strict=True):
                blob.data.fill_(value)


def on_one_branch(net: Net, data: torch.Tensor) -> Net:
    """The baseline's network with the parameters of `net` but fresh statistics, run on one branch in training."""
    text = Baseline().train_val(STUDENT, SYNTHETIC, len(data))
    param = without_data(parsed(text), proto.TRAIN, len(data))
    distort = next(layer for layer in param.layer if layer.type == "Distort")
    distort.type = "Power"
    distort.ClearField("distort_param")
    one = Net(param, proto.TRAIN)
    for name, blobs in one.params.items():
        if not name.endswith("_bn"):
            for blob, value in zip(blobs, net.params[name], strict=True):
                blob.data.copy_(value.data)
    one.feature_and_logits = one.compute(
        one.feed({"image": data, "label": torch.zeros(len(data))}), keep=("pool", "fc")
    ).blobs
    return one


def test_separate_branches_share_every_parameter_and_no_batch_statistics():
    torch.manual_seed(0)
    net = built(SEPARATE.train_val(STUDENT, SYNTHETIC, 4), proto.TRAIN, batch=4)
    fresh = {name: [b.clone() for b in blobs] for name, blobs in net.params.items()}
    kept = net.compute(net.feed(batch(4)), keep=("data", "data_b", "pool", "b_pool", "fc", "b_fc"))
    a, b = (on_one_branch(net, kept.blobs[name].detach()) for name in ("data", "data_b"))
    for one, prefix in ((a, ""), (b, "b_")):
        for name in ("pool", "fc"):
            torch.testing.assert_close(kept.blobs[prefix + name], one.feature_and_logits[name])
    for name, blobs in net.params.items():
        if not name.startswith("b_"):
            assert all(x is y for x, y in zip(blobs, net.params[f"b_{name}"], strict=True))
        if name.endswith("_bn") and not name.startswith("b_"):
            for before, blob, of_a, of_b in zip(fresh[name], blobs, a.params[name], b.params[name], strict=True):
                assert not before.any()
                torch.testing.assert_close(blob.data, 0.999 * of_a.data + of_b.data)
    single = built(Baseline().train_val(STUDENT, SYNTHETIC, 4), proto.TRAIN)
    assert len(net.learnable) == len(single.learnable)
    kept.loss.backward()
    assert all(p.tensor.grad is not None and p.tensor.grad.any() for p in net.learnable if p.lr_mult)


def test_joint_branches_are_normalised_as_one_batch():
    torch.manual_seed(0)
    net = built(JOINT.train_val(STUDENT, SYNTHETIC, 4), proto.TRAIN, batch=4)
    blobs = net.compute(net.feed(batch(4)), keep=("data", "fc", "logits_a", "logits_b")).blobs
    whole = on_one_branch(net, blobs["data"].detach()).feature_and_logits["fc"]
    torch.testing.assert_close(blobs["fc"], whole)
    torch.testing.assert_close(torch.cat([blobs["logits_a"], blobs["logits_b"]]), whole)
    half = on_one_branch(net, blobs["data"][:4].detach()).feature_and_logits["fc"]
    assert (blobs["logits_a"] - half).abs().max() > 1e-3


def test_separate_branches_are_tested_by_branch_a_alone():
    text = SEPARATE.train_val(STUDENT, SYNTHETIC, 4)
    test = built(text, proto.TEST)
    assert not [name for name in test.layers if name.startswith("b_")]
    train = built(text, proto.TRAIN)
    shared = Net(without_data(parsed(text), proto.TEST), proto.TEST, share=train)
    assert all(p is q for name in shared.params for p, q in zip(shared.params[name], train.params[name], strict=True))


@pytest.mark.parametrize("mu", MUS)
def test_a_stage_chooses_mu(mu):
    text = MuByStage("mu", "mu", kl_weight=1, mmd_weight=mu, among=MUS).train_val(STUDENT, SYNTHETIC, 4)
    assert built(text, proto.TRAIN, stages=(mu_stage(mu),)).loss_weights["mmd"] == pytest.approx(mu)
    assert "mmd" not in built(text, proto.TRAIN).loss_weights
    solver = parsed_solver(f"prototxt/cifar100/resnet32/solver_mu_{mu}.prototxt")
    assert list(solver.train_state.stage) == [mu_stage(mu)]


def parsed_solver(name: str):
    solver = proto.SolverParameter()
    proto.text.parse(FILES[name], solver, name)
    return solver


def solver_of(text: str, folder, weights: str | None = None) -> Solver:
    (folder / "net.prototxt").write_text(text)
    lines = [f'net: "{folder}/net.prototxt"', 'type: "Nesterov" base_lr: 0.01 lr_policy: "fixed" momentum: 0.9']
    lines += ["max_iter: 2 random_seed: 1 weight_decay: 0.001", f'snapshot_prefix: "{folder}/run"']
    lines += [f'weights: "{weights}"'] if weights else []
    (folder / "solver.prototxt").write_text("\n".join(lines))
    return Solver(folder / "solver.prototxt", device="cpu")


def test_a_teacher_teaches_and_stays_as_it_is(tmp_path):
    teacher = WideResNet(10, 1, 10)
    trained = built(Baseline().train_val(teacher, SYNTHETIC, 4), proto.TEST)
    set_statistics(trained)
    trained.save(tmp_path / "teacher.caffemodel")
    text = Teacher("taught", "teacher", teacher).train_val(STUDENT, SYNTHETIC, 4)
    solver = solver_of(text, tmp_path, f"{tmp_path}/teacher.caffemodel")
    student = {name: [b.clone() for b in blobs] for name, blobs in solver.net.params.items()}
    solver.step(2)
    wide = [name for name in solver.net.params if name.startswith("wide")]
    assert set(wide) == set(trained.params)
    for name, blobs in solver.net.params.items():
        for blob, stored, before in zip(blobs, trained.params.get(name, blobs), student[name], strict=True):
            assert torch.equal(blob, stored)
            assert torch.equal(blob, before) == (name in wide) or not blob.requires_grad
    assert not [p for p in solver.net.learnable if p.layer in wide and p.lr_mult]
    net = solver.net
    blobs = net.compute(net.load(), keep=("data", "wide_fc", "fc", "kl")).blobs
    scores = on_teacher(trained, teacher, blobs["data"])
    np.testing.assert_allclose(blobs["wide_fc"].detach().numpy(), scores, rtol=1e-4, atol=1e-5)
    (gradient,) = torch.autograd.grad(blobs["kl"], blobs["fc"])
    z, t = (x.detach().double().div(2).softmax(1) for x in (blobs["fc"], blobs["wide_fc"]))
    torch.testing.assert_close(gradient.double(), 2 * (z - t) / 4, rtol=1e-4, atol=1e-7)  # T (p - q) / n, T = 2
    solver.close()


def on_teacher(trained: Net, teacher: WideResNet, data: torch.Tensor) -> np.ndarray:
    """The teacher's own test net on images that are distorted already."""
    param = without_data(parsed(Baseline().train_val(teacher, SYNTHETIC, 4)), proto.TEST, len(data))
    distort = next(layer for layer in param.layer if layer.type == "Distort")
    distort.type = "Power"
    distort.ClearField("distort_param")
    net = Net(param, proto.TEST, share=trained)
    inputs = {"image": data.detach(), "label": torch.zeros(len(data))}
    return net.forward(inputs, keep=("wide_fc",))["wide_fc"].detach().numpy()


def test_a_teacher_without_its_weights_is_one_clear_error(tmp_path):
    text = Teacher("taught", "teacher", WideResNet(10, 1, 10)).train_val(STUDENT, SYNTHETIC, 4)
    with pytest.raises(WeightsError, match=r"teacher\.caffemodel"):
        solver_of(text, tmp_path, f"{tmp_path}/teacher.caffemodel")


def test_the_paper_s_teacher_is_the_baseline_s_last_snapshot():
    baseline = parsed_solver("prototxt/cifar100/wrn28_10/solver_baseline.prototxt")
    taught = parsed_solver("prototxt/cifar100/resnet32/solver_teacher_wrn28_10.prototxt")
    assert list(taught.weights) == [f"{baseline.snapshot_prefix}_iter_{baseline.max_iter}.caffemodel"]
    for recipe in (recipe for recipe in RECIPES if recipe.teacher):
        assert list(parsed_solver(recipe.solver_file).weights) == [recipe.teacher.weights]


@pytest.mark.parametrize(
    ("peer", "prefix", "top"), [(STUDENT, "peer_", "peer_fc"), (WideResNet(10, 1, 10), "", "wide_fc")]
)
def test_peers_teach_each_other_by_their_own_logits_only(peer, prefix, top):
    torch.manual_seed(0)
    net = built(Peer("with peer", "peer", peer, prefix).train_val(STUDENT, CIFAR100, 4), proto.TRAIN, batch=4)
    result = net.compute(net.feed(batch(4)), keep=("fc", top, "kl"))
    assert set(net.loss_weights) == {"loss", "peer_loss", "kl"}
    z, other = result.blobs["fc"], result.blobs[top]
    to_first, to_second = torch.autograd.grad(result.blobs["kl"], (z, other), retain_graph=True)
    p, q = (x.detach().double().softmax(1) for x in (z, other))
    torch.testing.assert_close(to_first.double(), (p - q) / 4, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(to_second.double(), (q - p) / 4, rtol=1e-4, atol=1e-7)
    expected = ((q * (q / p).log()).sum() + (p * (p / q).log()).sum()) / 4
    assert result.blobs["kl"].item() == pytest.approx(expected.item(), rel=1e-4)
    result.loss.backward()
    assert all(p.tensor.grad.any() for p in net.learnable if p.lr_mult)
    owners = [id(p.tensor) for p in net.learnable]
    assert len(set(owners)) == sum(len(blobs) for blobs in net.params.values())  # nothing is shared
    tested = built(Peer("with peer", "peer", peer, prefix).train_val(STUDENT, CIFAR100, 4), proto.TEST)
    assert set(tested.params) == set(built(Baseline().train_val(STUDENT, CIFAR100, 4), proto.TEST).params)
