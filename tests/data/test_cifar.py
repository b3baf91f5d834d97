"""CIFAR in both official layouts; what is missing or broken is said; downloads come through torchvision."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

import cifar_files
import numpy as np
import pytest
from torchvision import datasets
from torchvision.datasets import utils

from sdcaffe.data.cifar import read_cifar
from sdcaffe.data.opening import open_source
from sdcaffe.errors import DataError


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*arguments, **keywords):
        raise urllib.error.URLError("no network in tests")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.delenv("SDCAFFE_DATA", raising=False)


@pytest.mark.parametrize("layout", ["binary", "python"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_cifar100_has_its_fine_labels_and_red_first(layout, split, tmp_path):
    expected = cifar_files.write_cifar100(tmp_path, layout)[split]
    images, labels = read_cifar("cifar100", split, str(tmp_path))
    assert np.array_equal(images, expected)
    assert labels.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("layout", ["binary", "python"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_cifar10_joins_its_files_in_order(layout, split, tmp_path):
    expected = cifar_files.write_cifar10(tmp_path, layout)[split]
    images, labels = read_cifar("cifar10", split, str(tmp_path))
    assert np.array_equal(images, expected)
    assert labels.tolist() == ([4, 5] * 5 if split == "train" else [4, 5, 6])


def test_the_folder_is_named_else_the_variable_else_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = {name: cifar_files.write_cifar100(tmp_path / name, "binary", n) for name, n in
            (("data", 2), ("variable", 3), ("named", 4))}  # fmt: skip
    assert len(open_source("cifar100:train")) == len(made["data"]["train"])
    monkeypatch.setenv("SDCAFFE_DATA", str(tmp_path / "variable"))
    assert len(open_source("cifar100:train")) == 3
    source = open_source(f"cifar100:test:{tmp_path / 'named'}")
    assert len(source) == 4
    assert np.array_equal(source.read(3)[0], made["named"]["test"][3])
    assert source.read(3)[1] == 3


def test_the_official_folder_itself_may_be_named(tmp_path):
    cifar_files.write_cifar100(tmp_path, "binary")
    assert len(read_cifar("cifar100", "test", str(tmp_path / "cifar-100-binary"))[0]) == 6


def test_what_is_absent_is_said_with_where_and_what_to_put_there(tmp_path):
    root = tmp_path / "nothing"
    with pytest.raises(DataError) as caught:
        read_cifar("cifar100", "train", str(root))
    message = str(caught.value)
    for part in (str(root), "cifar-100-binary/ with train.bin and test.bin", "cifar-100-python/ with train and test",
                 "no network in tests", "$SDCAFFE_DATA", "cifar100:train:FOLDER"):  # fmt: skip
        assert part in message
    assert "\n" not in message
    assert not root.exists()


def test_a_part_that_does_not_exist():
    with pytest.raises(DataError, match='"cifar10" has no part "val"; write cifar10:train or cifar10:test'):
        open_source("cifar10:val")


@pytest.mark.parametrize("length", [0, 1, 3073, 3074 * 2 - 1, 3074 * 6 - 1])
def test_a_binary_file_that_is_cut_is_refused(length, tmp_path):
    cifar_files.write_cifar100(tmp_path, "binary")
    path = tmp_path / "cifar-100-binary" / "train.bin"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DataError, match=f"train.bin: {length} bytes, which is no whole number of records of 3074"):
        read_cifar("cifar100", "train", str(tmp_path))


def test_labels_out_of_range_are_refused(tmp_path):
    path = tmp_path / "cifar-100-binary" / "train.bin"
    path.parent.mkdir()
    path.write_bytes(cifar_files.binary(cifar_files.images(2), [0, 0], [3, 100]))
    with pytest.raises(DataError, match="labels 3 to 100, where 0 to 99 are known"):
        read_cifar("cifar100", "train", str(tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (cifar_files.python2(cifar_files.images(2), [1, 2], "labels"), 'lacks "data" of 3072 columns or "fine_labels"'),
        (cifar_files.python2(cifar_files.images(2), [1], "fine_labels"), "2 images but 1 labels"),
        (pickle.dumps({"data": cifar_files.images(1).reshape(1, -1), "fine_labels": [2**70]}, 4), "labels 100 to 100"),
        (pickle.dumps({"data": cifar_files.images(1).reshape(1, -1), "fine_labels": [-(2**70)]}, 4), "labels -1 to -1"),
    ],
)
def test_python_files_without_what_is_needed(content, message, tmp_path):
    path = tmp_path / "cifar-100-python" / "train"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_cifar("cifar100", "train", str(tmp_path))


@pytest.mark.parametrize("kind", ["cifar10", "cifar100"])
@pytest.mark.parametrize("layout", ["binary", "python"])
def test_classes_are_called_as_the_file_beside_the_images_says(layout, kind, tmp_path):
    write = {"cifar10": cifar_files.write_cifar10, "cifar100": cifar_files.write_cifar100}[kind]
    write(tmp_path, layout)
    assert open_source(f"{kind}:test:{tmp_path}").class_names == ()
    names = tuple(f"kind {i}" for i in range({"cifar10": 10, "cifar100": 100}[kind]))
    cifar_files.write_names(tmp_path, layout, kind, names)
    assert open_source(f"{kind}:test:{tmp_path}").class_names == names


@pytest.mark.parametrize("layout", ["binary", "python"])
def test_a_file_of_names_that_fits_not_is_left_out_with_a_warning(layout, tmp_path, caplog):
    cifar_files.write_cifar10(tmp_path, layout)
    path = cifar_files.write_names(tmp_path, layout, "cifar10", ["cat", "dog"])
    with caplog.at_level("WARNING", logger="sdcaffe"):
        assert open_source(f"cifar10:test:{tmp_path}").class_names == ()
        assert f"{path}: 2 names for 10 classes; classes are called by their numbers" in caplog.text
        path.write_bytes(b"x" * (2 << 20))
        assert open_source(f"cifar10:test:{tmp_path}").class_names == ()
    assert caplog.text.count("classes are called by their numbers") == 2


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """Stands in for the official site: an archive of the python layout, and its MD5 sum."""
    site = tmp_path / "site"
    expected = cifar_files.write_cifar100(site, "python")
    (site / "cifar-100-python" / "surplus").write_text("not wanted")
    cifar_files.write_names(site, "python", "cifar100", [f"kind {i}" for i in range(100)])
    path = site / datasets.CIFAR100.filename
    with tarfile.open(path, "w:gz") as tar:
        tar.add(site / "cifar-100-python", "cifar-100-python")
    monkeypatch.setattr(datasets.CIFAR100, "tgz_md5", hashlib.md5(path.read_bytes()).hexdigest())

    class Answer:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

    def download(url, root, filename, md5):
        assert url == datasets.CIFAR100.url
        shutil.copy(path, Path(root) / filename)
        if hashlib.md5(path.read_bytes()).hexdigest() != md5:
            raise RuntimeError("File not found or corrupted.")

    monkeypatch.setattr(urllib.request, "urlopen", lambda *a, **k: Answer())
    monkeypatch.setattr(utils, "download_url", download)
    return expected, path


def test_what_is_absent_is_downloaded_once(archive, tmp_path, monkeypatch):
    root = tmp_path / "new" / "data"
    images, _ = read_cifar("cifar100", "train", str(root))
    assert np.array_equal(images, archive[0]["train"])
    assert sorted(os.listdir(root)) == ["cifar-100-python"]
    assert sorted(os.listdir(root / "cifar-100-python")) == ["meta", "test", "train"]
    monkeypatch.setattr(utils, "download_url", None)
    assert np.array_equal(read_cifar("cifar100", "test", str(root))[0], archive[0]["test"])


def test_a_download_of_another_sum_is_refused(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.CIFAR100, "tgz_md5", "0" * 32)
    with pytest.raises(DataError, match=r"could not be downloaded .File not found or corrupted"):
        read_cifar("cifar100", "train", str(tmp_path / "new"))
    assert os.listdir(tmp_path / "new") == []


def test_an_archive_without_the_files_is_refused(archive, tmp_path, monkeypatch):
    with tarfile.open(archive[1], "w:gz") as tar:
        tar.add(archive[1].parent / "cifar-100-python" / "surplus", "../escape")
    monkeypatch.setattr(datasets.CIFAR100, "tgz_md5", hashlib.md5(archive[1].read_bytes()).hexdigest())
    with pytest.raises(DataError, match="could not be downloaded"):
        read_cifar("cifar100", "train", str(tmp_path / "new"))
    assert not (tmp_path / "escape").exists()
