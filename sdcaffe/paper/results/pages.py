"""The pages with their tables made anew. What a table says stands in tables.py."""

from __future__ import annotations

import re

from sdcaffe.errors import DataError, unknown
from sdcaffe.paper.results.tables import TABLES

PAGES = ("docs/results.md", "docs/numbers.md", "README.md")
_MADE = re.compile(r"(<!-- made: ([\w-]+) -->\n).*?(<!-- /made -->)", re.DOTALL)


def written(text: str, where: str) -> str:
    """The page `text` with each table as the logs say. Raises DataError for the name of a table that there is not."""

    def made(match: re.Match[str]) -> str:
        if match[2] not in TABLES:
            raise DataError(unknown("table", match[2], TABLES), where=where)
        return f"{match[1]}\n{TABLES[match[2]]()}\n\n{match[3]}"

    return _MADE.sub(made, text)
