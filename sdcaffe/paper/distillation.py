"""The paper's losses and its two branches for a training loop in plain PyTorch. It distorts no images."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from sdcaffe.errors import unknown
from sdcaffe.paper.layers.kl_loss import Gradient, divergence
from sdcaffe.paper.layers.mmd_loss import MeanDiscrepancy

Convention = Literal["printed", "exact", "hinton"]


def kl(logits_a: Tensor, logits_b: Tensor, temperature: float = 3.0, gradient: Convention = "printed") -> Tensor:
    """Eq. 3 both ways, D(pb||pa) + D(pa||pb), mean over n, of logits (n, K); p = softmax(logits / temperature).

    `gradient` is what branch a receives, and b the negative: "printed" (pa - pb) / n as the paper has it, "exact"
    (pa - pb) / (n T), "hinton" T (pa - pb) / n with the value times T^2. A scalar, computed in float32 at least.
    Raises ValueError for shapes that differ and for settings without meaning.
    """
    if logits_a.shape != logits_b.shape or logits_a.dim() != 2:
        raise ValueError(f"two branches have logits of one shape (n, K), not {_shapes(logits_a, logits_b)}")
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature must be a positive number, not {temperature:g}")
    return divergence(_wide(logits_a), _wide(logits_b), temperature, _convention(gradient))


def mmd(feature_a: Tensor, feature_b: Tensor) -> Tensor:
    """Eq. 1, || mean_i a_i - mean_i b_i ||^2, of features (n, ...); the gradient is the one the paper writes out.

    A scalar, computed in float32 at least. In an initialised process group the means are over the batch of all
    processes, whose gradients are then to be averaged, as DistributedDataParallel does. Raises ValueError for shapes
    that differ.
    """
    if feature_a.shape != feature_b.shape or feature_a.dim() < 2:
        raise ValueError(f"two branches have features of one shape (n, ...), not {_shapes(feature_a, feature_b)}")
    loss: Tensor = MeanDiscrepancy.apply(_wide(feature_a).flatten(1), _wide(feature_b).flatten(1))
    return loss


class Value(NamedTuple):
    """What a step is worth: `loss` is Eq. 5, of the weighted sum of the others; logits (n, K) of each branch."""

    loss: Tensor
    cross_entropy: Tensor
    kl: Tensor
    mmd: Tensor
    logits_a: Tensor
    logits_b: Tensor


class SelfDistillation(nn.Module):
    """Trains `model`, a Module that gives logits (N, K), by the paper's Eq. 5 on two distortions of each image.

    `feature` names the submodule whose output is the feature that MMD compares; None takes the input of the last
    nn.Linear that ran. `temperature`, `lambda_` and `mu` are the paper's; a weight of 0 leaves its loss out.
    Called with images alone, in training and in eval, it is the model.

    Among several processes, wrap either: `SelfDistillation(DistributedDataParallel(model))` with `criterion`, or
    `DistributedDataParallel(SelfDistillation(model))` called with both views and labels.

    Raises ValueError for settings without meaning and for a feature that the model does not have.
    """

    def __init__(
        self,
        model: nn.Module,
        feature: str | None = None,
        temperature: float = 3.0,
        lambda_: float = 1.0,
        mu: float = 5e-4,
        gradient: Convention = "printed",
    ) -> None:
        super().__init__()
        for name, weight in (("lambda_", lambda_), ("mu", mu)):
            if not 0 <= weight < float("inf"):
                raise ValueError(f"{name} must be a number, 0 or more, not {weight:g}")
        if not 0 < temperature < float("inf"):
            raise ValueError(f"temperature must be a positive number, not {temperature:g}")
        _convention(gradient)
        self.model = model
        self.feature, self.temperature, self.lambda_, self.mu, self.gradient = (
            feature,
            temperature,
            lambda_,
            mu,
            gradient,
        )
        self._seen: Tensor | None = None
        if mu:
            self._watch()

    def _watch(self) -> None:
        if self.feature is None:
            linear = [module for module in self.model.modules() if isinstance(module, nn.Linear)]
            if not linear:
                raise ValueError("the model has no nn.Linear, whose input would be the feature; name one, or set mu=0")
            for module in linear:
                module.register_forward_pre_hook(self._enters, with_kwargs=True)
            return
        modules = dict(self.model.named_modules())
        if self.feature not in modules:
            raise ValueError(unknown("submodule of the model", self.feature, modules))
        modules[self.feature].register_forward_hook(self._leaves)

    def _enters(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        if self.training:
            self._seen = inputs[0] if inputs else named["input"]

    def _leaves(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if self.training:
            self._seen = output

    def forward(self, images: Tensor, view_b: Tensor | None = None, labels: Tensor | None = None) -> Any:
        """The model's own output for images; with a second view and labels, what `criterion` gives."""
        if view_b is None or labels is None:
            output = self.model(images)
            self._seen = None
            return output
        return self.criterion(images, view_b, labels)

    def criterion(self, view_a: Tensor, view_b: Tensor, labels: Tensor) -> Value:
        """Eq. 5 of two views (n, ...) of the same n images with labels (n), which pass as one batch of 2n.

        Call it in training. Raises ValueError for views of two shapes, and for a model whose output is no logits
        (2n, K), whose feature is not of 2n, or where nothing was seen of the feature.
        """
        if view_a.shape != view_b.shape or labels.shape != view_a.shape[:1]:
            raise ValueError(
                f"two views of one shape (n, ...) and labels (n) are needed, not {_shapes(view_a, view_b, labels)}"
            )
        n = len(labels)
        logits = self.model(torch.cat([view_a, view_b]))
        if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != 2 * n:
            got = _shapes(logits) if isinstance(logits, Tensor) else type(logits).__name__
            raise ValueError(f"for {2 * n} images the model must give logits ({2 * n}, K), not {got}")
        logits_a, logits_b = logits[:n], logits[n:]
        entropy = functional.cross_entropy(logits_a, labels) + functional.cross_entropy(logits_b, labels)
        none = entropy.new_zeros(())
        divergence = kl(logits_a, logits_b, self.temperature, self.gradient) if self.lambda_ else none
        discrepancy = mmd(*self._features(n)) if self.mu else none
        loss = entropy + self.lambda_ * divergence + self.mu * discrepancy
        return Value(loss, entropy, divergence, discrepancy, logits_a, logits_b)

    def _features(self, n: int) -> tuple[Tensor, Tensor]:
        seen, self._seen = self._seen, None
        if seen is None:
            raise ValueError(
                "the feature's submodule did not run in training mode; name another, or call train() first"
            )
        if not isinstance(seen, Tensor) or len(seen) != 2 * n:
            got = _shapes(seen) if isinstance(seen, Tensor) else type(seen).__name__
            raise ValueError(f"the feature must be a tensor ({2 * n}, ...), not {got}; name another submodule")
        return seen[:n], seen[n:]


def _wide(tensor: Tensor) -> Tensor:
    """At least float32: sums of half precision lose what the losses are about."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _convention(gradient: str) -> Gradient:
    try:
        return Gradient[gradient.upper()]
    except KeyError:
        raise ValueError(f'gradient must be "printed", "exact" or "hinton", not "{gradient}"') from None


def _shapes(*tensors: Tensor) -> str:
    return " and ".join(str(tuple(tensor.shape)) for tensor in tensors)
