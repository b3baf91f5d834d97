"""Automatic splits: a blob that several layers read gets a Split layer, as Caffe inserts it.

At run time a split costs nothing (its tops are the same tensor). The layers exist so that names,
logs, `.caffemodel` files and scripts see the net that Caffe would have built.
"""

from __future__ import annotations

from collections import Counter

from sdcaffe import proto
from sdcaffe.errors import GraphError, nearest

Source = tuple[int, int]  # layer index, top index


def insert_splits(net: proto.NetParameter) -> proto.NetParameter:
    """A copy of the filtered NetParameter `net` with Split layers where a top has several readers.

    A loss weight on a top that is read elsewhere counts as one reader and moves to the split. As in Caffe, the layer's
    loss_weight is then cleared, that of its other tops too; `moved_weights` says where. Raises GraphError for a bottom
    that no earlier layer makes.
    """
    source_of, readers = _readers(net)
    result = proto.NetParameter()
    result.CopyFrom(net)
    del result.layer[:]
    used: Counter[Source] = Counter()
    for i, layer in enumerate(net.layer):
        copy = result.layer.add()
        copy.CopyFrom(layer)
        for j, name in enumerate(layer.bottom):
            source = source_of[i, j]
            if readers[source] > 1:
                copy.bottom[j] = _blob_name(net.layer[source[0]].name, name, source[1], used[source])
                used[source] += 1
        for j, name in enumerate(layer.top):
            count = readers[i, j]
            if count > 1:
                weight = layer.loss_weight[j] if j < len(layer.loss_weight) else 0.0
                _add_split(result, layer.name, name, j, count, weight)
                if weight:
                    copy.ClearField("loss_weight")
                    used[i, j] += 1
    return result


def moved_weights(net: proto.NetParameter) -> dict[int, list[int]]:
    """Layer index -> the tops whose loss weight `insert_splits` moves to a split."""
    _, readers = _readers(net)
    moved: dict[int, list[int]] = {}
    for i, layer in enumerate(net.layer):
        for j, weight in enumerate(layer.loss_weight[: len(layer.top)]):
            if weight and readers[i, j] > 1:
                moved.setdefault(i, []).append(j)
    return moved


def _readers(net: proto.NetParameter) -> tuple[dict[Source, Source], Counter[Source]]:
    """Where each bottom, by layer and index, is made; and how many read each top, its own loss weight included."""
    sources: dict[str, Source] = {}
    source_of: dict[Source, Source] = {}
    readers: Counter[Source] = Counter()
    for i, layer in enumerate(net.layer):
        for j, name in enumerate(layer.bottom):
            if name not in sources:
                raise _unknown_bottom(net, i, j, sources)
            source_of[i, j] = sources[name]
            readers[sources[name]] += 1
        for j, name in enumerate(layer.top):
            sources[name] = (i, j)
        for j, weight in enumerate(layer.loss_weight[: len(layer.top)]):
            if weight:
                readers[i, j] += 1
    return source_of, readers


def _add_split(net: proto.NetParameter, layer_name: str, blob: str, top: int, count: int, loss_weight: float) -> None:
    split = net.layer.add(name=f"{blob}_{layer_name}_{top}_split", type="Split")
    split.bottom.append(blob)
    for k in range(count):
        split.top.append(_blob_name(layer_name, blob, top, k))
        if loss_weight:
            split.loss_weight.append(loss_weight if k == 0 else 0.0)


def _blob_name(layer_name: str, blob: str, top: int, index: int) -> str:
    return f"{blob}_{layer_name}_{top}_split_{index}"


def _unknown_bottom(net: proto.NetParameter, i: int, j: int, known: dict[str, Source]) -> GraphError:
    layer = net.layer[i]
    name = layer.bottom[j]
    message = f'unknown bottom blob "{name}" (layer "{layer.name}", bottom index {j}).'
    later = [other.name for other in net.layer[i:] if name in other.top]
    near = nearest(name, known)
    if later:
        message += f' Layer "{later[0]}" makes it, but comes later: put it first.'
    elif near is not None:
        message += f' Did you mean "{near}"?'
    else:
        message += " No earlier layer of this phase makes it."
    return GraphError(message, layer=layer.name, field="bottom")
