"""DetectNetTransformation: pictures and boxes as DetectNet is trained with them."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks.detectnet.augmentation import DRAWS, Augmentation, Floats, Size, drawn, scaled_size
from sdcaffe.forks.detectnet.coverage import Grid, moved
from sdcaffe.forks.detectnet.parameters import DetectNetGroundTruthParameter
from sdcaffe.forks.detectnet.pixels import resized, varied
from sdcaffe.layers.base import Layer, Shape, check_size, register, show_shape

_ROW = 16  # numbers of a box: x, y, width, height, an angle, the class, and what is not looked at


@register("DetectNetTransformation", field="detectnet_groundtruth_param", number=6801)
class DetectNetTransformation(Layer):
    """Pictures of one size, varied in training, and a grid of what is to be detected.

    As NVIDIA Caffe on the CPU (NVIDIA/caffe@4b8d54d); its code for GPUs interpolates otherwise. Bottoms: pictures
    (n, 3, h, w), blue, green and red, from 0 to 255, and DIGITS' labels (n, 1, rows, 16): in the first row how many
    boxes there are, and 16; then one a row, x, y, width, height in pixels, an angle, the class, ten more numbers. Tops:
    pictures (n, 3, image_size_y, image_size_x), and the grid, with a cell for each square of `stride` pixels: (n, 8 +
    classes, image_size_y / stride, image_size_x / stride).

    In the TEST phase a picture is resized, bicubic. In training detectnet_augmentation_param says how likely, and how
    much, it is drawn to turn hues, lose saturation, be mirrored, scaled and rotated; then a window is cut, at random
    with crop_prob, else from the middle, 0 beyond the picture. A mean of transform_param is subtracted before that
    moves; its other fields are not looked at, and mean_file goes before mean_value. Draws are torch's.

    A box covers the cells under its middle part: its sides times scale_cvg, at least min_cvg_len but no longer than
    the box (GRIDBOX_MIN), or at most max_cvg_len (GRIDBOX_MAX). These have: 1; x and y of the box's first and last
    corner, from the cell's first; 1 / width, 1 / height; the cell's area over the part's, at least 1 without obj_norm;
    1 at the dst of its class, by object_class, class 1 where there is none. Other cells are 0, other classes left out;
    of two boxes the later counts. crop_bboxes cuts boxes to the picture first. No gradient goes to a bottom.
    """

    param: proto.DetectNetGroundTruthParameter
    origin = "NVIDIA Caffe"

    Param = DetectNetGroundTruthParameter
    bottoms = 2
    tops = 2
    index_bottoms = (0, 1)
    not_exported = "it makes labels; a deployed net is given pictures that are ready"
    yields = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        pictures, labels = bottom_shapes
        if len(pictures) != 4 or pictures[1] != 3:
            raise self.error(f"needs pictures (n, 3, h, w), not {show_shape(pictures)}")
        if not labels or labels[0] != pictures[0] or math.prod(labels[1:]) < _ROW:
            raise self.error(f"needs labels ({pictures[0]}, 1, rows, {_ROW}), not {show_shape(labels)}")
        param = self.param
        for message in (param, self.layer_param.detectnet_augmentation_param):
            for field in message.DESCRIPTOR.fields_by_name:
                value = getattr(message, field)
                if isinstance(value, float) and not math.isfinite(value):
                    raise self.error(f"{field} must be a number, not {value}", field)
        for field in ("stride", "image_size_x", "image_size_y"):
            if getattr(param, field) < 1:
                raise self.error(f"{field} must be at least 1, not {getattr(param, field)}", field)
        for one in param.object_class:
            if not (one.HasField("src") and one.HasField("dst")) or min(one.src, one.dst) < 0:
                raise self.error("an object_class needs src and dst, both at least 0", "object_class")
        self.seen: Size = (param.image_size_y, param.image_size_x)
        self.grid = Grid(param)
        if not self.grid.height or not self.grid.width:
            raise self.error(f"stride {param.stride} leaves no cell of a picture of {show_shape(self.seen)}", "stride")
        self._check_scales(pictures[2:])
        self._mean = self._read_mean(pictures[2:])
        shape = (self.grid.channels, self.grid.height, self.grid.width)
        return [(pictures[0], 3, *self.seen), (pictures[0], *shape)]

    def _check_scales(self, picture: Shape) -> None:
        """Raise LayerError where a scaled picture may have no pixel, or too many."""
        param = self.layer_param.detectnet_augmentation_param
        if self.phase != proto.TRAIN or param.scale_prob <= 0:
            return
        for field in ("scale_min", "scale_max"):
            factor = getattr(param, field)
            size = scaled_size((picture[0], picture[1]), factor)
            if min(size) < 1:
                raise self.error(f"{field} {factor:g} leaves no pixel of a picture of {show_shape(picture)}", field)
            check_size(self, "a scaled picture", (3, *size))

    def _read_mean(self, picture: Shape) -> Tensor | None:
        """The mean of transform_param: (3, 1, 1), or (3, h, w) as large as a picture."""
        param = self.layer_param.transform_param
        if param.HasField("mean_file"):
            array = np.array(proto.read_blob(param.mean_file), np.float32)
            if array.ndim not in (3, 4) or array.shape[-3] != 3:
                shape = show_shape(array.shape)
                raise self.error(f'needs a mean image 1 x 3 x h x w; "{param.mean_file}" is {shape}', "mean_file")
            return resized(torch.from_numpy(array.reshape(-1, *array.shape[-3:])[0]), (picture[0], picture[1]))
        values = list(param.mean_value)
        if len(values) not in (0, 1, 3):
            raise self.error(f"{len(values)} mean_value; give one, or three", "mean_value")
        return torch.tensor(values).expand(3).reshape(3, 1, 1) if values else None

    @torch.no_grad()
    def forward(self, pictures: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        size: Size = (pictures.shape[2], pictures.shape[3])
        rows = labels.detach().cpu().reshape(len(labels), -1).numpy()
        mean = None if self._mean is None else self._mean.to(pictures)
        found, grids = [], []
        for picture, row, how in zip(pictures, rows, self._augmentations(len(pictures), size), strict=True):
            boxes, classes = self._boxes(row)
            found.append(varied(picture, mean, how, self.seen))
            with np.errstate(all="ignore"):  # a box that is not finite covers nothing
                grids.append(self.grid.filled(moved(boxes, size, how), classes))
        return torch.stack(found), torch.from_numpy(np.stack(grids)).to(labels)

    def _augmentations(self, count: int, size: Size) -> list[Augmentation]:
        if self.phase != proto.TRAIN:
            return [Augmentation(self.seen)] * count
        param = self.layer_param.detectnet_augmentation_param
        draws = torch.rand(count, DRAWS, dtype=torch.float64, device="cpu").tolist()
        return [drawn(param, size, self.seen, own) for own in draws]

    def _boxes(self, row: Floats) -> tuple[Floats, Floats]:
        """The boxes (m, 4) of one picture's label and their classes (m). Raises LayerError for no such label."""
        count, length = row[0].item(), row[1].item()
        most = len(row) // _ROW - 1
        if length != _ROW:
            raise self.error(f"a label must say that its boxes have {_ROW} numbers, not {length:g}, as DIGITS' do")
        if not 0 <= count <= most:
            raise self.error(f"a label says that it has {count:g} boxes, with room for {most}")
        boxes = row[_ROW : _ROW * (int(count) + 1)].reshape(-1, _ROW)
        return boxes[:, :4], boxes[:, 5]
