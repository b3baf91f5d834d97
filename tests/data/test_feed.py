"""Batches: the same whether a set stays in memory or is read ahead; threads end; errors arrive in their batch."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from sdcaffe import proto
from sdcaffe.data import feed as feed_module
from sdcaffe.data import resident as resident_module
from sdcaffe.data.feed import Feed
from sdcaffe.data.order import Order, permutation
from sdcaffe.data.prefetch import Prefetcher
from sdcaffe.data.source import ArraySource
from sdcaffe.data.transformer import Transformer
from sdcaffe.errors import DataError

CPU = torch.device("cpu")


class Pictures:
    """A source of given images that notes what is read; an exception in the place of one is raised."""

    encoded = False
    where = "pictures"

    def __init__(self, images):
        self.images, self.read_so_far, self.closed = images, [], False

    def __len__(self):
        return len(self.images)

    def read(self, index):
        self.read_so_far.append(index)
        if isinstance(self.images[index], Exception):
            raise self.images[index]
        return self.images[index], index

    def name(self, index):
        return f"picture {index}"

    def close(self):
        self.closed = True


def pictures(*sizes, kind=np.uint8):
    random = np.random.default_rng(0)
    return Pictures([random.integers(0, 256, size).astype(kind) for size in sizes])


def make(source, batch=4, body="", phase=proto.TRAIN, prefetch=3, seed=5, shuffle=False):
    param = proto.TransformationParameter()
    proto.text.parse(body, param, "transform.prototxt")
    by_seed = (lambda seed, epoch: permutation(seed, epoch, len(source))) if shuffle else None
    return Feed(
        source, Transformer(param, phase), Order(len(source), batch, seed=seed, shuffle=by_seed), prefetch=prefetch
    )


@pytest.fixture
def streaming(monkeypatch):
    """Nothing is small enough to stay in memory."""
    monkeypatch.setattr(feed_module, "RESIDENT_BYTES", 0)


@pytest.fixture(autouse=True)
def no_thread_stays():
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("prefetch")] == []


BODIES = ["", "crop_size: 5 mirror: true scale: 0.5 mean_value: 9"]


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
@pytest.mark.parametrize("body", BODIES)
def test_batches_are_the_same_in_memory_and_read_ahead(kind, body, monkeypatch):
    in_memory = make(pictures(*[(3, 8, 7)] * 10, kind=kind), body=body, shuffle=True)
    expected = [in_memory.batch(k, CPU) for k in range(6)]
    assert in_memory._resident is not None
    monkeypatch.setattr(feed_module, "RESIDENT_BYTES", 0)
    ahead = make(pictures(*[(3, 8, 7)] * 10, kind=kind), body=body, shuffle=True)
    for k, (images, labels) in enumerate(expected):
        found = ahead.batch(k, CPU)
        assert torch.equal(found[0], images)
        assert torch.equal(found[1], labels)
    assert ahead._resident is None
    in_memory.close()
    ahead.close()


def test_untransformed_batches_are_the_images_and_labels():
    source = pictures(*[(3, 4, 5)] * 6)
    feed = make(source)
    images, labels = feed.batch(1, CPU)
    assert images.tolist() == np.stack([source.images[i] for i in (4, 5, 0, 1)]).tolist()
    assert labels.tolist() == [4, 5, 0, 1]
    assert images.dtype == labels.dtype == torch.float32
    assert images.is_contiguous(memory_format=torch.channels_last)
    feed.close()
    assert source.closed


def test_a_set_that_is_an_array_stays_as_bytes():
    images = np.random.default_rng(1).integers(0, 256, (5, 3, 4, 4), dtype=np.uint8)
    feed = make(ArraySource("array", images, np.arange(5)), batch=3)
    assert feed.batch(1, CPU)[0].tolist() == images[[3, 4, 0]].tolist()
    assert feed._resident.images.dtype == torch.uint8
    feed.close()


def test_feeds_of_the_same_images_share_their_memory_until_the_last_is_closed():
    images = np.random.default_rng(0).integers(0, 256, (6, 3, 4, 4), np.uint8)
    labels = np.arange(6)
    feeds = [make(ArraySource("set", images.copy(), labels)) for _ in range(2)]
    feeds.append(make(ArraySource("set", images, labels + 1)))
    for feed in feeds:
        feed.batch(0, CPU)
    first, second, other = (feed._resident.images.data_ptr() for feed in feeds)
    assert first == second != other
    feeds[0].close()
    np.testing.assert_array_equal(feeds[1].batch(0, CPU)[0].numpy(), images[:4])
    feeds[1].close()
    feeds[2].close()
    assert not resident_module._held


def test_batches_may_be_asked_for_in_any_order(streaming):
    feed = make(pictures(*[(1, 3, 3)] * 20))
    assert [feed.batch(k, CPU)[1][0].item() for k in (0, 1, 3, 3, 0, 1, 2)] == [0, 4, 12, 12, 0, 4, 8]
    feed.close()


def test_read_ahead_is_bounded(streaming):
    source = pictures(*[(1, 3, 3)] * 400)
    feed = make(source, prefetch=2)
    feed.batch(0, CPU)
    time.sleep(0.05)
    assert max(source.read_so_far) < 4 * 4
    feed.close()


def test_images_of_one_batch_may_differ_where_they_are_cropped(streaming):
    source = pictures((3, 6, 9), (3, 5, 5), (3, 8, 4), (3, 4, 4))
    feed = make(source, body="crop_size: 4", phase=proto.TEST)
    images, _ = feed.batch(0, CPU)
    centres = [source.images[i][:, y : y + 4, x : x + 4] for i, (y, x) in enumerate(((1, 2), (0, 0), (2, 0), (0, 0)))]
    assert images.tolist() == np.stack(centres).tolist()
    feed.close()


def test_random_crops_of_images_that_differ_lie_inside_each():
    """Each picture is filled with its number, and its border with 255: a crop never holds another's number."""
    images = []
    for number in range(8):
        image = np.full((1, 4 + number, 12 - number), number, np.uint8)
        images.append(image)
    feed = make(Pictures(images), batch=8, body="crop_size: 4 mirror: true")
    for k in range(5):
        crops, labels = feed.batch(k, CPU)
        assert (crops == labels.view(-1, 1, 1, 1)).all()
    feed.close()


