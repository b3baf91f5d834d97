"""What an exported model says of itself, and reading model files that may be anybody's. Needs no torch."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdcaffe import reading
from sdcaffe.errors import SdcaffeError
from sdcaffe.proto import counted
from sdcaffe.proto.files import read_bytes
from sdcaffe.proto.odd_text import odd_text

if TYPE_CHECKING:
    from onnx import ModelProto

LONGEST = 1000  # characters of a class name
_LARGEST = 2**31 - 1  # bytes of a protobuf


class ModelError(SdcaffeError):
    """A model that cannot be exported, or a file that is no model that can be run."""


@dataclass
class Normalisation:
    """How bytes 0 to 255 become what the net takes: (pixel - mean) * scale, one number or one a channel.

    `order` is the net's channel order, "rgb" or "bgr". With `in_graph` the model does this itself, on (n, h, w, c)
    bytes in RGB.
    """

    mean: list[float] = field(default_factory=lambda: [0.0])
    scale: list[float] = field(default_factory=lambda: [1.0])
    order: str = "rgb"
    in_graph: bool = False


@dataclass
class Metadata:
    """`net` is the net's name, `sources` file name -> SHA-256, `scores` the output that ranks classes, if one does.

    `size` holds the channels, height and width of the images that the net was written for, or nothing; `shapes` those
    of all inputs, by name.
    `probabilities` says whether the scores are probabilities already; `classes` are their names, or empty;
    `normalisation` is None where nobody said how a picture becomes the input.
    """

    net: str = ""
    sources: dict[str, str] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    normalisation: Normalisation | None = None
    size: list[int] = field(default_factory=list)
    shapes: dict[str, list[int]] = field(default_factory=dict)
    scores: str = ""
    probabilities: bool = False

    def properties(self) -> dict[str, str]:
        """As the strings of a model's metadata_props."""
        values = {"net": self.net, "sources": json.dumps(self.sources)}
        if self.normalisation is not None:
            values["normalisation"] = json.dumps(vars(self.normalisation))
        if self.size:
            values["size"] = json.dumps(self.size)
        if self.shapes:
            values["shapes"] = json.dumps(self.shapes, ensure_ascii=False)
        if self.classes:
            values["classes"] = json.dumps(self.classes, ensure_ascii=False)
        if self.scores:
            values["scores"] = json.dumps({"output": self.scores, "probabilities": self.probabilities})
        return values


def _read_scores(found: Metadata, value: Any) -> None:
    found.scores, found.probabilities = str(value["output"]), bool(value["probabilities"])


def _read_classes(found: Metadata, value: Any) -> None:
    found.classes = [str(name) for name in value]
    if any(len(name) > LONGEST for name in found.classes):
        raise ValueError


def _read_normalisation(found: Metadata, value: Any) -> None:
    mean, scale = ([float(x) for x in value[name]] for name in ("mean", "scale"))
    found.normalisation = Normalisation(
        mean, scale, "bgr" if value["order"] == "bgr" else "rgb", bool(value["in_graph"])
    )


def _read_size(found: Metadata, value: Any) -> None:
    found.size = [int(n) for n in value][:3]


def _read_shapes(found: Metadata, value: Any) -> None:
    found.shapes = {str(name): [int(n) for n in shape] for name, shape in value.items()}


def _read_sources(found: Metadata, value: Any) -> None:
    found.sources = {str(file): str(digest) for file, digest in value.items()}


_READ: dict[str, Callable[[Metadata, Any], None]] = {
    "scores": _read_scores,
    "classes": _read_classes,
    "normalisation": _read_normalisation,
    "size": _read_size,
    "shapes": _read_shapes,
    "sources": _read_sources,
}


def read_metadata(properties: dict[str, str], where: str) -> Metadata:
    """The Metadata in a model's properties; a model of another maker has none, and gets the defaults.

    Raises ModelError where a property of ours does not hold what it should.
    """
    found = Metadata(net=properties.get("net", ""))
    for key, read in _READ.items():
        if key not in properties:
            continue
        try:
            read(found, json.loads(properties[key]))
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, OverflowError):
            said = properties[key] if len(properties[key]) <= 80 else properties[key][:80] + "..."
            raise ModelError(
                f'its metadata is damaged: "{key}" is {said!r}, which sdcaffe does not write; export the net again',
                where,
            ) from None
    return found


def digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file."""
    with reading.opened(path, ModelError) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_classes(path: str | os.PathLike[str]) -> list[str]:
    """Class names, one a line of `LONGEST` characters at most; the label is the line's number from 0.

    Raises ModelError.
    """
    data = read_bytes(path, ModelError)
    try:
        names = data.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ModelError(f"no list of class names: its line {line} is not UTF-8", str(path)) from None
    names = [name.strip() for name in names]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise ModelError("holds no class names", str(path))
    for number, name in enumerate(names, 1):
        if len(name) > LONGEST:
            raise ModelError(
                f"a class name has {LONGEST} characters at most, but this line {len(name)}", f"{path}:{number}"
            )
    return names


def read_model(path: str | os.PathLike[str]) -> ModelProto:
    """The ModelProto of a file; its weights must be in it, or in files of its own folder.

    Raises ModelError for a file that is missing, larger than protobuf can hold, of more fields than any model has, no
    model, or one that names files elsewhere. Nothing but the file itself is read.
    """
    import onnx
    from google.protobuf.message import DecodeError

    where = str(path)
    data = reading.read(path, ModelError, most=_LARGEST)
    counted.check(data, onnx.ModelProto, path, ModelError)
    try:
        model = onnx.ModelProto.FromString(data)
    except (DecodeError, UnicodeDecodeError):
        raise ModelError("is no ONNX model, or it is cut short", where) from None
    odd = odd_text(model)
    if odd is not None:
        raise ModelError(f"is no valid ONNX model: its {odd} is not UTF-8 text", where)
    if not model.graph.node and not model.graph.output:
        raise ModelError("is no ONNX model: it holds no graph", where)
    folder = Path(path).resolve().parent
    for tensor in _tensors(model):
        for entry in tensor.external_data:
            if entry.key == "location" and not _inside(folder, entry.value):
                raise ModelError(
                    f'weights "{tensor.name}" are said to be in {entry.value!r}, outside its folder', where
                )
    return model


def _inside(folder: Path, location: str) -> bool:
    try:
        return not os.path.isabs(location) and (folder / location).resolve().is_relative_to(folder)
    except (OSError, ValueError, RuntimeError):
        return False


def _tensors(message: Any) -> Iterator[Any]:
    """Every TensorProto anywhere in a message: initializers, attributes, subgraphs, functions."""
    waiting = [message]
    while waiting:
        message = waiting.pop()
        if message.DESCRIPTOR.name == "TensorProto":
            yield message
            continue
        for descriptor, value in message.ListFields():
            if descriptor.message_type is not None:
                waiting.extend([value] if hasattr(value, "ListFields") else value)


def label_of(names: Sequence[str], index: int) -> str:
    """The name of a class, or its number where it has none; what a terminal would not show as text goes."""
    return "".join(c for c in names[index] if c.isprintable()) if index < len(names) else str(index)
