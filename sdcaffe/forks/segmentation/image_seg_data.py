"""ImageSegData: images with labels of their pixels, of DeepLab and PSPNet: scaled, padded, cropped and mirrored."""

from __future__ import annotations

import enum
import re
from typing import Annotated, Any

import numpy as np

from sdcaffe import proto
from sdcaffe.data.decode import check_size
from sdcaffe.data.feed import Batches
from sdcaffe.data.order import default_seed
from sdcaffe.errors import DataError
from sdcaffe.forks.segmentation.pair_feed import Cut, PairFeed
from sdcaffe.forks.segmentation.pairs import Named, Pair, PairList, PairSource, made, words
from sdcaffe.forks.ssd.dice import Dice
from sdcaffe.forks.ssd.interpolation import Mode, resized
from sdcaffe.layers.base import Shape, register
from sdcaffe.layers.data import FeedLayer
from sdcaffe.log import glog

PREFETCH = 4  # batches ahead; image_data_param has no field for it
_WHOLE_NUMBER = re.compile(r"[+-]?\d{1,9}")


class LabelType(enum.IntEnum):
    NONE = 0
    IMAGE = 1
    PIXEL = 2


class SegmentationImages:
    """What PSPNet's Caffe adds to ImageDataParameter; its numbers, 15 and 16, are NVIDIA's cache and precache."""

    ignore_label: Annotated[int, 1115] = 255
    label_type: Annotated[LabelType, 1116] = LabelType.IMAGE


class Scalings:
    """What it adds to TransformationParameter; its numbers, 8 to 10, are SSD's."""

    scale_factors: Annotated[list[float], 1108]
    crop_width: Annotated[int, 1109] = 0
    crop_height: Annotated[int, 1110] = 0


proto.schema.extend("ImageDataParameter", SegmentationImages)
proto.schema.extend("TransformationParameter", Scalings)


