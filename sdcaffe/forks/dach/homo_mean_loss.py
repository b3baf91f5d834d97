"""HomoMeanLoss: features drawn to the means of their classes, away from others', and aligned between two domains."""

from __future__ import annotations

import logging
import math
from typing import Any

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks.dach import ORIGIN
from sdcaffe.forks.dach.alignment import Alignment, Pairs, Tasks, drawn
from sdcaffe.forks.dach.class_means import ClassMeans
from sdcaffe.forks.dach.homo_mean_parameter import HomoMeanLossParameter
from sdcaffe.forks.dach.homo_measures import CLIP_MODES, clipped, distance, measures, slope
from sdcaffe.forks.dach.preforward import LooksAhead
from sdcaffe.layers.base import Shape, canonical_axis, register, show_shape

_OWN = measures("overall-average", "nonself-average")
_OTHERS = measures("samples-average", "average-average")
_PAIRS = measures("origins-origins", "sqroots-sqroots")
_CHOICES = {
    "predict_measure": _OWN,
    "cluster_measure": _OWN,
    "scatter_measure": _OTHERS,
    "clusupd_measure": _OWN,
    "scatupd_measure": _OTHERS,
    "odotter_measure": _OWN,
    "ovalize_measure": _PAIRS,
    "cluster_regular": [*_OWN, "rawsubsqr-overall-cluster", "rawsubsqr-nonself-cluster"],
    "scatter_regular": [*_OTHERS, "rawsubsqr-samples-cluster", "rawsubsqr-cluster-cluster"],
    "odotter_regular": _OWN,
    "ovalize_regular": _PAIRS,
    "cluster_clipmode": CLIP_MODES,
    "scatter_clipmode": CLIP_MODES,
    "topdiff_clipmode": [mode for mode in CLIP_MODES if "diff" not in mode],
    "ovalize_clipmode": CLIP_MODES,
}
_TOPS = ("replica", "predict", "cluster", "scatter", "clusupd", "scatupd", "ovalize")
_GRADIENTS = ("cluster", "scatter", "ovalize", "topdiff")
_WHOLE = (
    "match_numb",
    *(f"{name}_{word}" for name in _GRADIENTS for word in ("interval", "postpone", "duration", "feedrate", "feedsize")),
)


class _Passed(torch.autograd.Function):
    """The bottom; its gradient is what the layer makes of it, that of the blobs 0, as of any parameter of Caffe's."""

    @staticmethod
    def forward(ctx: Any, bottom: Tensor, layer: HomoMeanLoss, means: ClassMeans, *blobs: Tensor) -> Tensor:
        ctx.layer, ctx.means = layer, means
        return bottom.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        zeros = (torch.zeros_like(blob) for blob in ctx.layer.blobs)
        return (ctx.layer.gradient(ctx.means, grad), None, None, *zeros)


