"""DenseImageData: images and the label images of their pixels, both named in a list of files."""

from __future__ import annotations

from sdcaffe import proto
from sdcaffe.data.feed import Batches
from sdcaffe.data.order import default_seed
from sdcaffe.errors import DataError
from sdcaffe.forks.segmentation.pair_feed import Cut, PairFeed
from sdcaffe.forks.segmentation.pairs import Named, Pair, PairList, PairSource, made, words
from sdcaffe.forks.ssd.dice import Dice
from sdcaffe.layers.base import Shape, register
from sdcaffe.layers.data import FeedLayer
from sdcaffe.log import glog
from sdcaffe.proto import past

PREFETCH = 4  # batches ahead; SegNet's Caffe reads one


class DenseImageDataParameter:
    source: str
    batch_size: int
    rand_skip: int = 0
    shuffle: bool = False
    new_height: int = 0
    new_width: int = 0
    is_color: bool = True
    mean_file: str
    root_folder: str = ""
    mirror: bool = False
    crop_width: int = 0
    crop_height: int = 0
    label_divide_factor: int = 1


past.tell("DenseImageDataParameter", ["mean_file"], "SegNet's Caffe never reads it; transform_param's is read")


@register("DenseImageData", field="dense_image_data_param", number=1138)  # 138 is BVLC's tile_param
class DenseImageData(FeedLayer):
    """Batch k is pairs k * batch_size .. of the list, as in SegNet (alexgkendall/caffe-segnet@344c113).

    The list is words: an image, its label image, the next image and so on; both are below `root_folder`, and paths
    hold no spaces. A registered source with `pair(index)` may be named too, as NAME:WHERE. Tops: images (n, C, h, w),
    blue, green, red (`is_color`) or gray, less transform_param's mean and scaled; labels (n, 1, h, w), the gray
    values of the label images as they are. new_height and new_width resize images by LINEAR and label images by
    NEAREST; then mirror flips both by chance, and a window of crop_height by crop_width is drawn, in the test phase
    too. A mean image has the size that is left. With batch_size 1 and no size given, images may differ in size.

    label_divide_factor is ENet's (TimoSaemann/caffe-enet@22d356c): label images are resized to new_height and new_width
    divided by it, rounded down. Raises LayerError for one without these, and with a crop, where the fork stops.
    """

    param: proto.DenseImageDataParameter
    Param = DenseImageDataParameter
    tops = 2
    tag = "dense_image_data_layer.cpp"
    brings = "images"
    channel_order = "bgr"
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        if self.feed is not None:
            return self._shapes()
        param = self.param
        if param.batch_size < 1:
            raise self.error(f"batch_size is {param.batch_size}; it must be 1 or more", "batch_size")
        for one, other in (("new_height", "new_width"), ("crop_height", "crop_width")):
            self._check_size(one, other, param)
        self._check_divided()
        for field in ("mirror", "crop_size"):
            if getattr(self.layer_param.transform_param, field):
                instead = "mirror" if field == "mirror" else "crop_height and crop_width"
                raise self.error(f"{field} in transform_param would leave the labels; give {instead} instead", field)
        glog("dense_image_data_layer.cpp:43", f"Opening file {param.source}")
        source: PairSource = made(param.source) or self._listed()
        if param.shuffle:
            glog("dense_image_data_layer.cpp:53", "Shuffling data")
        glog("dense_image_data_layer.cpp:58", f"A total of {len(source)} examples.")
        shapes = self._start(source, default_seed(self.name), prefetch=PREFETCH)
        glog("dense_image_data_layer.cpp:115", f"output data size: {','.join(str(n) for n in shapes[0])}")
        return shapes

    def _check_divided(self) -> None:
        param = self.param
        if param.label_divide_factor == 1:
            return
        lists = param.new_height and not param.crop_height and made(param.source) is None
        if not (lists and 0 < param.label_divide_factor <= min(param.new_height, param.new_width)):
            raise self.error(
                "label_divide_factor must be 1 or more, and above 1 needs a list of images, new_height and new_width "
                "of no less than it, and no crop",
                "label_divide_factor",
            )

    def _listed(self) -> PairList:
        param = self.param
        named = [(word, number) for number, line in enumerate(words(param.source), 1) for word in line]
        if len(named) % 2:
            raise DataError("the last image has no label image", f"{param.source}:{named[-1][1]}")
        entries = [
            Named(image, label, number) for (image, number), (label, _) in zip(named[::2], named[1::2], strict=True)
        ]
        size = (param.new_height, param.new_width) if param.new_height else None
        factor = param.label_divide_factor
        labels = (size[0] // factor, size[1] // factor) if size else None
        return PairList(param.source, param.root_folder, entries, size, color=param.is_color, label_size=labels)

    def _make_feed(self, source: PairSource, seed: int, prefetch: int) -> Batches:
        order = self._order(len(source), seed)
        return PairFeed(source, self._cut, self.layer_param.transform_param, order, prefetch=prefetch)

    def _cut(self, pair: Pair, dice: Dice) -> Cut:
        """The pair mirrored and cropped."""
        pixels, labels = pair.pixels, pair.labels
        if self.param.mirror and dice.below(2):
            pixels, labels = pixels[:, :, ::-1], labels[:, :, ::-1]
        height, width = self.param.crop_height, self.param.crop_width
        if not height:
            return pixels, labels
        high, wide = pixels.shape[1:]
        if height > high or width > wide:
            raise DataError(f"is {wide} x {high} pixels, smaller than the crop of {width} x {height}", pair.where)
        top, left = dice.below(high - height + 1), dice.below(wide - width + 1)
        window = slice(top, top + height), slice(left, left + width)
        return pixels[:, *window], labels[:, *window]

    def _shapes(self) -> list[Shape]:
        n, (channels, height, width) = self.param.batch_size, self._running().size
        factor = self.param.label_divide_factor
        return [(n, channels, height, width), (n, 1, height // factor, width // factor)]
