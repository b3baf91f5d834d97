"""YoloDetectionOutput and Yolov3DetectionOutput: what YOLO's maps detect. They write and show nothing."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.forks import suppression_onnx, suppression_parts
from sdcaffe.forks.yolo import grid, source_parts
from sdcaffe.layers.base import Count, Layer, OnnxBuilder, Shape, Source, SourceBuilder, call, number, register


class _Detections(Layer):
    """What both share: a top whose rows hang on the values, without gradients."""

    index_bottoms: ClassVar[tuple[int, ...]] = tuple(range(64))  # no gradient goes to any
    dynamic = True
    chooses = True
    yields = True
    parts: ClassVar = (*suppression_parts.ALL, source_parts.yolo_grid, source_parts.yolo_kept, source_parts.yolo_rows)

    def anchors(self) -> list[list[float]]:
        """Width and height of each of the biases. Raises LayerError where they are no pairs above 0."""
        biases = list(self.param.biases)
        if len(biases) % 2 or not biases or min(biases) <= 0:
            raise self.error("biases are pairs of a width and a height above 0", "biases")
        return [[float(w), float(h)] for w, h in zip(biases[::2], biases[1::2], strict=True)]

    def example(self, index: int, shapes: list[Shape], random: np.random.Generator) -> np.ndarray:
        """Maps with an object in some places, as of a trained net; boxes in all of them take minutes."""
        n, channels, h, w = shapes[index]
        values = random.standard_normal((n, self.param.num_box, channels // self.param.num_box, h, w))
        objects = values[:, :, 8 if getattr(self.param, "gaussian_box", False) else 4]
        objects[random.uniform(size=objects.shape) > 20 / objects.size] = -12
        return values.reshape(shapes[index])

    def rows(
        self, builder: OnnxBuilder, boxes: Tensor, scores: Tensor, labels: Tensor, n: int, least: float, overlap: float
    ) -> Tensor:
        """What `source_parts.yolo_rows` gives of those boxes of n images whose score is above `least`."""
        best, order = scores.topk(scores.shape[0])
        boxes, labels = boxes.index_select(0, order), labels.index_select(0, order).to(boxes.dtype)
        limit = suppression_onnx.below(overlap)
        held = suppression_onnx.kept(
            builder, boxes.unsqueeze(0), best.unsqueeze(0), limit, least=least, middles=True
        ).squeeze(0)
        chosen, half = held > -torch.inf, boxes[:, 2:] / 2
        facts = torch.stack([torch.zeros_like(best), labels, best], 1)
        table = torch.cat([facts, boxes[:, :2] - half, boxes[:, :2] + half], 1)
        item = torch.arange(n).to(boxes.dtype).reshape(n, 1)
        none = torch.cat([item, torch.full_like(item, -1).expand(-1, 6)], 1)
        unfound = torch.logical_not(chosen.any()).reshape(1).expand(n)
        places = torch.cat([chosen, unfound]).nonzero().squeeze(1)
        return torch.cat([table, none]).index_select(0, places).reshape(1, 1, -1, 7)


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

    def to_onnx(self, builder: OnnxBuilder, *bottoms: Tensor) -> Tensor:
        param = self.param
        anchors = self.anchors()[: param.num_box]
        found = [source_parts.yolo_likeliest(bottom, anchors, param.num_classes) for bottom in bottoms]
        boxes, scores, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
        least = suppression_onnx.below(param.confidence_threshold)
        return self.rows(builder, boxes, scores, labels, bottoms[0].shape[0], least, param.nms_threshold)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        param = self.param
        for part in (*self.parts, source_parts.yolo_likeliest):
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

    def to_onnx(self, builder: OnnxBuilder, *bottoms: Tensor) -> Tensor:
        param, boxes, scores, labels = self.param, [], [], []
        for i, bottom in enumerate(bottoms):
            unit = float(param.anchors_scale[i])
            found, score = source_parts.yolo_all(bottom, self.groups[i], unit, param.num_classes, param.gaussian_box)
            boxes.append(found.unsqueeze(1).expand(-1, param.num_classes, -1).reshape(-1, 4))
            scores.append(score.reshape(-1))
            labels.append((torch.arange(param.num_classes) + 1).expand(score.shape[0], -1).reshape(-1))
        n, limits = bottoms[-1].shape[0], (param.confidence_threshold, param.nms_threshold)
        return self.rows(builder, torch.cat(boxes), torch.cat(scores), torch.cat(labels), n, *limits)

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        param = self.param
        for part in (*self.parts, source_parts.yolo_all):
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
