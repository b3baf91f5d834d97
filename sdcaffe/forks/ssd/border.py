"""Intel's pad of transform_param: a border round what is cropped, for a first convolution that pads nothing itself.

From intel/caffe@44d5363 (data_transformer.cpp; scripts/first_conv_force_u8.py writes such nets).
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdcaffe import proto
from sdcaffe.data.source import Image
from sdcaffe.data.transformer import Transformer, Windows
from sdcaffe.forks.ssd import settings


class Border:
    """What Intel's Caffe adds to TransformationParameter."""

    pad: Annotated[int, 19] = 0


proto.schema.extend("TransformationParameter", Border)

# With a crop_size that Caffe cuts its window out of the picture as it was before these.
_NOT_CROPPED = ("resize_param", "noise_param")


def check(param: proto.TransformationParameter) -> None:
    """Raises ValueError for a pad that cannot be, and where that Caffe reads beyond a mean's end."""
    pad = param.pad
    if not pad:
        return
    if pad < 0:
        raise ValueError(f"pad must be 0 or more, not {pad}")
    side = 2 * pad + param.crop_size
    settings.check_size("what pad makes", side, side)
    if param.HasField("mean_file"):
        raise ValueError(
            "pad cannot be used with mean_file: Intel's Caffe takes each mean `pad` rows and columns off its place, "
            "and reads beyond the file's last; give mean_value"
        )
    given = {field.name for field, _ in param.ListFields()}
    if not given.isdisjoint(("crop_h", "crop_w")):
        raise ValueError("pad goes round a window of crop_size; Intel's Caffe has no other")
    for name in _NOT_CROPPED:
        if param.crop_size and name in given:
            raise ValueError(
                f"of pad, crop_size and {name} give two: with all of them Intel's Caffe crops the picture as it was "
                f"before {name}; random_resize_param makes pictures of another size"
            )


def bordered(pixels: Image, pad: int) -> Image:
    """A picture (C, h, w) with `pad` zeros on each side."""
    wide: Any = pixels
    found: Image = np.pad(wide, ((0, 0), (pad, pad), (pad, pad)))
    return found


class BorderedTransformer(Transformer):
    """Normalises pictures that have a border of `pad` zeros. Holds no mean image.

    As in Intel's Caffe the border stays 0, except its first row below the picture and its first column right of it, as
    far as they do not lie beyond the other's: these are black pixels of the picture. What has a mean_value subtracted
    is rounded after it is scaled, half to even. Where a picture is mirrored, so is its border.
    """

    def __init__(self, param: proto.TransformationParameter, phase: int) -> None:
        super().__init__(param, phase)
        self.pad: int = param.pad

    def centred(self, out: Tensor, windows: Windows) -> Tensor:
        """As of Transformer; `windows` say which pictures are mirrored, and nothing else."""
        top = super().centred(out, windows)
        if len(self.mean_value):
            top.round_()
        pad, (height, width) = self.pad, top.shape[2:]
        top[:, :, :pad] = 0
        top[:, :, height - pad + 1 :] = 0
        top[..., : pad - 1] = 0
        top[..., width - pad + 1 :] = 0
        mirrored = windows.mirror if windows.mirror is not None else np.zeros(len(top), bool)
        for which, column in ((~mirrored, pad - 1), (mirrored, width - pad)):
            top[torch.from_numpy(np.flatnonzero(which)).to(top.device), :, :, column] = 0
        return top


def normaliser_of(param: proto.TransformationParameter) -> Transformer:
    """What subtracts the mean of a transform_param and scales."""
    return (BorderedTransformer if param.pad else Transformer)(param, proto.TEST)


def windows_of(mirrored: NDArray[np.bool_], param: proto.TransformationParameter) -> Windows:
    """What `normaliser_of` has to know of pictures that are cut already: which are mirrored, if they have a border."""
    nowhere = np.zeros(len(mirrored), np.int64)
    return Windows(nowhere, nowhere, mirrored if param.pad else None)
