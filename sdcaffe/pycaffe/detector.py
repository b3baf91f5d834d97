"""Detector: a net that scores windows of images. Proposes no windows itself."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from sdcaffe.errors import SdcaffeError
from sdcaffe.pycaffe import io
from sdcaffe.pycaffe.classifier import Path, Preprocessing

Image = NDArray[Any]


class Detection(TypedDict):
    """A window (ymin, xmin, ymax, xmax) of an image file, and the net's scores of it."""

    window: Sequence[int]
    prediction: Image
    filename: str


class Detector(Preprocessing):
    """`context_pad`: a border of that many pixels of the net's square input shows what surrounds a window (R-CNN)."""

    def __init__(
        self,
        model_file: Path,
        pretrained_file: Path | None,
        mean: NDArray[Any] | None = None,
        input_scale: float | None = None,
        raw_scale: float | None = None,
        channel_swap: Sequence[int] | None = None,
        context_pad: int | None = None,
    ) -> None:
        super().__init__(model_file, pretrained_file, mean, input_scale, raw_scale, channel_swap)
        self.configure_crop(context_pad)

    def detect_windows(self, images_windows: Iterable[tuple[str, Sequence[Sequence[int]]]]) -> list[Detection]:
        """Score windows (ymin, xmin, ymax, xmax) of image files, each warped to the net's input.

        Takes (file, windows) pairs; gives a dict of `filename`, `window` and `prediction` for each window.
        """
        places, crops = [], []
        for file, windows in images_windows:
            image = io.load_image(file)
            for window in windows:
                places.append((file, window))
                crops.append(self.crop(image, window))
        if not crops:
            return []
        scores = self.run_images(crops)
        return [
            {"window": window, "prediction": score, "filename": file}
            for (file, window), score in zip(places, scores, strict=True)
        ]

    def detect_selective_search(self, image_fnames: Iterable[str]) -> list[Detection]:
        """`detect_windows` on the proposals of selective search, where its Python module is installed."""
        try:
            proposals = importlib.import_module("selective_search_ijcv_with_python")
        except ImportError:
            raise SdcaffeError(
                "selective search is a program of its own that is not installed (module "
                "selective_search_ijcv_with_python); give windows to detect_windows instead"
            ) from None
        files = [os.path.abspath(file) for file in image_fnames]
        return self.detect_windows(zip(files, proposals.get_windows(files, cmd="selective_search_rcnn"), strict=True))

    def configure_crop(self, context_pad: int | None) -> None:
        """Set the border of context; beyond the image it shows the mean, in the scale of images."""
        self.context_pad = context_pad or 0
        height, width = self.blobs[self.input].shape[2:]
        if 2 * self.context_pad >= width or (self.context_pad and height != width):
            raise SdcaffeError(f"context_pad {self.context_pad} does not fit an input of {height} x {width}")
        settings = self.transformer
        channels = self.blobs[self.input].shape[1]
        mean = settings.mean.get(self.input)
        self.crop_mean = np.zeros((height, width, channels), np.float32)
        if mean is not None:
            self.crop_mean += settings.undo(self.input, np.zeros((channels, height, width), np.float32))

    def crop(self, im: Image, window: Sequence[int]) -> Image:
        """The part of an image (H, W, K) in a window, with context where that is asked for."""
        top, left, bottom, right = (int(n) for n in window)
        if not self.context_pad:
            return im[top:bottom, left:right]
        size = self.blobs[self.input].width
        scale = size / (size - 2 * self.context_pad)
        half_h, half_w = (bottom - top + 1) / 2, (right - left + 1) / 2
        centre = np.array([top + half_h, left + half_w] * 2)
        box = np.round(centre + scale * np.array([-half_h, -half_w, half_h, half_w]))
        per_row, per_column = size / (box[2] - box[0] + 1), size / (box[3] - box[1] + 1)
        y, x = round(max(0, -box[0]) * per_row), round(max(0, -box[1]) * per_column)
        box = np.clip(box, 0, [*im.shape[:2], *im.shape[:2]]).astype(int)
        h = min(round((box[2] - box[0] + 1) * per_row), size - y)
        w = min(round((box[3] - box[1] + 1) * per_column), size - x)
        crop = self.crop_mean.copy()
        crop[y : y + h, x : x + w] = io.resize_image(im[box[0] : box[2], box[1] : box[3]], (h, w))
        return crop
