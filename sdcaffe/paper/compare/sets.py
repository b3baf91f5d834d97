"""Groups of runs that differ by the mechanism alone, as one table or picture holds them, and what tells them apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sdcaffe.paper.compare.comparison import Comparison, Group
from sdcaffe.paper.published import BASELINE, SELF_DISTILLED, TWO_BRANCHES, WITH_KL, WITH_MMD

# Settings that a mechanism brings with it.
_OF_MECHANISM = {"mu", "lambda", "temperature", "KL gradient", "batch statistics", "layers", "net fingerprint"}
_MECHANISMS = (BASELINE, TWO_BRANCHES, WITH_MMD, WITH_KL, SELF_DISTILLED)
_DIGESTS = {"layers", "net fingerprint"}  # which tell that nets differ, not by what
_SHOWN = 40  # characters of a setting that go into a name


def alike(group: Group, base: Group) -> bool:
    """Whether all but the mechanism is the same; a baseline may have as many images a step as two branches do."""
    first, second = group.runs[0], base.runs[0]
    if (first.network_key, first.log.processes) != (second.network_key, second.log.processes):
        return False
    names = ({*first.what} | {*second.what}) - _OF_MECHANISM
    if second.mechanism == BASELINE and second.what["batch"] == str(2 * int(first.what["batch"])):
        names -= {"batch"}
    return all(first.what.get(name) == second.what.get(name) for name in names)


def every_group(found: Comparison) -> list[Group]:
    """Each group of a comparison once: those of published values first, in the paper's order."""
    groups = [group for row in found.rows for group in row.groups] + found.other_groups
    return list({id(group): group for group in groups}.values())


def sets(groups: Iterable[Group]) -> list[list[Group]]:
    """`groups` put together where they are alike, in their order; a baseline of twice the images joins by its pair."""
    found: list[list[Group]] = []
    for group in groups:
        near = [one for one in found if any(alike(group, other) or alike(other, group) for other in one)]
        joined = [*(other for one in near for other in one), group]
        place = found.index(near[0]) if near else len(found)
        found = [one for one in found if one not in near]
        found.insert(place, joined)
    return [ordered(one) for one in found]


def ordered(groups: Iterable[Group]) -> list[Group]:
    """By the order of the mechanisms in the paper's Table 6, others behind them; then by mu, batch and precision."""

    def place(group: Group) -> tuple[object, ...]:
        first = group.runs[0]
        known = _MECHANISMS.index(first.mechanism) if first.mechanism in _MECHANISMS else len(_MECHANISMS)
        return known, first.mu or 0, int(first.what["batch"]), first.precision != "fp32"

    return sorted(groups, key=place)


def names(groups: Sequence[Group]) -> list[str]:
    """What to call each of several groups: the mechanism, and of network, data and settings what tells it apart."""
    wheres = [(group.runs[0].network, group.runs[0].data_set) for group in groups]
    varies = [len({*values}) > 1 for values in zip(*wheres, strict=True)]
    said = []
    for where, group in zip(wheres, groups, strict=True):
        same = [other for place, other in zip(wheres, groups, strict=True) if place == where]
        same = [other for other in same if other.title == group.title]
        front = [name for name, tells in zip(where, varies, strict=True) if tells]
        said.append(", ".join([*front, group.title, *_apart(group, same)]))
    return said


def _apart(group: Group, same: Sequence[Group]) -> list[str]:
    """The settings in which `group` is not as all of `same` are."""
    own = group.runs[0].what
    settings = dict.fromkeys(name for other in same for name in other.runs[0].what)
    differ = [name for name in settings if len({other.runs[0].what.get(name, "") for other in same}) > 1]
    differ = [name for name in differ if name not in _DIGESTS] or differ
    found = []
    for name in differ:
        text = own.get(name, "")
        found.append(f"no {name}" if not text else f"{name} {text}" if len(text) <= _SHOWN else f"other {name}")
    processes = {other.runs[0].log.processes for other in same}
    return [*found, f"{group.runs[0].log.processes} processes"] if len(processes) > 1 else found