@register("ImageSegData", field="image_data_param")
class ImageSegData(FeedLayer):
    """Batch k is lines k * batch_size .. of the list, as in PSPNet's Caffe (hszhao/PSPNet@798bdc9).

    Tops: images (n, C, h, w), labels (n, 1, h, w) and, where a third is named, the height and width (n, 1, 1, 2) that
    each image had, no more than h and w. A line is an image and, by label_type, its label image (PIXEL), the label of
    all its pixels (IMAGE) or nothing: then all are ignore_label (NONE). Each pair is resized by one of scale_factors,
    drawn, images by LINEAR and labels by NEAREST; padded at the bottom and the right to the crop, with the mean and
    ignore_label; cropped, at random in training, else in the middle; and mirrored by chance. new_height and new_width
    come first, and are LINEAR for label images too, as there. A registered source may be named as for DenseImageData.
    """

    param: proto.ImageDataParameter
    tops = (2, 3)
    tag = "image_seg_data_layer.cpp"
    brings = "images"
    channel_order = "bgr"
    yields = True
    origin = "PSPNet (hszhao/PSPNet)"

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        if self.feed is not None:
            return self._shapes()
        param, transform = self.param, self.layer_param.transform_param
        if param.batch_size < 1:
            raise self.error(f"batch_size is {param.batch_size}; it must be 1 or more", "batch_size")
        self._check_size("new_height", "new_width", param)
        if transform.HasField("mean_file"):
            raise self.error("takes no mean_file, for its images differ in size; give mean_value", "mean_file")
        if any(not 0 < factor <= 64 for factor in transform.scale_factors):
            raise self.error("scale_factors must be above 0, and at most 64", "scale_factors")
        self.crop = self._crop_size(transform)
        glog("image_seg_data_layer.cpp:44", f"Opening file {param.source}")
        source: PairSource = made(param.source) or self._listed()
        if param.shuffle:
            glog("image_seg_data_layer.cpp:60", "Shuffling data")
        glog("image_seg_data_layer.cpp:65", f"A total of {len(source)} images.")
        shapes = self._start(source, default_seed(self.name), prefetch=PREFETCH)
        for line, what, shape in zip((126, 130, 134), ("data", "label", "data_dim"), shapes, strict=False):
            glog(f"image_seg_data_layer.cpp:{line}", f"output {what} size: {','.join(map(str, shape))}")
        return shapes

    def _crop_size(self, transform: Any) -> tuple[int, int]:
        """Height and width of the crop, (0, 0) for none."""
        sides = (transform.crop_height, transform.crop_width)
        if not any(sides):
            self._check_size("crop_size", "crop_size", transform)
            return (transform.crop_size, transform.crop_size)
        if not all(sides) or transform.crop_size:
            raise self.error(
                "give crop_size, or crop_height and crop_width", "crop_height" if sides[0] else "crop_width"
            )
        self._check_size("crop_height", "crop_width", transform)
        return sides

    def _listed(self) -> PairList:
        param = self.param
        entries = [
            Named(line[0], self._label_of(line, f"{param.source}:{number}"), number)
            for number, line in enumerate(words(param.source), 1)
            if line
        ]
        size = (param.new_height, param.new_width) if param.new_height else None
        return PairList(
            param.source,
            param.root_folder,
            entries,
            size,
            color=param.is_color,
            label_mode=Mode.LINEAR,
            whole=param.label_type != LabelType.PIXEL,
        )

    def _label_of(self, line: list[str], where: str) -> str:
        """The second word of a line, which label_type asks for."""
        if self.param.label_type == LabelType.NONE:
            return str(self.param.ignore_label)
        if len(line) < 2:
            raise DataError("has no label; label_type: NONE needs none", where)
        if self.param.label_type == LabelType.IMAGE and not _WHOLE_NUMBER.fullmatch(line[1]):
            raise DataError(f'"{line[1]}" is no whole number; label images need label_type: PIXEL', where)
        return line[1]

    def _make_feed(self, source: PairSource, seed: int, prefetch: int) -> Batches:
        order = self._order(len(source), seed)
        return PairFeed(source, self._cut, self.layer_param.transform_param, order, prefetch=prefetch)

    def _cut(self, pair: Pair, dice: Dice) -> Cut:
        """The pair as the net sees it."""
        transform = self.layer_param.transform_param
        mirror = transform.mirror and dice.below(2) == 1
        pixels, labels = self._scaled(pair, transform.scale_factors, dice)
        if all(self.crop):
            pixels, labels = self._padded(pixels, labels)
            free = [have - want for have, want in zip(labels.shape[1:], self.crop, strict=True)]
            random = self.phase == proto.TRAIN
            top, left = (dice.below(n + 1) if random else n // 2 for n in free)
            window = slice(top, top + self.crop[0]), slice(left, left + self.crop[1])
            pixels, labels = pixels[:, *window], labels[:, *window]
        return (pixels[:, :, ::-1], labels[:, :, ::-1]) if mirror else (pixels, labels)

    def _scaled(self, pair: Pair, factors: Any, dice: Dice) -> Cut:
        pixels, labels = pair.pixels, pair.labels
        factor = np.float32(factors[dice.below(len(factors))]) if factors else np.float32(1)
        if factor == 1:
            return pixels, labels
        height, width = (int(np.float32(side) * factor) for side in pixels.shape[1:])
        if min(height, width) < 1:
            raise DataError(f"vanishes when scaled by {factor:g}", pair.where)
        check_size(height, width, pair.where)
        return resized(pixels, height, width, Mode.LINEAR), resized(labels, height, width, Mode.NEAREST)

    def _padded(self, pixels: Any, labels: Any) -> Cut:
        """The pair at least as large as the crop."""
        (channels, *size), transform = pixels.shape, self.layer_param.transform_param
        if all(have >= want for have, want in zip(size, self.crop, strict=True)):
            return pixels, labels
        height, width = (max(have, want) for have, want in zip(size, self.crop, strict=True))
        mean = np.resize(np.array(transform.mean_value or [0], np.float32), channels)
        wide = np.broadcast_to(mean[:, None, None], (channels, height, width)).copy()
        wide[:, : size[0], : size[1]] = pixels
        beside = np.full((1, height, width), np.clip(self.param.ignore_label, 0, 255), np.uint8)
        beside[:, : size[0], : size[1]] = labels
        return wide, beside

    def _shapes(self) -> list[Shape]:
        n, (channels, height, width) = self.param.batch_size, self._running().size
        shapes: list[Shape] = [(n, channels, height, width), (n, 1, height, width), (n, 1, 1, 2)]
        return shapes[: len(self.layer_param.top)]
