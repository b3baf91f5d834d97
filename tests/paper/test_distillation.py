"""SelfDistillation, kl and mmd in plain PyTorch: against float64 numpy, against the layers, and in users' loops."""

from __future__ import annotations

import copy
import gc
import os
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from test_branch_losses import branches, divergence, make, run, softened
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from sdcaffe.paper import SelfDistillation, kl, mmd

SLOPES = {"printed": lambda t: 1.0, "exact": lambda t: 1 / t, "hinton": lambda t: t}


def net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 6),
        nn.ReLU(),
        nn.Linear(6, 5),
    )


def views(n: int = 4, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return (
        torch.rand(n, 3, 8, 8, generator=random),
        torch.rand(n, 3, 8, 8, generator=random),
        torch.randint(5, (n,), generator=random),
    )


@pytest.mark.parametrize("convention", SLOPES)
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_kl_is_equation_3_both_ways_with_the_gradient_asked_for(convention, temperature):
    a, b = branches(6, 5, spread=3)
    pa, pb = softened(a, temperature), softened(b, temperature)
    inputs = [torch.from_numpy(x).requires_grad_() for x in (a, b)]
    value = kl(*inputs, temperature=temperature, gradient=convention)
    value.backward()
    times = temperature**2 if convention == "hinton" else 1
    np.testing.assert_allclose(value.item(), times * (divergence(pb, pa) + divergence(pa, pb)), rtol=1e-10)
    expected = SLOPES[convention](temperature) * (pa - pb) / 6
    np.testing.assert_allclose(inputs[0].grad.numpy(), expected, rtol=1e-10, atol=1e-15)
    np.testing.assert_allclose(inputs[1].grad.numpy(), -expected, rtol=1e-10, atol=1e-15)


def test_the_functions_are_the_layers():
    a, b = branches(6, 5, dtype=np.float32)
    for function, layer in ((lambda *x: kl(*x, gradient="hinton"), "kl_loss_param { gradient: HINTON }"), (mmd, "")):
        inputs = [torch.from_numpy(x).requires_grad_() for x in (a, b)]
        value = function(*inputs)
        (2 * value).backward()
        ours = (value.detach().numpy(), *(x.grad.numpy() for x in inputs))
        for one, other in zip(ours, run(make("KLLoss" if layer else "MMDLoss", layer), a, b, weight=2), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)


def test_a_step_is_equation_5_on_both_views_as_one_batch():
    model, (a, b, labels) = net().double(), views()
    a, b = a.double(), b.double()
    distilled = SelfDistillation(model, temperature=2.0, lambda_=0.5, mu=0.25, gradient="exact")
    value = distilled.criterion(a, b, labels)
    with torch.no_grad():
        logits = [model(view).numpy() for view in (a, b)]
        features = [model[:6](view).numpy() for view in (a, b)]
    n = np.arange(4)
    entropy = sum(-np.log(softened(z, 1.0)[n, labels.numpy()]).mean() for z in logits)
    pa, pb = (softened(z, 2.0) for z in logits)
    between = divergence(pb, pa) + divergence(pa, pb)
    distance = ((features[0].mean(0) - features[1].mean(0)) ** 2).sum()
    seen = [x.item() for x in (value.cross_entropy, value.kl, value.mmd, value.loss)]
    np.testing.assert_allclose(seen, [entropy, between, distance, entropy + 0.5 * between + 0.25 * distance], rtol=1e-9)
    np.testing.assert_allclose(value.logits_b.detach().numpy(), logits[1], rtol=1e-12)


def test_a_feature_is_a_submodule_s_output_and_by_default_what_the_last_linear_reads():
    a, b, labels = views()
    default = SelfDistillation(net(), mu=1).criterion(a, b, labels)
    named = SelfDistillation(net(), feature="5", mu=1).criterion(a, b, labels)
    other = SelfDistillation(net(), feature="3", mu=1).criterion(a, b, labels)
    assert named.mmd.item() == default.mmd.item()
    assert other.mmd.item() != default.mmd.item()
    pooled = net()[2:4](net()[:2](a)), net()[2:4](net()[:2](b))
    torch.testing.assert_close(other.mmd, (pooled[0].mean(0) - pooled[1].mean(0)).square().sum())


def test_in_eval_and_with_images_alone_it_is_the_model():
    model, (a, b, labels) = net(), views()
    distilled = SelfDistillation(model)
    for mode in (True, False):
        distilled.train(mode)
        assert torch.equal(distilled(a), model(a))
    assert all(key.startswith("model.") for key in distilled.state_dict())
    assert {key.removeprefix("model.") for key in distilled.state_dict()} == set(model.state_dict())
    distilled.train()
    assert distilled(a, b, labels).loss.item() == distilled.criterion(a, b, labels).loss.item()
    assert SelfDistillation(model, lambda_=0, mu=0).criterion(a, b, labels).kl.item() == 0


def gradients(step) -> list[torch.Tensor]:
    model = net()
    step(model).backward()
    return [parameter.grad for parameter in model.parameters()]


def test_gradients_add_up_over_parts_of_a_step():
    a, b, labels = views(8)
    whole = gradients(lambda model: SelfDistillation(model, lambda_=0, mu=0).criterion(a, b, labels).loss)

    def parts(model):
        distilled = SelfDistillation(model, lambda_=0, mu=0)
        (distilled.criterion(a[:4], b[:4], labels[:4]).loss / 2).backward()
        return distilled.criterion(a[4:], b[4:], labels[4:]).loss / 2

    for one, other in zip(whole, gradients(parts), strict=True):
        torch.testing.assert_close(one, other)


def test_autocast_keeps_the_losses_in_float32():
    a, b, labels = views()
    full = SelfDistillation(net(), mu=1).criterion(a, b, labels)
    with torch.autocast("cpu", torch.bfloat16):
        distilled = SelfDistillation(net(), mu=1)
        value = distilled.criterion(a, b, labels)
    assert value.logits_a.dtype == torch.bfloat16
    assert {x.dtype for x in (value.loss, value.kl, value.mmd)} == {torch.float32}
    value.loss.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in distilled.parameters())
    torch.testing.assert_close(value.loss, full.loss, rtol=0.02, atol=0)


