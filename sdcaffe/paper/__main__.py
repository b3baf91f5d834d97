"""`python -m sdcaffe.paper [FOLDER]` writes prototxt/ below FOLDER, the current one by default."""

from __future__ import annotations

import argparse
from pathlib import Path

from sdcaffe.paper.prototxts import files
from sdcaffe.paper.recipes import RECIPES
from sdcaffe.paper.reproduce import counts
from sdcaffe.proto.files import atomic_write


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sdcaffe.paper", description="Write prototxt/.")
    parser.add_argument("folder", nargs="?", default=".", help="where prototxt/ is (default: here)")
    folder = Path(parser.parse_args().folder)
    for name, text in files().items():
        _write(folder / name, text)
    _write(folder / "prototxt" / counts.FILE, counts.written(RECIPES, folder))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(text.encode())
    print(path)


if __name__ == "__main__":
    main()
