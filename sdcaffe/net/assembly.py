"""Makes the layers of a graph: arity, shapes, loss weights, shared parameters. Runs nothing.

A layer is known by its place, the index of its step in the graph; what goes by name is a view of that.
"""

from __future__ import annotations

import logging
from typing import cast

import torch
from torch import Tensor, nn

from sdcaffe import hooks, proto
from sdcaffe.errors import LayerError, NetError
from sdcaffe.graph import ANONYMOUS, Graph, Step, build_graph, insert_splits, kept_places, moved_weights, with_layers
from sdcaffe.layers.base import Count, DataLayer, Layer, Shape, blamed_on, check_size, class_of, show_shape
from sdcaffe.log import glog
from sdcaffe.net.parameters import Learnable, Parameters, Views
from sdcaffe.net.weights import Weights, brought, fill, shared_places, sharing, written
from sdcaffe.proto.positions import Positions
from sdcaffe.proto.weights import LayerBlobs


class Assembled:
    """The layers of a net, set up: what runs, exporters and scripts read of it.

    - `param`: the NetParameter that really runs, splits and defaults written in; `graph`: its wiring
    - `layers`: by place; `inputs`: blob name -> slot, of the blobs that whoever runs the net gives
    - `shapes`: slot -> shape, Caffe's NCHW
    - `loss_weights`: slot -> weight (0-dim), of those that have one
    - `diffs`: slot -> what the reported loss weighs a blob with in place of its loss weight, from the first backward
      on: the blob's gradient, which a later layer gives. As in Caffe, the loss weight adds nothing to that
    - `learnable`: what a solver updates, in Caffe's order
    - `views`: place -> {blob index: the parameter, of another shape, that the layer shares}
    - `fits`: of passes with these shapes, which are known to have room in memory: 0 none, 1 forward, 2 backward too
    - `positions`: where layers stand in a file, for errors; `nth` of each counts those of its name there
    """

    def __init__(
        self, param: proto.NetParameter, graph: Graph, positions: Positions | None, nth: list[int | None]
    ) -> None:
        self.param = param
        self.graph = graph
        self.positions = positions
        self.nth = nth
        self.layers: list[Layer] = []
        self.inputs: dict[str, int] = {}
        self.shapes: dict[int, Shape] = {}
        self.loss_weights: dict[int, Tensor] = {}
        self.diffs: dict[int, Tensor] = {}
        self.learnable: list[Learnable] = []
        self.views: Views = {}
        self.fits = 0

    def set_up(self, first: int, shapes: dict[int, Shape]) -> None:
        """Set the layers from place `first` on up again, from the `shapes` of the slots before them."""
        for layer, step in zip(self.layers[first:], self.graph.steps[first:], strict=True):
            if not layer.given and not isinstance(layer, DataLayer):
                tops = layer.setup([shapes[slot] for slot in step.bottoms])
                shapes.update(zip(step.tops, map(tuple, tops), strict=True))
        self.shapes, self.fits = shapes, 0

    def owner(self, place: int, index: int) -> nn.Parameter:
        """The parameter behind blob `index` of the layer at `place`: its own, or one that it shares."""
        found = self.views.get(place, {}).get(index)
        return cast(nn.Parameter, self.layers[place].blobs[index]) if found is None else found

    def locate(self, error: Exception, place: int) -> None:
        """Tell an error of the layer at `place` where that stands."""
        if isinstance(error, NetError) and self.positions is not None:
            self.positions.locate(error, self.nth[place])


