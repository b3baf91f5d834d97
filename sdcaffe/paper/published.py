"""The paper's published values and recipes, read from reference_logs/paper; it compares nothing."""

from __future__ import annotations

import csv
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdcaffe import packaged
from sdcaffe.errors import DataError

BASELINE = "baseline"
TEACHER, STUDENT = "teacher-to-student", "student-to-student"
TWO_BRANCHES, WITH_MMD, WITH_KL = "two branches", "two branches + MMD", "two branches + KL"
SELF_DISTILLED = "self-distilled"

TITLES = {
    1: "Table 1: ways to train ResNet-32 on CIFAR-100",
    2: "Table 2: compact networks with self-distillation, and complex ones without",
    3: "Table 3: self-distillation on CIFAR",
    4: "Table 4: self-distillation on ImageNet, single crop",
    5: "Table 5: ResNet-32 on CIFAR-100 by mu",
    6: "Table 6: what each part of self-distillation gives, CIFAR-100",
}


@dataclass(frozen=True)
class Value:
    """One printed value; errors are in percent. `mu` is None where the mechanism has none, else its range."""

    table: int
    network: str
    parameters: str
    data_set: str
    mechanism: str
    peer: str
    mu: tuple[float, float] | None
    top1_error: float
    top5_error: float | None

    @property
    def mu_text(self) -> str:
        if self.mu is None:
            return ""
        low, high = self.mu
        return f"{low:g}" if low == high else f"{low:g}-{high:g}"


@dataclass(frozen=True)
class DataSet:
    """`pad` and `crop` of the distortion are None where it is not the CIFAR one."""

    train_images: int
    test_images: int
    temperature: float
    pad: int | None = None
    crop: int | None = None


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; None or empty for what is not said. `drops` are epochs."""

    epochs: int
    weight_decay: float
    base_lr: float
    batch: int | None = None
    gamma: float | None = None
    drops: tuple[int, ...] = ()


@dataclass(frozen=True)
class Published:
    values: tuple[Value, ...]
    data_sets: dict[str, DataSet]
    recipes: dict[str, Recipe]
    type: str
    momentum: float
    kl_weight: float


def load(place: Path | None = None) -> Published:
    """Every published value and recipe, from `place` or the folder that comes with sdcaffe. Raises DataError."""
    place = place or packaged.folder("reference_logs/paper")
    return _read_recipes(place / "recipes.toml", _read_values(place / "published.csv"))


def _read_values(path: Path) -> tuple[Value, ...]:
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        try:
            return tuple(_value(row) for row in reader)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"not a line of published values: {error}", where=f"{path}:{reader.line_num}") from error


def _value(row: dict[str, str]) -> Value:
    bounds = [float(bound) for bound in row["mu"].split("-")] if row["mu"] else []
    return Value(
        table=int(row["table"]),
        network=row["network"],
        parameters=row["parameters"],
        data_set=row["data_set"],
        mechanism=row["mechanism"],
        peer=row["peer"],
        mu=(bounds[0], bounds[-1]) if bounds else None,
        top1_error=float(row["top1_error"]),
        top5_error=float(row["top5_error"]) if row["top5_error"] else None,
    )


def _read_recipes(path: Path, values: tuple[Value, ...]) -> Published:
    try:
        with open(path, "rb") as file:
            content: dict[str, Any] = tomllib.load(file)
        recipes = {}
        for table in content["recipe"]:
            table["drops"] = tuple(table.get("drops", ()))
            networks = table.pop("networks")
            recipes.update(dict.fromkeys(networks, Recipe(**table)))
        return Published(
            values=values,
            data_sets={name: DataSet(**table) for name, table in content["data_set"].items()},
            recipes=recipes,
            type=content["type"],
            momentum=content["momentum"],
            kl_weight=content["lambda"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"not the recipes of the published runs: {error}", where=str(path)) from error
