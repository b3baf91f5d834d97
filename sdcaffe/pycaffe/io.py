"""caffe.io: arrays as Caffe's messages and back, images from files, and the way from an image to an input blob."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sdcaffe import proto, reading
from sdcaffe.data.decode import FORMATS
from sdcaffe.errors import SdcaffeError
from sdcaffe.proto.blobs import blob_shape
from sdcaffe.pycaffe.errors import NoImage, WrongDatum
from sdcaffe.pycaffe.proto import caffe_pb2
from sdcaffe.pycaffe.resize import resize_image

Array = NDArray[Any]

__all__ = [
    "Transformer",
    "array_to_blobproto",
    "array_to_datum",
    "arraylist_to_blobprotovecor_str",
    "arraylist_to_blobprotovector_str",
    "blobproto_to_array",
    "blobprotovector_str_to_arraylist",
    "caffe_pb2",
    "datum_to_array",
    "load_image",
    "oversample",
    "resize_image",
]

# ---- Messages ----


def blobproto_to_array(blob: proto.BlobProto, return_diff: bool = False) -> Array:
    """The data (or diff) of a BlobProto, float64; four axes where it has the old num, channels, height, width."""
    return np.array(blob.diff if return_diff else blob.data, np.float64).reshape(blob_shape(blob))


def array_to_blobproto(arr: Array, diff: Array | None = None) -> proto.BlobProto:
    """A BlobProto of an array, and of its diff where one is given."""
    blob = caffe_pb2.BlobProto()
    blob.shape.dim.extend(arr.shape)
    blob.data.extend(arr.astype(float).flat)
    if diff is not None:
        blob.diff.extend(diff.astype(float).flat)
    return blob


def arraylist_to_blobprotovector_str(arraylist: Iterable[Array]) -> bytes:
    """The bytes of a BlobProtoVector."""
    return bytes(caffe_pb2.BlobProtoVector(blobs=[array_to_blobproto(arr) for arr in arraylist]).SerializeToString())


arraylist_to_blobprotovecor_str = arraylist_to_blobprotovector_str  # as Caffe spells it


def blobprotovector_str_to_arraylist(str: bytes) -> list[Array]:
    """The arrays of a BlobProtoVector's bytes."""
    return [blobproto_to_array(blob) for blob in caffe_pb2.BlobProtoVector.FromString(str).blobs]


def array_to_datum(arr: Array, label: int | None = None) -> proto.Datum:
    """A Datum of an array (C, H, W): uint8 as its bytes, anything else as floats. Raises ValueError for other axes."""
    if arr.ndim != 3:
        raise ValueError(f"a Datum is made of an array (C, H, W), not of one of shape {arr.shape}")
    datum = caffe_pb2.Datum()
    datum.channels, datum.height, datum.width = arr.shape
    if arr.dtype == np.uint8:
        datum.data = arr.tobytes()
    else:
        datum.float_data.extend(arr.astype(float).flat)
    if label is not None:
        datum.label = label
    return datum


def datum_to_array(datum: proto.Datum) -> Array:
    """The array (C, H, W) of a Datum: uint8 of its bytes, float64 of its floats. Raises WrongDatum if it is encoded."""
    if datum.encoded:
        raise WrongDatum("this Datum holds an encoded image: decode its data instead")
    shape = datum.channels, datum.height, datum.width
    values = np.frombuffer(datum.data, np.uint8) if datum.data else np.array(datum.float_data, np.float64)
    if values.size != np.prod(shape):
        raise WrongDatum(f"a Datum of shape {shape} holds {values.size} numbers")
    return values.reshape(shape).copy()


# ---- Images ----


def load_image(filename: str | os.PathLike[str], color: bool = True) -> NDArray[np.float32]:
    """An image file as (H, W, 3) RGB, or (H, W, 1) gray where `color` is false; float32 from 0 to 1.

    Gray files become RGB by repetition, RGB ones gray by luminance; alpha is left out. Raises NoImage, an OSError.
    """
    try:
        with reading.opened(filename, NoImage, "the image") as file, Image.open(file, formats=FORMATS) as image:
            pixels = _pixels(image)
    except NoImage:
        raise
    except Exception as error:  # Pillow's readers raise many kinds on broken files
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise NoImage(f"cannot read the image: {reason}", str(filename)) from None
    if pixels.ndim == 2:
        return np.repeat(pixels[:, :, np.newaxis], 3 if color else 1, axis=2)
    pixels = pixels[:, :, :3]
    return pixels if color else (pixels @ _LUMINANCE).astype(np.float32)[:, :, np.newaxis]


_LUMINANCE = np.array([0.2125, 0.7154, 0.0721])  # scikit-image's rgb2gray


def _pixels(image: Image.Image) -> NDArray[np.float32]:
    """(H, W) or (H, W, C), 0 to 1."""
    if image.mode.startswith("I"):  # 16 bits
        return (np.asarray(image, np.float64) / 65535).astype(np.float32)
    if image.mode == "F":
        return np.asarray(image, np.float32)
    if image.mode == "LA":
        image = image.convert("L")
    elif image.mode not in ("1", "L", "RGB", "RGBA"):
        image = image.convert("RGB")
    elif image.mode == "1":
        image = image.convert("L")
    return (np.asarray(image, np.float64) / 255).astype(np.float32)


