"""AnnotatedData: pictures with labelled boxes from a database, for training and testing detectors."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.data.feed import Batches
from sdcaffe.data.order import default_seed
from sdcaffe.data.source import SOURCES
from sdcaffe.errors import DataError
from sdcaffe.forks.ssd.annotated_source import AnnotatedSource
from sdcaffe.forks.ssd.drawn_pipeline import pipeline_of
from sdcaffe.forks.ssd.geometry import Labelled
from sdcaffe.forks.ssd.messages import AnnotationType, BatchSampler, ResizeParameter
from sdcaffe.forks.ssd.picture import MadePictures, Picture, PictureSource
from sdcaffe.forks.ssd.picture_feed import PictureFeed
from sdcaffe.layers.base import Shape, register
from sdcaffe.layers.data import FeedLayer
from sdcaffe.log import glog

_YOLO = ("yolo_data_type", "yolo_data_jitter", "train_diffcult", "difficult_label_warmup")
YOLO_ROWS = 300  # that an image's label has


class AnnotatedDataParameter:
    batch_sampler: list[BatchSampler]
    label_map_file: str
    anno_type: AnnotationType
    # MobileNet-YOLO
    yolo_data_type: int = 0
    yolo_data_jitter: float = 0.3
    train_diffcult: bool = True
    single_class: bool = True
    seg_scales: int = 8
    seg_resize_width: int = 0
    seg_resize_height: int = 0
    difficult_label_warmup: bool = False


@register("AnnotatedData", field="annotated_data_param", number=200)
class AnnotatedData(FeedLayer):
    """Batch k is records k * batch_size .. of a database of AnnotatedDatum, as in SSD (weiliu89/caffe@4817bf8).

    The source, backend and batch_size are data_param's. Tops: images (n, C, h, w) as transform_param and the
    batch_samplers make them, and the boxes of all of them, (1, 1, boxes, 8), each row: item in the batch,
    label, instance, xmin, ymin, xmax, ymax (fractions of the image), difficult; one row of -1 where there is
    no box. Records without a type of annotation give labels (n,) instead. What chance decides is a function of the
    seed, the batch and the place in it.

    With a field of MobileNet-YOLO's (eric612/MobileNet-YOLO@69b4441), pictures without a batch_sampler are cut at
    random, in both phases, as yolo_data_jitter says; with yolo_data_type: 1 labels are (n, 1, 300, 5), as RegionLoss
    and Yolov3 take them, each row: label - 1, x and y of the middle, width, height, and rows of 0 behind the last.
    Difficult boxes are left out with train_diffcult: false. The labels of segmentation, a third top there, and
    difficult_label_warmup are refused.
    """

    param: proto.AnnotatedDataParameter
    Param = AnnotatedDataParameter
    tops = (1, 2)
    tag = "annotated_data_layer.cpp"
    dynamic = True
    channel_order = "bgr"
    yields = True

    @property
    def reading(self) -> proto.DataParameter:
        return self.layer_param.data_param

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        if self.feed is not None:
            return self._shapes()
        reading, transform = self.reading, self.layer_param.transform_param
        if reading.batch_size < 1:
            raise self.error(f"batch_size is {reading.batch_size}; it must be 1 or more", "batch_size")
        if not reading.source:
            raise self.error("data_param has no source", "data_param")
        small = ResizeParameter.Resize_mode.FIT_SMALL_SIZE
        if any(resize.resize_mode == small for resize in transform.resize_param) and reading.batch_size > 1:
            raise self.error("FIT_SMALL_SIZE gives images of several sizes; it needs batch_size: 1", "batch_size")
        lmdb = proto.DataParameter.LMDB
        backend = "LMDB" if reading.backend == lmdb else "LEVELDB"
        color = "color" if transform.force_color else "gray" if transform.force_gray else "native"
        source = _open(reading, backend, color)
        glog(
            "db_lmdb.cpp:35" if backend == "LMDB" else "db_leveldb.cpp:18", f"Opened {backend.lower()} {reading.source}"
        )
        seed = reading.seed if reading.HasField("seed") else default_seed(self.name)
        shapes = self._start(source, seed, prefetch=reading.prefetch)
        glog("annotated_data_layer.cpp:62", f"output data size: {','.join(str(n) for n in shapes[0])}")
        return shapes

    def _make_feed(self, source: Any, seed: int, prefetch: int) -> Batches:
        param, transform = self.param, self.layer_param.transform_param
        yolo = any(param.HasField(field) for field in _YOLO)
        if param.difficult_label_warmup:
            raise self.error("difficult_label_warmup is not there: train_diffcult says what becomes of difficult boxes")
        try:
            pipeline = pipeline_of(transform, param.batch_sampler, self.phase, param.yolo_data_jitter if yolo else 0)
        except ValueError as error:
            raise self.error(str(error), "transform_param") from None
        order = self._order(len(source), seed)
        typed = param.HasField("anno_type")
        label = partial(yolo_rows, param.train_diffcult) if param.yolo_data_type == 1 else None
        return PictureFeed(source, pipeline, transform, order, prefetch=prefetch, typed=typed, label=label)

    def _shapes(self) -> list[Shape]:
        images: Shape = (self.reading.batch_size, *self._running().size)
        labels: Shape = (self.reading.batch_size,)
        feed = self.feed
        if isinstance(feed, PictureFeed) and feed.typed:
            yolo = self.param.yolo_data_type == 1
            labels = (self.reading.batch_size, 1, YOLO_ROWS, 5) if yolo else (1, 1, feed.first_boxes, 8)
        return [images, labels][: len(self.layer_param.top)]


def yolo_rows(difficult: bool, pictures: list[Picture], found: list[Labelled]) -> Tensor:
    """MobileNet-YOLO's label blob (n, 1, 300, 5): class, x, y, width, height. Raises DataError for more boxes."""
    label = np.zeros((len(found), 1, YOLO_ROWS, 5), np.float32)
    for rows, picture, own in zip(label[:, 0], pictures, found, strict=True):
        kept = np.ones(len(own), bool) if difficult else own.facts[:, 2] == 0
        boxes, classes = own.boxes[kept], own.facts[kept, :1]
        if len(boxes) > YOLO_ROWS:
            raise DataError(f"has {len(boxes)} boxes; yolo_data_type: 1 takes at most {YOLO_ROWS}", picture.where)
        low, high = boxes[:, :2], boxes[:, 2:]
        rows[: len(boxes)] = np.concatenate([classes - 1, (low + high) / 2, high - low], 1)
    return torch.from_numpy(label)


def _open(reading: proto.DataParameter, backend: str, color: str) -> PictureSource:
    """The database, or the registered source with pictures, that data_param names."""
    kind, colon, where = reading.source.partition(":")
    known = SOURCES.get(kind) if colon else None
    if known is None:
        return AnnotatedSource(reading.source, backend, color=color)
    with SOURCES.blamed(known):
        return MadePictures(known(where, reading, color))
