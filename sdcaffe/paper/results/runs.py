"""The logs in reference_logs, read once, by what they are of."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path

from sdcaffe.paper.compare import Comparison, Group, compare
from sdcaffe.paper.recipes import RECIPES, Recipe

LOGS = Path("reference_logs")


@functools.cache
def comparison(folder: str) -> Comparison:
    """The logs of a folder of reference_logs; nothing where there is no such folder."""
    path = LOGS / folder
    return compare([path] if path.is_dir() else [])


def groups(folder: str, precision: str | None = None) -> list[Group]:
    """Those that stand for no published value, with finished runs; of one precision alone where it is named."""
    found = [group for group in comparison(folder).other_groups if group.finished]
    return [group for group in found if precision in (None, group.precision)]


def recipes(folder: str) -> list[Recipe]:
    """The recipes of a folder of prototxt/, in their order."""
    return [recipe for recipe in RECIPES if recipe.folder == folder]


def by_recipe(found: Iterable[Group], folder: str) -> Mapping[str, Group]:
    """The file's name of each recipe that has finished runs, such as two_branch, and these; in the recipes' order."""
    of = {group.runs[0].recipe: group for group in found if not group.departures}
    return {recipe.mechanism.file: of[recipe] for recipe in recipes(folder) if recipe in of}