def test_images_of_one_batch_must_agree_without_a_crop():
    feed = make(pictures((3, 6, 9), (3, 6, 9), (3, 5, 9), (3, 6, 9)))
    with pytest.raises(DataError, match=r"picture 2 is 3 x 5 x 9 but picture 0 of the same batch is 3 x 6 x 9"):
        feed.batch(0, CPU)
    feed.close()


def test_batches_of_one_image_may_differ():
    feed = make(pictures((3, 6, 9), (3, 5, 4)), batch=1)
    assert [tuple(feed.batch(k, CPU)[0].shape) for k in range(3)] == [(1, 3, 6, 9), (1, 3, 5, 4), (1, 3, 6, 9)]
    feed.close()


def test_an_image_that_cannot_be_read_is_an_error_of_its_batch_alone(streaming):
    source = pictures(*[(1, 3, 3)] * 12)
    source.images[6] = DataError("picture 6 is broken", "pictures")
    feed = make(source)
    assert feed.batch(0, CPU)[1].tolist() == [0, 1, 2, 3]
    for _ in range(2):
        with pytest.raises(DataError, match="pictures: picture 6 is broken"):
            feed.batch(1, CPU)
    assert feed.batch(2, CPU)[1].tolist() == [8, 9, 10, 11]
    feed.close()


def test_another_seed_gives_other_batches_from_there_on(streaming):
    feed = make(pictures(*[(1, 3, 3)] * 50), shuffle=True)
    first = feed.batch(0, CPU)[1].tolist()
    feed.seed = 6
    second = feed.batch(0, CPU)[1].tolist()
    feed.seed = 5
    assert feed.batch(0, CPU)[1].tolist() == first != second
    feed.close()


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_memory_stays_flat_however_many_batches_are_read(streaming):
    """A batch is 3 MB as float32, and 200 of them are 600 MB; 12 MB are four batches."""
    feed = make(pictures(*[(3, 100, 100)] * 40), batch=32, body="crop_size: 90 mirror: true", shuffle=True)
    for k in range(20):
        feed.batch(k, CPU)
    before = resident_bytes()
    for k in range(20, 220):
        feed.batch(k, CPU)
    assert resident_bytes() - before < 12 << 20
    feed.close()


def test_a_batch_that_is_kept_is_not_written_over(streaming):
    feed = make(pictures(*[(3, 8, 8)] * 20), body="crop_size: 5")
    kept = [feed.batch(k, CPU) for k in range(12)]
    copies = [images.clone() for images, _ in kept]
    for k in range(12, 40):
        feed.batch(k, CPU)
    assert all(torch.equal(images, copy) for (images, _), copy in zip(kept, copies, strict=True))
    feed.close()


def test_bytes_and_floats_in_one_batch(streaming):
    source = pictures(*[(3, 4, 5)] * 4)
    source.images[2] = source.images[2].astype(np.float32) + 0.25
    feed = make(source)
    assert feed.batch(0, CPU)[0].tolist() == np.stack(source.images).tolist()
    feed.close()


def test_a_prefetcher_that_is_dropped_leaves_no_thread():
    prefetcher = Prefetcher(3, "prefetch squares")
    assert [prefetcher.get(k, lambda k: k * k) for k in range(4)] == [0, 1, 4, 9]
    prefetcher.stop()


def test_building_happens_at_the_same_time():
    """Two builds wait for each other: only threads that run together get past."""
    meeting = threading.Barrier(2, timeout=20)

    def build(k):
        if k < 2:
            meeting.wait()
        return k

    prefetcher = Prefetcher(2, "prefetch pairs")
    assert prefetcher.get(0, build) == 0
    prefetcher.stop()
