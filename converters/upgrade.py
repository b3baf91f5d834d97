"""Files of any age written out in the current form, as Caffe's upgrade_net_proto and upgrade_solver_proto tools do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sdcaffe import proto
from sdcaffe.errors import PrototxtError

_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_HDF5 = b"\x89HDF"
_LINE = re.compile(r":(\d+):\d+$")


@dataclass
class Upgraded:
    """What was written: the message's name, text or binary, and whether anything was older than the current form."""

    message: str
    form: str
    changed: bool


def upgrade(source: str, target: str, *, ignore_unknown: bool = False) -> Upgraded:
    """Write the net or solver that `source` holds to `target` in the current form, whole or not at all.

    Text and binary are told apart by their bytes, nets and solvers by their fields. `ignore_unknown` leaves out
    the fields of a text that Caffe does not have. Raises PrototxtError or
    WeightsError for a file that is none of them.
    """
    head = proto.files.read_bytes(source)[:4096]
    if head.startswith(_HDF5):
        raise PrototxtError("is HDF5, whose form never changed: there is nothing to upgrade", source)
    if _CONTROL.search(head):
        return _binary(source, target)
    name, message, positions = _read_text(source, ignore_unknown)
    needed = getattr(proto, f"{name}_needs_upgrade")(message)
    proto.write_text(target, getattr(proto, f"upgrade_{name}")(message, positions))
    return Upgraded(message.DESCRIPTOR.name, "text", needed)


def _binary(source: str, target: str) -> Upgraded:
    proto.read_weights(source)  # what is no .caffemodel is told apart best there
    net = proto.read_binary(source, proto.NetParameter)
    needed = proto.net_needs_upgrade(net)
    proto.write_binary(target, proto.upgrade_net(net, source))
    return Upgraded("NetParameter", "binary", needed)


def _read_text(source: str, ignore_unknown: bool) -> tuple[str, Any, Any]:
    """ "net" or "solver", the message, and where its fields stand; of two failures, the one farther on in the file."""
    failures = []
    for name in ("net", "solver"):
        try:
            kind = getattr(proto, f"{name.capitalize()}Parameter")
            return name, *proto.files.read_text(source, kind, ignore_unknown=ignore_unknown)
        except PrototxtError as error:
            failures.append(error)
    raise max(failures, key=_line)


def _line(error: PrototxtError) -> int:
    match = _LINE.search(error.where or "")
    return int(match[1]) if match else 0
