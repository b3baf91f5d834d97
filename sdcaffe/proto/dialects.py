"""As which Caffe a net's file is read, where several give one thing two meanings. Knows no fork by itself: guests tell.

What a fork leaves to its defaults is written into the message that was read, so that its own fields say what it means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdcaffe.errors import NetError, SdcaffeError, unknown
from sdcaffe.proto.positions import Positions

if TYPE_CHECKING:
    from sdcaffe.proto.caffe import NetParameter

Settle = Callable[["NetParameter"], None]  # what changes a NetParameter, where a fork's defaults are other than ours


@dataclass(frozen=True)
class Fork:
    """A Caffe that files may be read as: its repository, what it decides, and how."""

    name: str
    repository: str
    decides: str
    settle: Settle | None


_forks: dict[str, Fork] = {}
_undecided: list[Settle] = []
_chosen: list[str] = []


def tell(name: str, repository: str, decides: str = "", settle: Settle | None = None) -> None:
    """Make a fork known under a name: `settle(net)` writes into a NetParameter what the fork's defaults mean."""
    _forks[name.lower()] = Fork(name, repository, decides, settle)


def tell_undecided(settle: Settle) -> None:
    """What to do with a net when no fork is named: decide by its other fields, or raise LayerError with the names."""
    if settle not in _undecided:
        _undecided.append(settle)


def known() -> list[Fork]:
    """Every fork, by name."""
    return [_forks[key] for key in sorted(_forks)]


@contextmanager
def read_as(name: str | None) -> Iterator[None]:
    """What this program reads inside is read as files of a fork; None: as it was before."""
    if name is None:
        yield
        return
    _chosen.append(name)
    try:
        yield
    finally:
        _chosen.pop()


def settle(net: NetParameter, fork: str | None = None, where: Positions | None = None) -> None:
    """Write into a net what it means as a file of `fork`, or of the chosen one, or by its own fields.

    Raises SdcaffeError for a fork that is unknown, and LayerError, with its place by `where`, for a net that could be
    two forks' and does not say which.
    """
    name = fork if fork is not None else _chosen[-1] if _chosen else None
    try:
        for rule in _undecided if name is None else _rules(name):
            rule(net)
    except NetError as error:
        if where is not None:
            where.locate(error)
        raise


def _rules(name: str) -> list[Settle]:
    """What a fork decides. Raises SdcaffeError for one that is unknown."""
    found = _forks.get(name.lower())
    if found is None:
        names = [one.name for one in known()]
        raise SdcaffeError(f"{unknown('fork', name, names)}; sdcaffe layers --forks tells what each decides")
    return [found.settle] if found.settle is not None else []
