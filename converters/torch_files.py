"""Files of tensors: .pt and .pth as torch.save writes them, .safetensors. Nothing that a file holds is executed."""

from __future__ import annotations

import io
import os
import pickle
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from sdcaffe import proto, reading
from sdcaffe.errors import WeightsError
from sdcaffe.proto.files import StrPath

TORCH = (".pt", ".pth")
SAFETENSORS = ".safetensors"
ENDINGS = (*TORCH, SAFETENSORS)

_MOST_ALIASED = 8  # tensors may share their numbers; together they may claim so many times the file's size
_FLAWS = (
    *(RuntimeError, ValueError, KeyError, TypeError, IndexError, AttributeError),
    *(EOFError, OverflowError, OSError, MemoryError, AssertionError, struct.error),
)


def read_tensors(path: StrPath) -> dict[str, Tensor]:
    """The tensors of a state_dict by name, in the file's order, on the CPU.

    A checkpoint that holds it under "state_dict" is taken too. Raises WeightsError for a file that is missing,
    damaged, no such file, larger inside than outside, or that would have to be executed to be read.
    """
    reading.check(path, WeightsError)
    state = _read_safetensors(path) if Path(path).suffix == SAFETENSORS else _read_torch(path)
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not state:
        raise WeightsError(f"holds a {type(state).__name__}, not the tensors of a state_dict by name", str(path))
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise WeightsError(
                f"holds {name!r:.80}, a {type(value).__name__}, among its tensors: it is no plain state_dict", str(path)
            )
        plain = value.layout == torch.strided and not (value.is_nested or value.is_quantized or value.is_complex())
        if not plain or value.is_meta:
            raise WeightsError(
                f'"{name:.80}" is nested, sparse, quantised, complex or empty: plain numbers are wanted', str(path)
            )
    claimed = sum(value.numel() * value.element_size() for value in state.values())
    if claimed > _MOST_ALIASED * os.path.getsize(path):
        raise WeightsError(f"claims {claimed} bytes of numbers, but is {os.path.getsize(path)} bytes", str(path))
    return {name: value.detach() for name, value in state.items()}


def write_tensors(path: StrPath, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors by name in the format of the path's ending, whole or not at all. Raises WeightsError."""
    if Path(path).suffix == SAFETENSORS:
        _safetensors(path)
        from safetensors.torch import save

        data = save({name: value.contiguous() for name, value in tensors.items()}, metadata={"format": "pt"})
    else:
        buffer = io.BytesIO()
        torch.save(dict(tensors), buffer)
        data = buffer.getvalue()
    with proto.atomic_write(path, WeightsError) as file:
        file.write(data)


def _read_torch(path: StrPath) -> Any:
    """What torch.load gives. Of the file no more is read than it needs: a large one of nothing costs nothing."""
    try:
        with (
            reading.opened(path, WeightsError) as file,
            warnings.catch_warnings(action="ignore"),
        ):  # of pickles that torch did not write
            if file.read(2) == b"PK":
                _refuse_packed(file, path)
            file.seek(0)
            return torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(error.strerror or _first_line(error), str(path)) from None
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"is no file of plain tensors, and nothing else is unpickled: {_named(error)}", str(path)
        ) from None
    except (zipfile.BadZipFile, *_FLAWS) as error:
        raise WeightsError(f"is no whole file of torch.save: {_first_line(error)}", str(path)) from None


def _named(error: Exception) -> str:
    """What torch says is not allowed in it, where it names that."""
    lines = str(error).splitlines() or [""]
    return next((line.strip() for line in lines if "GLOBAL" in line or "Unsupported" in line), lines[0])[:200]


def _refuse_packed(file: BinaryIO, path: StrPath) -> None:
    """Refuse a zip whose parts are larger than they look: torch.save stores them as they are."""
    inside = sum(part.file_size for part in zipfile.ZipFile(file).infolist())
    if inside > os.fstat(file.fileno()).st_size:
        raise WeightsError("is a zip that is larger inside than outside: torch.save writes no such file", str(path))


def _read_safetensors(path: StrPath) -> dict[str, Tensor]:
    safetensors = _safetensors(path)
    from safetensors.torch import load_file

    try:
        state: dict[str, Tensor] = load_file(path)
    except (safetensors.SafetensorError, *_FLAWS) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else _first_line(error)
        raise WeightsError(f"is no whole safetensors file: {reason}", str(path)) from None
    return state


def _safetensors(path: StrPath) -> Any:
    try:
        import safetensors
    except ImportError:
        raise WeightsError("needs the package safetensors: pip install safetensors", str(path)) from None
    return safetensors


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
