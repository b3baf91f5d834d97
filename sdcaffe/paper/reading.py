"""Finds in a baseline net what its self-distilled form needs, or says why there is no such form. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sdcaffe import proto
from sdcaffe.errors import GraphError
from sdcaffe.layers.base import class_of
from sdcaffe.paper.distortion import Distortion, origin

TRAIN, TEST = proto.TRAIN, proto.TEST

_LAST = ("InnerProduct", "Convolution")


@dataclass(frozen=True)
class Reading:
    """Layers are named by their index in the net, blobs by name.

    - `source`: the Distort layer, or the layer that brings the images where there is none; `images` its top
    - `moved`: the data layer whose crop and mirror go to Distort, if any
    - `loss`, `logits`, `feature`: the main loss and what the branches compare; `feature` "" for none
    - `twins`: each layer that is to exist once a branch -> which of its bottoms hold both branches
    - `shared`: the layers that images of both branches go through
    """

    source: int
    images: str
    loss: int
    logits: str
    feature: str
    twins: dict[int, set[str]]
    shared: list[int]
    moved: int | None
    asked: Distortion


def read(
    net: proto.NetParameter, logits: str | None = None, feature: str | None = None, asked: Distortion | None = None
) -> Reading:
    """What the training phase of a NetParameter holds; `logits` and `feature` None: found, "": not wanted.

    `asked` is what the two branches are to be, beside what the net's own layers do.

    Raises GraphError, with what to do, where the net does not tell, or would not train right with two branches.
    """
    training = {i: layer for i, layer in enumerate(net.layer) if TRAIN in phases(layer)}
    for layer in training.values():
        if layer.type in ("KLLoss", "MMDLoss"):
            raise _error(layer, "compares two branches already; give the baseline, without it")
    loss = _main_loss(training, logits)
    chosen = training[loss].bottom[0]
    asked = asked or Distortion()
    found = origin(training, chosen, loss, asked)
    source, images = found.source, found.images
    twins, shared, doubled = _both_branches(training, source, images)
    if chosen not in doubled:
        raise _error(training[loss], f'reads "{chosen}", which does not depend on the images "{images}"')
    if feature is None:
        feature = _feature(training, chosen, loss)
    elif feature and feature not in doubled:
        raise GraphError(f'the feature "{feature}" is no blob that depends on the images "{images}" in training')
    return Reading(source, images, loss, chosen, feature, twins, shared, found.moved, asked)


def phases(layer: proto.LayerParameter) -> set[int]:
    """The phases that a layer exists in. Raises GraphError where a stage or a level decides over training."""
    if not layer.include and not layer.exclude:
        return {TRAIN, TEST}
    for rule in (*layer.include, *layer.exclude):
        of_training = not rule.HasField("phase") or rule.phase == TRAIN
        if of_training and any(name != "phase" for name in (field.name for field, _ in rule.ListFields())):
            raise _error(layer, "exists in some stages or levels only; write out a net for the one to train", "include")
    if layer.include:
        return {phase for phase in (TRAIN, TEST) if any(_allows(rule, phase) for rule in layer.include)}
    return {phase for phase in (TRAIN, TEST) if not any(_allows(rule, phase) for rule in layer.exclude)}


def _allows(rule: Any, phase: int) -> bool:
    return not rule.HasField("phase") or rule.phase == phase


def _error(layer: proto.LayerParameter, what: str, field: str | None = None) -> GraphError:
    return GraphError(f'layer "{layer.name}" ({layer.type}) {what}', layer=layer.name, field=field)


def _main_loss(training: dict[int, Any], logits: str | None) -> int:
    """The index of the softmax loss, of several that of `logits`."""
    losses = {
        i: layer
        for i, layer in training.items()
        if layer.type == "SoftmaxWithLoss" and (not layer.loss_weight or layer.loss_weight[0])
    }
    if logits is not None:
        reading = [i for i, layer in losses.items() if layer.bottom[0] == logits]
        if not reading:
            logits_read = ", ".join(f'"{layer.bottom[0]}"' for layer in losses.values()) or "none at all"
            raise GraphError(f'no SoftmaxWithLoss reads the logits "{logits}" in training; there is {logits_read}')
        return reading[0]
    if not losses:
        raise GraphError(
            "the training phase has no SoftmaxWithLoss, whose bottom would be the logits; "
            "replace Softmax and MultinomialLogisticLoss, or another loss of class scores, by it"
        )
    labels = {tuple(layer.bottom[1:]) for layer in losses.values()}
    if len(labels) > 1:
        listed = ", ".join(f'"{layer.name}" reads "{layer.bottom[0]}"' for layer in losses.values())
        raise GraphError(f"there are {len(losses)} softmax losses ({listed}); choose one's bottom with --logits")
    weights = {i: layer.loss_weight[0] if layer.loss_weight else 1.0 for i, layer in losses.items()}
    return max(losses, key=lambda i: (weights[i], i))  # the others are auxiliary, as GoogLeNet's


def _maker(training: dict[int, Any], blob: str, before: int) -> Any | None:
    """The last layer before index `before` that makes `blob`, in place or not."""
    return next((training[i] for i in sorted(training, reverse=True) if i < before and blob in training[i].top), None)


def _feature(training: dict[int, Any], logits: str, loss: int) -> str:
    """The bottom of the layer that makes the logits."""
    blob = logits
    maker = _maker(training, blob, loss)
    while maker is not None and (class_of(maker).copies or class_of(maker).views):
        blob = maker.bottom[0]
        maker = _maker(training, blob, loss)
    if maker is None or maker.type not in _LAST or list(maker.bottom) == list(maker.top):
        made = f'layer "{maker.name}" ({maker.type})' if maker is not None else "no layer"
        raise GraphError(
            f'the logits "{logits}" are made by {made}, whose bottom is no feature as that of a last InnerProduct is; '
            "name the feature with --feature, or leave it out with --mu 0"
        )
    return str(maker.bottom[0])


def _both_branches(
    training: dict[int, Any], source: int, images: str
) -> tuple[dict[int, set[str]], list[int], set[str]]:
    """The layers to have once a branch, those that both go through, and the blobs that hold both at the end."""
    doubled = {images}
    once_a_branch: set[str] = set()
    twins: dict[int, set[str]] = {}
    shared: list[int] = []
    for i, layer in training.items():
        if i <= source:
            continue
        for name in once_a_branch.intersection(layer.bottom):
            raise _error(
                layer,
                f'reads "{name}", which will be there once a branch, because its maker is a loss or reads more than '
                "images; let no layer read it in training",
                "bottom",
            )
        both = doubled.intersection(layer.bottom)
        if not both:
            doubled.difference_update(layer.top)
        elif len(both) < len(set(layer.bottom)) or is_loss(layer):
            if layer.param:
                raise _error(layer, "has parameters and would be there once a branch; let it read images only", "param")
            twins[i] = both
            once_a_branch.update(layer.top)
        elif class_of(layer).mixes_items(layer):
            raise _error(layer, "works across the images of a batch, which would mix the two branches")
        else:
            shared.append(i)
            doubled.update(layer.top)
    return twins, shared, doubled


def is_loss(layer: proto.LayerParameter) -> bool:
    """Whether a layer's top adds to the loss of the net."""
    if layer.loss_weight:
        return any(layer.loss_weight)
    return bool(class_of(layer).loss)
