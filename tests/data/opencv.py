"""What OpenCV 4.14 gave for small pictures; `recordings/opencv.npz` holds inputs and outputs.

- `resize_I_from`, `resize_I_to`: (C, H, W) and cv2.resize(INTER_LINEAR) of it
- `picture_NAME`: bytes of an image file; `native_NAME`, `color_NAME`, `gray_NAME`: cv2.imdecode of it with
  IMREAD_UNCHANGED, IMREAD_COLOR and IMREAD_GRAYSCALE, (C, H, W)
- `window_image`; `window_cases`: rows of x1 y1 x2 y2 crop context_pad square mirror; `window_I`: the crop as
  Caffe's WindowData makes it with cv2.resize, int16, -1 where it writes nothing
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

FILES = Path(__file__).parents[1] / "goldens" / "files"


@cache
def recordings() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parent / "recordings" / "opencv.npz") as file:
        return {name: file[name] for name in file.files}


def names(stem: str) -> list[str]:
    """What follows STEM_ in the recordings' names."""
    return sorted(name.removeprefix(f"{stem}_") for name in recordings() if name.startswith(f"{stem}_"))
