"""The frames of a video file, by PyAV. Opens no camera and nothing that is not a file."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdcaffe.data.decode import MAX_PIXELS
from sdcaffe.data.source import Image
from sdcaffe.errors import DataError
from sdcaffe.forks.ssd.picture import NO_BOXES, Picture

# Formats that hold their own frames: others, as a playlist, are lists of other files.
_FORMATS = (
    "asf,av1,avi,dv,flv,gif,h264,hevc,ivf,m4v,matroska,mjpeg,mov,mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,vc1,webm,"
    "yuv4mpegpipe"
)
_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}


class Video:
    """Every (skip + 1)-th frame of a file, behind `skip` frames each, (3, H, W) blue, green, red; of label 0.

    Reading is quick in the order of frames; another frame than the next is decoded up to from the first one. Raises
    DataError for what is no video, and where PyAV is not installed.
    """

    def __init__(self, path: str, skip: int) -> None:
        self.where, self._skip, self._lock = path, skip, threading.Lock()
        self._container: Any = None
        self._frames: Iterator[Any] = iter(())
        self._next = 0
        self._open()
        self._count = self._counted() // (skip + 1)
        if not self._count:
            self.close()
            raise DataError(f"has too few frames to skip {skip} before each" if skip else "has no frames", path)
        self._open()

    def _open(self) -> None:
        try:
            import av
        except ImportError:
            raise DataError('reading a video needs the package av: pip install "sdcaffe[video]"', self.where) from None
        self.close()
        if not os.path.isfile(self.where):
            raise DataError("is no file", self.where)
        try:
            self._container = av.open(self.where, options=_OPTIONS)
            stream = self._container.streams.video[0]
        except IndexError:
            self.close()
            raise DataError("holds no video", self.where) from None
        except (av.FFmpegError, OSError) as error:
            raise DataError(f"cannot be read as a video: {error.strerror}", self.where) from None
        if stream.width * stream.height > MAX_PIXELS:
            self.close()
            raise DataError(
                f"has frames of {stream.width}x{stream.height} pixels; at most {MAX_PIXELS} are read", self.where
            )
        self._frames, self._next = self._container.decode(stream), 0

    def _counted(self) -> int:
        """How many frames there are: as the file says, else its packets, which are quicker to count."""
        stream = self._container.streams.video[0]
        return int(stream.frames) or sum(1 for packet in self._container.demux(stream) if packet.size)

    def __len__(self) -> int:
        return self._count

    def reader(self, index: int) -> Callable[[], Picture]:
        return partial(self._read, index)

    def _read(self, index: int) -> Picture:
        wanted = index * (self._skip + 1) + self._skip
        with self._lock:
            pixels = self._frame(wanted)
        height, width = pixels.shape[1:]
        where = f"{self.where}, frame {wanted}"
        return Picture(pixels, NO_BOXES, height, width, True, 0, False, where)

    def _frame(self, wanted: int) -> Image:
        import av

        if wanted < self._next:
            self._open()
        try:
            for frame in self._frames:
                self._next += 1
                if self._next > wanted:
                    pixels: NDArray[np.uint8] = frame.to_ndarray(format="bgr24")
                    return np.ascontiguousarray(pixels.transpose(2, 0, 1))
        except (av.FFmpegError, OSError, ValueError) as error:
            raise DataError(f"frame {wanted} cannot be decoded: {' '.join(str(error).split())}", self.where) from None
        raise DataError(f"ends before frame {wanted}, though it says that it has more", self.where)

    def close(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container, self._frames = None, iter(())
