"""Checks a self-distilled net by the sizes of its blobs and weights, before anything is trained.

The nets are set up with inputs in the place of their data layers. Sizes of images that are not here are guessed from
the windows that the net crops, and a guess refuses only what no size would mend.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

from sdcaffe import proto
from sdcaffe.data.opening import known_image
from sdcaffe.errors import GraphError, SdcaffeError
from sdcaffe.layers.base import Shape
from sdcaffe.net import Net
from sdcaffe.paper.distortion import Distortion
from sdcaffe.paper.reading import TEST, TRAIN, phases
from sdcaffe.paper.rewrite import Rewritten, Settings, self_distilled

_ONE_LABEL = ("Data", "ImageData", "MemoryData", "WindowData")  # whose second top has one number an image
_PICTURES = ("DenseImageData", "ImageSegData")  # whose labels are pictures
_UNKNOWN = 224  # the guessed side of an image where nothing tells

_UNMOVED = (
    "labels that stand for single pixels or positions do not move with the windows that the branches see, "
    "so such a net cannot be self-distilled"
)


@dataclass(frozen=True)
class _Brought:
    """What a data layer brings: the shapes of its tops, and whether they were seen or are guessed."""

    shapes: list[Shape]
    seen: bool


def checked(net: proto.NetParameter, settings: Settings) -> Rewritten:
    """The self-distilled form of a NetParameter as `self_distilled`, which also raises here for sizes.

    Raises GraphError where labels stand for pixels or positions and not for images, where a window does not fit,
    where the result could not be set up though the baseline can, and where its weights would not fit its test phase.
    """
    _check_label_pictures(net)
    done = self_distilled(net, settings)
    before, after = _Sizes(net), _Sizes(done.net)
    _check_labels(before, done.images)
    _check_windows(after, settings.distortion)
    if isinstance(before.set_up(TRAIN), Net):
        two = after.set_up(TRAIN)
        if not isinstance(two, Net):
            raise GraphError(f"two branches of images do not pass through this net as one batch: {two}")
        if after.seen:
            _check_weights(two, after.set_up(TEST))
        return replace(done, shapes=two.blob_shapes, guessed=not after.seen)
    return done


def self_distill(
    net: proto.NetParameter | str | PathLike[str],
    *,
    temperature: float = 3.0,
    kl_weight: float = 1.0,
    mmd_weight: float = 0.0005,
    logits: str | None = None,
    feature: str | None = None,
    pad: int | None = None,
    crop: int | None = None,
    mirror: bool = False,
) -> proto.NetParameter:
    """The NetParameter that trains `net`, a baseline's NetParameter or prototxt, by self-distillation.

    `temperature`, `kl_weight` and `mmd_weight` are the paper's T, lambda and mu (Xu and Liu, AAAI 2019, Eq. 5); a
    weight of 0 leaves its loss out. `logits` and `feature` name the blobs that the branches compare, where they are
    not to be found: the bottom of the one softmax loss, and that of the layer that makes it. `pad`, `crop` (pixels)
    and `mirror` say what the branches distort, in the place of what the net's own layers do. `net` stays as it is.
    Raises GraphError, with what to do, for a net that this would not do justice to, and what reading a file raises.
    """
    baseline = proto.read_net(net) if isinstance(net, (str, PathLike)) else net
    asked = Distortion(pad, crop, mirror)
    settings = Settings(temperature, kl_weight, mmd_weight, logits, feature, distortion=asked)
    return checked(baseline, settings).net


class _Sizes:
    """A net whose layers can be set up without its data."""

    def __init__(self, net: proto.NetParameter) -> None:
        self.net = net
        self.brought = {i: _bring(net, i) for i, layer in enumerate(net.layer) if _is_source(layer)}

    @property
    def seen(self) -> bool:
        """Whether all that its data layers bring is known, none of it guessed."""
        return all(one.seen for one in self.brought.values())

    def behind(self, phase: int, blobs: set[str], before: int) -> list[int]:
        """The layers of a phase that `blobs` depend on, as the layer at index `before` reads them."""
        needed, kept = set(blobs), []
        for i in reversed(range(before)):
            layer = self.net.layer[i]
            if phase in phases(layer) and needed.intersection(layer.top):
                needed.update(layer.bottom)
                kept.append(i)
        return kept[::-1]

    def guesses(self, kept: Iterable[int]) -> bool:
        """Whether something that layers of `kept` bring is guessed."""
        return any(not self.brought[i].seen for i in kept if i in self.brought)

    def set_up(self, phase: int, kept: Iterable[int] | None = None) -> Net | Exception:
        """The layers `kept` of a phase, all by default, weights all 0; or why they cannot be set up."""
        param = proto.NetParameter(name=self.net.name, input=self.net.input)
        param.input_shape.extend(self.net.input_shape)
        for i in range(len(self.net.layer)) if kept is None else kept:
            layer = self.net.layer[i]
            if phase not in phases(layer):
                continue
            made = param.layer.add()
            if i in self.brought:
                made.name, made.type = layer.name, "Input"
                made.top.extend(layer.top)
                for shape in self.brought[i].shapes:
                    made.input_param.shape.add(dim=shape)
            else:
                made.CopyFrom(layer)
                _unfilled(made)
        try:
            return Net(param, phase)
        except (SdcaffeError, OSError) as error:
            return error


def _is_source(layer: proto.LayerParameter) -> bool:
    return not layer.bottom and layer.type not in ("Parameter", "Input")


def _bring(net: proto.NetParameter, index: int) -> _Brought:
    """What a data layer brings in its phase; where its data are not here, the likely shapes."""
    layer = proto.copied(net.layer[index])
    phase = TRAIN if TRAIN in phases(layer) else TEST
    known = known_image(layer.data_param.source) if layer.type == "Data" else None  # not to be fetched for that
    if known is None:
        alone = proto.NetParameter()
        alone.layer.add().CopyFrom(layer)
        for rules in ("include", "exclude"):
            alone.layer[0].ClearField(rules)
        try:
            made = Net(alone, phase)
        except (SdcaffeError, OSError):
            made = None
        if made is not None:
            made.close()
            return _Brought([made.blob_shapes[top] for top in layer.top], True)
    crop = layer.transform_param.crop_size
    batch = next((value.batch_size for _, value in layer.ListFields() if hasattr(value, "batch_size")), 1) or 1
    if known is not None:
        image = (known[0], crop or known[1], crop or known[2])
        return _Brought([(batch, *image), (batch,)][: len(layer.top)], True)
    side = crop or _window_behind(net, layer) or _UNKNOWN
    return _Brought([(batch, 3, side, side), *[(batch,)] * (len(layer.top) - 1)], False)


def _window_behind(net: proto.NetParameter, source: proto.LayerParameter) -> int:
    """The crop_size of a Distort layer that reads the data layer, else 0."""
    sizes = (one.distort_param.crop_size for one in net.layer if one.type == "Distort" and one.bottom[0] in source.top)
    return next(sizes, 0)


def _unfilled(message: Any) -> None:
    """Leave out all fillers of a layer: what is not computed with is not drawn."""
    for field, value in message.ListFields():
        if hasattr(value, "ListFields"):
            if field.message_type.name == "FillerParameter":
                message.ClearField(field.name)
            else:
                _unfilled(value)


def _check_windows(sizes: _Sizes, asked: Distortion) -> None:
    """Refuse a window that is larger than the picture with its border, and a border that can fill a window."""
    index, layer = next(
        (i, layer) for i, layer in enumerate(sizes.net.layer) if layer.type == "Distort" and TRAIN in phases(layer)
    )
    pad, crop = layer.distort_param.pad, layer.distort_param.crop_size
    kept = sizes.behind(TRAIN, {layer.bottom[0]}, index)
    made = None if sizes.guesses(kept) else sizes.set_up(TRAIN, kept)
    picture = made.blob_shapes[layer.bottom[0]][2:] if isinstance(made, Net) else ()
    if len(picture) == 2 and crop > min(picture) + 2 * pad:
        what = f"--crop {crop}" if asked.crop is not None else f"a window of {crop}x{crop}"
        height, width = picture
        raise GraphError(f"{what} does not fit pictures of {height}x{width} with a border of {pad} a side")
    side = crop or min(picture, default=0)
    if asked.pad and side and pad >= side:
        raise GraphError(
            f"--pad {pad} leaves windows of {side}x{side} with nothing of the picture; it must be below {side}"
        )


def _check_label_pictures(net: proto.NetParameter) -> None:
    """Refuse a loss whose labels a data layer brings as pictures, before anything is asked for."""
    for i, loss in enumerate(net.layer):
        if loss.type == "SoftmaxWithLoss" and TRAIN in phases(loss):
            brings = _labels_from(net, loss, i)
            if brings is not None and brings.type in _PICTURES:
                raise GraphError(
                    f'layer "{loss.name}" ({loss.type}) reads the labels of pixels that "{brings.name}" '
                    f"({brings.type}) brings: {_UNMOVED}",
                    layer=loss.name,
                )


def _check_labels(sizes: _Sizes, images: str) -> None:
    """Refuse a loss over more than one position of an image: labels of positions do not move with the windows."""
    for i, loss in enumerate(sizes.net.layer):
        if loss.type != "SoftmaxWithLoss" or TRAIN not in phases(loss) or list(loss.loss_weight[:1]) == [0]:
            continue
        if _labelled_once(sizes.net, loss, i):
            continue
        kept = sizes.behind(TRAIN, {loss.bottom[0], images}, i)
        made = sizes.set_up(TRAIN, kept)
        if not isinstance(made, Net):
            if _by_places(sizes.net, loss.bottom[0], i):
                raise GraphError(
                    f'whether the labels of layer "{loss.name}" ({loss.type}) stand for images or for single pixels '
                    f'cannot be told without the data, for "{loss.bottom[0]}" keeps places apart: {made}',
                    layer=loss.name,
                )
            continue
        scores, batch, axis = made.blob_shapes[loss.bottom[0]], made.blob_shapes[images][0], loss.softmax_param.axis
        classes = scores[axis] if -len(scores) <= axis < len(scores) else 1
        positions = math.prod(scores) // max(classes * batch, 1)
        if positions > 1:
            raise GraphError(
                f'layer "{loss.name}" ({loss.type}) reads scores of {positions} positions an image, '
                f'"{loss.bottom[0]}" of shape {scores}{" as far as can be told without data" * sizes.guesses(kept)}: '
                f"{_UNMOVED}",
                layer=loss.name,
            )


def _labelled_once(net: proto.NetParameter, loss: proto.LayerParameter, before: int) -> bool:
    """Whether the labels come straight from a data layer that has one an image."""
    layer = _labels_from(net, loss, before)
    return layer is not None and layer.type in _ONE_LABEL


def _labels_from(net: proto.NetParameter, loss: proto.LayerParameter, before: int) -> proto.LayerParameter | None:
    """The layer whose second top the labels are, through Splits; None for others."""
    blob = loss.bottom[1] if len(loss.bottom) > 1 else ""
    for layer in reversed(net.layer[:before]):
        if TRAIN not in phases(layer) or blob not in layer.top:
            continue
        if layer.type != "Split":
            return layer if list(layer.top).index(blob) == 1 else None
        blob = layer.bottom[0]
    return None


def _by_places(net: proto.NetParameter, scores: str, before: int) -> bool:
    """Whether a layer that keeps places apart made the scores: none of those behind it joins them."""
    for layer in reversed(net.layer[:before]):
        if TRAIN in phases(layer) and scores in layer.top and list(layer.bottom) != list(layer.top):
            return layer.type in ("Convolution", "Deconvolution", "Crop", "Interp", "Upsample", "Eltwise")
    return False


def _check_weights(train: Net, test: Net | Exception) -> None:
    """Refuse weights of other shapes in the two phases."""
    if not isinstance(test, Net):
        return
    for name, blobs in train.params.items():
        for ours, theirs in zip(blobs, test.params.get(name, []), strict=False):
            if ours.shape != theirs.shape:
                raise GraphError(
                    f'layer "{name}" would have weights of shape {tuple(ours.shape)} in training and of '
                    f"{tuple(theirs.shape)} in the test phase, whose pictures have another size: give --crop the test "
                    "phase's size, or pool globally before the layer",
                    layer=name,
                )
