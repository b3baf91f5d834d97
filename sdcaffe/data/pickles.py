"""Reads the pickles of CIFAR's python layout as data. Nothing a pickle names is imported, called or built.

Pickle is a program for a stack machine. This reader knows the few instructions that such files are made
of: numbers, strings, lists, dicts, and one object, a numpy array of bytes. All else is refused.
"""

from __future__ import annotations

import mmap
import os
import pickletools
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from sdcaffe.errors import DataError

MAX_BYTES = 1 << 28  # CIFAR-100's largest file is 156 MB
_MOST_INSTRUCTIONS = 1 << 21  # of those 156 MB: some 300,000; each may make an object

_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, type] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_GLOBALS = {
    "numpy.core.multiarray _reconstruct",
    "numpy._core.multiarray _reconstruct",
    "numpy ndarray",
    "numpy dtype",
}


class _Name(str):
    """A global that the file names: only its name."""


class _Object:
    """What a REDUCE makes: a numpy dtype or an array, empty until BUILD gives its state."""

    def __init__(self, name: str, arguments: Any) -> None:
        self.name, self.arguments = name, arguments
        self.state: Any = None


class _Refused(Exception):
    pass


def read_pickle(path: str) -> dict[str, object]:
    """The dict that a CIFAR python file holds: text keys; lists, numbers, text, or (N, M) arrays of bytes.

    Raises DataError for a file that is anything else, or longer than 256 MiB.
    """
    try:
        size = os.path.getsize(path)
        if size > MAX_BYTES:
            raise DataError(f"{size} bytes; CIFAR's files have at most {MAX_BYTES}", path)
        # mapped, not read: what it claims to hold beyond its end is never asked for
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            value = _Machine().run(content)
        if not isinstance(value, dict):
            raise _Refused(f"it holds a {type(value).__name__}, not a dict")
        return {_text(key): _array(item) if isinstance(item, _Object) else item for key, item in value.items()}
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", path) from error
    except (_Refused, ValueError, IndexError, KeyError, TypeError) as error:
        raise DataError(f"this is no file of CIFAR's python layout: {error}", path) from error


class _Machine:
    """The stack, the marks that begin sequences on it, and the memo of values used again."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self, content: mmap.mmap) -> Any:
        for count, (instruction, argument, _) in enumerate(pickletools.genops(cast(IO[bytes], content))):
            name = instruction.name
            if count == _MOST_INSTRUCTIONS:
                raise _Refused(f"it has more than {_MOST_INSTRUCTIONS} instructions")
            if name == "STOP":
                return self.stack.pop()
            if name not in ("PROTO", "FRAME") and not (
                self._value(name, argument) or self._collect(name) or self._object(name, argument)
            ):
                raise _Refused(f"it holds the pickle instruction {name}, which no CIFAR file does")
        raise _Refused("it has no end")

    def _value(self, name: str, argument: Any) -> bool:
        """Put a number, a text, an empty container or an earlier value on the stack."""
        if name in _LITERALS:
            self.stack.append(argument)
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name in _EMPTY:
            self.stack.append(_EMPTY[name]())
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        else:
            return False
        return True

    def _collect(self, name: str) -> bool:
        """Make a container of what is on the stack, or put that into one."""
        stack = self.stack
        if name == "MARK":
            self.marks.append(len(stack))
        elif name in _TUPLES:
            count = _TUPLES[name]
            stack[-count:] = [tuple(stack[-count:])]
        elif name == "TUPLE":
            stack.append(tuple(self._since_mark()))
        elif name == "LIST":
            stack.append(self._since_mark())
        elif name == "DICT":
            stack.append(_pairs(self._since_mark()))
        elif name in ("APPEND", "APPENDS"):
            items = self._since_mark() if name == "APPENDS" else [stack.pop()]
            _expect(stack[-1], list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = self._since_mark() if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
            _expect(stack[-1], dict).update(_pairs(items))
        else:
            return False
        return True

    def _object(self, name: str, argument: Any) -> bool:
        """Note the name, the arguments or the state of an array; nothing is called."""
        stack = self.stack
        if name == "GLOBAL":
            stack.append(_admit(argument))
        elif name == "STACK_GLOBAL":
            stack[-2:] = [_admit(f"{stack[-2]} {stack[-1]}")]
        elif name == "REDUCE":
            stack[-2:] = [_Object(_expect(stack[-2], _Name), stack[-1])]
        elif name == "BUILD":
            state = stack.pop()
            _expect(stack[-1], _Object).state = state
        else:
            return False
        return True

    def _since_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items


def _admit(name: str) -> _Name:
    if name not in _GLOBALS:
        raise _Refused(f'it names "{name}", which no CIFAR file does')
    return _Name(name)


def _expect(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise _Refused(f"a {type(value).__name__} stands where a {kind.__name__.strip('_').lower()} should")
    return value


def _pairs(items: list[Any]) -> dict[Any, Any]:
    if not all(isinstance(key, (str, bytes)) for key in items[::2]):
        raise _Refused("it holds a dict whose keys are no texts")
    return dict(zip(items[::2], items[1::2], strict=True))


def _array(made: _Object) -> NDArray[np.uint8]:
    """numpy's state of an array is (version, shape, dtype, column order, bytes)."""
    if not made.name.endswith("_reconstruct") or not isinstance(made.state, tuple) or len(made.state) != 5:
        raise _Refused("it holds an object that is no array")
    _, shape, dtype, column_order, data = made.state
    if not isinstance(dtype, _Object) or _text(dtype.arguments[0]) not in ("u1", "uint8"):
        raise _Refused("it holds an array that is not of bytes")
    data = data.encode("latin-1") if isinstance(data, str) else data  # how Python 2 wrote bytes
    if not isinstance(data, bytes) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise _Refused("it holds an array without shape or data")
    rows, columns = shape
    if rows * columns != len(data):
        raise _Refused(f"it holds an array of {rows} x {columns} with {len(data)} bytes")
    return np.frombuffer(data, np.uint8).reshape(shape, order="F" if column_order else "C")


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return str(_expect(value, str))
