"""The errors of each class, and which classes are taken for which, as CSV or as a picture. It counts nothing."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import PurePath

from torch import Tensor

from sdcaffe.log.picture import ENDINGS, one_line

CONFUSION_ENDINGS = ("csv", *ENDINGS)
_SIDE = 6.0  # inches
_TICKS = 25  # classes up to which each has its number
_MOST_NAMED = 120  # classes up to which each has its name, in inches of _NAMED
_NAMED = 0.13


def class_errors(counts: Tensor, names: Sequence[str] = ()) -> str:
    """CSV: of each class its images, how many of them are taken for another, and that as a share.

    `counts` (classes, classes) are images of the row's class that are taken for the column's. A class without images
    has no share. `names` of as many classes have a column of their own.
    """
    named = len(names) == len(counts)
    rows = [["class", *(["name"] if named else []), "images", "errors", "error"]]
    for label, row in enumerate(counts.tolist()):
        images, wrong = sum(row), sum(row) - row[label]
        name = [names[label]] if named else []
        rows.append([str(label), *name, str(images), str(wrong), f"{wrong / images:.6g}" if images else ""])
    return _csv(rows)


def confusion(counts: Tensor, ending: str, names: Sequence[str] = ()) -> bytes:
    """The counts themselves as CSV, a row for each true class; or as a picture of each row's shares.

    `ending` is one of CONFUSION_ENDINGS. Classes are called by `names`, where these are as many, else by number.
    """
    named = len(names) == len(counts)
    labels = [*names] if named else [str(label) for label in range(len(counts))]
    if ending == "csv":
        rows = zip(labels, counts.tolist(), strict=True)
        return _csv([["class", *labels], *([label, *map(str, row)] for label, row in rows)]).encode()
    from matplotlib.figure import Figure

    shares = counts.double() / counts.sum(1, keepdim=True).clamp(min=1)
    side = max(_SIDE, _NAMED * len(counts)) if named and len(counts) <= _MOST_NAMED else _SIDE
    figure = Figure(figsize=(side * 1.1, side), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    axes.set_xlabel("taken for class")
    axes.set_ylabel("class")
    if len(counts) <= (_MOST_NAMED if named else _TICKS):
        small = 10 if len(counts) <= _TICKS else 6
        for axis, turn in ((axes.xaxis, 90 if named else 0), (axes.yaxis, 0)):
            axis.set_ticks(range(len(counts)), list(map(one_line, labels)), fontsize=small, rotation=turn)
            for text in axis.get_ticklabels():
                text.set_parse_math(False)
    figure.colorbar(image, ax=axes, label="share of the class's images")
    file = io.BytesIO()
    figure.savefig(file, format=ending)
    return file.getvalue()


def ending_of(name: str) -> str:
    """What the name of a file ends in, without the dot."""
    return PurePath(name).suffix.removeprefix(".")


def _csv(rows: list[tuple[str, ...]] | list[list[str]]) -> str:
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()
