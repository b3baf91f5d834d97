"""YoloDetectionOutput and Yolov3DetectionOutput: what YOLO's maps detect. They write and show nothing."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks.yolo import grid, source_parts
from sdcaffe.layers.base import Count, Layer, Shape, Source, SourceBuilder, call, number, register


class _Detections(Layer):
    """What both share: a top whose rows hang on the values, without gradients."""

    index_bottoms: ClassVar[tuple[int, ...]] = tuple(range(64))  # no gradient goes to any
    dynamic = True
    not_exported = "its number of boxes hangs on their values"
    yields = True
    parts: ClassVar = (source_parts.yolo_grid, source_parts.yolo_kept, source_parts.yolo_rows)

    def anchors(self) -> list[list[float]]:
        """Width and height of each of the biases. Raises LayerError where they are no pairs above 0."""
        biases = list(self.param.biases)
        if len(biases) % 2 or not biases or min(biases) <= 0:
            raise self.error("biases are pairs of a width and a height above 0", "biases")
        return [[float(w), float(h)] for w, h in zip(biases[::2], biases[1::2], strict=True)]


class YoloDetectionOutputParameter:
    side: int = 13
    num_classes: int = 20
    num_box: int = 5
    coords: int = 4
    confidence_threshold: float = 0.01
    nms_threshold: float = 0.45
    biases: list[float]
    label_map_file: str


@register("YoloDetectionOutput", field="yolo_detection_output_param", number=601)
class YoloDetectionOutput(_Detections):
    """YOLO version 2: rows 0, class + 1, score, xmin, ymin, xmax, ymax, best first, (1, 1, m, 7).

    As in MobileNet-YOLO (eric612/MobileNet-YOLO@69b4441). Bottoms, one or two: (n, num_box * (5 + num_classes), h, h).
    Biases are the boxes' sizes in cells. A box counts with its likeliest class where its score, the object's times the
    class's, is confidence_threshold or more; it goes where it overlaps a better one, of whatever class and image, by
    nms_threshold or more. The first column is always 0, as in the fork. Without any box there is a row an image: its
    number and six times -1. side, coords and label_map_file change nothing. No gradient goes to a bottom.
    """

    param: proto.YoloDetectionOutputParameter
    Param = YoloDetectionOutputParameter
    bottoms: ClassVar[Count] = (1, 2)

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        param = self.param
        if not param.HasField("num_classes"):
            raise self.error("needs num_classes", "num_classes")
        if param.num_box < 1 or len(self.anchors()) < param.num_box:
            raise self.error(f"biases must have num_box (={param.num_box}) pairs", "biases")
        for shape in bottom_shapes:
            grid.check_maps(self, shape, param.num_box, 5 + param.num_classes)
            if shape[2] != shape[3]:
                raise self.error(f"needs maps as high as wide, not {shape[2]} by {shape[3]}", "bottom")
        return [(1, 1, 1, 7)]

    def forward(self, *bottoms: Tensor) -> Tensor:
        param = self.param
        maps = [bottom.detach().cpu() for bottom in bottoms]
        found = source_parts.yolo_v2_rows(
            maps, self.anchors()[: param.num_box], param.num_classes, param.confidence_threshold, param.nms_threshold
        )
        return found.to(bottoms[0])

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        param = self.param
        for part in self.parts:
            builder.part(part)
        maps = ", ".join(f"{{{i}}}" for i in range(len(bottoms)))
        limits = (number(param.confidence_threshold), number(param.nms_threshold))
        anchors = str(self.anchors()[: param.num_box])
        made = call(builder.part(source_parts.yolo_v2_rows), f"[{maps}]", anchors, str(param.num_classes), *limits)
        return Source(made, nests=False)


class Yolov3DetectionOutputParameter:
    num_classes: int = 20
    num_box: int = 3
    confidence_threshold: float = 0.01
    nms_threshold: float = 0.45
    biases: list[float]
    anchors_scale: list[int]
    mask_group_num: int = 2
    mask: list[int]
    gaussian_box: bool = False


@register("Yolov3DetectionOutput", field="yolov3_detection_output_param", number=602)
class Yolov3DetectionOutput(_Detections):
    """YOLO version 3: rows 0, class + 1, score, xmin, ymin, xmax, ymax, best first, (1, 1, m, 7).

    As in MobileNet-YOLO (eric612/MobileNet-YOLO@69b4441). Bottoms: mask_group_num maps (n, num_box * (5 + num_classes),
    h, w), each with its anchors_scale, pixels a cell, and its share of `mask`, which names num_box of the biases,
    sizes in pixels. Each class of a box counts whose score, the object's times its own, is above confidence_threshold;
    it goes where it overlaps a better one, of whatever class and image, by nms_threshold or more. With gaussian_box, as
    the fork's GPU code has it, a map has 9 + num_classes numbers a box. The first column is always 0, as in the fork.
    Without any box there is a row an image: its number and six times -1. No gradient goes to a bottom.
    """

    param: proto.Yolov3DetectionOutputParameter
    Param = Yolov3DetectionOutputParameter
    bottoms: ClassVar[Count] = (1, None)

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        param, count = self.param, len(bottom_shapes)
        if not param.HasField("num_classes"):
            raise self.error("needs num_classes", "num_classes")
        if param.mask_group_num != count:
            raise self.error(f"mask_group_num is {param.mask_group_num} for {count} bottoms", "mask_group_num")
        if len(param.anchors_scale) < count:
            raise self.error(f"anchors_scale must have {count} numbers, one for each bottom", "anchors_scale")
        share = len(param.mask) // count
        if param.num_box < 1 or share < param.num_box:
            raise self.error(f"mask must name num_box (={param.num_box}) anchors for each bottom", "mask")
        anchors = self.anchors()
        if max(param.mask) >= len(anchors):
            raise self.error(f"mask names anchor {max(param.mask)}, but biases have {len(anchors)}, from 0", "mask")
        self.groups = [[anchors[i] for i in param.mask[share * t : share * t + param.num_box]] for t in range(count)]
        for shape in bottom_shapes:
            grid.check_maps(self, shape, param.num_box, (9 if param.gaussian_box else 5) + param.num_classes)
        return [(1, 1, 1, 7)]

    def forward(self, *bottoms: Tensor) -> Tensor:
        param = self.param
        maps = [bottom.detach().cpu() for bottom in bottoms]
        units = [float(scale) for scale in param.anchors_scale]
        limits = (param.num_classes, param.confidence_threshold, param.nms_threshold, param.gaussian_box)
        return source_parts.yolo_v3_rows(maps, self.groups, units, *limits).to(bottoms[0])

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        param = self.param
        for part in self.parts:
            builder.part(part)
        maps = ", ".join(f"{{{i}}}" for i in range(len(bottoms)))
        units = str([float(scale) for scale in param.anchors_scale])
        limits = (str(param.num_classes), number(param.confidence_threshold), number(param.nms_threshold))
        made = call(
            builder.part(source_parts.yolo_v3_rows),
            f"[{maps}]",
            str(self.groups),
            units,
            *limits,
            str(param.gaussian_box),
        )
        return Source(made, nests=False)
