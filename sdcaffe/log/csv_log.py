"""The tables that Caffe's parse_log.py makes of a log: one of the training net's rows, one of the tests'.

Rows are built as that script builds them, oddities included, so that what reads its files reads these. Where it
leaves out or fails, there is a row here: a table of one row only, and values that are not numbers. Runs that
were resumed are joined first; see `log.parser`.
"""

from __future__ import annotations

import bisect
import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from sdcaffe import proto
from sdcaffe.errors import SdcaffeError
from sdcaffe.log import Run, TestRow, TrainRow

Row = dict[str, float]

_MOST_CELLS = 50_000_000  # of a table; a million iterations have some 10,000,000
_OF_SEVERAL = re.compile(r"(.+)\[\d+\]")


def tables(run: Run) -> tuple[list[Row], list[Row]]:
    """The rows of the train table and the test table: NumIters, Seconds, LearningRate, then the outputs by name.

    LearningRate is the last one that the log shows before a row's outputs: that of the display before it. The
    first row, which has none before it, gets the second's.
    """
    return _table(run, run.train), _table(run, run.test)


def write(run: Run, log: str, folder: str, delimiter: str = ",") -> list[tuple[Path, bool]]:
    """Write FOLDER/<log's name>.train and .test, as csv.excel does; a table without rows is not written.

    Returns each file's path and whether it was written. Raises SdcaffeError where one cannot be.
    """
    written = []
    for rows, kind in zip(tables(run), ("train", "test"), strict=True):
        path = Path(folder) / f"{Path(log).name}.{kind}"
        if rows:
            with proto.atomic_write(path) as file:
                file.write(_text(rows, delimiter).encode())
        written.append((path, bool(rows)))
    return written


def _table(run: Run, rows: Sequence[TrainRow] | Sequence[TestRow]) -> list[Row]:
    """Numbers fill a row until it is as long as the first; only a new iteration shows how long that one is."""
    rated = [row for row in run.train if not math.isnan(row.lr)]
    done: list[Row] = []
    row: Row | None = None
    for iteration, seconds, name, value in _outputs(rows):
        if row is None or row["NumIters"] != iteration:
            if row is not None:
                done.append(row)
            row = {"NumIters": iteration, "Seconds": seconds, "LearningRate": _rate_before(rated, iteration)}
        row[name] = value
        if done and len(row) == len(done[0]):
            done.append(row)
            row = None
    if row is not None and not done:
        done.append(row)
    if len(done) > 1:
        done[0]["LearningRate"] = done[1]["LearningRate"]
    return done


def _outputs(rows: Sequence[TrainRow] | Sequence[TestRow]) -> Iterator[tuple[float, float, str, float]]:
    for row in rows:
        for name, value in row.outputs.items():
            match = _OF_SEVERAL.fullmatch(name)
            yield float(row.iteration), row.seconds, match[1] if match and match[1] in row.outputs else name, value


def _rate_before(rated: Sequence[TrainRow], iteration: float) -> float:
    before = bisect.bisect_left(rated, iteration, key=lambda row: row.iteration)
    return rated[before - 1].lr if before else math.nan


def _text(rows: list[Row], delimiter: str) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if len(rows) * len(columns) > _MOST_CELLS:
        raise SdcaffeError(f"the log makes a table of {len(rows)} rows and {len(columns)} columns; too many to write")
    file = io.StringIO(newline="")
    try:
        writer = csv.DictWriter(file, columns, dialect="excel", delimiter=delimiter)
    except TypeError:
        raise SdcaffeError(f"a delimiter is one character, not {delimiter!r}") from None
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
