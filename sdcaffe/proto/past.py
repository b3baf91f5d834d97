"""Fields that are read, kept and written back, but that nothing looks at. Knows none by itself: guests tell it.

A guest is a package of layers, such as `sdcaffe.forks`, or a plugin: it declares such fields as any others, with
`proto.schema.extend`, and says here why the numbers are right without them. Whoever reads a file is told, once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_fields: dict[str, dict[str, str]] = {}
_values: dict[tuple[str, str], dict[str, str]] = {}


def tell(message: str, fields: Iterable[str], why: str) -> None:
    """Say of fields of a message, as a clause, why they may be read past: "it chooses the kernel alone"."""
    _fields.setdefault(message, {}).update(dict.fromkeys(fields, why))


def tell_values(message: str, field: str, values: Iterable[str], why: str) -> None:
    """Say of values of a field that is an enum why they may be read past."""
    _values.setdefault((message, field), {}).update(dict.fromkeys(values, why))


def fields_of(message: str) -> Mapping[str, str]:
    """The fields of a message that are read past: name -> why."""
    return _fields.get(message, {})


def why_value(message: str, field: str, value: str) -> str | None:
    """Why a value of an enum may be read past; None where it may not."""
    return _values.get((message, field), {}).get(value)
