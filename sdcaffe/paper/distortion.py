"""Which layer of a baseline distorts its images, and the one Distort layer that does it for both branches."""

from __future__ import annotations

from dataclasses import dataclass

from sdcaffe import proto
from sdcaffe.errors import GraphError

_FLAGS = "--pad N, --crop N and --mirror"
_TRANSFORMING = ("Data", "ImageData", "MemoryData")  # whose transform_param Distort can do
_OBLONG = ("crop_h", "crop_w")  # of SSD's Caffe: a window that need not be square
_BORDER = "pad"  # of Intel's Caffe
NAMED_BY_TOP = ("HDF5Data",)  # whose tops say what is read, so that they keep their names
_LARGEST = 10_000  # pixels: no picture has such a border or window


@dataclass(frozen=True)
class Distortion:
    """What is asked of the branches in training; None and False leave what the net's own layers do.

    A border `pad` pixels wide around each picture, windows of `crop` x `crop` pixels, each mirrored with probability
    1/2. Raises GraphError for numbers without meaning.
    """

    pad: int | None = None
    crop: int | None = None
    mirror: bool = False

    def __post_init__(self) -> None:
        for name, value, least in (("pad", self.pad, 0), ("crop", self.crop, 1)):
            if value is not None and not least <= value <= _LARGEST:
                raise GraphError(f"--{name} must be {least} to {_LARGEST} pixels, not {value}")

    def __bool__(self) -> bool:
        return self.pad is not None or self.crop is not None or self.mirror


@dataclass(frozen=True)
class Origin:
    """Where the images of both branches come from: indices of layers in the net, `images` the blob.

    `source` is the Distort layer, or the layer that brings the images where there is none. `moved` is the data layer
    whose crop and mirror go to Distort, None where there is nothing to move.
    """

    source: int
    images: str
    moved: int | None


def origin(training: dict[int, proto.LayerParameter], logits: str, loss: int, asked: Distortion) -> Origin:
    """What brings the images behind `logits`. Raises GraphError, with what to do, where two branches are not to be."""
    needed, sources, distorts = {logits}, [], []
    for i in sorted(training, reverse=True):
        layer = training[i]
        if i < loss and needed.intersection(layer.top):
            needed.update(layer.bottom)
            if layer.type == "Distort":
                distorts.append(i)
            if not layer.bottom and layer.type != "Parameter":
                sources += [(i, top) for top in layer.top if top in needed]
    if distorts:
        return _behind_distort(training, distorts, sources, logits, asked)
    if len(sources) != 1:
        listed = ", ".join(f'"{top}"' for _, top in sources) or "no data layer"
        raise GraphError(f'the logits "{logits}" depend on {listed}; put a Distort layer behind the images')
    index, images = sources[0]
    _check_moves(training[index], asked)
    if not asked and not _transforms(training[index]):
        raise _error(
            training[index],
            f"neither crops nor mirrors, so two branches would be equal; say how they are to differ, by {_FLAGS}, "
            f'or put a Distort layer behind "{images}"',
        )
    return Origin(index, images, index)


def _behind_distort(
    training: dict[int, proto.LayerParameter],
    distorts: list[int],
    sources: list[tuple[int, str]],
    logits: str,
    asked: Distortion,
) -> Origin:
    index = distorts[0]
    layer = training[index]
    if len(distorts) > 1:
        raise _error(layer, f'is one of {len(distorts)} Distort layers behind "{logits}"; leave one of them')
    if len(layer.top) != 1:
        raise _error(layer, f"has {len(layer.top)} tops, so there are branches already; give the baseline", "top")
    moved = None
    for brings, blob in sources:
        _check_moves(training[brings], asked)
        if not _transforms(training[brings]):
            continue
        readers = [i for i, other in training.items() if blob in other.bottom]
        does = _transforms(training[brings])
        if layer.bottom[0] != blob or readers != [index]:
            raise _error(
                training[brings],
                f'{does}s the images before the Distort layer "{layer.name}" does, both branches alike, and other '
                f"layers see that; take {does} out of its transform_param in training",
                "transform_param",
            )
        if training[brings].transform_param.crop_size and asked.crop is None and _own_window(layer.distort_param):
            raise _error(
                training[brings],
                f'crops the images before the Distort layer "{layer.name}" pads, crops or warps them, both branches '
                "alike; take crop_size out of its transform_param in training, or give the window by --crop",
                "transform_param",
            )
        moved = brings
    if moved is None and not asked and not _changes(layer.distort_param):
        raise _error(layer, f"changes nothing, so two branches would be equal; say how they are to differ, by {_FLAGS}")
    return Origin(index, str(layer.top[0]), moved)


