"""Holds the pages of an LMDB file against each other before liblmdb maps them: that one would die of a wrong number.

Reads the two meta pages and the tree of keys, some pages at a time, and of the values nothing: whether they lie in
the file is seen from the tree. Changes nothing and gives no record; an LMDB of 100 GB of images has a tree of some MB.
"""

from __future__ import annotations

import os
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdcaffe.errors import DataError

Numbers = NDArray[np.int64]

_MAGIC, _VERSION = 0xBEEFC0DE, 1
_HEADER = 16  # bytes of a page before the places of its nodes: its number (8), padding, kind, lower, upper (2 each)
_NODE = 8  # bytes of a node before its key: 4 of size or page, flags, length of the key (2 each)
_META = struct.Struct("<IIQQ48x IHHQQQQQ QQ")  # magic to map size, the tree of free pages, that of records, last, txn
_FIRST_PAGE = struct.Struct("<I")
_BRANCH, _LEAF, _META_KIND = 1, 2, 8  # kinds of pages
_KINDS = 0x6F  # the bits of a page's kind that count: one is set
_APART = 1  # the flag of a node whose value has pages of its own
_DEEPEST = 32  # levels that liblmdb follows
_NO_ROOT = 2**64 - 1
_AT_ONCE = 1 << 24  # bytes read together


class _Damaged(Exception):
    pass


def check_pages(file: str, path: str) -> None:
    """Raise DataError, at `path`, unless the LMDB in `file` can be read to its last record without leaving the file."""
    try:
        with open(file, "rb") as opened:
            _Tree(opened.fileno()).check()
    except _Damaged as error:
        raise DataError(f"the LMDB is damaged, or this is none: {error}", path) from None
    except OSError as error:
        raise DataError(f"the LMDB cannot be read: {error.strerror}", path) from error


