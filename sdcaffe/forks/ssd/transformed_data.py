"""Data and ImageData with what only SSD's Caffe has in transform_param: another size, noise, an oblong crop."""

from __future__ import annotations

import logging
from typing import Any

from sdcaffe import proto
from sdcaffe.data.feed import Batches
from sdcaffe.data.source import Source
from sdcaffe.forks.ssd.picture import LabelledPictures
from sdcaffe.forks.ssd.picture_feed import PictureFeed
from sdcaffe.forks.ssd.pipeline import Pipeline
from sdcaffe.layers.base import register
from sdcaffe.layers.data import Data, FeedLayer
from sdcaffe.layers.image_data import ImageData

_CHANGES = ("resize_param", "noise_param", "crop_h", "crop_w", "random_resize_param", "random_aspect_ratio_param")
_OF_ANNOTATED_DATA = ("distort_param", "expand_param", "emit_constraint")


def _is_of_ssd(layer_param: proto.LayerParameter) -> bool:
    transform = layer_param.transform_param
    return any(transform.HasField(field) for field in (*_CHANGES, *_OF_ANNOTATED_DATA))


class TransformedFeed(FeedLayer):
    """Resized, with noise, cropped and mirrored as in SSD (weiliu89/caffe@4817bf8); resize_param is for encoded ones.

    random_resize_param and random_aspect_ratio_param are Intel's; see RandomSize.

    distort_param, expand_param and emit_constraint are AnnotatedData's; here they are passed over, as in the fork.
    """

    def _make_feed(self, source: Any, seed: int, prefetch: int) -> Batches:
        transform = type(self.layer_param.transform_param)()
        transform.CopyFrom(self.layer_param.transform_param)
        for field in _OF_ANNOTATED_DATA:
            if transform.HasField(field):
                transform.ClearField(field)
                logging.getLogger("sdcaffe").warning(
                    'layer "%s" (%s): %s is passed over; AnnotatedData alone has it', self.name, self.type, field
                )
        try:
            pipeline = Pipeline(transform, (), self.phase)
        except ValueError as error:
            raise self.error(str(error), "transform_param") from None
        order = self._order(len(source), seed)
        pictures = LabelledPictures(source) if isinstance(source, Source) else source
        return PictureFeed(pictures, pipeline, transform, order, prefetch=prefetch, typed=False)


@register("Data", field="data_param", when=_is_of_ssd)
class TransformedData(TransformedFeed, Data):
    """See `TransformedFeed`."""


@register("ImageData", field="image_data_param", when=_is_of_ssd)
class TransformedImageData(TransformedFeed, ImageData):
    """See `TransformedFeed`."""
