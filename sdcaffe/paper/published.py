"""The paper's published values, read from reference_logs/paper; it compares nothing."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

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

    def matches(self, network: str, data_set: str, mechanism: str, peer: str, mu: float | None) -> bool:
        """Whether this is what it measures."""
        if (self.network, self.data_set, self.peer) != (network, data_set, peer):
            return False
        if self.mu == (0, 0):  # Table 5: "without the MMD"
            return mechanism == WITH_KL
        if self.mechanism != mechanism:
            return False
        low, high = self.mu or (mu or 0, mu or 0)
        # loss weights are 32-bit numbers
        return low * (1 - 1e-6) <= (mu or 0) <= high * (1 + 1e-6)


def load(place: Path | None = None) -> tuple[Value, ...]:
    """Every published value, from `place` or the folder that comes with sdcaffe. Raises DataError."""
    path = (place or packaged.folder("reference_logs/paper")) / "published.csv"
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
