"""C3D 1.0's VideoData: clips named in a list, from folders of frames or from video files."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from sdcaffe import proto
from sdcaffe.data.feed import Batches
from sdcaffe.data.order import default_seed
from sdcaffe.errors import DataError
from sdcaffe.forks.c3d import ORIGIN
from sdcaffe.forks.c3d.clips import ClipFeed, Clips, Cut, Named, Reading
from sdcaffe.layers.base import Count, Shape, register
from sdcaffe.layers.data import FeedLayer
from sdcaffe.log import glog
from sdcaffe.proto import past

PREFETCH = 2  # batches ahead; C3D's reads one


class ClipParameter:
    """What C3D 1.0 adds to ImageDataParameter; there they are 11 to 14, 16 and 17."""

    new_length: Annotated[int, 1011]
    show_data: Annotated[int, 1012]
    use_image: Annotated[bool, 1013] = False
    sampling_rate: Annotated[int, 1014] = 1
    use_temporal_jitter: Annotated[bool, 1016] = False
    mean_value: Annotated[float, 1017]


proto.schema.extend("ImageDataParameter", ClipParameter)
past.tell("ImageDataParameter", ["show_data"], "it opens windows with the frames, and changes no number")
# C3D's own number is 33, BVLC Caffe's of V1's later types: text files have the name.
proto.schema.add_values("V1LayerParameter", "LayerType", {"VIDEO_DATA": 1033})
proto.upgrade.tell_type("VIDEO_DATA", "VideoData", data="image_data_param")


def is_c3ds(layer_param: proto.LayerParameter) -> bool:
    """Whether a VideoData is C3D 1.0's: SSD's has a video_data_param."""
    return bool(layer_param.HasField("image_data_param"))


class ClipLayer(FeedLayer):
    """What both versions of C3D's VideoData share."""

    origin = ORIGIN
    tops: ClassVar[Count] = (1, 2)
    transforms: ClassVar[tuple[str, ...]] = ("scale", "mean_file", "crop_size", "mirror")
    tag = "video_data_layer.cpp"
    channel_order = "bgr"
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        if self.feed is not None:
            return self._shapes()
        self._check()
        param = self.param
        glog("video_data_layer.cpp:283", f"Opening file {param.source}")
        source = Clips(param.source, self._how())
        if param.shuffle:
            glog("video_data_layer.cpp:312", "Shuffling data")
        glog("video_data_layer.cpp:317", f"A total of {len(source)} video chunks.")
        shapes = self._start(source, default_seed(self.name), prefetch=PREFETCH)
        glog("video_data_layer.cpp:365", f"output data size: {','.join(str(n) for n in shapes[0])}")
        return shapes

    def _how(self) -> Reading:
        param = self.param
        size = (param.new_height, param.new_width) if param.new_height else None
        train = self.phase == proto.TRAIN
        return Reading(param.new_length, param.use_image, param.use_temporal_jitter, param.sampling_rate, size, train)

    def _check(self) -> None:
        param, transform = self.param, self.layer_param.transform_param
        for field in ("batch_size", "new_length", "sampling_rate"):
            if getattr(param, field) < 1:
                raise self.error(f"{field} is {getattr(param, field)}; it must be 1 or more", field)
        self._check_size("new_height", "new_width", param)
        for descriptor, _ in transform.ListFields():
            if descriptor.name not in self.transforms:
                raise self.error(f"C3D's VideoData has no {descriptor.name}", descriptor.name)
        self._check_own()

    def _check_own(self) -> None:
        """Raise LayerError for what this version has no meaning for."""

    def _mean_values(self) -> list[float]:
        """The means of the channels, or one for all."""
        return [0.0]

    def _mean(self) -> NDArray[np.float32]:
        path = self.layer_param.transform_param.mean_file
        if not path:
            return np.array(self._mean_values(), np.float32).reshape(-1, 1, 1, 1)
        mean = np.asarray(proto.read_blob(path), np.float32)
        if mean.ndim != 5 or len(mean) != 1:
            raise DataError(f"a mean of clips has 1 x 3 x length x height x width numbers, not {mean.shape}", path)
        found: NDArray[np.float32] = mean[0]
        return found

    def _make_feed(self, source: Clips, seed: int, prefetch: int) -> Batches:
        order = self._order(len(source), seed)
        return ClipFeed(source, self._cut(), order, self._labels, prefetch=prefetch)

    def _cut(self) -> Cut:
        transform, train = self.layer_param.transform_param, self.phase == proto.TRAIN
        return Cut(transform.crop_size, transform.mirror, self._mean(), transform.scale, train)

    def _labels(self, clip: Named) -> NDArray[np.float32]:
        """A clip's item of the top of labels."""
        return np.array(clip.labels[0], np.float32)

    def _shapes(self) -> list[Shape]:
        n = self.param.batch_size
        return [(n, *self._running().size), self._label_shape(n)][: len(self.layer_param.top)]

    def _label_shape(self, n: int) -> Shape:
        return (n,)


@register("VideoData", field="image_data_param", when=is_c3ds)
class ClipData(ClipLayer):
    """Batch k is clips k * batch_size .. of the list: (n, 3, new_length, h, w) and labels (n, 1, 1, 1, 1).

    As in C3D 1.0 (facebook/C3D@71336a2), with its image_data_param: each line of `source` is a path, its first frame
    and a label; with use_temporal_jitter the first frame is drawn, and the number is how many frames a folder has, or
    not there for video files. With use_image a path is a folder of 000000.jpg and so on, else a video file, read by
    PyAV. Every sampling_rate-th frame is taken, blue, green, red, and resized to new_height and new_width.

    transform_param has crop_size, mirror, scale and a mean_file of five axes (mean_value: image_data_param's one
    number); as there, crops are drawn in training, the last place left out, and so is mirror; a test crops in the
    middle. Clips that cannot be read are errors; in training C3D leaves them out. A mirror in a test, which stops C3D,
    does nothing.
    """

    param: proto.ImageDataParameter

    def _check_own(self) -> None:
        param, transform = self.param, self.layer_param.transform_param
        for field in ("is_color", "root_folder"):
            if param.HasField(field):
                raise self.error(f"C3D's VideoData has no {field}", field)
        if transform.mirror and not transform.crop_size:
            raise self.error("mirror needs a crop_size, as in C3D", "mirror")
        if transform.HasField("mean_file") and param.HasField("mean_value"):
            raise self.error("has both mean_file and mean_value; give one", "mean_value")

    def _mean_values(self) -> list[float]:
        return [self.param.mean_value]

    def _cut(self) -> Cut:
        return super()._cut()._replace(mirror=self.layer_param.transform_param.mirror and self.phase == proto.TRAIN)

    def _labels(self, clip: Named) -> NDArray[np.float32]:
        return np.full((1, 1, 1, 1), clip.labels[0], np.float32)

    def _label_shape(self, n: int) -> Shape:
        return (n, 1, 1, 1, 1)
