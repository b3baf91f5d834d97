"""Random affine, perspective and thin-plate-spline warps: which place of its image each pixel of a window shows.

It draws and computes places; it reads no pixel. Lengths are halves of an image: its corners are at (+-1, +-1), as
for torch's grid_sample without align_corners. Matrices (m, 3, 3) take a place of the output, as (x, y, 1), to the
place of the input that is seen there.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sdcaffe import proto

Size = tuple[int, int]  # height and width, in pixels

_OUTSIDE = 4.0  # a place no image reaches
CORNERS = [[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]  # clockwise from the top left


class AffineWarp:
    """Each image is turned by up to `rotation` degrees either way, moved by up to the fraction `translation` of its
    height and width, made larger or smaller by up to the fraction `scaling`, and its rows are slanted by up to
    `shear` degrees. All are uniform, and about the image's centre."""

    rotation: float = 0.0
    translation: float = 0.0
    scaling: float = 0.0
    shear: float = 0.0


class PerspectiveWarp:
    """Each corner of an image moves inwards by up to the fraction `displacement` of half its height and width."""

    displacement: float = 0.0


class ThinPlateSplineWarp:
    """A grid of `points` x `points` over the window, each point moved by up to the fraction `displacement` of the
    window's height and width; between them the smoothest surface (Bookstein, 1989)."""

    displacement: float = 0.0
    points: int = 4


# The least and the most that a setting may be, and what it must stay below.
_LIMITS = {
    ("affine", "rotation"): (0, 180.0, math.inf),
    ("affine", "translation"): (0, 1.0, math.inf),
    ("affine", "scaling"): (0, math.inf, 1.0),
    ("affine", "shear"): (0, math.inf, 90.0),
    ("perspective", "displacement"): (0, math.inf, 2 / 3),  # from there on the corners may be no convex figure
    ("thin_plate_spline", "displacement"): (0, 1.0, math.inf),
    ("thin_plate_spline", "points"): (2, 10, math.inf),
}


def flaw(param: proto.DistortParameter) -> tuple[str, str] | None:
    """What is wrong with the settings of a Distort layer, and the field it is about; None: nothing."""
    for (group, field), (low, high, below) in _LIMITS.items():
        value = getattr(getattr(param, group), field)
        if not low <= value <= high or not value < below:
            limit = f"at most {high:g}" if high < math.inf else f"less than {below:.3g}"
            return f"{field} of {group} is {value:g}; it must be at least {low} and {limit}", f"{group}.{field}"
    return None


def is_on(param: proto.DistortParameter) -> bool:
    """Whether a Distort layer's settings ask for any warp."""
    return bool(_affine_is_on(param) or param.perspective.displacement or param.thin_plate_spline.displacement)


def _affine_is_on(param: proto.DistortParameter) -> bool:
    affine = param.affine
    return bool(affine.rotation or affine.translation or affine.scaling or affine.shear)


class Warp(nn.Module):
    """The warps that a Distort layer's settings ask for, of windows of the size `window` in images of the size `image`.

    The spline bends what a window shows; perspective and affine move the image behind it, first the affine.
    """

    x: Tensor
    y: Tensor
    corners: Tensor
    spline: Tensor

    def __init__(self, param: proto.DistortParameter, image: Size, window: Size) -> None:
        super().__init__()
        self.param, self.image, self.window = param, image, window
        rows, columns = ((2 * np.arange(n) + 1) / n - 1 for n in window)  # the middles of pixels
        y, x = np.meshgrid(rows, columns, indexing="ij")
        self.register_buffer("x", _float32(x.ravel()), persistent=False)
        self.register_buffer("y", _float32(y.ravel()), persistent=False)
        self.register_buffer("corners", torch.tensor(CORNERS), persistent=False)
        if param.thin_plate_spline.displacement:
            points = control_points(param.thin_plate_spline.points)
            basis = spline_basis(points, np.stack([x.ravel(), y.ravel()], 1))
            self.register_buffer("spline", _float32(basis.T), persistent=False)

    def forward(self, top: Tensor, left: Tensor, mirrored: Tensor | None) -> Tensor:
        """Draw a warp for each of m windows: the places its pixels show, (m, height, width, 2), x first.

        `top` and `left`, both (m, 1), are the window's corner in pixels of the image; `mirrored` (m, 1) says which
        windows are mirrored.
        """
        m = len(top)
        x, y = self.x, self.y
        if self.param.thin_plate_spline.displacement:
            x, y = self._bent(m)
        matrix = self._behind(top, left, mirrored)
        if self.param.perspective.displacement:
            matrix = product(perspective(self._corners(m)), matrix)
        if _affine_is_on(self.param):
            matrix = product(self._affine(m), matrix)
        places = transformed(matrix, x, y)
        return places.reshape(m, *self.window, 2)

    def _uniform(self, *shape: int) -> Tensor:
        """Uniform draws from -1 to 1."""
        return torch.rand(shape, device=self.x.device) * 2 - 1

    def _bent(self, m: int) -> tuple[Tensor, Tensor]:
        setting = self.param.thin_plate_spline
        moves = self._uniform(2, m, setting.points**2) * (2 * setting.displacement)
        x, y = moves @ self.spline
        return self.x + x, self.y + y

    def _behind(self, top: Tensor, left: Tensor, mirrored: Tensor | None) -> Tensor:
        """From places of windows to those of the images behind them."""
        (h, w), (rows, columns) = self.image, self.window
        width = torch.full_like(self.x[:1], columns / w).expand(len(top))
        if mirrored is not None:
            width = torch.where(mirrored.flatten(), -width, width)
        height = torch.full_like(width, rows / h)
        across = (2 * left.flatten() + columns) / w - 1
        down = (2 * top.flatten() + rows) / h - 1
        return _matrix([[width, 0, across], [0, height, down], [0, 0, 1]])

    def _corners(self, m: int) -> Tensor:
        return self.corners * (1 - torch.rand(m, 4, 2, device=self.x.device) * self.param.perspective.displacement)

    def _affine(self, m: int) -> Tensor:
        setting = self.param.affine
        turn, across, down, larger, slant = self._uniform(5, m)
        return affine(
            turn * math.radians(setting.rotation),
            torch.stack([across, down], 1) * (2 * setting.translation),
            1 + larger * setting.scaling,
            slant * math.radians(setting.shear),
            self.image,
        )


