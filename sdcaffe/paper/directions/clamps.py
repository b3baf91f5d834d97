"""A trained net that runs with any of its units clamped. A unit is a channel of a feature map.

A clamped one has one value everywhere, 0 or its mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from sdcaffe import proto
from sdcaffe.errors import DataError, WeightsError
from sdcaffe.graph import keep_layers
from sdcaffe.log import accuracy
from sdcaffe.net import Net
from sdcaffe.net.net import Batch
from sdcaffe.net.weights import Weights


class Clamps:
    """A net in its test phase with a clamp behind each of some layers: a Scale that multiplies by 1 and adds 0.

    `after` names these layers; None: every layer of type `at`, ReLU or BatchNorm (then behind the Scale that follows
    it). Those whose top is no feature map (n, c, h, w) are left out. Raises DataError for a layer that is not there or
    has no feature map, where none is left, and for a net with inputs, which no data layer would fill.

    What stands before the first clamp, the data layers as a rule, is a net of its own: what it makes of a batch is
    the same whatever is clamped, and is kept for the next pass, for the first batches up to `memory` bytes.
    """

    def __init__(
        self,
        param: proto.NetParameter,
        *,
        at: str = "ReLU",
        after: Sequence[str] | None = None,
        device: str = "cpu",
        memory: int = 2**30,
    ) -> None:
        state = proto.NetState()
        state.CopyFrom(param.state)
        state.phase = proto.TEST
        plain = proto.NetParameter()
        plain.CopyFrom(param)
        plain.state.CopyFrom(state)
        plain = keep_layers(plain)
        inputs = [top for layer in plain.layer if layer.type == "Input" for top in layer.top]
        if inputs:
            raise DataError(f'net "{plain.name}" has inputs ({", ".join(inputs)}); give one with data layers')
        places = _places(plain, at, after)
        shapes = _shapes(plain)
        maps = {i: name for i, name in places.items() if len(shapes[name]) == 4}
        if after and len(maps) < len(places):
            flat = next(plain.layer[i].name for i in places if i not in maps)
            raise DataError(f'the top of layer "{flat}" is no feature map (n, c, h, w)')
        if not maps:
            raise DataError(f"the net has no {at} layer whose top is a feature map (n, c, h, w)")
        clamped, self.blobs = _with_clamps(plain, maps)
        before, behind = _parted(clamped, min(maps) + 1)
        self._before = Net(before, proto.TEST, device=device)
        try:
            self.net = Net(_fed(behind, self._before), proto.TEST, device=device)
        except BaseException:
            self._before.close()
            raise
        self.channels = [shapes[name][1] for name in maps.values()]
        self.means = [torch.zeros(n, device=self.net.device) for n in self.channels]
        self._memory = memory
        self._kept: list[dict[str, torch.Tensor]] = []

    @property
    def units(self) -> int:
        return sum(self.channels)

    def load_weights(self, file: str) -> None:
        """Take the weights of a file, and forget what others made of the batches.

        Raises WeightsError for a file that leaves a layer untrained.
        """
        self._kept = []
        weights = Weights([file])
        clamps = {_clamp(blob) for blob in self.blobs}
        for net in (self._before, self.net):
            for name in net.params.keys() - weights.names - clamps:
                raise WeightsError(f'has no weights for layer "{name}": it is of another net', file)
            net.load_weights(weights)

    @torch.no_grad()
    def clamp(self, which: Iterable[int]) -> None:
        """Give the units with these numbers, counted through all layers, their value in `means`; free the others."""
        free = torch.ones(self.units, dtype=torch.bool, device=self.net.device)
        free[list(which)] = False
        for name, own, means in zip(self.blobs, free.split(self.channels), self.means, strict=True):
            weight, bias = self.net.params[_clamp(name)]
            weight.copy_(own)
            bias.copy_(torch.where(own, torch.zeros_like(means), means))

    def score(self, batches: int) -> float:
        """The accuracy over the first `batches` batches. Raises DataError for a net without an Accuracy."""
        total: dict[str, float] = {}
        for i in range(batches):
            for name, blob in self._run(i).items():
                if blob.numel() == 1:
                    total[name] = total.get(name, 0.0) + float(blob)
        found = accuracy(total)
        if found is None:
            raise DataError(f'net "{self.net.name}" has no output that is an accuracy')
        return found / batches

    def use_means(self, batches: int) -> None:
        """From now on clamp to each unit's mean over images and places, which this pass over the data finds."""
        self.clamp([])
        sums = [torch.zeros(n, dtype=torch.float64, device=self.net.device) for n in self.channels]
        for i in range(batches):
            blobs = self._run(i, keep=self.blobs)
            for total, name in zip(sums, self.blobs, strict=True):
                total += blobs[name].double().mean((0, 2, 3))
        self.means = [(total / batches).float() for total in sums]

    @torch.no_grad()
    def _run(self, batch: int, keep: Sequence[str] = ()) -> dict[str, torch.Tensor]:
        """The outputs, and the blobs in `keep`, of a batch by number."""
        if batch < len(self._kept):
            made = self._kept[batch]
        else:
            made = self._before.compute(_load(self._before, batch), keep=self.net.inputs).blobs
            made = {name: made[name] for name in self.net.inputs}
            size = sum(blob.nbytes for blob in made.values())
            if batch == len(self._kept) and size * (batch + 1) <= self._memory:
                self._kept.append(made)
        return self.net.compute({**_load(self.net, batch), **self.net.feed(made)}, keep).blobs

    def close(self) -> None:
        self._before.close()
        self.net.close()


