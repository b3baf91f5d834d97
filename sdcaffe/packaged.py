"""The folders of data that come with sdcaffe: inside it when installed, beside it in a clone. It reads none of them."""

from __future__ import annotations

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