def assemble(
    source: proto.NetParameter,
    state: proto.NetState,
    weights: Weights,
    share: Assembled | None,
    positions: Positions | None,
    *,
    take: bool = False,
) -> Assembled:
    """The layers that `state` keeps of the NetParameter `source`, filled with `weights`, whose memory they may `take`.

    `share`: a net whose parameters the layers of the same names use; `positions`: where the layers of `source` stand
    in a file. Raises GraphError, LayerError, WeightsError; SharingError where the other net's blobs do not fit.
    """
    net = proto.copied(source)
    net.state.phase = state.phase
    if state.level:
        net.state.level = state.level
    net.state.stage.extend(stage for stage in state.stage if stage not in net.state.stage)
    places = kept_places(net)
    names = [layer.name for layer in net.layer]
    counts: dict[str, list[int]] = {}
    for place in places:
        counts.setdefault(names[place], []).append(names[:place].count(names[place]))
    net = with_layers(net, places)
    _prepare(net, positions)
    glog("net.cpp:53", lambda: f"Initializing net from parameters: \n{proto.text.format(net)}")
    for layer in net.layer:
        complete_tops(layer)
    param = insert_splits(net)
    _tell_moved_weights(net, set() if share is None else {step.layer.name for step in share.graph.steps})
    nth = [counts[layer.name].pop(0) if counts.get(layer.name) else None for layer in param.layer]
    return _Assembly(Assembled(param, build_graph(param), positions, nth), state.phase, weights, share, take).done()


def _prepare(net: proto.NetParameter, positions: Positions | None) -> None:
    """Let forks write into a net what its layers say of each other."""
    for prepare in hooks.before_assembly:
        try:
            prepare(net)
        except NetError as error:
            if positions is not None:
                positions.locate(error)
            raise


