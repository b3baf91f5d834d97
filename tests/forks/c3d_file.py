"""Writes binary nets as C3D 1.0 does, byte by byte: its BlobProto has other field numbers than BVLC Caffe's."""

from __future__ import annotations

import struct


def varint(value):
    """A whole number, seven bits a byte."""
    found = b""
    while value > 127:
        found, value = found + bytes([value & 127 | 128]), value >> 7
    return found + bytes([value])


def number(field, value):
    return varint(field << 3) + varint(value)


def piece(field, content):
    return varint(field << 3 | 2) + varint(len(content)) + content


def blob(array):
    """num 1, channels 2, length 3, height 4, width 5, and the numbers, packed, as 6."""
    sizes = b"".join(number(i + 1, size) for i, size in enumerate(array.shape))
    return sizes + piece(6, struct.pack(f"<{array.size}f", *array.ravel()))


def layer(name, kind, *blobs):
    """A V1 layer: its name 4, its type 5, its blobs 6."""
    return piece(2, piece(4, name.encode()) + number(5, kind) + b"".join(piece(6, blob(one)) for one in blobs))


def net(*layers):
    return piece(1, b"c3d") + b"".join(layers)
