"""Plain-text tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence


def text_table(rows: Sequence[Sequence[str]], align: str = "") -> list[str]:
    """Lines of columns two spaces apart; the first row is the heading, underlined.

    `align` has a letter for each column: l or r; columns beyond it are left-aligned.
    """
    columns = max(len(row) for row in rows)
    padded = [[*row, *[""] * (columns - len(row))] for row in rows]
    widths = [max(len(row[i]) for row in padded) for i in range(columns)]
    sides = align.ljust(columns, "l")

    def line(row: Sequence[str]) -> str:
        cells = [c.rjust(w) if side == "r" else c.ljust(w) for c, w, side in zip(row, widths, sides, strict=True)]
        return "  ".join(cells).rstrip()

    return [line(padded[0]), "  ".join("-" * width for width in widths).rstrip(), *map(line, padded[1:])]
