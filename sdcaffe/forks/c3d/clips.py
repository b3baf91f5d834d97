"""Clips of a list: frames of a folder or of a video file, cut and scaled into batches ahead of the net."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdcaffe.data.decode import read_bytes, read_image
from sdcaffe.data.feed import Seeded
from sdcaffe.data.order import Order
from sdcaffe.data.prefetch import Prefetcher
from sdcaffe.data.resize import resize
from sdcaffe.data.transformer import Size, show
from sdcaffe.errors import DataError
from sdcaffe.forks.ssd.dice import Dice
from sdcaffe.forks.ssd.video import Video

Bytes = NDArray[np.uint8]


class Named(NamedTuple):
    """A clip of a list: where its frames are, its second number (0 where there is none), and its label."""

    path: str
    number: int
    label: int


def listed(source: str, words_each: int) -> list[Named]:
    """The clips of a list: words, `words_each` a clip: path, number (where there are three) and label.

    Raises DataError for what is no such list.
    """
    words = read_bytes(source, "the list of clips").decode("utf-8", "surrogateescape").split()
    if not words or len(words) % words_each:
        what = "path, first frame and label" if words_each == 3 else "path and label"
        raise DataError(f"has {len(words)} words; it takes {words_each} a clip: {what}", source)
    found = []
    for i in range(0, len(words), words_each):
        path, *numbers = words[i : i + words_each]
        try:
            *first, label = (int(number) for number in numbers)
        except ValueError:
            raise DataError(f'clip {i // words_each + 1} has no whole numbers behind "{path}"', source) from None
        found.append(Named(path, first[0] if first else 0, label))
    return found


class Clips:
    """Clips of `length` frames, every `rate`-th from the first on: (3, length, h, w) bytes, blue, green, red.

    With `images` they are the files 000000.jpg and so on of a folder, else frames of a video file. With `jitter` the
    first is drawn: of a folder, whose clip's number is then how many frames it has, in training alone, and it is 0
    in a test. `size` (height, width) resizes frames as OpenCV's LINEAR does.
    """

    def __init__(
        self, source: str, images: bool, jitter: bool, length: int, rate: int, size: tuple[int, int] | None, train: bool
    ) -> None:
        self.where, self._size, self._train = source, size, train
        self._images, self._jitter, self._length, self._rate = images, jitter, length, rate
        self.clips = listed(source, 2 if jitter and not images else 3)

    def __len__(self) -> int:
        return len(self.clips)

    def read(self, index: int, dice: Dice) -> Bytes:
        """The frames of clip `index`. Raises DataError."""
        clip = self.clips[index]
        frames = self._of_folder(clip, dice) if self._images else self._of_video(clip, dice)
        if self._size is not None:
            frames = [resize(frame, *self._size) for frame in frames]
        for frame in frames:
            if frame.shape != frames[0].shape:
                raise DataError(f"has frames of {show(frame.shape[1:])} and {show(frames[0].shape[1:])}", clip.path)
        return np.stack(frames, 1)

    def _of_folder(self, clip: Named, dice: Dice) -> list[Bytes]:
        first = clip.number
        if self._jitter:
            first = 1 + self._drawn(clip, clip.number, dice) if self._train else 0
        numbers = range(first, first + self._length * self._rate, self._rate)
        return [read_image(os.path.join(clip.path, f"{number:06d}.jpg"), color=True) for number in numbers]

    def _of_video(self, clip: Named, dice: Dice) -> list[Bytes]:
        video = Video(clip.path, 0)
        try:
            first = self._drawn(clip, len(video), dice) if self._jitter else clip.number
            if first < 0 or first + self._length * self._rate > len(video):
                raise self._short(clip, len(video), f"from frame {first} on ")
            numbers = range(first, first + self._length * self._rate, self._rate)
            return [np.asarray(video.reader(number)().pixels, np.uint8) for number in numbers]
        finally:
            video.close()

    def _drawn(self, clip: Named, count: int, dice: Dice) -> int:
        if count < self._length * self._rate:
            raise self._short(clip, count)
        return dice.below(count - self._length * self._rate + 1)

    def _short(self, clip: Named, count: int, where: str = "") -> DataError:
        needs = f"{self._length} frames at a sampling_rate of {self._rate}"
        return DataError(f"has {count} frames, and not {where}{needs}; take it out of {self.where}", clip.path)

    def close(self) -> None:
        """Nothing is open between reads."""


class Cut(NamedTuple):
    """How clips become items: crop (0: none), mirror, mean ((3, length, h, w), a number) and scale."""

    crop: int
    mirror: bool
    mean: NDArray[np.float32] | float
    scale: float
    train: bool

    def item(self, clip: Bytes, dice: Dice, where: str) -> NDArray[np.float32]:
        """A clip cropped, mirrored, less the mean and scaled. Raises DataError."""
        if isinstance(self.mean, np.ndarray) and self.mean.shape != clip.shape:
            raise DataError(f"is {show(clip.shape)}, but the mean {show(self.mean.shape)}", where)
        mean = self.mean
        high, wide = clip.shape[2:]
        if min(high, wide) <= self.crop:
            raise DataError(f"has frames of {show((high, wide))}, no larger than crop_size {self.crop}", where)
        flip = slice(None)
        if self.crop:
            spare = high - self.crop, wide - self.crop
            top, left = (dice.below(n) for n in spare) if self.train else (n // 2 for n in spare)
            window = (slice(None), slice(None), slice(top, top + self.crop), slice(left, left + self.crop))
            clip = clip[window]
            mean = mean[window] if isinstance(mean, np.ndarray) else mean
            if self.mirror and self.train and dice.below(2):
                flip = slice(None, None, -1)
        found: NDArray[np.float32] = (clip.astype(np.float32) - np.float32(mean)) * np.float32(self.scale)
        return found[..., flip]


class ClipFeed(Seeded):
    """Batches of clips (n, 3, length, h, w) and labels (n, 1, 1, 1, 1) in an order, read ahead by threads.

    What chance decides is a function of the seed, the batch and the place in it. Raises DataError.
    """

    def __init__(self, source: Clips, cut: Cut, order: Order, *, prefetch: int) -> None:
        self.source, self.order, self._cut = source, order, cut
        self._ahead: Prefetcher[tuple[Tensor, Tensor]] = Prefetcher(prefetch, f"prefetch {source.where}")
        self.size: Size = self._item(0, 0, int(order.indices(0)[0])).shape

    def batch(self, k: int, device: torch.device) -> tuple[Tensor, ...]:
        clips, labels = self._ahead.get(k, self._read)
        return clips.to(device, non_blocking=True), labels.to(device)

    def _read(self, k: int) -> tuple[Tensor, Tensor]:
        indices = self.order.indices(k).tolist()
        items = [self._item(k, i, index) for i, index in enumerate(indices)]
        for item, index in zip(items, indices, strict=True):
            if item.shape != self.size:
                where = self.source.clips[index].path
                raise DataError(f"is {show(item.shape)}, but the first clip {show(self.size)}; set new_height", where)
        labels = np.array([self.source.clips[index].label for index in indices], np.float32)
        return torch.from_numpy(np.stack(items)), torch.from_numpy(labels).reshape(-1, 1, 1, 1, 1)

    def _item(self, k: int, i: int, index: int) -> NDArray[np.float32]:
        dice = Dice(self.order.seed, k, i, self.order.rank)
        return self._cut.item(self.source.read(index, dice), dice, self.source.clips[index].path)

    def close(self) -> None:
        """Stop the threads."""
        self._ahead.stop()