class _Tree:
    def __init__(self, descriptor: int) -> None:
        self._file = descriptor
        self._size = os.fstat(descriptor).st_size
        head = os.pread(descriptor, _HEADER + _META.size, 0)
        if len(head) < _HEADER + _META.size:
            raise _Damaged(f"it has {self._size} bytes, less than one page")
        self.page_size = _FIRST_PAGE.unpack_from(head, 40)[0]
        if self.page_size not in {1 << i for i in range(9, 17)}:
            raise _Damaged(f"its first page is no LMDB's of version {_VERSION} (pages of {self.page_size} bytes)")
        metas = [self._meta(i) for i in range(2)]
        newest = metas[1] if metas[0][-1] < metas[1][-1] else metas[0]
        flags, self._depth, self._entries, self._root, last = (newest[i] for i in (5, 6, 10, 11, 12))
        if flags:
            raise _Damaged(f"its records are of the kind {flags:#x}; Caffe writes plain ones")
        self._count = last + 1
        if self._size < self._count * self.page_size:
            raise _Damaged(f"it is cut short: {self._size} bytes where {self._count * self.page_size} are in use")

    def _meta(self, index: int) -> tuple[int, ...]:
        page = os.pread(self._file, _HEADER + _META.size, index * self.page_size)
        if len(page) < _HEADER + _META.size:
            raise _Damaged(f"it is cut short: {self._size} bytes")
        kind = struct.unpack_from("<H", page, 10)[0]
        fields = _META.unpack_from(page, _HEADER)
        size = _FIRST_PAGE.unpack_from(page, 40)[0]
        if kind & _KINDS != _META_KIND or fields[:2] != (_MAGIC, _VERSION) or size != self.page_size:
            raise _Damaged(f"page {index} is no meta page of an LMDB of version {_VERSION}")
        return fields

    def check(self) -> None:
        """Follow the tree level by level; every page of a level is another one, so the work is bounded by the file."""
        if self._root == _NO_ROOT:
            return
        if not 1 <= self._depth <= _DEEPEST:
            raise _Damaged(f"its tree has {self._depth} levels")
        level, entries = np.array([min(self._root, 2**62)], np.int64), 0
        for height in reversed(range(self._depth)):
            if (level < 2).any() or (level >= self._count).any() or len(np.unique(level)) != len(level):
                raise _Damaged("its tree leads to a page that is none, or twice to one")
            below = []
            for start in range(0, len(level), _AT_ONCE // self.page_size):
                some = level[start : start + _AT_ONCE // self.page_size]
                nodes = _Nodes(self._pages(some), some, _BRANCH if height else _LEAF)
                if height:
                    below.append(nodes.children())
                else:
                    entries += nodes.check_values(self._count)
            level = np.concatenate(below) if height else level
        if entries != self._entries:
            raise _Damaged(f"it claims {self._entries} records and has {entries}")

    def _pages(self, numbers: Numbers) -> NDArray[np.uint8]:
        """Pages (n, page size); a run of neighbours is read at once."""
        pages = np.empty((len(numbers), self.page_size), np.uint8)
        starts = np.flatnonzero(np.diff(numbers, prepend=-1) != 1)
        for start, end in zip(starts, [*starts[1:], len(numbers)], strict=True):
            data = os.pread(self._file, (end - start) * self.page_size, int(numbers[start]) * self.page_size)
            if len(data) != (end - start) * self.page_size:
                raise _Damaged("it became shorter while it was read")
            pages[start:end] = np.frombuffer(data, np.uint8).reshape(-1, self.page_size)
        return pages


class _Nodes:
    """The nodes of some pages of one `kind`, checked to lie in their pages with their keys."""

    def __init__(self, pages: NDArray[np.uint8], numbers: Numbers, kind: int) -> None:
        self._size = pages.shape[1]
        words = pages[:, :_HEADER].copy().view("<u2")
        lower, upper = words[:, 6].astype(np.int64), words[:, 7].astype(np.int64)
        good = (words[:, 5] & _KINDS == kind) & (lower % 2 == 0) & (lower > _HEADER) & (lower <= upper)
        good &= (upper <= self._size) & (pages[:, :8].copy().view("<i8")[:, 0] == numbers)
        if not good.all():
            raise _Damaged(f"page {numbers[np.argmin(good)]} is not the page of keys that its place in the tree says")
        counts = (lower - _HEADER) // 2
        first = np.cumsum(counts) - counts
        within = np.arange(counts.sum()) - np.repeat(first, counts)  # which node of its page each one is
        self._pages, self._page = pages.reshape(-1), np.repeat(np.arange(len(pages)), counts)
        self._numbers = numbers
        self._offset = self._word(np.full_like(within, _HEADER) + 2 * within)  # in its page
        self._refuse((self._offset < np.repeat(upper, counts)) | (self._offset + _NODE > self._size))
        self.flags, key = self._word(self._offset + 4), self._word(self._offset + 6)
        self._value = self._offset + _NODE + key
        self._refuse(self._value > self._size)

    def children(self) -> Numbers:
        """The pages that the nodes of branches name."""
        low, middle = self._word(self._offset), self._word(self._offset + 2)
        return low | middle << 16 | self.flags << 32

    def check_values(self, pages: int) -> int:
        """Hold that the values of leaves lie in their page, or on pages of the file, of which there are `pages`."""
        size = self._word(self._offset) | self._word(self._offset + 2) << 16
        apart = self.flags == _APART
        self._refuse((self.flags != 0) & ~apart)
        self._refuse(self._value + np.where(apart, 8, size) > self._size)
        number = np.zeros_like(size)
        for i in range(4):
            number[apart] |= self._word(np.where(apart, self._value + 2 * i, 0))[apart] << 16 * i
        needed = (_HEADER + size + self._size - 1) // self._size
        self._refuse(apart & ((number < 2) | (number > pages) | (number + needed > pages)))
        return len(size)

    def _word(self, offset: Numbers) -> Numbers:
        """The 16-bit number at each node's offset in its page."""
        place = self._page * self._size + offset
        return self._pages[place].astype(np.int64) | self._pages[place + 1].astype(np.int64) << 8

    def _refuse(self, bad: NDArray[Any]) -> None:
        if bad.any():
            page = self._numbers[self._page[np.argmax(bad)]]
            raise _Damaged(
                f"a record or key on page {page} goes beyond it or the file, or is of a kind unknown to Caffe"
            )
