"""What a detector finds on pictures: boxes drawn on them, and listed in JSON beside."""

from __future__ import annotations

import colorsys
import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from sdcaffe import proto
from sdcaffe.data.decode import read_image
from sdcaffe.data.source import Image
from sdcaffe.errors import DataError
from sdcaffe.forks.ssd.dice import Dice
from sdcaffe.forks.ssd.label_map import read_label_map
from sdcaffe.forks.ssd.picture import NO_BOXES, Picture
from sdcaffe.forks.ssd.pipeline import Pipeline
from sdcaffe.forks.ssd.sizes import NamedSize, in_pixels
from sdcaffe.net import Net
from sdcaffe.writing import make_folders

_LEGIBLE = 512  # the least longer side, in pixels, of a picture with names on it


@dataclass(frozen=True)
class Detection:
    """A box in pixels of its picture."""

    label: int
    name: str
    score: float
    xmin: float
    ymin: float
    xmax: float
    ymax: float


@dataclass(frozen=True)
class Model:
    """What finds: `run` takes a batch of one and gives rows (m, 7) as DetectionOutput does.

    The batch is (1, c, h, w), (pixel - `mean`) * `scale` of pictures in the channel order `order`, or with `in_bytes`
    RGB bytes (1, h, w, c). `mean` and `scale` have one number, one a channel, or an image's.
    """

    run: Callable[[np.ndarray], np.ndarray]
    size: tuple[int, int, int]
    mean: np.ndarray
    scale: np.ndarray
    order: str = "bgr"
    in_bytes: bool = False


def model_of(net: Net, mean: np.ndarray, scale: np.ndarray) -> Model:
    """The Model of a net with one input (n, c, h, w) that ends in DetectionOutput.

    Raises DataError for a net of another kind.
    """
    shapes = [net.blob_shapes[name] for name in net.inputs]
    outputs = [name for name in net.outputs if net.blob_shapes[name][2:] == (1, 7)]
    if len(shapes) != 1 or len(shapes[0]) != 4 or len(outputs) != 1:
        raise DataError("is no detector: it needs one input (n, c, h, w) and one DetectionOutput at its end", net.name)

    def run(image: np.ndarray) -> np.ndarray:
        batch = np.zeros(shapes[0], np.float32)
        batch[:1] = image
        with torch.no_grad():
            blobs = net.compute(net.feed({net.inputs[0]: batch})).blobs
        rows: np.ndarray = blobs[outputs[0]].cpu().numpy().reshape(-1, 7)
        return rows

    return Model(run, shapes[0][1:], mean, scale)


