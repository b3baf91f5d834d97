"""The errors of each class, and which classes are taken for which, as CSV or as a picture. It counts nothing."""

from __future__ import annotations

import csv
import io
from pathlib import PurePath

from torch import Tensor

from sdcaffe.log.picture import ENDINGS

CONFUSION_ENDINGS = ("csv", *ENDINGS)
_SIDE = 6.0  # inches
_TICKS = 25  # classes up to which each has its number


def class_errors(counts: Tensor) -> str:
    """CSV: of each class its images, how many of them are taken for another, and that as a share.

    `counts` (classes, classes) are images of the row's class that are taken for the column's. A class without images
    has no share.
    """
    rows = [["class", "images", "errors", "error"]]
    for label, row in enumerate(counts.tolist()):
        images, wrong = sum(row), sum(row) - row[label]
        rows.append([str(label), str(images), str(wrong), f"{wrong / images:.6g}" if images else ""])
    return _csv(rows)


def confusion(counts: Tensor, ending: str) -> bytes:
    """The counts themselves as CSV, a row for each true class; or as a picture of each row's shares.

    `ending` is one of CONFUSION_ENDINGS.
    """
    if ending == "csv":
        head = ["class", *map(str, range(len(counts)))]
        return _csv([head, *([str(label), *map(str, row)] for label, row in enumerate(counts.tolist()))]).encode()
    from matplotlib.figure import Figure

    shares = counts.double() / counts.sum(1, keepdim=True).clamp(min=1)
    figure = Figure(figsize=(_SIDE * 1.1, _SIDE), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    axes.set_xlabel("taken for class")
    axes.set_ylabel("class")
    if len(counts) <= _TICKS:
        axes.set_xticks(range(len(counts)))
        axes.set_yticks(range(len(counts)))
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
