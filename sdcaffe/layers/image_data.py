"""ImageData: image files named in a list, decoded and maybe resized, then transformed as Data does."""

from __future__ import annotations

from sdcaffe import proto
from sdcaffe.data.image_list import ImageList
from sdcaffe.data.order import default_seed
from sdcaffe.layers.base import Shape, register
from sdcaffe.layers.data import FeedLayer
from sdcaffe.log import glog

PREFETCH = 4  # image_data_param has no field for it; data_param's default


@register("ImageData", field="image_data_param")
class ImageData(FeedLayer):
    """Batch k is images k * batch_size .. of the list, which begins again at its end, as in Caffe.

    Each line of `source` is a path, a space and a label; `root_folder` is put before every path as it is.
    Pixels are blue, green, red (`is_color`) or gray; `new_height` and `new_width` resize, both or neither.
    `shuffle` draws an order for each epoch. A file that is missing is an error at setup.
    """

    param: proto.ImageDataParameter
    tops = 2
    tag = "image_data_layer.cpp"

    brings = "images"
    channel_order = "bgr"  # of image files, as OpenCV has it

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        if self.feed is not None:
            return self._shapes()
        param = self.param
        if param.batch_size < 1:
            raise self.error(f"batch_size is {param.batch_size}; it must be 1 or more", "batch_size")
        self._check_size("new_height", "new_width", param)
        glog("image_data_layer.cpp:38", f"Opening file {param.source}")
        size = (param.new_height, param.new_width) if param.new_height else None
        source = ImageList(param.source, param.root_folder, size, color=param.is_color)
        if param.shuffle:
            glog("image_data_layer.cpp:53", "Shuffling data")
        glog("image_data_layer.cpp:63", f"A total of {len(source)} images.")
        shapes = self._start(source, default_seed(self.name), prefetch=PREFETCH)
        glog("image_data_layer.cpp:90", f"output data size: {','.join(str(n) for n in shapes[0])}")
        return shapes
