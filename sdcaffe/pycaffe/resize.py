"""Images of another size by interpolation, with the numbers that scikit-image and SciPy gave. Reads no file."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdcaffe.errors import SdcaffeError

Image = NDArray[Any]


def resize_image(im: Image, new_dims: tuple[int, int], interp_order: int = 1) -> NDArray[np.float32]:
    """An image (H, W, K) in the size `new_dims` (height, width); `interp_order` 1 is linear, 0 the nearest.

    With 1 or 3 channels pixels are areas, nothing is smoothed before shrinking, and behind the border lies
    the image's minimum, as with scikit-image up to 0.14 (later ones smooth by default). With other numbers
    of channels corners fall on corners, as with SciPy's zoom. Orders from 2 to 5 need SciPy.
    """
    image = np.asarray(im)
    height, width = (int(n) for n in new_dims)
    if height < 1 or width < 1 or image.ndim != 3 or 0 in image.shape:
        raise SdcaffeError(f"an image (H, W, K) is resized to (height, width), not {image.shape} to {new_dims}")
    if image.shape[2] not in (1, 3):
        return _zoom(image, (height, width), interp_order, areas=False).astype(np.float32)
    low, high = image.min(), image.max()
    if high <= low:
        return np.full((height, width, image.shape[2]), low, np.float32)
    resized = _zoom((image - low) / (high - low), (height, width), interp_order, areas=True)
    return (resized * (high - low) + low).astype(np.float32)


def _zoom(image: Image, dims: tuple[int, int], order: int, *, areas: bool) -> Image:
    if order not in (0, 1):
        return _splines(image, dims, order, areas=areas)
    image = image.astype(np.float64, copy=False)
    for axis, size in enumerate(dims):
        image = _along(image, axis, size, order, areas=areas)
    return image


def _along(image: Image, axis: int, size: int, order: int, *, areas: bool) -> Image:
    old = image.shape[axis]
    if areas:
        at = (np.arange(size) + 0.5) * old / size - 0.5
    else:
        at = np.arange(size) * ((old - 1) / (size - 1) if size > 1 else 0.0)
    if order == 0:
        return image.take(np.clip(np.floor(at + 0.5).astype(int), 0, old - 1), axis)
    below = np.floor(at).astype(int)
    shape = [1] * image.ndim
    shape[axis] = size
    share = (at - below).reshape(shape)
    return _at(image, axis, below, areas) * (1 - share) + _at(image, axis, below + 1, areas) * share


def _at(image: Image, axis: int, index: NDArray[np.intp], areas: bool) -> Image:
    """Lines of an image; those outside are 0 where pixels are areas, and of no weight otherwise."""
    old = image.shape[axis]
    lines = image.take(np.clip(index, 0, old - 1), axis)
    if areas:
        shape = [1] * image.ndim
        shape[axis] = index.size
        lines = lines * ((index >= 0) & (index < old)).reshape(shape)
    return lines


def _splines(image: Image, dims: tuple[int, int], order: int, *, areas: bool) -> Image:
    try:
        from scipy.ndimage import zoom
    except ImportError:
        raise SdcaffeError(f"interp_order {order} needs SciPy (pip install scipy); 0 and 1 do not") from None
    factors = (dims[0] / image.shape[0], dims[1] / image.shape[1], 1)
    mode = "grid-constant" if areas else "constant"
    zoomed = zoom(image, factors, order=order, mode=mode, grid_mode=areas)
    return np.clip(zoomed, 0, 1) if areas else zoomed