class _Assembly:
    """An Assembled in the making."""

    def __init__(self, made: Assembled, phase: int, weights: Weights, share: Assembled | None, take: bool) -> None:
        self._made, self._graph = made, made.graph
        self._phase = phase
        self._weights = weights
        self._share = share
        # Of layers that share a parameter, each entry is copied into it in turn: none can be the parameter itself.
        self._take = take and not any(spec.name for layer in made.param.layer for spec in layer.param)
        names = [step.layer.name for step in self._graph.steps]
        others = [step.layer.name for step in share.graph.steps] if share is not None else []
        self._shared = shared_places(names, others)
        self._matched = [(place, entry) for place, entry in weights.matched(names) if place not in self._shared]
        self._lent: dict[str, tuple[int, int]] = {}  # a parameter's name -> which blob had it before it was shared
        self._entries: dict[int, list[LayerBlobs]] = {}
        for place, entry in self._matched:
            self._entries.setdefault(place, []).append(entry)

    def done(self) -> Assembled:
        made, parameters, values = self._made, Parameters(), 0
        for place in range(len(self._graph.steps)):
            try:
                values += self._add(place, parameters)
            except NetError as error:
                made.locate(error, place)
                raise
            glog("net.cpp:139", f"Memory required for data: {values * 4}")
        made.learnable = parameters.learnable
        made.views.update(parameters.views)
        if parameters.shared:  # Caffe copies a file entry after entry into the one parameter
            fill(made.layers, made.views, self._matched)
        self._find_written_over()
        self._log_backward()
        self._weights.report(self._graph, [place for place, layer in enumerate(made.layers) if len(layer.blobs)])
        return made

    def _add(self, place: int, parameters: Parameters) -> int:
        """Make one layer and set it up; returns how many values its tops hold."""
        step, entries, others = self._graph.steps[place], self._entries.get(place, []), self._others(place)
        own = [] if entries or others else written(step.layer)
        if not others:
            copy = not self._take or any(entry.hdf5 for entry in entries)
            layer = self._make(step, brought(entries or own, copy=copy))
            values = self._setup(step, layer)
            self._fill_as_owner(layer)
            parameters.add(place, layer)
        else:
            layer = self._make(step, dict(enumerate(others[-1].blobs)))
            with sharing(layer, others):
                values = self._setup(step, layer)
            self._take_views(place)
            for i, spec in enumerate(step.layer.param):
                self._lent.setdefault(spec.name, (place, i))
        for entry in entries:
            self._weights.check(layer, place, entry, parameters.learnable)
        for entry in own:
            self._weights.check(layer, place, entry, parameters.learnable, source="the prototxt")
        return values

    def _fill_as_owner(self, layer: Layer) -> None:
        """Fill what a layer shares by name with one that took the other net's blobs: that left its own fill behind."""
        for i, spec in enumerate(layer.layer_param.param[: len(layer.blobs)]):
            if spec.name and spec.name in self._lent:
                place, index = self._lent[spec.name]
                step, owner = self._graph.steps[place], self._made.layers[place]
                fresh = type(owner)(owner.layer_param, self._phase)
                fresh.setup([self._made.shapes[slot] for slot in step.bottoms])
                layer.blobs[i].data.copy_(fresh.blobs[index].data.reshape(layer.blobs[i].shape))

    def _others(self, place: int) -> list[Layer]:
        """The layers of the other net whose blobs this one uses."""
        return [] if self._share is None else [self._share.layers[there] for there in self._shared.get(place, ())]

    def _take_views(self, place: int) -> None:
        assert self._share is not None
        there = self._shared[place][-1]
        if there in self._share.views:
            self._made.views[place] = self._share.views[there]

    def _make(self, step: Step, given: dict[int, Tensor] | None) -> Layer:
        param = step.layer
        if not param.HasField("phase"):
            param.phase = self._phase
        glog("layer_factory.hpp:77", f"Creating layer {param.name}")
        cls = class_of(param)
        check_counts(cls, param)
        layer = cls(param, self._phase, given)
        self._made.layers.append(layer)
        if layer.given:
            self._made.inputs.update(zip(param.top, step.tops, strict=True))
        glog("net.cpp:86", f"Creating Layer {param.name}")
        for name in param.bottom:
            glog("net.cpp:408", f"{param.name} <- {name}")
        for name, same in zip(param.top, step.in_place, strict=True):
            if same and not cls.in_place:
                raise layer.error(f'cannot work in place on "{name}": give its top a new name', "top")
            if same:
                glog("net.cpp:369", f"{param.name} -> {name} (in-place)")
            else:
                glog("net.cpp:382", f"{param.name} -> {name}")
        return layer

    def _setup(self, step: Step, layer: Layer) -> int:
        """Set one layer up; returns how many values its tops hold."""
        with blamed_on(layer):
            tops = [tuple(shape) for shape in layer.setup([self._made.shapes[slot] for slot in step.bottoms])]
        if len(tops) != len(step.tops):
            raise layer.error(f"setup gave {len(tops)} top shapes for {len(step.tops)} tops")
        own = {name for name, _ in layer.named_parameters() if not name.startswith("blobs.")}
        if own:
            raise layer.error(
                f"its parameters {', '.join(sorted(own))} would be neither trained nor saved: "
                "make them in setup with self.blob(index, shape, filler) and use self.blobs[index]"
            )
        glog("net.cpp:124", f"Setting up {layer.name}")
        count = 0
        if layer.loss and not step.layer.loss_weight:
            step.layer.loss_weight.append(1)  # as Caffe, so that saved nets say it
        weights = list(step.layer.loss_weight)
        if weights and len(weights) != len(tops) and not (layer.loss and len(weights) == 1):
            counts = f"{len(weights)} loss_weight for {len(tops)} tops"
            raise layer.error(f"{counts}; give one for each or none", "loss_weight")
        for j, (slot, shape) in enumerate(zip(step.tops, tops, strict=True)):
            check_size(layer, f'top "{step.layer.top[j]}"', shape)
            self._made.shapes[slot] = tuple(shape)
            weight = weights[j] if j < len(weights) else 0.0
            if weight:
                self._made.loss_weights[slot] = torch.tensor(weight)
            glog("net.cpp:131", f"Top shape: {show_shape(shape)}")
            if weight:
                glog("net.cpp:134", f"    with loss weight {weight:g}")
            count += torch.Size(shape).numel()
        return count

    def _find_written_over(self) -> None:
        """Which blobs with a loss weight get their gradient from a layer that reads them, in place of that weight."""
        made, given = self._made, set[int]()
        for layer, step in zip(reversed(made.layers), reversed(self._graph.steps), strict=True):
            if not layer.stops_gradient and any(s in made.loss_weights or s in given for s in step.tops):
                down = list(step.layer.propagate_down) or [True] * len(step.bottoms)
                reached = [want and i not in layer.index_bottoms for i, want in enumerate(down)]
                given.update(slot for slot, want in zip(step.bottoms, reached, strict=True) if want)
        for slot, weight in made.loss_weights.items():
            if slot in given:
                made.diffs[slot] = weight.expand(made.shapes[slot]).clone()

    def _log_backward(self) -> None:
        """Caffe's lines on which layers backward reaches."""
        needs: set[int] = set()
        graph, weights = self._graph, self._made.loss_weights
        for layer, step in zip(self._made.layers, graph.steps, strict=True):
            if any(p.requires_grad for p in layer.parameters()) or needs.intersection(step.bottoms):
                needs.update(step.tops)
        under_loss: set[int] = set()
        cut: set[int] = set()  # blobs to which their reader gives no gradient
        for step in reversed(graph.steps):
            contributes = any(slot in weights or slot in under_loss for slot in step.tops)
            if contributes:
                under_loss.update(step.bottoms)
            reached = contributes and not cut.issuperset(step.tops)
            for i, slot in enumerate(step.bottoms):
                if not reached or (step.layer.propagate_down and not step.layer.propagate_down[i]):
                    cut.add(slot)
            if reached and needs.intersection(step.tops):
                glog("net.cpp:200", f"{step.layer.name} needs backward computation.")
            else:
                glog("net.cpp:202", f"{step.layer.name} does not need backward computation.")
        for name in graph.outputs:
            glog("net.cpp:244", f"This network produces output {name}")


