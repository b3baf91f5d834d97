"""What a net runs and in which order: layers, or chains of them as one. Running it is net.py's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from sdcaffe.graph import Graph, Step
from sdcaffe.layers.base import Affine, DataLayer, Layer
from sdcaffe.net.folding import Folding, foldable, folded
from sdcaffe.net.fusion import batch_norm_chains, rectified, summed_in_place
from sdcaffe.net.parameters import Views


@dataclass
class Op:
    """What one step runs: one layer, a chain of layers run as one, or what several chains need first."""

    layers: list[Layer]
    run: Callable[..., Any]
    bottoms: list[int]
    tops: list[int]
    detach: list[int] = field(default_factory=list)  # the bottoms, by index, that no gradient goes to
    losses: list[int] = field(default_factory=list)  # of the tops, those with a loss weight
    release: list[int] = field(default_factory=list)
    dynamic: int | None = None  # the step whose tops take any shape, where this is one
    exact: bool = False  # computes in float32 whatever the net's precision
    leaves: list[int] = field(default_factory=list)  # tops that a later layer differentiates by
    overwritten: int | None = None  # a bottom whose memory the tops take, or a top whose gradient's is taken
    checked: bool = False  # the tops were what setup said


def make_plan(
    graph: Graph,
    layers: Sequence[Layer],
    weighted: set[int],
    views: Views,
    apart: frozenset[int] = frozenset(),
) -> list[Op]:
    """What to run: each computing step, chains as one; each blob released after its last reader.

    `weighted` are the slots with a loss weight; `views` are the blobs, by the layer's place and index, that other
    layers own under another shape. A chain that makes one of the slots `apart` on its way runs as its layers, and none
    of them is written over.
    """
    chains: dict[int, tuple[int, list[Layer], Callable[..., Any]]] = {}  # first step -> last, layers, what to run
    members: set[int] = set()
    overwritten: dict[int, int] = {}
    foldings: dict[Any, Folding] = {}
    slots: dict[int, tuple[int, int]] = {}  # first step of a chain -> what a Folding makes for it
    for chain in batch_norm_chains(graph, layers):
        parts = [i for i in (chain.convolution, chain.batch_norm, chain.scale, chain.relu) if i is not None]
        at = {i: layers[i] for i in parts}
        inside = {slot for i in parts[:-1] for slot in graph.steps[i].tops}
        if inside & apart or any(i in views for i in parts):
            continue
        batch_norm, scale, relu = at[chain.batch_norm], at[chain.scale], chain.relu is not None
        if chain.convolution is not None and foldable(at[chain.convolution], batch_norm):
            first, convolution = chain.convolution, at[chain.convolution]
            run: Callable[..., Any] = folded(convolution, relu)
            slots[first] = -2 * len(slots) - 1, -2 * len(slots) - 2  # slots that no blob has
            kind = Folding.kind(convolution, batch_norm, scale)
            foldings.setdefault(kind, Folding()).add(convolution, batch_norm, scale, slots[first])
        else:
            first = chain.batch_norm
            top = graph.steps[chain.last].tops[0]
            reader = None if chain.reader is None else layers[chain.reader]
            over = relu and top not in apart and reader is not None
            run = _fused(batch_norm, scale, relu, reader if over else None)
            if over:
                overwritten[first] = top
        chains[first] = (chain.last, [at[i] for i in parts if i >= first], run)
        members.update(i for i in parts if i > first)
    for i, k in summed_in_place(graph, layers).items():
        slot, adder = graph.steps[i].bottoms[k], layers[i]
        if slot not in apart and slot not in weighted:
            chains[i] = (i, [adder], _adding(adder, k))
            overwritten[i] = slot
    for maker, rectifier in rectified(graph, layers):
        pair = [layers[i] for i in (maker, rectifier)]
        hidden = not apart.intersection(graph.steps[maker].tops)
        if hidden and not {maker, rectifier} & views.keys():
            _, _, run = chains.get(maker, (maker, pair, pair[0]))
            chains[maker] = (rectifier, pair, _rectifying(run))
            members.add(rectifier)
    differentiated = gradient_slots(graph, layers)
    ops = [Op(folding.layers, folding, [], folding.tops, checked=True) for folding in foldings.values()]
    for i, step in enumerate(graph.steps):
        layer = layers[i]
        if i in members or isinstance(layer, DataLayer) or layer.given:
            continue
        last, layers_here, run = chains.get(i, (i, [layer], layer))
        if i in views:
            run = _with_views(layer, views[i])
        tops = graph.steps[last].tops
        ops.append(
            Op(
                layers=layers_here,
                run=run,
                bottoms=[*step.bottoms, *slots.get(i, ())],
                tops=tops,
                detach=_detached(layer, step),
                losses=[slot for slot in tops if slot in weighted],
                release=[*step.release, *slots.get(i, ())],
                dynamic=i if layer.dynamic else None,
                exact=layer.loss or bool(layer.index_bottoms),
                leaves=[slot for slot in tops if slot in differentiated],
                overwritten=overwritten.get(i),
            )
        )
    return ops


def gradient_slots(graph: Graph, layers: Sequence[Layer]) -> set[int]:
    """The slots that layers differentiate by in their forward."""
    return {step.bottoms[i] for layer, step in zip(layers, graph.steps, strict=True) for i in layer.gradient_bottoms}


def _detached(layer: Layer, step: Step) -> list[int]:
    flags = list(step.layer.propagate_down)
    return [i for i in range(len(step.bottoms)) if i in layer.index_bottoms or (flags and not flags[i])]


def _fused(norm: Layer, scale: Layer, relu: bool, reader: Layer | None) -> Callable[[Tensor], Tensor]:
    """A norm, Scale and ReLU as one affine batch norm, then ReLU in the memory of its output.

    `reader` alone reads the top and makes a gradient of its own. What comes back is then nobody else's, unless
    somebody looks at what the reader sends, and the ReLU's gradient may be written over it.
    """

    def run(x: Tensor) -> Tensor:
        weight, _, bias = cast(Affine, scale.affine(list(scale.blobs)))
        if reader is not None and not reader._backward_hooks:
            return norm.normalize(x, weight, bias, rectify=True)
        out = norm.normalize(x, weight, bias)
        return F.relu_(out) if relu else out

    return run


def _adding(layer: Layer, first: int) -> Callable[..., Tensor]:
    """The sum of the bottoms in the memory of the bottom `first`."""

    def run(*bottoms: Tensor) -> Any:
        if any(bottom.dtype != bottoms[first].dtype for bottom in bottoms):  # the sum is of the wider type
            return layer(*bottoms)
        top = bottoms[first]
        for i, bottom in enumerate(bottoms):
            if i != first:
                top = top.add_(bottom)
        return top

    return run


def _rectifying(maker: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`maker`, then ReLU in the memory of its top."""

    def run(*bottoms: Tensor) -> Tensor:
        return F.relu_(maker(*bottoms))

    return run


def _with_views(layer: Layer, owners: dict[int, nn.Parameter]) -> Callable[..., Any]:
    """`layer` with blobs that another layer owns under another shape (PERMISSIVE sharing)."""
    shapes = {i: tuple(layer.blobs[i].shape) for i in owners}

    def run(*bottoms: Tensor) -> Any:
        blobs = {f"blobs.{i}": owner.reshape(shapes[i]) for i, owner in owners.items()}
        return functional_call(layer, blobs, bottoms)

    return run
