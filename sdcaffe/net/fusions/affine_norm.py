"""A norm, the Scale behind it and a ReLU behind that as one affine norm."""

from __future__ import annotations

from typing import cast

from torch import Tensor
from torch.nn import functional as F

from sdcaffe.layers.base import Affine, Layer
from sdcaffe.net.draft import Draft, Joined, Run


def scale_norms(draft: Draft) -> None:
    """Every norm whose top only a per-channel Scale reads, with the ReLU behind it if only that reads on.

    Layers between them in the prototxt keep their place.
    """
    for norm in range(len(draft.steps)):
        places = norm_chain(draft, norm)
        if len(places) < 2 or norm in draft.inside or not draft.can_join(places):
            continue
        scale, last = draft.layers[places[1]], places[-1]
        rectifies = len(places) > 2
        reader = draft.only_reader(last, lambda layer: layer.fresh_gradient)
        top = draft.steps[last].tops[0]
        over = rectifies and reader is not None and top not in draft.apart
        run = _affine(draft.layers[norm], scale, rectifies, draft.layers[cast(int, reader)] if over else None)
        draft.join(Joined(places, run, overwritten=top if over else None))


def norm_chain(draft: Draft, norm: int) -> list[int]:
    """The places of a norm, its Scale and a ReLU, as far as each alone reads the one before it; [] for no norm."""
    if not draft.layers[norm].normalizes:
        return []
    scale = draft.only_reader(norm, _scales)
    relu = None if scale is None else draft.only_reader(scale, lambda layer: layer.rectifies)
    return [place for place in (norm, scale, relu) if place is not None]


def _scales(layer: Layer) -> bool:
    """Whether it is a factor for each channel, and perhaps a bias."""
    affine = layer.affine(list(layer.blobs))
    return affine is not None and affine.mean is None


def _affine(norm: Layer, scale: Layer, rectifies: bool, reader: Layer | None) -> Run:
    """`norm` with the factor and bias of `scale`, then ReLU in the memory of its output.

    `reader` alone reads the top and makes a gradient of its own. What comes back is then nobody else's, unless
    somebody looks at what the reader sends, and the ReLU's gradient may be written over it.
    """

    def run(x: Tensor) -> Tensor:
        weight, _, bias = cast(Affine, scale.affine(list(scale.blobs)))
        if reader is not None and not reader._backward_hooks:
            return norm.normalize(x, weight, bias, rectify=True)
        out = norm.normalize(x, weight, bias)
        return F.relu_(out) if rectifies else out

    return run
