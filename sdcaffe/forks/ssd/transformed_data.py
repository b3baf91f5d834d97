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
from sdcaffe.forks.ssd.stretched_size import FIELDS as STRETCHES
from sdcaffe.layers.base import register
from sdcaffe.layers.data import Data, FeedLayer
from sdcaffe.layers.image_data import ImageData

_CHANGES = (
    *("resize_param", "noise_param", "crop_h", "crop_w", "random_resize_param", "random_aspect_ratio_param", "pad"),
    *STRETCHES,
)
_OF_OTHERS = {
    **dict.fromkeys(("distort_param", "expand_param", "emit_constraint"), "AnnotatedData"),
    **dict.fromkeys(("scale_factors", "crop_height", "crop_width"), "ImageSegData"),
}


def _is_of_ssd(layer_param: proto.LayerParameter) -> bool:
    transform = layer_param.transform_param
    given = {field.name for field, _ in transform.ListFields()}
    return not given.isdisjoint((*_CHANGES, *_OF_OTHERS))


class TransformedFeed(FeedLayer):
    """Resized, with noise, cropped and mirrored as in SSD (weiliu89/caffe@4817bf8); resize_param is for encoded ones.

    random_resize_param, random_aspect_ratio_param and pad are Intel's, img_rand_resize and the stretches NVIDIA's; see
    RandomSize, BorderedTransformer and StretchedSize.

    Fields of AnnotatedData's and ImageSegData's alone are passed over with a warning, as in their forks.
    """

    def _make_feed(self, source: Any, seed: int, prefetch: int) -> Batches:
        transform = type(self.layer_param.transform_param)()
        transform.CopyFrom(self.layer_param.transform_param)
        for field, _ in transform.ListFields():
            if field.name in _OF_OTHERS:
                transform.ClearField(field.name)
                logging.getLogger("sdcaffe").warning(
                    'layer "%s" (%s): %s is passed over; %s alone has it',
                    *(self.name, self.type, field.name, _OF_OTHERS[field.name]),
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
