"""Where in a text each layer and each of its fields was written. Remembers places, not values."""

from __future__ import annotations

from sdcaffe.errors import NetError, Place
from sdcaffe.proto.tokens import Source


class Positions:
    """The places of a parsed prototxt, for errors that are found later than reading.

    `find("conv1", "num_output")` is `file:line:col` of that field, at whatever depth inside the layer;
    `"convolution_param.num_output"` is the field of that submessage. Where the layer does not write the
    field, or no field is asked for, it is the place of the layer. None: the text has no such layer.
    Of several layers of one name the one that `nth` counts is meant (from 0), or where it is not known the first
    that writes the field.
    """

    def __init__(self, source: Source) -> None:
        self.filename = source.filename
        self._source = source
        # One entry a field in the order read: depth, name, offset.
        self.fields: list[tuple[int, str, int]] = []
        # One entry a layer: its name, the index of its own field entry, the index after its last one.
        self.layers: list[tuple[str, int, int]] = []

    def find(self, layer: str | None, field: str | None = None, nth: int | None = None) -> Place | None:
        found = [entry for entry in self.layers if entry[0] == layer]
        if nth is not None:
            found = found[nth : nth + 1] or found
        if field is not None:
            for _, start, end in found:
                offset = self._within(field.split("."), start, end)
                if offset is not None:
                    return self._source.where(offset)
        if found:
            return self._source.where(self.fields[found[0][1]][2])
        if layer == "input":  # made from the net's own input fields when it was upgraded
            return self.field("input")
        return None

    def locate(self, error: NetError, nth: int | None = None) -> None:
        """Tell an error of a layer, the `nth` of its name, where that stands, if it does not know yet."""
        if error.where is None:
            error.where = self.find(error.layer, error.field, nth)

    def field(self, name: str) -> Place | None:
        """The place of the first field of that name of the whole message: `field("base_lr")`; None: not there."""
        offset = self._within(name.split("."), -1, len(self.fields))
        return None if offset is None else self._source.where(offset)

    def nth(self, name: str, number: int) -> Place:
        """The place of one of the fields of that name of the whole message itself, counted from 0 in its order.

        Several that are written as one list, `[1, 2]`, have one place, that of the list.
        """
        offsets = [offset for depth, own, offset in self.fields if depth == 0 and own == name]
        return self._source.where(offsets[min(number, len(offsets) - 1)])

    def _within(self, path: list[str], start: int, end: int) -> int | None:
        """The offset of the shallowest field whose path ends in `path`, inside the entries of one message."""
        best: tuple[int, int] | None = None
        trail: list[str] = []
        base = self.fields[start][0] + 1 if start >= 0 else 0
        for depth, name, offset in self.fields[start + 1 : end]:
            del trail[depth - base :]
            trail.append(name)
            if trail[-len(path) :] == path and (best is None or depth < best[0]):
                best = depth, offset
        return None if best is None else best[1]


# The file's name, or where its fields stand, for the errors.
Where = Positions | str | None


def place(where: Where, field: str, layer: str | None = None) -> str | None:
    """`file:line:col` of a field, of the layer of that name if one is given; the file's name if all else fails."""
    if not isinstance(where, Positions):
        return where
    return (where.find(layer, field) if layer is not None else where.field(field)) or where.filename
