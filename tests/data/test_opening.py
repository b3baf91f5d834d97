"""What a source's name means: here, a part of an embedded set."""

from __future__ import annotations

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
