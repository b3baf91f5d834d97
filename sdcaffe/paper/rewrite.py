"""Turns a baseline net into its self-distilled form.

What is found in the baseline, and what is refused, stands in reading.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sdcaffe import proto
from sdcaffe.errors import GraphError
from sdcaffe.paper.distortion import NAMED_BY_TOP, Distortion, described, hand_over, hand_over_scaling, set_asked
from sdcaffe.paper.layers.kl_loss import Gradient
from sdcaffe.paper.reading import TEST, TRAIN, Reading, is_loss, phases, read

_NONE = Distortion()


@dataclass(frozen=True)
class Settings:
    """The paper's T, lambda and mu (a weight of 0 leaves its loss out); blobs to take where None would search.

    `gradient` is the convention of the KL loss; `distortion` is asked beside what the net's own layers do.
    """

    temperature: float = 3.0
    kl_weight: float = 1.0
    mmd_weight: float = 0.0005
    logits: str | None = None
    feature: str | None = None
    gradient: Gradient = Gradient.PRINTED
    distortion: Distortion = _NONE


@dataclass(frozen=True)
class Rewritten:
    """The self-distilled net, and what was found in the baseline. `feature` is None where mu is 0.

    `distortion` says in words what the branches are; `auxiliary` names the other losses. `shapes` are the
    training phase's blobs, where it can be set up; `guessed` where the data, which are not here, may say otherwise.

    `origins` are, for each of its layers, the index of the baseline's layer that it is or stands beside.
    """

    net: proto.NetParameter
    origins: list[int]
    logits: str
    feature: str | None
    loss: str
    images: str
    distortion: str
    auxiliary: list[str]
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    guessed: bool = False


def self_distilled(net: proto.NetParameter, settings: Settings) -> Rewritten:
    """The self-distilled form of the NetParameter `net`, in the current form; `net` stays as it is.

    In the training phase the images are distorted twice and pass as one batch of 2n, losses are counted for each
    branch, and KLLoss and MMDLoss are added. The test phase stays as it is, and so do the names of all layers
    with parameters. Raises GraphError, with what to do, for a net that this would not do justice to.
    """
    return rewritten(net, settings, Writer)


def rewritten(net: proto.NetParameter, settings: Settings, kind: type[Writer]) -> Rewritten:
    """What a kind of Writer makes of a net; raises as `self_distilled`."""
    if not 0 < settings.temperature < float("inf"):
        raise GraphError(f"the temperature must be a positive number, not {settings.temperature:g}")
    for name, weight in (("lambda", settings.kl_weight), ("mu", settings.mmd_weight)):
        if not 0 <= weight < float("inf"):
            raise GraphError(f"{name} must be a number, 0 or more, not {weight:g}")
    found = read(net, settings.logits, settings.feature if settings.mmd_weight else "", settings.distortion)
    result, origins = kind(net, found, settings).write()
    return Rewritten(
        net=result,
        origins=origins,
        logits=found.logits,
        feature=found.feature or None,
        loss=net.layer[found.loss].name,
        images=found.images,
        distortion=next(described(layer.distort_param) for layer in result.layer if layer.type == "Distort"),
        auxiliary=[net.layer[i].name for i in found.twins if i != found.loss and is_loss(net.layer[i])],
    )


class Writer:
    """Writes the layers of a self-distilled net. What the two branches are, a subclass may say otherwise."""

    def __init__(self, net: proto.NetParameter, found: Reading, settings: Settings) -> None:
        self.net, self.found, self.settings = net, found, settings
        self.layer_names = {layer.name for layer in net.layer}
        self.blob_names = {name for layer in net.layer for name in layer.top}
        self.halves: dict[str, tuple[str, str]] = {}  # a blob of both branches -> that of each
        named = net.layer[found.source].type in NAMED_BY_TOP
        self.both = self.blob("images") if named else found.images  # what the network reads in training
        self.beside: dict[str, int] = {}  # a new layer -> its origin, where that is not the layer it is written for

    def write(self) -> tuple[proto.NetParameter, list[int]]:
        """The net, and the origins of its layers."""
        result = proto.NetParameter()
        result.CopyFrom(self.net)
        del result.layer[:]
        result.name = _name(self.net.name)
        origins = []
        for i, layer in enumerate(self.net.layer):
            for made in self.instead_of(i, layer):
                result.layer.append(made)
                origins.append(self.beside.get(made.name, i))
        return result, origins

    def instead_of(self, index: int, layer: proto.LayerParameter) -> Iterator[proto.LayerParameter]:
        """What stands in the new net for a layer of the baseline."""
        if index == self.found.source:
            yield from self._distort(layer) if layer.type == "Distort" else self._data(layer)
        elif index == self.found.moved:
            raw = only(layer, TRAIN)
            hand_over(raw, proto.LayerParameter().distort_param)
            if not raw.transform_param.ListFields():
                raw.ClearField("transform_param")
            yield raw
        elif index in self.found.twins:
            yield from self._twins(index, layer)
        elif self.both != self.found.images and self.found.images in layer.bottom and TRAIN in phases(layer):
            yield self._reading_both(layer)
        else:
            yield layer
            return
        if TEST in phases(layer):
            yield only(layer, TEST)

    # ---- two branches of the images ----

    def _distort(self, layer: proto.LayerParameter) -> Iterator[proto.LayerParameter]:
        """The Distort layer with what the data layer before it did, and what is asked."""
        distort = only(layer, TRAIN)
        if self.found.moved is not None:
            hand_over(proto.copied(self.net.layer[self.found.moved]), distort.distort_param)
        set_asked(distort.distort_param, self.found.asked)
        yield from self.branches(distort)

    def _data(self, layer: proto.LayerParameter) -> Iterator[proto.LayerParameter]:
        """The data layer without what Distort does behind it now."""
        position = list(layer.top).index(self.found.images)
        raw = only(layer, TRAIN)
        if self.both == self.found.images:
            raw.top[position] = self.blob("image")
        distort = proto.LayerParameter(
            name=_free("distort", self.layer_names), type="Distort", bottom=[raw.top[position]]
        )
        distort.include.add(phase=TRAIN)
        hand_over(raw, distort.distort_param)
        hand_over_scaling(raw, distort.distort_param)
        set_asked(distort.distort_param, self.found.asked)
        yield raw
        yield from self.branches(distort)

    def branches(self, distort: proto.LayerParameter) -> Iterator[proto.LayerParameter]:
        """The Distort layer with both branches of the images, for the network to read as one batch."""
        images = self.found.images
        pair = [self.blob(f"{images}_a"), self.blob(f"{images}_b")]
        distort.top[:] = pair
        both = self.added("both", "Concat", pair, [self.both])
        both.concat_param.axis = 0
        yield from (distort, both)

    def _reading_both(self, layer: proto.LayerParameter) -> proto.LayerParameter:
        """A layer that reads the images, for training alone."""
        reading: proto.LayerParameter = only(layer, TRAIN)
        reading.bottom[:] = [self.both if name == self.found.images else name for name in layer.bottom]
        return reading

    # ---- losses of each branch ----

    def _twins(self, index: int, layer: proto.LayerParameter) -> Iterator[proto.LayerParameter]:
        """A layer once for each branch; behind the main loss, what the branches learn from each other."""
        main = index == self.found.loss
        if main and self.found.feature:
            yield from self.halve(self.found.feature)
        doubled = [name in self.found.twins[index] for name in layer.bottom]
        for name, is_doubled in zip(layer.bottom, doubled, strict=True):
            if is_doubled:
                yield from self.halve(name)
        for branch in (0, 1):
            twin = only(layer, TRAIN)
            twin.name = _free(f"{layer.name}_{'ab'[branch]}", self.layer_names)
            for j, name in enumerate(layer.bottom):
                if doubled[j]:
                    twin.bottom[j] = self.halves[name][branch]
            for j, name in enumerate(layer.top):
                twin.top[j] = self.blob(f"{name}_{'ab'[branch]}")
            yield twin
            if main and branch == 0:
                yield from self.behind_first_loss(twin)
        if main:
            yield from self._between_branches()

    def halve(self, blob: str) -> Iterator[proto.LayerParameter]:
        """The layers that give each branch its own of a blob, noted in `halves`."""
        if blob in self.halves:
            return
        stem = {self.found.logits: "logits", self.found.feature: "feature"}.get(blob, blob)
        pair = self.blob(f"{stem}_a"), self.blob(f"{stem}_b")
        self.halves[blob] = pair
        layer = self.added(f"split_{stem}", "Slice", [self.both if blob == self.found.images else blob], pair)
        layer.slice_param.axis = 0
        yield layer

    def behind_first_loss(self, loss: proto.LayerParameter) -> Iterator[proto.LayerParameter]:
        """What stands between the main loss of branch a, `loss`, and that of branch b: nothing."""
        yield from ()

    def _between_branches(self) -> Iterator[proto.LayerParameter]:
        if self.settings.kl_weight:
            kl = self._loss("kl", "KLLoss", self.halves[self.found.logits], self.settings.kl_weight)
            kl.kl_loss_param.temperature = self.settings.temperature
            kl.kl_loss_param.gradient = self.settings.gradient
            yield kl
        if self.found.feature:
            yield self._loss("mmd", "MMDLoss", self.halves[self.found.feature], self.settings.mmd_weight)

    def _loss(self, name: str, type_name: str, bottoms: Sequence[str], weight: float) -> proto.LayerParameter:
        layer = self.added(name, type_name, bottoms, [self.blob(name)])
        layer.loss_weight.append(weight)
        return layer

    def added(self, name: str, type_name: str, bottoms: Sequence[str], tops: Sequence[str]) -> proto.LayerParameter:
        """A new layer of the training phase."""
        layer = proto.LayerParameter(name=_free(name, self.layer_names), type=type_name, bottom=bottoms, top=tops)
        layer.include.add(phase=TRAIN)
        return layer

    def blob(self, name: str) -> str:
        """The name for a new blob."""
        return _free(name, self.blob_names)


def _free(name: str, taken: set[str]) -> str:
    """`name`, or with the first number that makes it a new one; it is taken from then on."""
    number, free = 2, name
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    taken.add(free)
    return free


def only(layer: proto.LayerParameter, phase: int) -> proto.LayerParameter:
    """A copy of a layer for one phase alone."""
    copy = proto.LayerParameter()
    copy.CopyFrom(layer)
    if phases(layer) != {phase}:
        copy.ClearField("include")
        copy.ClearField("exclude")
        copy.include.add(phase=phase)
    return copy


def _name(name: str) -> str:
    stem = name.removesuffix("baseline").rstrip()
    return f"{stem} self-distilled".lstrip()
