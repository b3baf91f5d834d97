"""Clips of a list: frames of a folder or of a video file, cut and scaled into batches ahead of the net."""

from __future__ import annotations

import os
from collections.abc import Callable
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
    """A clip of a list: where its frames are, its second number (0 where there is none), and its labels."""

    path: str
    number: int
    labels: tuple[int, ...]


class Reading(NamedTuple):
    """How clips are read: `length` frames, every `rate`-th from the first on.

    With `images` they are the files 000000.jpg and so on of a folder, else frames of a video file; `root` is put before
    paths. With `jitter` the first is drawn: of a folder, whose clip's number is then how many frames it has, in
    training alone, and it is 0 in a test. `size` (height, width) resizes frames as OpenCV's LINEAR does. With `rates`
    the rate is drawn of 1 to `rates`, and with `several` a clip has labels with commas between.
    """

    length: int
    images: bool
    jitter: bool
    rate: int
    size: tuple[int, int] | None
    train: bool
    root: str = ""
    rates: int = 0
    several: bool = False


def listed(source: str, words_each: int, root: str = "", several: bool = False) -> list[Named]:
    """The clips of a list: words, `words_each` a clip: path, number (where there are three) and label or labels.

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
            *first, labels = numbers
            number = int(first[0]) if first else 0
            found.append(Named(root + path, number, tuple(map(int, labels.split(",") if several else [labels]))))
        except ValueError:
            raise DataError(f'clip {i // words_each + 1} has no whole numbers behind "{path}"', source) from None
    return found


class Clips:
    """The clips of a list: (3, length, h, w) bytes, blue, green, red."""

    def __init__(self, source: str, reading: Reading) -> None:
        self.where, self._how = source, reading
        words = 2 if reading.jitter and not reading.images else 3
        self.clips = listed(source, words, reading.root, reading.several)

    def __len__(self) -> int:
        return len(self.clips)

    def read(self, index: int, dice: Dice) -> Bytes:
        """The frames of clip `index`. Raises DataError."""
        clip, how = self.clips[index], self._how
        rate = 1 + dice.below(how.rates) if how.rates else how.rate
        frames = self._of_folder(clip, rate, dice) if how.images else self._of_video(clip, rate, dice)
        if how.size is not None:
            frames = [resize(frame, *how.size) for frame in frames]
        for frame in frames:
            if frame.shape != frames[0].shape:
                raise DataError(f"has frames of {show(frame.shape[1:])} and {show(frames[0].shape[1:])}", clip.path)
        return np.stack(frames, 1)

    def _of_folder(self, clip: Named, rate: int, dice: Dice) -> list[Bytes]:
        first = clip.number
        if self._how.jitter:
            first = 1 + self._drawn(clip, clip.number, rate, dice) if self._how.train else 0
        numbers = range(first, first + self._how.length * rate, rate)
        return [read_image(os.path.join(clip.path, f"{number:06d}.jpg"), color=True) for number in numbers]

    def _of_video(self, clip: Named, rate: int, dice: Dice) -> list[Bytes]:
        video, length = Video(clip.path, 0), self._how.length * rate
        try:
            first = self._drawn(clip, len(video), rate, dice) if self._how.jitter else clip.number
            if first < 0 or first + length > len(video):
                raise self._short(clip, len(video), rate, f"from frame {first} on ")
            numbers = range(first, first + length, rate)
            return [np.asarray(video.reader(number)().pixels, np.uint8) for number in numbers]
        finally:
            video.close()

    def _drawn(self, clip: Named, count: int, rate: int, dice: Dice) -> int:
        if count < self._how.length * rate:
            raise self._short(clip, count, rate)
        return dice.below(count - self._how.length * rate + 1)

    def _short(self, clip: Named, count: int, rate: int, where: str = "") -> DataError:
        needs = f"{self._how.length} frames at a sampling_rate of {rate}"
        return DataError(f"has {count} frames, and not {where}{needs}; take it out of {self.where}", clip.path)

    def close(self) -> None:
        """Nothing is open between reads."""


class Cut(NamedTuple):
    """How clips become items: crop (0: none), whether mirrored by chance, mean and scale.

    The mean is as large as a clip, or (1, 1, 1, 1) or (3, 1, 1, 1). In training windows are drawn, with `last` at the
    last places too; else a frame must be larger than a window.
    """

    crop: int
    mirror: bool
    mean: NDArray[np.float32]
    scale: float
    train: bool
    last: bool = False

    def item(self, clip: Bytes, dice: Dice, where: str) -> NDArray[np.float32]:
        """A clip cropped, mirrored, less the mean and scaled. Raises DataError."""
        mean, whole = self.mean, self.mean.shape[1:] != (1, 1, 1)
        if whole and mean.shape != clip.shape:
            raise DataError(f"is {show(clip.shape)}, but the mean {show(mean.shape)}", where)
        high, wide = clip.shape[2:]
        if min(high, wide) + self.last <= self.crop:
            small = "smaller" if self.last else "no larger"
            raise DataError(f"has frames of {show((high, wide))}, {small} than crop_size {self.crop}", where)
        if self.crop:
            spare = high - self.crop, wide - self.crop
            top, left = (dice.below(n + self.last) for n in spare) if self.train else (n // 2 for n in spare)
            window = (slice(None), slice(None), slice(top, top + self.crop), slice(left, left + self.crop))
            clip, mean = clip[window], mean[window] if whole else mean
        found: NDArray[np.float32] = (clip.astype(np.float32) - mean) * np.float32(self.scale)
        return found[..., ::-1] if self.mirror and dice.below(2) else found


class ClipFeed(Seeded):
    """Batches of clips (n, 3, length, h, w) and their labels in an order, read ahead by threads.

    `labels_of` makes a clip's item of its labels. What chance decides is a function of the seed, the batch and the
    place in it. Raises DataError.
    """

    def __init__(
        self, source: Clips, cut: Cut, order: Order, labels_of: Callable[[Named], NDArray[np.float32]], *, prefetch: int
    ) -> None:
        self.source, self.order, self._cut, self._labels_of = source, order, cut, labels_of
        self._ahead: Prefetcher[tuple[Tensor, Tensor]] = Prefetcher(prefetch, f"prefetch {source.where}")
        self.size: Size = self._item(0, 0, order.first).shape

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
        labels = np.stack([self._labels_of(self.source.clips[index]) for index in indices])
        return torch.from_numpy(np.stack(items)), torch.from_numpy(labels)

    def _item(self, k: int, i: int, index: int) -> NDArray[np.float32]:
        dice = Dice(self.order.seed, k, i, self.order.rank)
        return self._cut.item(self.source.read(index, dice), dice, self.source.clips[index].path)

    def close(self) -> None:
        """Stop the threads."""
        self._ahead.stop()