class Detector:
    """A model, and what becomes of a picture before it.

    `resize` is a ResizeParameter as a data layer has it; without a mode pictures are stretched to the input. Raises
    DataError for means or scales that do not fit it.
    """

    def __init__(self, model: Model, resize: proto.ResizeParameter, label_map: str | None = None) -> None:
        self._model = model
        channels, height, width = model.size
        for what, values in (("mean", model.mean), ("scale", model.scale)):
            try:
                np.broadcast_to(values, model.size)
            except ValueError:
                shape = " x ".join(map(str, values.shape))
                raise DataError(f"a {what} of {shape} numbers for an input of {channels} channels") from None
        self._transform = proto.TransformationParameter()
        self._resize = self._transform.resize_param.add()
        self._resize.CopyFrom(resize)
        self._resize.height, self._resize.width = height, width
        self._pipeline = Pipeline(self._transform, (), proto.TEST)
        self._names = read_label_map(label_map).shown_by_label() if label_map else {}

    def find(self, path: str, threshold: float) -> tuple[Image, list[Detection]]:
        """A picture, (C, H, W) blue, green, red, and what scores `threshold` or more on it, best first."""
        pixels = read_image(path, color=self._model.size[0] == 3)
        height, width = pixels.shape[1:]
        picture = Picture(pixels, NO_BOXES, height, width, True, 0, False, path)
        rows = self._model.run(self._batch(self._pipeline.prepared(picture, Dice(0, 0, 0)).pixels))
        rows = rows[(rows[:, 0] == 0) & (rows[:, 1] >= 0) & (rows[:, 2] >= threshold)]
        rows = rows[np.argsort(-rows[:, 2], kind="stable")]
        boxes, _ = in_pixels(rows[:, 3:7], NamedSize("", height, width), self._resize)
        found = [
            Detection(int(row[1]), self._names.get(int(row[1]), str(int(row[1]))), float(row[2]), *map(float, box))
            for row, box in zip(rows, boxes, strict=True)
        ]
        return pixels, found

    def _batch(self, pixels: Image) -> np.ndarray:
        model = self._model
        if model.in_bytes:
            return np.ascontiguousarray(pixels[::-1].transpose(1, 2, 0))[None].astype(np.uint8)
        ordered = pixels[:: -1 if model.order == "rgb" else 1].astype(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # numbers beyond a float are infinite
            return np.asarray((ordered - model.mean) * model.scale, np.float32)[None]


def drawn(pixels: Image, found: Sequence[Detection]) -> bytes:
    """A PNG of the picture with the boxes, a colour a class, each with its name and score on a plate above it.

    A small picture is enlarged, by a whole factor, so that names can be read.
    """
    from PIL import Image as Pictures  # here: nets of forks begin without
    from PIL import ImageDraw, ImageFont

    order = pixels[::-1] if len(pixels) == 3 else np.repeat(pixels, 3, 0)
    factor = max(1, _LEGIBLE // max(pixels.shape[1:]))
    order = order.repeat(factor, 1).repeat(factor, 2)
    image = Pictures.fromarray(np.ascontiguousarray(order.transpose(1, 2, 0)))
    draw = ImageDraw.Draw(image)
    line = max(2, round(max(image.size) / 250))
    font = ImageFont.load_default(max(12, round(max(image.size) / 40)))
    for detection in reversed(found):  # the best on top
        red, green, blue = colorsys.hsv_to_rgb(detection.label * 137 % 360 / 360, 0.9, 0.9)
        colour = tuple(round(255 * part) for part in (red, green, blue))
        dark = 0.3 * red + 0.59 * green + 0.11 * blue > 0.5
        left, top, right, bottom = (
            factor * x for x in (detection.xmin, detection.ymin, detection.xmax, detection.ymax)
        )
        draw.rectangle([left, top, right, bottom], outline=colour, width=line)
        text = f"{detection.name} {detection.score:.2f}"
        x0, y0, x1, y1 = draw.textbbox((0, 0), text, font=font)
        wide, high = x1 - x0 + 2 * line, y1 - y0 + 2 * line
        left = max(0, min(left, image.width - wide))
        top = top - high if top >= high else top
        draw.rectangle([left, top, left + wide, top + high], fill=colour)
        draw.text((left + line - x0, top + line - y0), text, fill="black" if dark else "white", font=font)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def names_for(pictures: Sequence[str]) -> list[str]:
    """What each picture's files are called, without ending. Raises DataError for two of one name."""
    names = [Path(picture).stem for picture in pictures]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise DataError(f'two pictures would be written as "{name}.png"; call detect for each folder', pictures[i])
    return names


def write(folder: str, name: str, picture: str, pixels: Image, found: Sequence[Detection]) -> None:
    """NAME.png with the boxes and NAME.json with `{"image", "width", "height", "detections"}` in the folder."""
    make_folders(folder)
    height, width = pixels.shape[1:]
    content = {"image": picture, "width": width, "height": height, "detections": [asdict(one) for one in found]}
    with proto.atomic_write(os.path.join(folder, f"{name}.png"), DataError) as file:
        file.write(drawn(pixels, found))
    with proto.atomic_write(os.path.join(folder, f"{name}.json"), DataError) as file:
        file.write((json.dumps(content, indent=1) + "\n").encode())
