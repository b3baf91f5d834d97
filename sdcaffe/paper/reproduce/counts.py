"""The multiply-adds of an iteration of each net of prototxt/: counted from the net, or read from the table beside them.

Counting builds the net, which takes a second or so for a deep one. The table knows a file by its SHA-256, so it never
speaks of one that was edited. `make prototxt` writes it.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sdcaffe import Net, packaged, proto
from sdcaffe.errors import SdcaffeError
from sdcaffe.log import silent
from sdcaffe.paper.datasets import ImageSet
from sdcaffe.paper.recipes import Recipe
from sdcaffe.tools.step_times import training_multiply_adds

FILE = "multiply_adds.csv"
_HEAD = ["net", "sha256", "multiply_adds"]
_FILLERS = ("weight_filler", "bias_filler")


def remembered(path: str, name: str) -> int | None:
    """Of one pass of an iteration; None where the file `path` is not what came with sdcaffe as `name`."""
    try:
        return _table().get((name, _digest(Path(path))))
    except OSError:
        return None


def counted(net: proto.NetParameter, state: proto.NetState, images: ImageSet) -> int:
    """Of one pass of an iteration, from the net alone: its data need not be there. Raises what building it raises."""
    bare = proto.NetParameter(name=net.name)
    bare.state.CopyFrom(net.state)
    bare.state.MergeFrom(state)
    for layer in net.layer:
        if layer.type != "Data":
            _without_fillers(bare.layer.add(), layer)
        elif not layer.include or layer.include[0].phase == proto.TRAIN:
            batch = layer.data_param.batch_size
            given = bare.layer.add(name=layer.name, type="Input", top=layer.top)
            given.input_param.shape.add(dim=[batch, images.channels, images.size, images.size])
            given.input_param.shape.add(dim=[batch])
    with silent():
        return training_multiply_adds(_Bare(bare, proto.TRAIN))


def written(recipes: Iterable[Recipe], top: Path) -> str:
    """The table as text, of recipes whose files stand below `top`; what the table there knows is not counted again."""
    path = top / "prototxt" / FILE
    known = _read(path) if path.is_file() else {}
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(_HEAD)
    for name, recipe in {recipe.net_file: recipe for recipe in recipes}.items():
        row = name, _digest(top / name)
        if row not in known:
            param = proto.read_solver(top / recipe.solver_file)
            known[row] = counted(proto.read_net(top / name), param.train_state, recipe.images)
        rows.writerow([*row, known[row]])
    return out.getvalue()


class _Bare(Net):
    """A net that never runs: its weights lie as they come."""

    channels_last = False


def _without_fillers(target: Any, layer: Any) -> None:
    """The layer, its weights zeros: nothing is drawn for them."""
    target.CopyFrom(layer)
    for field, value in target.ListFields():
        for name in _FILLERS if field.message_type and hasattr(value, "DESCRIPTOR") else ():
            if name in field.message_type.fields_by_name:
                value.ClearField(name)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@functools.cache
def _table() -> dict[tuple[str, str], int]:
    try:
        return _read(packaged.folder("prototxt") / FILE)
    except (OSError, SdcaffeError):
        return {}


def _read(path: Path) -> dict[tuple[str, str], int]:
    with open(path, newline="", encoding="utf-8") as file:
        return {(row["net"], row["sha256"]): int(row["multiply_adds"]) for row in csv.DictReader(file)}