def affine(rotation: Tensor, translation: Tensor, scale: Tensor, shear: Tensor, image: Size) -> Tensor:
    """The matrices of images sheared along x, scaled, turned clockwise and moved, in this order: (m, 3, 3).

    Angles are in radians; `translation` (m, 2) is in halves of the image's width and height.
    """
    h, w = image
    cos, sin, tan = torch.cos(rotation) / scale, torch.sin(rotation) / scale, torch.tan(shear)
    xx, xy = cos - sin * tan, (sin + cos * tan) * (h / w)
    yx, yy = -sin * (w / h), cos
    across, down = translation.unbind(1)
    return _matrix([[xx, xy, -xx * across - xy * down], [yx, yy, -yx * across - yy * down], [0, 0, 1]])


def perspective(corners: Tensor) -> Tensor:
    """The matrices of images whose corners, clockwise from the top left, move to `corners` (m, 4, 2), x first.

    The four must be a convex figure. In closed form (Heckbert, 1989), as solving would wait for the device.
    """
    p00, p10, p11, p01 = corners.unbind(1)
    one, two, rest = p10 - p11, p01 - p11, p00 - p10 + p11 - p01
    area = _cross(one, two)
    g, h = (_cross(rest, two) / area).unsqueeze(1), (_cross(one, rest) / area).unsqueeze(1)
    u, v, w = p10 - p00 + g * p10, p01 - p00 + h * p01, p00  # the image of (u, v) in the unit square
    columns = [torch.cat([u, g], 1), torch.cat([v, h], 1), torch.cat([w, torch.ones_like(g)], 1)]
    first, second, third = columns[0] / 2, columns[1] / 2, columns[2] + (columns[0] + columns[1]) / 2
    inverse = torch.stack([torch.linalg.cross(*pair) for pair in ((second, third), (third, first), (first, second))], 1)
    return inverse / (inverse[:, :1] * first.unsqueeze(1)).sum(2, keepdim=True)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def product(first: Tensor, second: Tensor) -> Tensor:
    """The products of matrices (m, 3, 3), in full precision whatever a GPU's matrix units are set to."""
    return (first.unsqueeze(3) * second.unsqueeze(1)).sum(2)


def transformed(matrix: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Places (m, p, 2) of the input for places `x` and `y`, both (p,) or (m, p), of the output.

    What would lie behind the viewer of a perspective is a place outside every image.
    """
    (xx, xy, x1), (yx, yy, y1), (zx, zy, z1) = (row.unsqueeze(2).unbind(1) for row in matrix.unbind(1))
    depth = zx * x + zy * y + z1
    places = torch.stack([xx * x + xy * y + x1, yx * x + yy * y + y1], 2) / depth.unsqueeze(2)
    return torch.where(depth.unsqueeze(2) > 0, places, _OUTSIDE)


def _matrix(rows: list[list[Any]]) -> Tensor:
    """Matrices (m, 3, 3) of tensors (m,), and numbers that are the same in all."""
    like = next(entry for row in rows for entry in row if isinstance(entry, Tensor))
    entries = [entry if isinstance(entry, Tensor) else torch.full_like(like, entry) for row in rows for entry in row]
    return torch.stack(entries, 1).reshape(-1, 3, 3)


def control_points(n: int) -> np.ndarray:
    """A grid of n x n from corner to corner: (n * n, 2), x first, row by row."""
    line = np.linspace(-1, 1, n)
    y, x = np.meshgrid(line, line, indexing="ij")
    return np.stack([x.ravel(), y.ravel()], 1)


def spline_basis(points: np.ndarray, places: np.ndarray) -> np.ndarray:
    """How far each of `places` (p, 2) moves when each of the control points (k, 2) moves by 1: (p, k), float64.

    The surface over the plane that takes given heights at the control points and bends least is a plane plus
    multiples of r^2 log r, r the distance from each point; it depends on the heights linearly, and this is how.
    """
    k = len(points)
    system = np.zeros((k + 3, k + 3))
    system[:k] = _spline_terms(points, points)
    system[k:, :k] = system[:k, k:].T
    heights = np.eye(k + 3, k)
    return _spline_terms(places, points) @ np.linalg.solve(system, heights)


def _spline_terms(places: np.ndarray, points: np.ndarray) -> np.ndarray:
    squared = np.square(places[:, None] - points).sum(2)
    kernel = squared * np.log(np.where(squared > 0, squared, 1))  # twice r^2 log r
    return np.concatenate([kernel, np.ones((len(places), 1)), places], 1)


def _float32(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))
