"""Databases of AnnotatedDatum: pictures with labelled boxes, as SSD's convert_annoset writes them."""

from __future__ import annotations

from typing import Any

import numpy as np

from sdcaffe import proto
from sdcaffe.data.database import Store, close_store, datum_pixels, open_store
from sdcaffe.errors import DataError
from sdcaffe.forks.ssd.geometry import Labelled
from sdcaffe.forks.ssd.picture import Picture


class AnnotatedSource:
    """The records of a database, in the order of their keys. Raises DataError for anything else."""

    def __init__(self, where: str, backend: str, *, color: str = "native") -> None:
        self.where, self._color = where, color
        self._store: Store | None = open_store(where, backend)
        self._message = proto.AnnotatedDatum
        self._keys = self._store.keys
        if not self._keys:
            self.close()
            raise DataError(f"the {backend} holds no records", where)

    def __len__(self) -> int:
        return len(self._keys)

    def name(self, index: int) -> str:
        return f"record {index} (key {self._keys[index].decode(errors='backslashreplace')!r})"

    def read(self, index: int) -> Picture:
        record = self._parse(index)
        datum = record.datum
        where = f"{self.where}, {self.name(index)}"
        try:
            pixels = datum_pixels(datum, self._color, where)
        except ValueError as error:
            raise self._error(index, str(error)) from None
        return Picture(
            pixels,
            labelled_boxes(record),
            datum.height,
            datum.width,
            bool(datum.encoded),
            datum.label if datum.HasField("label") else None,
            record.HasField("type"),
            where,
        )

    def _parse(self, index: int) -> Any:
        if self._store is None:
            raise DataError("the database is closed", self.where)
        value = self._store.get(self._keys[index])
        if value is None:
            raise self._error(index, "is gone: another process changed the database")
        try:
            record = self._message.FromString(value)
        except Exception as error:  # DecodeError, whose class differs between versions of protobuf
            raise self._error(index, f"is not an AnnotatedDatum: {' '.join(str(error).split())}") from error
        if not record.HasField("datum"):
            raise self._error(
                index,
                "is not an AnnotatedDatum; a database of plain Datums is read by a layer of the type Data, and "
                "sdcaffe convert-annoset makes one with boxes",
            )
        return record

    def _error(self, index: int, message: str) -> DataError:
        return DataError(f"{self.name(index)} {message}", self.where)

    def close(self) -> None:
        if self._store is not None:
            store, self._store = self._store, None
            close_store(store)


def labelled_boxes(record: Any) -> Labelled:
    """The boxes of an AnnotatedDatum, group after group."""
    boxes, facts = [], []
    for group in record.annotation_group:
        for annotation in group.annotation:
            box = annotation.bbox
            boxes.append((box.xmin, box.ymin, box.xmax, box.ymax))
            facts.append((group.group_label, annotation.instance_id, box.difficult))
    return Labelled(np.array(boxes, np.float32).reshape(-1, 4), np.array(facts, np.float32).reshape(-1, 3))
