"""Label maps: the names of a detector's classes and their numbers, as SSD's tools read them from a prototxt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sdcaffe import proto
from sdcaffe.errors import DataError
from sdcaffe.proto.positions import Positions


@dataclass(frozen=True)
class LabelMap:
    """The items of a LabelMap file: each its name, its label, the name it is shown by; and where they stand."""

    path: str
    names: list[str]
    labels: list[int]
    shown: list[str]
    positions: Positions

    def by_label(self) -> dict[int, str]:
        """Label -> name. Raises DataError for a label that two items have."""
        self._check_each_once(self.labels, "label")
        return dict(zip(self.labels, self.names, strict=True))

    def shown_by_label(self) -> dict[int, str]:
        """Label -> the name it is shown by."""
        return dict(zip(self.labels, self.shown, strict=True))

    def by_name(self, *, check: bool) -> dict[str, int]:
        """Name -> label; of items of one name the last. With `check`, raises DataError for a name that two have."""
        if check:
            self._check_each_once(self.names, "name")
        return dict(zip(self.names, self.labels, strict=True))

    def _check_each_once(self, values: Sequence[str | int], what: str) -> None:
        seen: set[str | int] = set()
        for i, value in enumerate(values):
            if value in seen:
                place = self.positions.nth("item", i)
                raise DataError(f"the {what} {value!r} has been given to an item already", place)
            seen.add(value)


def read_label_map(path: str) -> LabelMap:
    """The label map of a text file. Raises PrototxtError where it is none, DataError for an item without its facts."""
    message, positions = proto.read_text(path, proto.schema.message("LabelMap"))
    for i, item in enumerate(message.item):
        if not item.HasField("name") or not item.HasField("label"):
            raise DataError("an item needs a name and a label", positions.nth("item", i))
    items = list(message.item)
    return LabelMap(
        path,
        [item.name for item in items],
        [int(item.label) for item in items],
        [item.display_name or item.name for item in items],
        positions,
    )
