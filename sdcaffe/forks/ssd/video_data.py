"""VideoData: the frames of a video file, transformed as SSD's Data does. A camera is refused."""

from __future__ import annotations

import enum
from typing import Annotated

from sdcaffe import proto
from sdcaffe.data.order import default_seed
from sdcaffe.forks.c3d.later_fields import LaterClipParameter
from sdcaffe.forks.ssd.transformed_data import TransformedFeed
from sdcaffe.forks.ssd.video import Video
from sdcaffe.layers.base import Shape, register
from sdcaffe.log import glog


class VideoType(enum.IntEnum):
    WEBCAM = 0
    VIDEO = 1


class VideoDataParameter(LaterClipParameter):
    """SSD's fields, and C3D's of the message of this name."""

    video_type: Annotated[VideoType, 1] = VideoType.WEBCAM
    device_id: Annotated[int, 2]
    video_file: Annotated[str, 3]
    skip_frames: Annotated[int, 4]


@register("VideoData", field="video_data_param", number=207)
class VideoData(TransformedFeed):
    """Batch k is frames k * batch_size .. of a video, as in SSD (weiliu89/caffe@4817bf8); the labels are 0.

    batch_size is data_param's. `skip_frames` are left out before each frame, which in the fork ends the program.
    Behind the last frame the video begins again; the fork then interrupts the program. Pixels are blue, green, red.
    Raises LayerError for a camera, DataError for a file that is no video.
    """

    param: proto.VideoDataParameter
    Param = VideoDataParameter
    tops = (1, 2)
    tag = "video_data_layer.cpp"
    brings = "images"
    channel_order = "bgr"
    yields = True

    @property
    def reading(self) -> proto.DataParameter:
        return self.layer_param.data_param

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        if self.feed is not None:
            return self._shapes()
        param, reading = self.param, self.reading
        if param.video_type == VideoType.WEBCAM:
            raise self.error(
                "a camera is not read here; record a file and write video_type: VIDEO video_file: FILE", "video_type"
            )
        if not param.video_file:
            raise self.error("video_data_param has no video_file", "video_data_param")
        if reading.batch_size < 1:
            raise self.error(f"batch_size is {reading.batch_size}; it must be 1 or more", "batch_size")
        video = Video(param.video_file, param.skip_frames)
        shapes = self._start(video, default_seed(self.name), prefetch=1)  # one thread: frames come in their order
        glog("video_data_layer.cpp:73", f"output data size: {','.join(str(n) for n in shapes[0])}")
        return shapes
