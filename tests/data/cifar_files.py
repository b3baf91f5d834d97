"""Small CIFAR sets in the official layouts, assembled here byte for byte."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

CIFAR10 = tuple(f"data_batch_{i}" for i in range(1, 6))


def images(count, seed=0):
    """(count, 3, 32, 32) random bytes."""
    return np.random.default_rng([seed, count]).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)


def binary(pixels, *labels):
    """A file of the binary layout: label bytes, then 3072 pixel bytes, a record."""
    return np.hstack([*(np.uint8(label)[:, None] for label in labels), pixels.reshape(len(pixels), -1)]).tobytes()


def string(text):
    data = text if isinstance(text, bytes) else text.encode()
    if len(data) < 256:
        return b"U" + bytes([len(data)]) + data
    return b"T" + struct.pack("<i", len(data)) + data


def array(pixels):
    """A numpy array of bytes as Python 2 and numpy 1 pickled it with protocol 2."""
    rows = pixels.reshape(len(pixels), -1)
    made = b"cnumpy.core.multiarray\n_reconstruct\nq\x05cnumpy\nndarray\nq\x06K\x00\x85U\x01bq\x07\x87R"
    shape = b"M" + struct.pack("<H", rows.shape[0]) + b"M" + struct.pack("<H", rows.shape[1]) + b"\x86"
    kind = b"cnumpy\ndtype\nq\x08U\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    return made + b"(K\x01" + shape + kind + b"\x89" + string(rows.tobytes()) + b"tb"


def python2(pixels, labels, key):
    """A file of the python layout as the official archives hold it."""
    listed = b"]q\x09(" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    names = b"](" + b"".join(string(f"image_{i}.png") for i in range(len(labels))) + b"e"
    content = string("data") + array(pixels) + string(key) + listed + string("batch_label")
    return b"\x80\x02}q\x01(" + content + string("training batch") + string("filenames") + names + b"u."


def write_cifar100(root, layout, count=6):
    """train and test of `count` images, fine labels 0, 1, 2 ..; returns the images of both."""
    made = {}
    for seed, split in enumerate(("train", "test")):
        pixels, fine = images(count, seed), np.arange(count)
        made[split] = pixels
        if layout == "binary":
            path, content = root / "cifar-100-binary" / f"{split}.bin", binary(pixels, fine // 5, fine)
        else:
            path, content = root / "cifar-100-python" / split, python2(pixels, fine, "fine_labels")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return made


def write_names(root, layout, kind, names):
    """The file of names beside the images, as the official archives hold it."""
    if layout == "binary":
        file = {"cifar10": "cifar-10-batches-bin/batches.meta.txt", "cifar100": "cifar-100-binary/fine_label_names.txt"}
        content = "".join(f"{name}\n" for name in names).encode() + b"\n"
    else:
        file = {"cifar10": "cifar-10-batches-py/batches.meta", "cifar100": "cifar-100-python/meta"}
        key = {"cifar10": "label_names", "cifar100": "fine_label_names"}[kind]
        listed = b"](" + b"".join(map(string, names)) + b"e"
        more = string("coarse_label_names") + b"](" + string("fish") + b"e" + string("num_vis") + b"M\x00\x0c"
        content = b"\x80\x02}q\x01(" + more + string(key) + listed + b"u."
    path = root / file[kind]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def write_cifar10(root, layout):
    """Five train files of 2 images and a test file of 3; returns the images of both, in order."""
    parts = {name: images(2, seed) for seed, name in enumerate(CIFAR10)} | {"test_batch": images(3, 9)}
    for name, pixels in parts.items():
        labels = np.arange(len(pixels)) + 4
        if layout == "binary":
            path, content = root / "cifar-10-batches-bin" / f"{name}.bin", binary(pixels, labels)
        else:
            path, content = root / "cifar-10-batches-py" / name, python2(pixels, labels, "labels")
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return {"train": np.concatenate([parts[name] for name in CIFAR10]), "test": parts["test_batch"]}
