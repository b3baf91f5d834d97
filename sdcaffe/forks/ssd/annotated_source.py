"""Databases of AnnotatedDatum: pictures with labelled boxes, as SSD's convert_annoset writes them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from sdcaffe import proto
from sdcaffe.data.database import Records, datum_pixels
from sdcaffe.forks.ssd.geometry import Labelled
from sdcaffe.forks.ssd.picture import Picture


class AnnotatedSource(Records["proto.AnnotatedDatum"]):
    """The pictures of a database of AnnotatedDatums."""

    def __init__(self, where: str, backend: str, *, color: str = "native") -> None:
        super().__init__(where, backend, proto.AnnotatedDatum)
        self._color = color

    def reader(self, index: int) -> Callable[[], Picture]:
        record = self.parse(index)
        if not record.HasField("datum"):
            raise self.error(
                index,
                "is no AnnotatedDatum; a database of plain Datums is read by a layer of the type Data, and "
                "sdcaffe convert-annoset makes one with boxes",
            )
        return partial(self._decoded, index, record.datum, labelled_boxes(record), record.HasField("type"))

    def _decoded(self, index: int, datum: proto.Datum, labelled: Labelled, typed: bool) -> Picture:
        where = f"{self.where}, {self.name(index)}"
        try:
            pixels = datum_pixels(datum, self._color, where)
        except ValueError as error:
            raise self.error(index, str(error)) from None
        return Picture(
            pixels,
            labelled,
            datum.height,
            datum.width,
            bool(datum.encoded),
            datum.label if datum.HasField("label") else None,
            typed,
            where,
        )


def labelled_boxes(record: proto.AnnotatedDatum) -> Labelled:
    """The boxes of an AnnotatedDatum, group after group."""
    boxes, facts = [], []
    for group in record.annotation_group:
        for annotation in group.annotation:
            box = annotation.bbox
            boxes.append((box.xmin, box.ymin, box.xmax, box.ymax))
            facts.append((group.group_label, annotation.instance_id, box.difficult))
    return Labelled(np.array(boxes, np.float32).reshape(-1, 4), np.array(facts, np.float32).reshape(-1, 3))
