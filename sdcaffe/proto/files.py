"""Message files: nets and solvers as text, brought to the current form; any message as binary.

Files are read whole and written whole or not at all. Weights and snapshots are the work of weights.py.
"""

from __future__ import annotations

import errno
import os
import re
from typing import TypeVar, cast

from google.protobuf.message import DecodeError, EncodeError, Message

from sdcaffe import packaged, reading
from sdcaffe.errors import PrototxtError, SdcaffeError
from sdcaffe.proto import caffe, counted, dialects, seal, text, upgrade
from sdcaffe.reading import StrPath as StrPath
from sdcaffe.writing import atomic_write as atomic_write

M = TypeVar("M", bound=Message)

_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")
_HDF5 = b"\x89HDF\r\n\x1a\n"
_LARGEST = 2**31  # bytes
# What is often given in place of a message, and what to say then.
_MISTAKEN = {
    "NetParameter": (
        "SolverParameter",
        "is a solver, but a net is wanted: give the file that this one names as its net",
    ),
    "SolverParameter": (
        "NetParameter",
        "is a net, but a solver is wanted: give the file that names this one as its net",
    ),
}
_LIKE_TEXT = re.compile(rb"\s*(#|[A-Za-z_]\w*\s*[:{<])")


def read_net(path: StrPath, *, ignore_unknown: bool = False, fork: str | None = None) -> caffe.NetParameter:
    """The NetParameter of a prototxt, in the current form whatever its age.

    Where forks of Caffe give one thing two meanings, `fork` says whose file it is: `sdcaffe layers --forks` lists the
    names. What that fork leaves to its defaults is then written in the message. Raises PrototxtError, and LayerError
    for a net that could be two forks' and does not say which.
    """
    return read_net_located(path, ignore_unknown=ignore_unknown, fork=fork)[0]


def read_net_located(
    path: StrPath, *, ignore_unknown: bool = False, fork: str | None = None
) -> tuple[caffe.NetParameter, text.Positions]:
    """`read_net`, and where each layer stands in the file."""
    net, positions = read_text(path, caffe.NetParameter, ignore_unknown=ignore_unknown)
    net = upgrade.upgrade_net(net, positions)
    dialects.settle(net, fork, positions)
    return net, positions


def read_solver(path: StrPath, *, ignore_unknown: bool = False) -> caffe.SolverParameter:
    """The SolverParameter of a prototxt, in the current form; so are nets written inside it."""
    return read_solver_located(path, ignore_unknown=ignore_unknown)[0]


def read_solver_located(path: StrPath, *, ignore_unknown: bool = False) -> tuple[caffe.SolverParameter, text.Positions]:
    """`read_solver`, and where each field stands in the file."""
    solver, positions = read_text(path, caffe.SolverParameter, ignore_unknown=ignore_unknown)
    solver = upgrade.upgrade_solver(solver, positions)
    for net in upgrade.inline_nets(solver):
        dialects.settle(net, where=positions)
    return solver, positions


def read_text(path: StrPath, kind: type[M], *, ignore_unknown: bool = False) -> tuple[M, text.Positions]:
    """The message that a text file holds, such as a `proto.NetParameter`, as it stands, and where its fields are.

    Bytes that are not UTF-8 are read past in comments. Raises PrototxtError for a file that is missing,
    binary, or not such a message; it knows a net given as a solver, and a solver given as a net.
    """
    name = kind.DESCRIPTOR.name
    data = read_bytes(path)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise PrototxtError("is UTF-16 text; save the file as UTF-8", str(path))
    if b"\0" in data or len(_CONTROL.findall(data[:1000])) > len(data[:1000]) // 50:
        raise PrototxtError(
            f"is a binary file, but a prototxt is wanted, the text of a {name}; weights and snapshots "
            "are given apart from the net",
            str(path),
        )
    message = kind()
    decoded = data.decode("utf-8", "surrogateescape")
    try:
        return message, text.parse(decoded, message, str(path), ignore_unknown=ignore_unknown)
    except PrototxtError:
        other, complaint = _MISTAKEN.get(name, ("", ""))
        if other and _is_text_of(other, decoded):
            raise PrototxtError(complaint, str(path)) from None
        raise