def _transforms(layer: proto.LayerParameter) -> str:
    """What a data layer does to each image by chance that Distort can do: "crop", "mirror" or ""."""
    if layer.type not in _TRANSFORMING:
        return ""
    return "crop" if layer.transform_param.crop_size else "mirror" if layer.transform_param.mirror else ""


def _check_moves(layer: proto.LayerParameter, asked: Distortion) -> None:
    """Refuse what a data layer draws for an image and Distort cannot do instead: both branches would share it."""
    if layer.type not in _TRANSFORMING and layer.transform_param.mirror:
        raise _error(
            layer,
            f"mirrors the images itself, both branches alike, and Distort does that in the place of "
            f"{', '.join(_TRANSFORMING)} only; take mirror out in training, and give --mirror",
            "transform_param",
        )
    if any(field.name == _BORDER for field, _ in layer.transform_param.ListFields()):
        raise _error(
            layer,
            f"puts a border, {_BORDER}, round what it crops, and Distort's is round the picture before the crop; take "
            f"{_BORDER} out of its transform_param in training",
            "transform_param",
        )
    cropped = layer.transform_param.crop_size or _oblong(layer)
    if layer.type not in (*_TRANSFORMING, "WindowData") and cropped:  # WindowData warps to crop_size, draws nothing
        raise _error(
            layer,
            f"crops the images itself, both branches alike, and Distort does that in the place of "
            f"{', '.join(_TRANSFORMING)} only; take the crop out in training, and give --crop N",
            "transform_param",
        )
    if layer.type in _TRANSFORMING and _oblong(layer) and asked.crop is None:
        raise _error(
            layer,
            "crops by crop_h and crop_w, and Distort's windows are square; give --crop N, which takes their place",
            "transform_param",
        )


def _oblong(layer: proto.LayerParameter) -> bool:
    return any(field.name in _OBLONG for field, _ in layer.transform_param.ListFields())


def _own_window(param: proto.DistortParameter) -> bool:
    """Whether a Distort layer does what cannot be told together with a crop before it."""
    return any(value for field, value in param.ListFields() if field.name not in ("mirror", *_NORMALISING))


_NORMALISING = ("mean_value", "std_value", "pad_stage")


def _changes(param: proto.DistortParameter) -> bool:
    return any(value for field, value in param.ListFields() if field.name not in _NORMALISING)


def hand_over(raw: proto.LayerParameter, distort: proto.DistortParameter) -> None:
    """Move what a data layer does by chance to the message of the Distort layer behind it."""
    if raw.type not in _TRANSFORMING or not raw.HasField("transform_param"):
        return
    old = raw.transform_param
    if old.crop_size:
        distort.crop_size = old.crop_size
    if old.mirror or (not distort.HasField("mirror") and old.HasField("mirror")):
        distort.mirror = old.mirror
    for name in ("crop_size", "mirror", *(field.name for field, _ in old.ListFields() if field.name in _OBLONG)):
        old.ClearField(name)


def hand_over_scaling(raw: proto.LayerParameter, distort: proto.DistortParameter) -> None:
    """Move the mean and scale of a data layer to the Distort layer behind it, where that does the same."""
    old = raw.transform_param
    if raw.type in _TRANSFORMING and not old.HasField("mean_file") and old.scale > 0:
        distort.mean_value.extend(old.mean_value)
        if old.scale != 1:
            distort.std_value.append(1 / old.scale)
        for field in ("mean_value", "scale"):
            old.ClearField(field)
    if not old.ListFields():
        raw.ClearField("transform_param")


def set_asked(distort: proto.DistortParameter, asked: Distortion) -> None:
    """Write what is asked into the message of a Distort layer, in the place of what it says."""
    if asked.pad is not None:
        distort.pad = asked.pad
    if asked.crop is not None:
        distort.crop_size = asked.crop
    if asked.mirror:
        distort.mirror = True


def described(distort: proto.DistortParameter) -> str:
    """The distortion in words."""
    window = f"windows of {distort.crop_size}x{distort.crop_size}" if distort.crop_size else "windows of its own size"
    words = [f"a border of {distort.pad}" if distort.pad else "no border", window]
    words += ["mirrored by chance"] if distort.mirror else []
    words += [name for name in ("affine", "perspective", "thin_plate_spline", "erasing") if distort.HasField(name)]
    return ", ".join(words)


def _error(layer: proto.LayerParameter, what: str, field: str | None = None) -> GraphError:
    return GraphError(f'layer "{layer.name}" ({layer.type}) {what}', layer=layer.name, field=field)
