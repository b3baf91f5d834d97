"""The files of DetectionOutput's save_output_param: all detections of a test, as VOC, COCO or ILSVRC want them."""

from __future__ import annotations

import json
import logging
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdcaffe import proto
from sdcaffe.errors import DataError
from sdcaffe.forks.ssd.label_map import LabelMap, read_label_map
from sdcaffe.forks.ssd.sizes import Boxes, NamedSize, in_pixels, read_sizes
from sdcaffe.writing import make_folders

FORMATS = ("VOC", "COCO", "ILSVRC")


@dataclass(frozen=True)
class _Detection:
    """One line: its image, its label, its score, and left, top, width and height in hundredths of pixels."""

    image: str
    label: int
    score: np.float32
    sides: list[np.float32]

    @property
    def corners(self) -> str:
        """Left, top, right and bottom in whole pixels, cut as the fork cuts them."""
        left, top, width, height = (int(side) for side in self.sides)
        return f"{left} {top} {left + width} {top + height}"


class SavedOutput:
    """Takes the rows of each batch; once num_test_image images have been seen, writes the files and begins again.

    As weiliu89/caffe@4817bf8 writes them, but whole or not at all. Raises DataError for what a file lacks.
    """

    def __init__(self, param: proto.SaveOutputParameter, classes: int, background: int) -> None:
        self._folder, self._prefix = Path(param.output_directory), param.output_name_prefix
        self._format = param.output_format
        if self._format not in FORMATS:
            raise DataError(f'output_format "{self._format}" is none of {", ".join(FORMATS)}')
        self._labels = [label for label in range(classes) if label != background]
        self._map: LabelMap = read_label_map(param.label_map_file)
        self._names = self._map.by_label()
        self._sizes: list[NamedSize] = read_sizes(param.name_size_file)
        self._images = param.num_test_image if param.HasField("num_test_image") else len(self._sizes)
        if not 0 < self._images <= len(self._sizes):
            raise DataError(
                f"num_test_image is {self._images}, but the name_size_file names {len(self._sizes)} images",
                param.name_size_file,
            )
        self._resize = param.resize_param if param.HasField("resize_param") else None
        self._seen = 0
        self._found: list[_Detection] = []
        try:
            make_folders(self._folder)
        except OSError as error:
            raise DataError(f"cannot make the output_directory: {error.strerror}", str(self._folder)) from error

    def add(self, images: int, rows: Boxes) -> None:
        """Take a batch of so many images: rows (m, 7) of item, label, score, xmin, ymin, xmax, ymax."""
        for item in range(images):
            own = rows[rows[:, 0].astype(int) == item]
            self._add_image(self._sizes[self._seen], own[own[:, 1] >= 0])
            self._seen += 1
            if self._seen == self._images:
                self._write()
                self._seen, self._found = 0, []

    def _add_image(self, size: NamedSize, rows: Boxes) -> None:
        boxes, _ = in_pixels(rows[:, 3:7], size, self._resize)
        for row, (left, top, right, bottom) in zip(rows, boxes, strict=True):
            label = int(row[1])
            if label not in self._names:
                raise DataError(f"the label map has no label {label}", self._map.path)
            sides = [_hundredths(value) for value in (left, top, right - left, bottom - top)]
            self._found.append(_Detection(size.name, label, np.float32(row[2]), sides))

    def _write(self) -> None:
        if self._format == "COCO":
            self._file(f"{self._prefix}.json", _coco(self._found, self._names))
        elif self._format == "ILSVRC":
            lines = [f"{d.image} {d.label} {d.score:g} {d.corners}\n" for d in self._found]
            self._file(f"{self._prefix}.txt", "".join(lines))
        else:
            for label in self._labels:
                lines = [f"{d.image} {d.score:g} {d.corners}\n" for d in self._found if d.label == label]
                self._file(f"{self._prefix}{self._names.get(label, '')}.txt", "".join(lines))
        logging.getLogger("sdcaffe").info("Detections of %d images are in %s", self._images, self._folder)

    def _file(self, name: str, text: str) -> None:
        if os.path.basename(name) != name:
            raise DataError(
                f'"{name}" cannot be a file in it; mend output_name_prefix or the label map', str(self._folder)
            )
        with proto.atomic_write(self._folder / name, DataError) as file:
            file.write(text.encode("utf-8", "surrogateescape"))


def _hundredths(value: np.float32) -> np.float32:
    scaled = float(np.float32(value) * np.float32(100))
    return np.float32(math.copysign(math.floor(abs(scaled) + 0.5), scaled) / 100)


def _coco(found: list[_Detection], names: dict[int, str]) -> str:
    """The list as the fork indents it; names that are numbers stand as numbers."""
    items = []
    for detection in found:
        sides = ",\n".join(f"                {side:.9g}" for side in detection.sides)
        items.append(
            "        {\n"
            f'            "image_id": {_value(detection.image)},\n'
            f'            "category_id": {_value(names[detection.label])},\n'
            f'            "bbox": [\n{sides}\n            ],\n'
            f'            "score": {detection.score:.9g}\n'
            "        }"
        )
    return "[\n" + ",\n".join(items) + "\n    \n]\n"


def _value(name: str) -> str:
    """A name in JSON: a number where it is written as one that JSON has."""
    try:
        if isinstance(json.loads(name), (int, float, bool, type(None))):
            return name
    except ValueError:
        pass
    return json.dumps(name).replace("/", "\\/")
