"""What other Caffes have and BVLC Caffe lacks, for error messages only. Knows none by itself: guests tell it.

A guest is a package of layers, such as `sdcaffe.forks`, or a plugin. Told once, it holds for the whole program.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_types: dict[str, str] = {}
_fields: dict[tuple[str, str], str] = {}
_values: dict[str, str] = {}
_instead: dict[tuple[str, str], str] = {}


def tell(
    caffe: str,
    *,
    types: Iterable[str] = (),
    fields: Mapping[str, Iterable[str]] | None = None,
    values: Iterable[str] = (),
) -> None:
    """Say which layer types, fields (message -> names) and enum values the Caffe named `caffe` has.

    Of two that have the same, the one that was told first is named in an error.
    """
    for name in types:
        _types.setdefault(name, caffe)
    for message, names in (fields or {}).items():
        for name in names:
            _fields.setdefault((message, name), caffe)
    for name in values:
        _values.setdefault(name, caffe)


def tell_instead(message: str, field: str, words: str) -> None:
    """Say, as the clause of a sentence, how BVLC Caffe writes what another Caffe's field says."""
    _instead[message, field] = words


def of_type(type_name: str) -> str | None:
    """The Caffe that has a layer type; None where none is known to."""
    return _types.get(type_name)


def of_field(message: str, field: str) -> str | None:
    """The Caffe whose `message` has a field; None where none is known to."""
    return _fields.get((message, field))


def of_value(value: str) -> str | None:
    """The Caffe that has an enum's value; None where none is known to."""
    return _values.get(value)


def instead_of(message: str, field: str) -> str | None:
    """How BVLC Caffe says what another Caffe's field says; None where it cannot, or nothing is known."""
    return _instead.get((message, field))