def oversample(images: Sequence[Array], crop_dims: Sequence[int]) -> NDArray[np.float32]:
    """Ten crops (height, width) of each image (H, W, K): corners, centre, and all five mirrored; (10 N, h, w, K)."""
    high, wide, channels = images[0].shape
    h, w = int(crop_dims[0]), int(crop_dims[1])
    corners = [(y, x) for y in (0, high - h) for x in (0, wide - w)]
    places = [*corners, (int(high / 2 - h / 2), int(wide / 2 - w / 2))]
    crops = np.empty((10 * len(images), h, w, channels), np.float32)
    for i, image in enumerate(images):
        for j, (y, x) in enumerate(places):
            crop = image[y : y + h, x : x + w]
            crops[10 * i + j] = crop
            crops[10 * i + j + 5] = crop[:, ::-1]
    return crops


class Transformer:
    """Makes input blobs of images and images of blobs, by settings for each input.

    `inputs` maps an input's name to its blob's shape (N, K, H, W). Images are (H, W, K), arrays for a
    blob (K, H, W). The order is: resize, transpose, swap channels, raw scale, mean, input scale.
    """

    def __init__(self, inputs: Mapping[str, Sequence[int]]) -> None:
        self.inputs = inputs
        self.transpose: dict[str, Sequence[int]] = {}
        self.channel_swap: dict[str, Sequence[int]] = {}
        self.raw_scale: dict[str, float] = {}
        self.mean: dict[str, Array] = {}
        self.input_scale: dict[str, float] = {}

    def _shape(self, in_: str) -> tuple[int, ...]:
        if in_ not in self.inputs:
            raise SdcaffeError(f'"{in_}" is none of the inputs {", ".join(self.inputs)}')
        return tuple(self.inputs[in_])

    def preprocess(self, in_: str, data: Array) -> Array:
        """An image as what the input takes, float32. The image itself stays as it is."""
        size = self._shape(in_)[2:]
        image = data.astype(np.float32)
        if image.shape[:2] != size:
            image = resize_image(image, (size[0], size[1]))
        if in_ in self.transpose:
            image = image.transpose(self.transpose[in_])
        if in_ in self.channel_swap:
            image = image[list(self.channel_swap[in_])]
        if in_ in self.raw_scale:
            image *= self.raw_scale[in_]
        if in_ in self.mean:
            image -= self.mean[in_]
        if in_ in self.input_scale:
            image *= self.input_scale[in_]
        return image

    def deprocess(self, in_: str, data: Array) -> Array:
        """`preprocess` undone, but for the size; axes of size 1 are dropped first."""
        return self.undo(in_, data.squeeze())

    def undo(self, in_: str, data: Array) -> Array:
        """`deprocess` of one item (K, H, W), all its axes kept."""
        self._shape(in_)
        image = data.copy()
        if in_ in self.input_scale:
            image /= self.input_scale[in_]
        if in_ in self.mean:
            image += self.mean[in_]
        if in_ in self.raw_scale:
            image /= self.raw_scale[in_]
        if in_ in self.channel_swap:
            image = image[np.argsort(self.channel_swap[in_])]
        if in_ in self.transpose:
            image = image.transpose(np.argsort(self.transpose[in_]))
        return image

    def set_transpose(self, in_: str, order: Sequence[int]) -> None:
        """The order of an image's axes for the blob, such as (2, 0, 1)."""
        if len(order) != len(self._shape(in_)) - 1:
            raise SdcaffeError(f"the axes of one item of {self._shape(in_)} are put in order, not {tuple(order)}")
        self.transpose[in_] = order

    def set_channel_swap(self, in_: str, order: Sequence[int]) -> None:
        """The order of channels, such as (2, 1, 0) from RGB to BGR; after the transpose they come first."""
        if len(order) != self._shape(in_)[1]:
            raise SdcaffeError(f"the {self._shape(in_)[1]} channels of the input are put in order, not {tuple(order)}")
        self.channel_swap[in_] = order

    def set_raw_scale(self, in_: str, scale: float) -> None:
        """A factor before the mean, such as 255 for nets whose images go from 0 to 255."""
        self._shape(in_)
        self.raw_scale[in_] = scale

    def set_mean(self, in_: str, mean: Array) -> None:
        """What to subtract: one number a channel, or an image (K, H, W), resized where it has another size."""
        shape = self._shape(in_)
        if mean.ndim == 1:
            if len(mean) != shape[1]:
                raise ValueError(f"{len(mean)} means for {shape[1]} channels")
            mean = mean[:, np.newaxis, np.newaxis]
        else:
            image = mean[np.newaxis] if mean.ndim == 2 else mean
            if image.ndim != 3:
                raise ValueError(f"a mean is (K,), (H, W) or (K, H, W), not {mean.shape}")
            if image.shape != shape[1:]:
                mean = resize_image(image.transpose(1, 2, 0), (shape[2], shape[3])).transpose(2, 0, 1)
        self.mean[in_] = mean

    def set_input_scale(self, in_: str, scale: float) -> None:
        """A factor after the mean."""
        self._shape(in_)
        self.input_scale[in_] = scale
