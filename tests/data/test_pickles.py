"""CIFAR's pickles are read, whoever wrote them; every other pickle is refused and nothing of it runs."""

from __future__ import annotations

import os
import pickle
import pickletools
from collections import OrderedDict

import cifar_files
import numpy as np
import pytest

from sdcaffe.data import pickles
from sdcaffe.data.pickles import read_pickle
from sdcaffe.errors import DataError


def write(tmp_path, content):
    path = tmp_path / "train"
    path.write_bytes(content)
    return str(path)


def test_what_python_2_wrote(tmp_path):
    pixels = cifar_files.images(300)  # long enough for a long string
    labels = [i % 100 for i in range(300)]
    content = read_pickle(write(tmp_path, cifar_files.python2(pixels, labels, "fine_labels")))
    assert np.array_equal(content["data"], pixels.reshape(300, 3072))
    assert content["fine_labels"] == labels
    assert content["filenames"][7] == "image_7.png"
    assert content["batch_label"] == "training batch"


@pytest.mark.parametrize("protocol", [3, 4])
def test_what_python_3_writes(tmp_path, protocol):
    pixels = cifar_files.images(4).reshape(4, 3072)
    value = {b"data": pixels, b"fine_labels": [1, 20, 300, 70_000], b"n": 2.5, b"none": None, b"yes": True}
    content = read_pickle(write(tmp_path, pickle.dumps(value, protocol)))
    assert np.array_equal(content["data"], pixels)
    assert content["fine_labels"] == [1, 20, 300, 70_000]
    assert (content["n"], content["none"], content["yes"]) == (2.5, None, True)


def test_an_array_in_column_order(tmp_path):
    pixels = np.asfortranarray(cifar_files.images(3).reshape(3, 3072))
    content = read_pickle(write(tmp_path, pickle.dumps({"data": pixels}, 4)))
    assert np.array_equal(content["data"], pixels)


class Attack:
    def __reduce__(self):
        return os.mkdir, ("attacked",)


class State:
    def __setstate__(self, state):
        os.mkdir("attacked")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"data": Attack()}, r'it names "\w+ mkdir", which no CIFAR file does'),
        ({"data": OrderedDict(a=1)}, 'it names "collections OrderedDict"'),
        ({"data": os.mkdir}, r'it names "\w+ mkdir"'),
        ({"data": {1, 2}}, "pickle instruction EMPTY_SET"),
        ({"data": 1 << 3000}, "pickle instruction LONG4"),
        ({"data": np.zeros((2, 2), np.float64)}, "an array that is not of bytes"),
        ({"data": np.zeros((2, 2), object)}, "an array that is not of bytes"),
        ({"data": np.zeros(4, np.uint8)}, "no file of CIFAR's python layout"),
        ({"data": np.dtype("u1")}, "an object that is no array"),
        ({(1, 2): 3}, "a dict whose keys are no texts"),
        ([1, 2], "it holds a list, not a dict"),
    ],
)
def test_other_pickles_are_refused_and_nothing_runs(value, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for protocol in (2, 4):
        if protocol == 2 and isinstance(value, dict) and message.startswith(("an array", "no file", "pickle")):
            continue  # protocol 2 writes these by other means, refused as well
        with pytest.raises(DataError, match=message):
            read_pickle(write(tmp_path, pickle.dumps(value, protocol)))
    assert not os.path.exists("attacked")


BUILD_ON_A_NAME = b"\x80\x02cnumpy\nndarray\n}U\x01aK\x01sb."
CALL_A_NUMBER = b"\x80\x02K\x01K\x02\x85R."
WRONG_LENGTH = cifar_files.python2(cifar_files.images(2), [1, 2], "labels").replace(b"M\x02\x00M", b"M\x03\x00M")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b".",
        b"\x80\x02}",
        b"\x80\x02}q\x01(U\x04data",
        b"\x80\x02K\x01.",
        b"\x80\x02h\x07.",
        b"\x80\x02K\x01K\x02a.",
        b"\x80\x02t.",
        b"\x80\x02R.",
        b"\x80\x02T\xff\xff\xff\x7fshort.",
        b"\x80\x02}(U\x01aK\x01K\x02u.",
        b"cos\nsystem\n(S'true'\ntR.",
        BUILD_ON_A_NAME,
        CALL_A_NUMBER,
        WRONG_LENGTH,
        b"MZ" + bytes(300),
    ],
)
def test_broken_pickles_are_refused(content, tmp_path):
    with pytest.raises(DataError, match=r"train: this is no file of CIFAR's python layout: "):
        read_pickle(write(tmp_path, content))


def test_a_pickle_cut_at_any_byte_is_refused(tmp_path):
    content = cifar_files.python2(cifar_files.images(1), [1], "labels")
    for length in [*range(0, 200), *range(len(content) - 120, len(content))]:
        with pytest.raises(DataError, match="no file of CIFAR"):
            read_pickle(write(tmp_path, content[:length]))


def test_a_file_that_is_too_long_is_not_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(pickles, "MAX_BYTES", 10)
    with pytest.raises(DataError, match="11 bytes; CIFAR's files have at most 10"):
        read_pickle(write(tmp_path, b"x" * 11))


def test_more_instructions_than_a_set_needs_are_not_followed(tmp_path, monkeypatch):
    monkeypatch.setattr(pickles, "_MOST_INSTRUCTIONS", 100)
    with pytest.raises(DataError, match="it has more than 100 instructions"):
        read_pickle(write(tmp_path, b"}" * 101 + b"."))


def test_the_files_made_for_these_tests_are_pickles():
    content = cifar_files.python2(cifar_files.images(1), [1], "labels")
    assert [op.name for op, _, _ in pickletools.genops(content)][-1] == "STOP"
