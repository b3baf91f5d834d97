"""Keys of layers: the names, told apart where several layers share one. A layer itself is known by its place."""

from __future__ import annotations

from collections.abc import Iterable


def layer_keys(names: Iterable[str]) -> list[str]:
    """A key for each layer, by place: its name, for the later ones of a name `NAME#2`, `NAME#3` and so on.

    The empty name is one like any other. A number that another layer's name already bears is passed over.
    """
    names = list(names)
    taken = set(names)
    seen: dict[str, int] = {}
    keys = []
    for name in names:
        count, key = seen.get(name, 0) + 1, name
        while count > 1 and (key := f"{name}#{count}") in taken:
            count += 1
        seen[name] = count
        taken.add(key)
        keys.append(key)
    return keys
