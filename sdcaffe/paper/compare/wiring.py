"""What a net's layers say of how it is trained: losses, branches, classifiers, data. It judges nothing."""

from __future__ import annotations

import ast
import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

from sdcaffe import proto

_WITH_WEIGHTS = ("Convolution", "InnerProduct")
_SOURCES = ("data_param", "image_data_param", "hdf5_data_param", "window_data_param")
_FEEDS = (*_SOURCES, "memory_data_param")
_FURTHER_DISTORTIONS = ("affine", "perspective", "thin_plate_spline", "erasing")
_FURTHER = {"Adversarial": "adversarial branch", "GaussianMMDLoss": "Gaussian MMD", "Mixup": "mixup"}


class Wiring:
    """A net as one phase has it, from the text that a log shows."""

    def __init__(self, text: str) -> None:
        """Raises PrototxtError where the text is no whole net."""
        self.net = proto.NetParameter()
        proto.text.parse(text, self.net, "log", ignore_unknown=True)
        self.layers: list[Any] = list(self.net.layer)
        self._makers: list[list[int | None]] = []  # of each layer's bottoms: the layer that makes it
        latest: dict[str, int] = {}
        for i, layer in enumerate(self.layers):
            self._makers.append([latest.get(name) for name in layer.bottom])
            latest.update(dict.fromkeys(layer.top, i))

    @property
    def testing(self) -> bool:
        return bool(self.net.state.phase == proto.TEST)

    def count(self, type_name: str) -> int:
        return sum(layer.type == type_name for layer in self.layers)

    def losses(self, kind: str) -> list[Any]:
        """Layers that add to the loss and whose type, or class in Python, begins with `kind`."""
        return [layer for layer in self.layers if _type(layer).startswith(kind) and loss_weight(layer)]

    def classifiers(self) -> dict[str, bool]:
        """The layers whose output the losses compare with labels or with each other, by the name of their
        weights, and whether these learn. Layers that share weights are one."""
        found: dict[str, bool] = {}
        for i, layer in enumerate(self.layers):
            if _type(layer).startswith(("SoftmaxWithLoss", "KL")) and loss_weight(layer):
                for maker in self._makers[i]:
                    head = self._with_weights(maker)
                    if head is not None:
                        learns = not head.param or any(param.lr_mult for param in head.param)
                        name = head.param[0].name if head.param and head.param[0].name else head.name
                        found[name] = found.get(name, False) or learns
        return found

    def _with_weights(self, index: int | None) -> Any | None:
        while index is not None and self.layers[index].type not in _WITH_WEIGHTS:
            index = next(iter(self._makers[index]), None)
        return None if index is None else self.layers[index]

    def branches(self) -> int:
        """How many distorted versions of an image go through the net."""
        tops = [len(layer.top) for layer in self.layers if layer.type == "Distort"]
        return max(len(self.losses("SoftmaxWithLoss")), *tops, 1)

    def separate_statistics(self) -> bool:
        """Whether the branches go through layers of their own that share weights: so each has its own statistics."""
        names = [layer.param[0].name for layer in self.layers if layer.type in _WITH_WEIGHTS and layer.param]
        return max(Counter(name for name in names if name).values(), default=0) > 1

    def beyond_paper(self) -> list[str]:
        """What it trains with that no mechanism of the paper has."""
        distortions = [layer.distort_param for layer in self.layers if layer.type == "Distort"]
        fields = [name for name in _FURTHER_DISTORTIONS if any(param.HasField(name) for param in distortions)]
        return [*(name.replace("_", " ") for name in fields), *(word for t, word in _FURTHER.items() if self.count(t))]

    def sources(self) -> list[str]:
        """Where the data comes from, in the data layers' words."""
        found = [getattr(layer, name).source for layer in self.layers for name in _SOURCES if layer.HasField(name)]
        return [*found, *(layer.python_param.param_str for layer in self.layers if _is_python_data(layer))]

    def batch(self) -> int:
        """Images a batch, 0 where no data layer says."""
        sizes = [getattr(layer, name).batch_size for layer in self.layers for name in _FEEDS if layer.HasField(name)]
        return next(iter(sizes), 0)

    def accuracies(self, top_k: int) -> list[str]:
        """The blobs that hold the accuracy among the best `top_k`."""
        found = [layer for layer in self.layers if layer.type == "Accuracy" and layer.accuracy_param.top_k == top_k]
        return [layer.top[0] for layer in found if layer.top]

    def types(self) -> str:
        counts = Counter(_type(layer) for layer in self.layers)
        return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))

    def structure(self) -> str:
        """Eight digits that differ where layers, their parameters or their wiring do; names and data do not count."""
        digest = hashlib.sha256()
        for layer, makers in zip(self.layers, self._makers, strict=True):
            if not layer.bottom:
                continue
            copy = type(layer)()
            copy.CopyFrom(layer)
            for name in ("name", "bottom", "top", "include", "exclude", "phase"):
                copy.ClearField(name)
            for param in copy.param:
                param.ClearField("name")
            digest.update(f"{makers} {len(layer.top)} {proto.text.format(copy)}".encode())
        return digest.hexdigest()[:8]


def loss_weight(layer: Any) -> float:
    """What the layer's first top counts in the loss."""
    return float(layer.loss_weight[0]) if layer.loss_weight else float(_type(layer).endswith("Loss"))


def temperature(layer: Any) -> float | None:
    """The temperature of a KL loss, a Python layer's included, where it says so."""
    if layer.type == "Python":
        found = dict(_python_values(layer)).get("temperature")
        return float(found) if isinstance(found, (int, float)) else None
    return float(layer.kl_loss_param.temperature) if hasattr(layer, "kl_loss_param") else None


def gradient(layer: Any) -> str:
    """KLLoss's convention of the gradient, in small letters; empty for other layers."""
    if layer.type != "KLLoss":
        return ""
    message = layer.kl_loss_param
    names = message.DESCRIPTOR.fields_by_name["gradient"].enum_type.values_by_number
    return str(names[message.gradient].name).lower()


def _python_values(layer: Any) -> Iterator[tuple[str, Any]]:
    try:
        values = ast.literal_eval(layer.python_param.param_str)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return
    if isinstance(values, dict):
        yield from ((key, value) for key, value in values.items() if isinstance(key, str))


def _type(layer: Any) -> str:
    return str(layer.python_param.layer if layer.type == "Python" else layer.type)


def _is_python_data(layer: Any) -> bool:
    return layer.type == "Python" and not layer.bottom