def _is_text_of(name: str, decoded: str) -> bool:
    try:
        text.parse(decoded, getattr(caffe, name)(), "")
    except PrototxtError:
        return False
    return True


def write_text(path: StrPath, message: Message) -> None:
    """Write a message as prototxt, as Caffe prints it. Raises SdcaffeError where the file cannot be written."""
    with atomic_write(path) as file:
        file.write(text.format(message).encode())


def read_binary(path: StrPath, kind: type[M]) -> M:
    """The message that a binary file holds, such as a `proto.Datum`, as it stands; our seal is checked and taken off.

    Raises PrototxtError for a file that is missing, text, cut short, of too many fields or not such a message.
    """
    data = seal.opened(read_bytes(path), path, PrototxtError)
    counted.check(data, kind, path, PrototxtError)
    return decoded(kind, data, path, PrototxtError)


def write_binary(path: StrPath, message: Message) -> None:
    """Write a message in binary; a NetParameter or a SolverState gets our seal, which Caffe reads past.

    Raises SdcaffeError where the file cannot be written.
    """
    with atomic_write(path) as file:
        for part in sealed(message, path, PrototxtError):
            file.write(part)


def sealed(message: Message, path: StrPath, error: type[SdcaffeError]) -> tuple[bytes, bytes]:
    """The bytes of a message's file: our seal, or nothing for a message that has no place for it; the rest."""
    can = "sdcaffe_seal" in message.DESCRIPTOR.fields_by_name
    if can and message.HasField("sdcaffe_seal"):
        message = type(message).FromString(message.SerializePartialToString())
        message.ClearField("sdcaffe_seal")
    body = serialized(message, path, error)
    return (seal.seal([body]) if can else b""), body


def serialized(message: Message, path: StrPath, error: type[SdcaffeError]) -> bytes:
    """The bytes of a message. Raises `error`, with what is missing or too large, where it has none."""
    try:
        return bytes(message.SerializeToString())
    except (EncodeError, ValueError) as problem:
        missing = ", ".join(message.FindInitializationErrors())  # type: ignore[attr-defined]
        reason = f"required fields are missing: {missing}" if missing else f"it is too large ({problem})"
        raise error(f"this {message.DESCRIPTOR.name} cannot be written: {reason}", str(path)) from None


def decoded(kind: type[M], data: bytes | memoryview, path: StrPath, error: type[SdcaffeError]) -> M:
    """The message in `data`. Raises `error`, with what the file seems to be, where there is none."""
    name = kind.DESCRIPTOR.name
    check_size(len(data), path, error)
    head = bytes(data[:200])
    if _LIKE_TEXT.match(head) and not _CONTROL.search(head):  # a name of 35 characters begins a binary net with "\n#"
        raise error(f"is text, but a binary {name} is wanted", str(path))
    try:
        return kind.FromString(cast(bytes, data))
    except (DecodeError, UnicodeDecodeError):
        reason = seal.first_flaw(data) or "some of its bytes are damaged"
        raise error(f"is not a whole binary {name}: {reason}", str(path)) from None


def read_bytes(path: StrPath, error: type[SdcaffeError] = PrototxtError) -> bytes:
    """All of a file. Raises `error` where it is missing, no regular file or cannot be read.

    More than 2 GiB is read only of HDF5, as protobuf cannot hold it.
    """
    is_hdf5(path, error)
    return reading.read(path, error)


def is_hdf5(path: StrPath, error: type[SdcaffeError]) -> bool:
    """Whether a file begins as HDF5 does, however short it is. Raises `error` as read_bytes."""
    if not os.path.exists(path) and (advice := packaged.advice(path)):
        raise error(f"{os.strerror(errno.ENOENT)}{advice}", str(path))
    size = reading.check(path, error)
    with reading.opened(path, error) as file:
        head = file.read(len(_HDF5))
    found = bool(head) and head == _HDF5[: len(head)]
    if not found:
        check_size(size, path, error)
    return found


def check_size(size: int, path: StrPath, error: type[SdcaffeError]) -> None:
    """Raise `error` for more bytes than a message can have."""
    if size >= _LARGEST:
        raise error("is larger than 2 GiB, more than protobuf can hold", str(path))