@pytest.mark.parametrize("inside", [True, False])
def test_compiled_it_gives_the_same(inside):
    a, b, labels = views()
    expected = gradients(lambda model: SelfDistillation(model, mu=1).criterion(a, b, labels).loss)

    def step(model):
        if inside:
            return SelfDistillation(torch.compile(model, backend="eager"), mu=1).criterion(a, b, labels).loss
        return torch.compile(SelfDistillation(model, mu=1), backend="eager")(a, b, labels).loss

    for one, other in zip(expected, gradients(step), strict=True):
        torch.testing.assert_close(one, other)


def test_copies_watch_their_own_model():
    a, b, labels = views()
    first = SelfDistillation(net(), mu=1)
    second = copy.deepcopy(first)
    with torch.no_grad():
        second.model[4].weight.zero_()
        second.model[4].bias.zero_()
    assert second.criterion(a, b, labels).mmd.item() == 0
    assert first.criterion(a, b, labels).mmd.item() > 0


def gradient_of_a_part(rank: int, outside: bool) -> list[torch.Tensor]:
    a, b, labels = (tensor[4 * rank : 4 * rank + 4] for tensor in views(8))
    model = net()
    if outside:
        trained = DistributedDataParallel(SelfDistillation(model, lambda_=0, mu=1))
        loss = trained(a, b, labels).loss
    else:
        trained = SelfDistillation(DistributedDataParallel(model), lambda_=0, mu=1)
        loss = trained.criterion(a, b, labels).loss
    loss.backward()
    return [parameter.grad for parameter in model.parameters()]


def one_of_two(rank: int, port: int, folder: str) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), OMP_NUM_THREADS="1")
    dist.init_process_group("gloo", rank=rank, world_size=2)
    gradients = [gradient_of_a_part(rank, outside) for outside in (True, False)]
    if rank == 0:
        torch.save(gradients, f"{folder}/gradients.pt")
    del gradients
    gc.collect()  # what refers to the group would outlive it
    dist.barrier()  # nobody leaves while the other still talks to it
    dist.destroy_process_group()
    left = {name for name in threads() if "gloo" in name}
    assert not left, f"threads of the group are left, and can abort the interpreter's end: {left}"


def threads() -> list[str]:
    """What this process's threads are called, where Linux says it."""
    return [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]


def test_two_processes_give_the_gradient_of_the_whole_batch(tmp_path):
    """With DistributedDataParallel around the training, and around the model in it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(one_of_two, args=(port, str(tmp_path)), nprocs=2)
    seen = torch.load(tmp_path / "gradients.pt", weights_only=True)
    expected = gradients(lambda model: SelfDistillation(model, lambda_=0, mu=1).criterion(*views(8)).loss)
    for found in seen:
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


class Head(nn.Module):
    """Two Linears, one of them shared and called twice, the last one by name: as heads of strangers' models are."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.scores = nn.Linear(12, 12), nn.Linear(12, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.scores(input=self.body(self.body(images.mean((2, 3)).repeat(1, 4)).relu()).relu())


def test_the_feature_is_what_the_last_linear_was_given_by_name_too():
    model, (a, b, labels) = Head().double(), views()
    value = SelfDistillation(model, mu=1).criterion(a.double(), b.double(), labels)
    w, bias = (tensor.detach().numpy() for tensor in (model.body.weight, model.body.bias))
    features = []
    for view in (a, b):
        hidden = np.tile(view.double().numpy().mean((2, 3)), 4)
        for _ in range(2):
            hidden = np.maximum(hidden @ w.T + bias, 0)
        features.append(hidden.mean(0))
    np.testing.assert_allclose(value.mmd.item(), ((features[0] - features[1]) ** 2).sum(), rtol=1e-9)


class Pair(nn.Module):
    def forward(self, images):
        return images, images


def test_what_makes_no_sense_is_told():
    a, b, labels = views()
    for model, settings, words in (
        (net(), {"feature": "4x"}, 'submodule of the model "4x"'),
        (net()[:4], {}, "no nn.Linear"),
        (net(), {"mu": -1}, "mu must be"),
        (net(), {"temperature": 0}, "temperature must be"),
        (net(), {"gradient": "paper"}, "gradient must be"),
    ):
        with pytest.raises(ValueError, match=words):
            SelfDistillation(model, **settings)
    for distilled, given, words in (
        (SelfDistillation(net()), (a, b[:3], labels), "two views of one shape"),
        (SelfDistillation(Pair(), mu=0), (a, b, labels), r"must give logits \(8, K\), not tuple"),
        (SelfDistillation(net()[:3], mu=0), (a, b, labels), r"not \(8, 4, 2, 2\)"),
        (SelfDistillation(net()).eval(), (a, b, labels), "call train"),
    ):
        with pytest.raises(ValueError, match=words):
            distilled.criterion(*given)
    with pytest.raises(ValueError, match="one shape"):
        mmd(a, b[:2])
    with pytest.raises(ValueError, match="one shape"):
        kl(a, b)