def _load(net: Net, batch: int) -> Batch:
    for layer in net.data_layers:
        layer.cursor = batch
    return net.load()


def _parted(net: Any, at: int) -> tuple[Any, Any]:
    """The layers before index `at` as a net, and those from it on as another."""
    parts = proto.NetParameter(), proto.NetParameter()
    for part, layers in zip(parts, (net.layer[:at], net.layer[at:]), strict=True):
        part.CopyFrom(net)
        del part.layer[:]
        part.layer.extend(layers)
    return parts


def _fed(behind: Any, before: Net) -> Any:
    """`behind` with, as inputs, the blobs of `before` that it reads, and those that nobody reads, for it to give."""
    read = {name for layer in behind.layer for name in layer.bottom}
    fed = proto.NetParameter()
    fed.CopyFrom(behind)
    del fed.layer[:]
    inputs = fed.layer.add(name="before_the_clamps", type="Input")
    for name, shape in before.blob_shapes.items():
        if name in read or name in before.outputs:
            inputs.top.append(name)
            inputs.input_param.shape.add(dim=shape)
    fed.layer.extend(behind.layer)
    return fed


def _clamp(blob: str) -> str:
    return f"clamp_{blob}"


def _places(net: Any, at: str, after: Sequence[str] | None) -> dict[int, str]:
    """Behind which layers, by index, clamps go, and the blob there."""
    names = [layer.name for layer in net.layer]
    for name in after or ():
        if name not in names:
            raise DataError(f'the net has no layer "{name}"; it has {", ".join(names)}')
    found: dict[int, str] = {}
    for i, layer in enumerate(net.layer):
        if layer.name in after if after else layer.type == at:
            place = i
            if at == "BatchNorm" and not after:
                readers = (j for j in range(i + 1, len(net.layer)) if layer.top[0] in net.layer[j].bottom)
                follows = next(readers, i)
                if net.layer[follows].type == "Scale" and len(net.layer[follows].bottom) == 1:
                    place = follows
            found[place] = net.layer[place].top[0]
    return found


def _shapes(param: proto.NetParameter) -> dict[str, tuple[int, ...]]:
    net = Net(param, proto.TEST)
    try:
        return net.blob_shapes
    finally:
        net.close()


def _with_clamps(net: Any, places: dict[int, str]) -> tuple[Any, list[str]]:
    """The net with a Scale behind each place; who read the blob later reads the Scale's top. And the blobs' names."""
    clamped = proto.NetParameter()
    clamped.CopyFrom(net)
    del clamped.layer[:]
    now: dict[str, str] = {}  # blob -> the name that its newest version has
    blobs = []
    for i, layer in enumerate(net.layer):
        added = clamped.layer.add()
        added.CopyFrom(layer)
        added.bottom[:] = [now.get(name, name) for name in layer.bottom]
        added.top[:] = [now.get(name, name) if name in layer.bottom else name for name in layer.top]
        if i in places:
            blob = added.top[0]
            scale = clamped.layer.add(name=_clamp(blob), type="Scale", bottom=[blob], top=[_clamp(blob)])
            scale.scale_param.bias_term = True
            now[places[i]] = _clamp(blob)
            blobs.append(blob)
    return clamped, blobs