def _tell_moved_weights(net: proto.NetParameter, known: set[str]) -> None:
    """Warn of loss weights of a filtered net that do not do what they say once its splits are there, as in Caffe.

    Of layers whose names are in `known` another net has told.
    """
    for i, tops in moved_weights(net).items():
        layer = net.layer[i]
        weights = {j: weight for j, weight in enumerate(layer.loss_weight) if weight and j < len(layer.top)}
        moved = ", ".join(f'loss_weight {weights[j]:g} of top "{layer.top[j]}"' for j in tops)
        lost = ", ".join(f'loss_weight {w:g} of top "{layer.top[j]}"' for j, w in weights.items() if j not in tops)
        why = f'layer "{layer.name}": {moved} moves to a Split, as other layers read it, and the layer keeps none'
        if layer.name in known:
            continue
        if lost:
            glog("insert_splits.cpp:82", f"{why}. As in Caffe, {lost} is left aside", logging.WARNING)
        elif class_of(layer).loss:
            says = "As in Caffe, the loss that is reported counts it once more, with 1; the gradients do not"
            glog("insert_splits.cpp:82", f"{why}. {says}", logging.WARNING)


def complete_tops(layer: proto.LayerParameter) -> None:
    """Give a loss layer without the tops it must have anonymous ones, as Caffe does."""
    cls = class_of(layer)
    if cls.loss:
        while len(layer.top) < _bounds(cls.tops)[0]:
            layer.top.append(ANONYMOUS)


def check_counts(cls: type[Layer], layer: proto.LayerParameter) -> None:
    """Raise LayerError unless a LayerParameter has as many bottoms and tops as its type takes."""
    for kind, count, allowed in (
        ("bottom", len(layer.bottom), cls.bottoms),
        ("top", len(layer.top), cls.tops),
    ):
        low, high = _bounds(allowed)
        if low <= count and (high is None or count <= high):
            continue
        if high is None:
            wanted = f"at least {low}"
        else:
            wanted = str(low) if low == high else f"{low} to {high}"
        raise LayerError(
            f'layer "{layer.name}" ({layer.type}) takes {wanted} {kind} blobs, not {count}',
            layer=layer.name,
            field=kind if count else None,
        )
    if cls.same_tops and len(layer.bottom) != len(layer.top):
        raise LayerError(
            f'layer "{layer.name}" ({layer.type}) needs a top for each bottom: '
            f"{len(layer.bottom)} bottoms, {len(layer.top)} tops",
            layer=layer.name,
            field="top",
        )


def _bounds(count: Count) -> tuple[int, int | None]:
    return (count, count) if isinstance(count, int) else count
