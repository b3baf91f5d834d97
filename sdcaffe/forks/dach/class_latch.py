"""ClassLatch: gathers items of one class from the batches of preforward passes, for the iteration behind them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks.dach import ORIGIN
from sdcaffe.forks.dach.preforward import LooksAhead
from sdcaffe.layers.base import OnnxBuilder, Shape, Source, SourceBuilder, canonical_axis, register, show_shape


class ClassLatchParameter:
    label_axis: list[int]
    label_nmax: list[int]
    latch_nmin: list[int]
    latch_mode: bool = False


class _Latch:
    """What one of a layer's tops gathers: the items' axis, the number of classes and of labels, the least number."""

    def __init__(self, axis: int, classes: int, least: int, shape: Shape, labels: Shape) -> None:
        self.classes, self.least = classes, least
        self.items = math.prod(shape[:axis])
        self.labels = math.prod(labels) // max(self.items, 1)

    def chosen(self, label: Tensor, iteration: int) -> list[int]:
        """The items of the class whose turn the iteration is: class by class, then label by label."""
        column = label.reshape(self.items, -1)[:, iteration // self.classes % self.labels]
        return (column.long() == iteration % self.classes).nonzero().flatten().tolist()


@register("ClassLatch", field="class_latch_param", number=175)
class ClassLatch(LooksAhead):
    """Top i is like bottom 2 i; bottom 2 i + 1 is the labels of what that was in the pass before.

    As in CAFFE-DACH (JiahaoLi-gdut/CAFFE-DACH@388c826). In a preforward pass a top is its bottom, and items of the
    batch before whose label is the class of the iteration are gathered: until a batch is full, then each takes the
    place of a random one, or of none, with equal odds. In the passes behind, where more than latch_nmin items are there
    (with latch_mode: for all tops), the top is these, and the rest of it random ones of them; else, and where no solver
    makes preforward passes, it is the bottom. No gradient.
    """

    param: proto.ClassLatchParameter
    Param = ClassLatchParameter
    origin = ORIGIN
    bottoms = (2, None)
    tops = (1, None)
    stops_gradient = True
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        if len(bottom_shapes) != 2 * len(self.layer_param.top):
            counts = f"{len(bottom_shapes)} for {len(self.layer_param.top)}"
            raise self.error(f"needs two bottoms for each top, not {counts}")
        self.latches = [self._latch(i, *bottom_shapes[2 * i : 2 * i + 2]) for i in range(len(bottom_shapes) // 2)]
        for i, shape in enumerate(bottom_shapes[::2]):
            kept = self._buffers.get(f"kept_{i}")
            if kept is None or tuple(kept.shape) != shape:
                self.register_buffer(f"kept_{i}", torch.zeros(shape))
                self.register_buffer(f"number_{i}", torch.zeros(()))
        if "full" not in self._buffers:
            self.register_buffer("full", torch.zeros(()))
            self.iteration, self._before = 0, list[Tensor]()
        return bottom_shapes[::2]

    def _latch(self, i: int, items: Shape, labels: Shape) -> _Latch:
        param = self.param
        axis = canonical_axis(self, param.label_axis[i], len(items)) if i < len(param.label_axis) else 1
        classes = param.label_nmax[i] if i < len(param.label_nmax) else 1
        least = param.latch_nmin[i] if i < len(param.latch_nmin) else 0
        if classes < 1 or least < 0:
            raise self.error("label_nmax must be at least 1 and latch_nmin 0", "label_nmax")
        number = math.prod(items[:axis])
        if not number or not math.prod(labels) or math.prod(labels) % number:
            raise self.error(f"needs labels for each of {show_shape(items)}, not {show_shape(labels)}")
        return _Latch(axis, classes, least, items, labels)

    def begin(self, iteration: int) -> None:
        self.iteration = iteration

    def look_ahead(self, on: bool) -> None:
        super().look_ahead(on)
        if on:
            self._before = []
            for i in range(len(self.latches)):
                self._number(i, 0)

    def _number(self, i: int, value: int | None = None) -> int:
        number = self.get_buffer(f"number_{i}")
        if value is not None:
            number.fill_(value)
        return int(number)

    def _kept(self, i: int) -> Tensor:
        """The items that were gathered: (items, ...)."""
        return self.get_buffer(f"kept_{i}").view(self.latches[i].items, -1)

    @torch.no_grad()
    def forward(self, *bottoms: Tensor) -> Tensor | tuple[Tensor, ...]:
        if self._before:
            self._gather(bottoms[1::2])
        if self.ahead:
            self._before = [bottom.detach().clone() for bottom in bottoms[::2]]
            tops = tuple(bottom.clone() for bottom in bottoms[::2])
        else:
            self._before = []
            tops = tuple(self._latched(i, bottom) for i, bottom in enumerate(bottoms[::2]))
        return tops[0] if len(tops) == 1 else tops

    def _gather(self, labels: tuple[Tensor, ...]) -> None:
        enough = True
        for i, (latch, label) in enumerate(zip(self.latches, labels, strict=True)):
            kept, before, number = self._kept(i), self._before[i].reshape(latch.items, -1), self._number(i)
            for item in latch.chosen(label, self.iteration):
                if number < latch.items:
                    kept[number] = before[item]
                    number += 1
                elif torch.rand(()) < 0.5:
                    kept[int(torch.randint(number, ()))] = before[item]
            enough = self._number(i, number) > latch.least and enough
        self.get_buffer("full").fill_(enough)

    def _latched(self, i: int, bottom: Tensor) -> Tensor:
        latch, number = self.latches[i], self._number(i)
        if not (bool(self.get_buffer("full")) if self.param.latch_mode else number > latch.least):
            return bottom.clone()
        kept = self._kept(i)
        if number < latch.items:
            more = torch.randint(number, (latch.items - number,))
            kept[number:] = kept[more.to(kept.device)]
            self._number(i, latch.items)
        return kept.reshape(bottom.shape).clone()

    def to_onnx(self, builder: OnnxBuilder, *bottoms: Tensor) -> Tensor | tuple[Tensor, ...]:
        tops = tuple(bottom + 0 for bottom in bottoms[::2])
        return tops[0] if len(tops) == 1 else tops

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        tops = ", ".join(f"{{{2 * i}}}" for i in range(len(bottoms) // 2))
        return Source(tops if len(bottoms) == 2 else f"({tops})", nests=False)
