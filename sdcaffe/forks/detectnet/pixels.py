"""A picture through an augmentation, as NVIDIA Caffe has OpenCV do it on the CPU: (3, h, w), blue, green, red."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sdcaffe.forks.detectnet.augmentation import Augmentation, Floats, Size, rotated_size, rotation_matrix
from sdcaffe.forks.ssd.colours import SECTORS
from sdcaffe.forks.ssd.interpolation import cubic, neighbours

_EPS = float(np.finfo(np.float32).eps)  # OpenCV's guard against grey and black
_STEPS = 32  # places between two pixels that OpenCV's bilinear warp knows
_BITS = 1024  # its fixed point


def varied(picture: Tensor, mean: Tensor | None, how: Augmentation, seen: Size) -> Tensor:
    """Pixels of 0 to 255 to (3, *seen), less a mean (3, 1, 1) or (3, h, w) of the same range; 0 off the picture."""
    found = picture / 255
    if how.turns_hue or how.fades:
        found = recoloured(found, how.hue if how.turns_hue else 0.0, how.saturation if how.fades else 1.0)
    if mean is not None:
        found = found - mean / 255
    if how.flip:
        found = found.flip(2)
    found = resized(found, how.scaled)
    if how.rotates:
        found = rotated(found, how.rotation)
    return cut(found, seen, how.offset) * 255


def recoloured(picture: Tensor, hue: float, saturation: float) -> Tensor:
    """Pixels of 0 to 1 with the hue turned by degrees and the saturation multiplied, by way of HSV in floats."""
    blue, green, red = picture
    value = picture.amax(0)
    spread = value - picture.amin(0)
    unit = 60 / (spread + _EPS)
    other = torch.where(value == green, (blue - red) * unit + 120, (red - green) * unit + 240)
    angle = torch.where(value == red, (green - blue) * unit, other)
    sixth = (torch.where(angle < 0, angle + 360, angle) + hue) * (6 / 360)
    strength = spread / (value.abs() + _EPS) * saturation
    sector = sixth.floor()
    part = sixth - sector
    shades = [value, value * (1 - strength), value * (1 - strength * part), value * (1 - strength * (1 - part))]
    which = torch.as_tensor(SECTORS, device=picture.device)[sector.long() % 6].movedim(-1, 0)
    return torch.stack(shades).gather(0, which)


def resized(picture: Tensor, size: Size) -> Tensor:
    """Of another height and width, bicubic."""
    for axis, target in ((2, size[1]), (1, size[0])):
        source = picture.shape[axis]
        if source == target:
            continue
        places, part = neighbours(source, target, 4)
        weights = torch.from_numpy(cubic(part)).to(picture)
        indices = torch.from_numpy(places).to(picture.device)
        shape = [-1 if axis == i else 1 for i in range(3)]
        taps = [picture.index_select(axis, indices[:, k]) * weights[:, k].reshape(shape) for k in range(4)]
        picture = taps[0] + taps[1] + taps[2] + taps[3]
    return picture


def rotated(picture: Tensor, degrees: float) -> Tensor:
    """Clockwise, all of it seen; a pixel of which not all four neighbours are there is 0. Bilinear, in 32nds."""
    height, width = picture.shape[1:]
    size = rotated_size((height, width), degrees)
    found = torch.zeros(3, *size, dtype=picture.dtype, device=picture.device)
    if min(height, width) < 2:
        return found
    (left, right_share), (top, low_share) = _seen_places(rotation_matrix((height, width), degrees), size)
    inside = (left >= 0) & (left < width - 1) & (top >= 0) & (top < height - 1)
    corner = torch.from_numpy(np.where(inside, top * width + left, 0)).to(picture.device)
    across, down = (torch.from_numpy(share).to(picture) for share in (right_share, low_share))
    flat = picture.flatten(1)
    for step, share in (
        (0, (1 - across) * (1 - down)),
        (1, across * (1 - down)),
        (width, (1 - across) * down),
        (width + 1, across * down),
    ):
        found += flat[:, corner + step] * share
    return torch.where(torch.from_numpy(inside).to(picture.device), found, 0)


def _seen_places(matrix: Floats, size: Size) -> list[tuple[Floats, Floats]]:
    """For each pixel of a warped picture: the column of the source that it shows and how far behind it; then the row.

    In fixed point, as OpenCV's warpAffine.
    """
    (a, b, c), (d, e, f) = matrix.astype(np.float64).tolist()
    inverse = 1 / (a * e - b * d)
    xx, xy, yx, yy = e * inverse, -b * inverse, -d * inverse, a * inverse
    rows, columns = np.arange(size[0])[:, None], np.arange(size[1])
    found = []
    for along, down, start in ((xx, xy, -xx * c - xy * f), (yx, yy, -yx * c - yy * f)):
        place = np.rint(along * columns * _BITS) + np.rint((down * rows + start) * _BITS)
        place = (place.astype(np.int64) + _BITS // _STEPS // 2) // (_BITS // _STEPS)
        found.append((place // _STEPS, place % _STEPS / _STEPS))
    return found


def cut(picture: Tensor, size: Size, offset: tuple[int, int]) -> Tensor:
    """The window of `size` that begins at row and column `offset`, 0 where there is no picture."""
    found = torch.zeros(len(picture), *size, dtype=picture.dtype, device=picture.device)
    top, left = (max(start, 0) for start in offset)
    bottom, right = (
        min(start + side, there) for start, side, there in zip(offset, size, picture.shape[1:], strict=True)
    )
    if top < bottom and left < right:
        part = picture[:, top:bottom, left:right]
        found[:, top - offset[0] : bottom - offset[0], left - offset[1] : right - offset[1]] = part
    return found
