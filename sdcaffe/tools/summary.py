"""What a net costs that stands in a file: a prototxt, whose data are not fetched, or a weight file. Runs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from sdcaffe import proto
from sdcaffe.data.opening import known_image
from sdcaffe.errors import DataError, GraphError, NetError
from sdcaffe.graph import keep_layers
from sdcaffe.layers.base import DataLayer, Shape, class_of
from sdcaffe.layers.data import Data
from sdcaffe.log.table import text_table
from sdcaffe.net import Net
from sdcaffe.tools.costs import Costs, amount, costs, size


def costs_of_prototxt(
    file: str | Path,
    phase: int,
    *,
    level: int = 0,
    stages: Iterable[str] = (),
    shapes: Mapping[str, Shape] | None = None,
    ignore_unknown: bool = False,
) -> Costs:
    """The costs of the net of a prototxt. A data layer is opened only where nothing tells the shape of its images.

    A set that is known by its name tells it; else `shapes` may, by the name of the first top, and by those of others,
    which have a number an image where it does not. Raises GraphError for a name in it that is no such blob, and what
    Net raises.
    """
    param, positions = proto.read_net_located(file, ignore_unknown=ignore_unknown)
    param.state.phase, param.state.level = phase, level
    param.state.stage.extend(stages)
    given = dict(shapes or {})
    try:
        brought, types = _brought(param, given)
    except NetError as error:
        positions.locate(error)
        raise
    missing = [name for name in given if name not in brought]
    if missing:
        known = ", ".join(dict.fromkeys(brought))
        raise GraphError(f'no layer brings a blob "{missing[0]}" to give a shape; there are {known}')
    try:
        net = Net(param, phase, positions=positions)
    except DataError as error:
        error.message += "; --shape BLOB=N,C,H,W says what they bring where the data are elsewhere"
        raise
    try:
        found = costs(net)
    finally:
        net.close()
    for cost in found.layers:
        cost.type = types.get(cost.name, cost.type)
    return found


def _brought(param: proto.NetParameter, given: Mapping[str, Shape]) -> tuple[list[str], dict[str, str]]:
    """The tops whose shapes may be told; the types of those layers whose shapes are told, which are inputs now."""
    kept = {layer.name for layer in keep_layers(param).layer}
    types: dict[str, str] = {}
    brought = []
    for layer in param.layer:
        if layer.name not in kept or not layer.top:
            continue
        cls = class_of(layer)
        if cls.given or issubclass(cls, DataLayer):
            brought.append(layer.top[0])
            tops = _tops(layer, cls, given)
            if tops is not None:
                brought += layer.top[1:]
                types[layer.name] = layer.type
                _give(layer, tops)
    return brought, types


def _tops(layer: proto.LayerParameter, cls: type, given: Mapping[str, Shape]) -> list[Shape] | None:
    """The shapes of what a layer brings, where that is told without opening anything."""
    shape = given.get(layer.top[0])
    if shape is None and cls is Data:
        image, crop = known_image(layer.data_param.source), layer.transform_param.crop_size
        if image is not None:
            shape = (layer.data_param.batch_size, image[0], crop or image[1], crop or image[2])
    return None if shape is None else [shape, *(given.get(top, shape[:1]) for top in layer.top[1:])]


def _give(layer: proto.LayerParameter, tops: list[Shape]) -> None:
    layer.type = "Input"
    del layer.input_param.shape[:]
    for shape in tops:
        layer.input_param.shape.add(dim=shape)


def lines_of_weights(file: str | Path) -> list[str]:
    """A table of the layers of a .caffemodel, or its HDF5 form, that have blobs, and the totals.

    Raises WeightsError for a file that is none.
    """
    rows, numbers = [["layer", "type", "blobs", "numbers", "memory"]], 0
    for entry in proto.read_weights(file):
        blobs = [blob for blob in entry.blobs if blob is not None]
        if blobs:
            count = sum(blob.size for blob in blobs)
            shapes = ", ".join(" x ".join(map(str, blob.shape)) or "scalar" for blob in blobs)
            rows.append([entry.name, entry.type or "-", shapes, amount(count), size(4 * count)])
            numbers += count
    return [*text_table(rows, "lllrr"), "", f"numbers        {numbers:,}, {size(4 * numbers)}"]