@register("HomoMeanLoss", field="homo_mean_loss_param", number=153)
class HomoMeanLoss(LooksAhead):
    """Top 0 is the bottom (n, ...); its gradient is the sum of those of "cluster", "scatter", "ovalize" and "topdiff".

    Bottom 1 has `labels` classes an item, 0 to label_nmax - 1; those of target_label have no class and are aligned,
    those of ignore_label are left out. Blob 0 counts the items of each class, blob 1 has their means: gathered in
    the preforward passes of a solver, or, with average_initmode: false, of each batch alone.

    As in CAFFE-DACH (JiahaoLi-gdut/CAFFE-DACH@388c826), by its GPU code: the CPU's "blobal" clip modes add the gradient
    to itself. "cluster" draws an item to its class's mean, "scatter" away from the others', each as its `regular` says;
    "ovalize" draws pairs (match_numb, at random) to where their distances from all means add up to the same; "topdiff"
    is the gradient of top 0. Of every `interval` iterations of a solver each counts in `duration` from `postpone` on,
    times `clipprop` over its normalizer. Where clipprop is not written, a solver's iterations have it rise from
    lowrprop, counted twice, and topdiff's is then 0: no gradient of top 0 goes on. Other tops, where they are
    activated, measure features and have no gradient: predict (n, label_nmax, labels); cluster, scatter and ovalize ();
    clusupd and scatupd (labels, label_nmax). They are means of all batches since the last preforward passes, in tests
    of one batch.
    """

    param: proto.HomoMeanLossParameter
    Param = HomoMeanLossParameter
    origin = ORIGIN
    bottoms = 2
    tops = (1, 7)
    index_bottoms = (1,)
    yields = True

    factors: Tensor

    @classmethod
    def deployed(cls, layer_param: proto.LayerParameter) -> proto.LayerParameter | None:
        # under a name of its own: by this one a weight file has blobs, which a Split has not
        plain = proto.LayerParameter(name=f"{layer_param.name}_passed", type="Split")
        plain.bottom.append(layer_param.bottom[0])
        plain.top.append(layer_param.top[0])
        return plain

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        self._check()
        features, labels = bottom_shapes
        param = self.param
        axis = canonical_axis(self, param.label_axis, len(features))
        self.outer, inner = math.prod(features[:axis]), math.prod(features[axis:])
        if not self.outer or not inner or math.prod(labels) % self.outer or not math.prod(labels):
            raise self.error(f"needs classes for each item of {show_shape(features)}, not {show_shape(labels)}")
        classes = (math.prod(labels) // self.outer, param.label_nmax)
        self.blob(0, classes)
        self.blob(1, (*classes, inner))
        self.asked = param.match_numb or self.outer
        shapes: dict[str, Shape] = {
            "replica": features,
            "predict": (self.outer, param.label_nmax, classes[0]),
            "clusupd": classes,
            "scatupd": classes,
        }
        kept = {"cluster": (inner,), "scatter": (inner,), "ovalize": classes[:1]} | dict.fromkeys(
            ("clusupd", "scatupd"), (*classes, inner)
        )
        for name in filter(kept.__contains__, self.active):  # in their order: a state's bytes hang on it
            self._keep(f"{name}_mean", kept[name])
            self._keep(f"{name}_count", kept[name][:-1] if name != "ovalize" else kept[name])
        if "factors" not in self._buffers:
            self._told = False
            self.register_buffer("factors", torch.tensor(self._factors(None)), persistent=False)
        return [shapes.get(name, ()) for name in self.active]

    def _check(self) -> None:
        param = self.param
        for field, choices in _CHOICES.items():
            if getattr(param, field) not in choices:
                raise self.error(f'{field} "{getattr(param, field)}" is none of {", ".join(choices)}', field)
        for field in _WHOLE:
            if getattr(param, field) < 0:
                raise self.error(f"{field} is {getattr(param, field)}; it must be 0 or more", field)
        if param.label_nmax < 1:
            raise self.error(f"label_nmax is {param.label_nmax}; it must be at least 1", "label_nmax")
        if not param.replica_activate:
            raise self.error("replica_activate must be true, as in CAFFE-DACH", "replica_activate")
        tops = len(self.layer_param.top)
        self.active = [name for name in _TOPS if getattr(param, f"{name}_activate")][:tops]
        if len(self.active) < tops:
            off = ", ".join(f"{name}_activate" for name in _TOPS if name not in self.active)
            raise self.error(f"{tops} tops, but {len(self.active)} activated; set some of {off} to true", "top")

    def _keep(self, name: str, shape: Shape) -> None:
        kept = self._buffers.get(name)
        if kept is None or tuple(kept.shape) != shape:
            self.register_buffer(name, torch.zeros(shape))

    # ---------------------------------------------------------------- iterations

    def begin(self, iteration: int) -> None:
        self.factors.copy_(torch.tensor(self._factors(iteration)))
        if not self._told and not self.param.HasField("topdiff_clipprop") and not self.param.topdiff_upprprop:
            self._told = True
            logging.getLogger("sdcaffe").warning(
                'layer "%s" (HomoMeanLoss) has no topdiff_clipprop: as in CAFFE-DACH, a solver then lets no gradient '
                "of its first top through. Write topdiff_clipprop: 1 to let it through",
                self.name,
            )

    def _factors(self, iteration: int | None) -> list[float]:
        """What each gradient counts in an iteration of a solver, or without one; 0 where it does not."""
        found = []
        for name in _GRADIENTS:
            interval, postpone, duration = (
                getattr(self.param, f"{name}_{word}") for word in ("interval", "postpone", "duration")
            )
            due = bool(interval) and postpone <= (iteration or 0) % interval < postpone + duration
            found.append(self._share(name, iteration) if due else 0.0)
        return found

    def _share(self, name: str, iteration: int | None) -> float:
        param = self.param
        found: float = getattr(param, f"{name}_clipprop")
        rises = iteration is not None and not param.HasField(f"{name}_clipprop")
        if iteration is not None and rises:
            words = ("lowrprop", "upprprop", "feedrate", "feedsize", "tradeoff")
            low, top, rate, size, part = (getattr(param, f"{name}_{word}") for word in words)
            along = rate * (min(1.0, iteration / size) if size else 1.0)
            found = part * math.log(along * (math.e - 1) + 1) * (top - low) + low
            found += (1 - part) * (2 / (1 + math.exp(-along)) - 1) * (top - low) + low
        if name == "topdiff":
            return found
        items = self.outer
        if name == "ovalize":  # the fork's own count is the one asked for until it has drawn for the first time
            items = self.tasks.count(self.asked) if rises and iteration else self.asked
        mode = getattr(param, f"{name}_normalization")
        by = {param.NONE: 1, param.BATCH_SIZE: items, param.FULL: items * self.blobs[1].shape[-1]}[mode]
        return max(1e-7, found / by)

    @property
    def tasks(self) -> Tasks:
        param = self.param
        return Tasks(
            (param.ovals2s_01stprop, param.ovals2s_02ndprop),
            (param.ovalt2t_01stprop, param.ovalt2t_02ndprop),
            (param.ovals2t_01stprop, param.ovals2t_02ndprop),
        )

    def look_ahead(self, on: bool) -> None:
        super().look_ahead(on)
        if on and self.param.average_initmode:
            self._forget_means()

    def _forget_means(self) -> None:
        with torch.no_grad():
            for kept in (*self.blobs, *(b for name, b in self.named_buffers() if name != "factors")):
                kept.zero_()

    # ---------------------------------------------------------------- forward

    def forward(self, bottom: Tensor, label: Tensor) -> tuple[Tensor, ...] | Tensor:
        with torch.no_grad():
            rows = bottom.detach().reshape(self.outer, -1).to(self.blobs[1].dtype)
            classes = label.detach().reshape(self.outer, -1).long()
            if self.phase == proto.TRAIN:
                if not self.param.average_initmode and not self.ahead:
                    self._forget_means()
                if self.param.average_initmode == self.ahead:
                    self._gather(rows, classes)
            means = ClassMeans(rows, classes, self.blobs[0].detach(), self.blobs[1].detach())
            if self.phase != proto.TRAIN:
                for name, buffer in self.named_buffers():
                    if name != "factors":
                        buffer.zero_()
            others = [self._measured(name, means) for name in self.active[1:]]
        first: Tensor = _Passed.apply(bottom, self, means, *self.blobs)
        return (first, *others) if others else first

    def _gather(self, rows: Tensor, classes: Tensor) -> None:
        """Take a batch into the counts and means of classes."""
        param, counts, means = self.param, self.blobs[0], self.blobs[1]
        for label in range(counts.shape[0]):
            for one in range(counts.shape[1]):
                if one in (param.ignore_label, param.target_label):
                    continue
                mine = classes[:, label] == one
                number = mine.sum()
                whole = counts[label, one] + number
                mean = (means[label, one] * counts[label, one] + (rows * mine.unsqueeze(1)).sum(0)) / whole
                means[label, one] = torch.where(number > 0, mean, means[label, one])
                counts[label, one] = whole

    def _measured(self, name: str, means: ClassMeans) -> Tensor:
        if name == "predict":
            return self._predicted(means)
        if self.ahead:
            return means.rows.new_zeros(means.counts.shape if name in ("clusupd", "scatupd") else ())
        if name == "ovalize":
            return self._aligned(means)
        measure = getattr(self.param, f"{name}_measure")
        if name in ("cluster", "clusupd"):
            own, least = self._own(measure)
            rows = means.mean_within(own, least) if name == "cluster" else means.sums_within(own, least)
        else:

            def other(x: Tensor, mean: Tensor, count: Tensor, another: Tensor, number: Tensor) -> Tensor:
                return distance(measure, (x if "samples" in measure else mean) - another)

            rows = means.mean_between(other) if name == "scatter" else means.sums_between(other)
        found, number = rows
        if name in ("cluster", "scatter"):
            return self._averaged(name, found.sum(0), (number > 0).sum()).mean()
        new = self._averaged(name, found, number)
        return torch.where(number > 0, new.mean(-1), 0)

    def _averaged(self, name: str, total: Tensor, number: Tensor) -> Tensor:
        """The mean so far of what `name` measures, with `number` more, whose sum is `total`."""
        mean, count = self.get_buffer(f"{name}_mean"), self.get_buffer(f"{name}_count")
        whole = count + number
        old, parts = (x.unsqueeze(-1) if x.dim() < mean.dim() else x for x in (count, whole))
        mean.copy_(torch.where(parts > old, (mean * old + total) / parts, mean))
        count.copy_(whole)
        return mean.clone()

    def _own(self, measure: str) -> tuple[Any, int]:
        """The measure of differences from an own mean, without the item itself where it says so; the least count."""
        if "nonself" in measure and self.phase == proto.TRAIN:
            return lambda apart, count: distance(measure, apart * (count / (count - 1))), 2
        return lambda apart, count: distance(measure, apart), 1

    def _predicted(self, means: ClassMeans) -> Tensor:
        """Minus the distance of each row from each mean: (n, classes, labels)."""
        measure = self.param.predict_measure
        alone = "nonself" in measure and self.phase == proto.TRAIN
        top = means.rows.new_zeros(self.outer, means.counts.shape[1], means.counts.shape[0])
        for label in range(means.counts.shape[0]):
            known, _, _ = means.own(label)
            for one, count in enumerate(means.counts[label]):
                apart = means.rows - means.means[label, one]
                if alone:
                    mine = (means.classes[:, label] == one).unsqueeze(1)
                    apart = torch.where(mine, apart * (count / (count - 1)), apart)
                counted = known.squeeze(1) & (count >= 1 + alone)
                top[:, one, label] = torch.where(counted, -distance(measure, apart).sum(1), 0)
        return top

    def _aligned(self, means: ClassMeans) -> Tensor:
        parts = [
            alignment.measured() for alignment in self._alignments(means, self.param.odotter_measure, "ovalize_measure")
        ]
        totals = torch.stack([found.sum() for found, _ in parts])
        return self._averaged("ovalize", totals, torch.stack([(number > 0).sum() for _, number in parts])).mean()

    def _alignments(self, means: ClassMeans, inner: str, outer: str, training: bool | None = None) -> list[Alignment]:
        if training is None:
            training = self.phase == proto.TRAIN
        nonself = "nonself" in inner and training
        outer = getattr(self.param, outer)
        return [
            Alignment(means, label, self.pairs(means.classes[:, label]), inner, outer, nonself)
            for label in range(means.counts.shape[0])
        ]

    def pairs(self, classes: Tensor) -> Pairs:
        """Pairs of items of these classes, drawn anew."""
        return drawn(classes, self.param.target_label, self.param.ignore_label, self.tasks, self.asked)

    # ---------------------------------------------------------------- backward

    @torch.no_grad()
    def gradient(self, means: ClassMeans, grad: Tensor) -> Tensor:
        """The gradient of the bottom, for that of top 0."""
        above = grad.reshape(means.rows.shape).to(means.rows.dtype)
        total = torch.zeros_like(above)
        parts = {
            "cluster": self._cluster_slope,
            "scatter": self._scatter_slope,
            "ovalize": self._ovalize_slope,
            "topdiff": lambda means: above,
        }
        for name, factor in zip(_GRADIENTS, self.factors, strict=True):
            if getattr(self.param, f"{name}_interval"):
                found = self._clipped(name, parts[name](means), above)
                total += torch.where(factor != 0, factor * found, 0)
        return total.reshape(grad.shape).to(grad.dtype)

    def _clipped(self, name: str, found: Tensor, above: Tensor) -> Tensor:
        mode = getattr(self.param, f"{name}_clipmode")
        if mode == "unclipped":
            return found
        limit: Tensor | float = getattr(self.param, f"{name}_clipnorm") ** 2
        if "diff" in mode:
            limit = above.square().sum(1, keepdim=True) if mode.startswith("sample") else above.square().sum()
        return clipped(found, limit, mode, getattr(self.param, f"{name}_clipactv"))

    def _cluster_slope(self, means: ClassMeans) -> Tensor:
        measure = self.param.cluster_regular

        def own(apart: Tensor, count: Tensor) -> Tensor:
            if "nonself" not in measure:
                return slope(measure, apart) * (1 if measure.endswith("cluster") else (count - 1) / count)
            whole = count / (count - 1)
            return slope(measure, apart * whole) * (whole if measure.endswith("cluster") else 1)

        return means.mean_within(own, 2 if "nonself" in measure else 1)[0]

    def _scatter_slope(self, means: ClassMeans) -> Tensor:
        measure = self.param.scatter_regular

        def other(x: Tensor, mean: Tensor, count: Tensor, another: Tensor, number: Tensor) -> Tensor:
            if measure.endswith("samples-cluster"):
                return 2 * (another - x + (another - mean) * number / count)
            if measure.endswith("cluster-cluster"):
                return 2 * (another - mean) * (1 + number) / count
            if "samples" in measure:
                return slope(measure, another - x)
            return slope(measure, another - mean) / count

        return means.mean_between(other)[0]

    def _ovalize_slope(self, means: ClassMeans) -> Tensor:
        total, number = torch.zeros_like(means.rows), means.rows.new_zeros(len(means.rows), 1)
        for alignment in self._alignments(means, self.param.odotter_regular, "ovalize_regular", training=True):
            pairs = alignment.pairs
            sides = zip(
                (pairs.first, pairs.second), (pairs.first_weight, pairs.second_weight), alignment.slopes(), strict=True
            )
            for side, weight, found in sides:
                total.index_add_(0, side, found * weight.to(found.dtype).unsqueeze(1))
                number.index_add_(0, side, pairs.valid.to(found.dtype).expand(len(side), 1))
        return total / number.clamp(min=1)
