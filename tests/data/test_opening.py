"""What a source's name means: here, a part of an embedded set."""

from __future__ import annotations

import hashlib

import cifar_files
import numpy as np
import pytest

from sdcaffe.data.opening import open_source
from sdcaffe.data.synthetic import synthetic
from sdcaffe.errors import DataError


@pytest.mark.parametrize("every", [1, 3, 80, 200, 999_999])
def test_a_part_is_every_kth_image_of_each_class_in_the_sets_order(every):
    images, labels = synthetic("train")
    seen: dict[int, int] = {}
    kept = []
    for i, label in enumerate(labels.tolist()):
        if seen.setdefault(label, 0) % every == 0:
            kept.append(i)
        seen[label] += 1
    source = open_source(f"synthetic:train/{every}")
    assert np.array_equal(source.images, images[kept])
    assert np.array_equal(source.labels, labels[kept])


def test_a_part_of_cifar_may_have_a_folder(tmp_path):
    pixels, fine = cifar_files.images(7), [7, 3, 7, 7, 3, 7, 99]
    (tmp_path / "train.bin").write_bytes(cifar_files.binary(pixels, [0] * 7, fine))
    (tmp_path / "test.bin").write_bytes(b"")
    source = open_source(f"cifar100:train/2:{tmp_path}")
    assert np.array_equal(source.images, pixels[[0, 1, 3, 6]])
    assert source.labels.tolist() == [7, 3, 7, 99]


@pytest.mark.parametrize("part", ["", "0", "-1", "1.5", "x", "1000000", "²", "5/5"])
def test_what_is_no_part_says_what_is(part):
    with pytest.raises(DataError, match='comes K, to take every Kth image of each class: 1 or more, not "'):
        open_source(f"synthetic:train/{part}")


def test_a_draw_is_the_same_whatever_the_order_of_the_set(tmp_path):
    pixels, fine = cifar_files.images(7), [7, 3, 7, 7, 3, 7, 3]
    digest = [hashlib.sha256(image.tobytes()).hexdigest() for image in pixels]
    lowest = sorted(
        i for c in (3, 7) for i in sorted((i for i in range(7) if fine[i] == c), key=lambda i: digest[i])[:2]
    )
    for order in (range(7), (4, 2, 6, 0, 5, 1, 3)):
        content = cifar_files.binary(pixels[list(order)], [0] * 7, [fine[i] for i in order])
        (tmp_path / "train.bin").write_bytes(content)
        (tmp_path / "test.bin").write_bytes(b"")
        source = open_source(f"cifar100:train=2:{tmp_path}")
        found = [hashlib.sha256(image.tobytes()).hexdigest() for image in source.images]
        assert found == sorted(digest[i] for i in lowest)
        assert source.labels.tolist() == [fine[digest.index(each)] for each in found]
    with pytest.raises(DataError, match="class 3 has 3 images, not 4"):
        open_source(f"cifar100:train=4:{tmp_path}")
    with pytest.raises(DataError, match='after "=" comes N, to take N images of each class: 1 or more, not "x"'):
        open_source(f"cifar100:train=x:{tmp_path}")
