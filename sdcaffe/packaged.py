"""The folders of data that come with sdcaffe: in it when installed, beside it in a clone. It reads no file of them."""

from __future__ import annotations

import os
from pathlib import Path

from sdcaffe.errors import DataError


def folder(name: str) -> Path:
    """Where `prototxt` or `reference_logs/paper` is. Raises DataError where neither the package nor a clone has it."""
    from importlib.resources import files  # here, as importing it costs more than importing sdcaffe

    package = Path(str(files("sdcaffe")))
    for place in (package / name, package.parent / name):
        if place.is_dir():
            return place
    raise DataError(f"sdcaffe came without its folder {name}; install it again", where=str(package))


def advice(path: str | os.PathLike[str]) -> str:
    """What more to say of a file that is not there: how to get it, where it is one of those that come along."""
    parts = Path(path).parts
    if "prototxt" not in parts:
        return ""
    at = len(parts) - 1 - parts[::-1].index("prototxt")
    if not folder("prototxt").joinpath(*parts[at + 1 :]).is_file():
        return ""
    return f"; sdcaffe zoo {'/'.join(parts[at + 1 : -1])} {Path(*parts[:at])} writes it"
