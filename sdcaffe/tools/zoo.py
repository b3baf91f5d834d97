"""The networks and recipes that come with sdcaffe: lists them and writes them where they are wanted. It makes none."""

from __future__ import annotations

from pathlib import Path

from sdcaffe import packaged
from sdcaffe.errors import SdcaffeError, unknown
from sdcaffe.proto.files import atomic_write
from sdcaffe.writing import make_folders

TOP = "prototxt"  # the folder that the paths inside the files begin with
FIRST = "quickstart"  # in a list


def networks() -> dict[str, list[str]]:
    """Each network, `quickstart` or `cifar100/resnet32`, and its recipes: `baseline` is in solver_baseline.prototxt."""
    top = packaged.folder(TOP)
    found: dict[str, list[str]] = {}
    for solver in sorted(top.rglob("solver_*.prototxt")):
        name = solver.parent.relative_to(top).as_posix()
        found.setdefault(name, []).append(solver.stem.removeprefix("solver_"))
    return dict(sorted(found.items(), key=lambda item: (item[0].count("/"), item[0] != FIRST, item[0])))


def write(network: str, folder: Path, *, force: bool = False) -> list[Path]:
    """Write a network's files below `folder`/prototxt; returns those that were not there in the same words.

    Raises SdcaffeError, with nothing written, for a network that there is not and, without `force`, for a file
    of another content in the place of one.
    """
    known = networks()
    if network not in known:
        raise SdcaffeError(unknown("network", network, known))
    source = packaged.folder(TOP) / network
    texts = {folder / TOP / network / path.name: path.read_bytes() for path in sorted(source.glob("*.prototxt"))}
    new = {path: text for path, text in texts.items() if not path.exists() or path.read_bytes() != text}
    changed = [str(path) for path in new if path.exists()]
    if changed and not force:
        raise SdcaffeError(f"{', '.join(changed)} would be overwritten and differs; --force overwrites")
    for path, text in new.items():
        make_folders(path.parent)
        with atomic_write(path) as file:
            file.write(text)
    return list(new)
