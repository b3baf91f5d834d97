"""Who brings a class, and what plugins bring besides layers: things of one kind, known by name, with their fields.

Caffe's own come in the same way. Where plugins are found is the business of `sdcaffe.layers`, which finds them all.
"""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from sdcaffe.errors import SdcaffeError
from sdcaffe.proto import schema

T = TypeVar("T")
CAFFE = "BVLC Caffe"

# Top-level package -> whose it is; of an installed plugin its distribution and version.
brought_by = {"sdcaffe": CAFFE}


def origin(cls: type) -> str:
    """Whose a class is: BVLC Caffe's, a fork's, the paper's, an installed distribution's, or a plugin's file.

    The class says so by an attribute `origin`, or the nearest package around it by ORIGIN or in `brought_by`.
    """
    said: str = vars(cls).get("origin", "")
    package = cls.__module__
    while not said and package:
        said = getattr(sys.modules.get(package), "ORIGIN", "") or brought_by.get(package, "")
        package = package.rpartition(".")[0]
    return said or f"plugin {file_of(cls) or cls.__module__}"


def is_plugin(cls: type) -> bool:
    """Whether a class came with a plugin: not with this package, whose forks and paper are no plugins here."""
    return brought_by.get(cls.__module__.partition(".")[0]) != CAFFE


def place(error: BaseException, file: str) -> str:
    """`file:line` of the last line of a plugin's file that an error passed; of where it arose if it passed none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    return place_in(error, file) or _shown(traceback.extract_tb(error.__traceback__)[-1])


def place_in(error: BaseException, file: str) -> str | None:
    """`file:line` of the last line of a file that an error passed; None where it passed none."""
    frames = reversed(traceback.extract_tb(error.__traceback__))
    return next((_shown(frame) for frame in frames if frame.filename == file), None)


def _shown(frame: traceback.FrameSummary) -> str:
    return f"{frame.filename}:{frame.lineno}"


def file_of(cls: type) -> str:
    """The file that a class stands in; "" for one of an interactive session."""
    return getattr(sys.modules.get(cls.__module__), "__file__", None) or ""


def _misfit(cls: type, base: type) -> str | None:
    """Which method of a class cannot be called as that of `base`, and where it stands; None where all can."""
    for name, own in vars(cls).items():
        called, given = getattr(base, name, None), getattr(cls, name)
        if not inspect.isroutine(called) or not (inspect.isfunction(given) or inspect.ismethod(given)):
            continue
        at = f"line {inspect.unwrap(given).__code__.co_firstlineno}"
        if inspect.ismethod(called) and not isinstance(own, (classmethod, staticmethod)):
            return f"{name} is called on the class; write @classmethod above it ({at})"
        wanted = inspect.signature(called)
        parts = wanted.parameters.values()
        named = {part.name: None for part in parts if part.kind is part.KEYWORD_ONLY}
        try:
            inspect.signature(given).bind(*[None for part in parts if part.kind is part.POSITIONAL_OR_KEYWORD], **named)
        except TypeError:
            return f"{name} is called as {name}({', '.join(wanted.parameters)}) ({at})"
    return None


class Kind(Generic[T]):
    """Everything of one kind, such as learning-rate policies: the classes, by the names they have in a prototxt.

    `what` is the kind's name in messages, `error` what goes wrong with one of them. A class may hold a class `Fields`,
    whose annotated attributes become fields of Caffe's message `message`: `winsize: Annotated[int, 1901] = 5`, see
    `proto.schema.extend`; `proto.extension` reads them with their types.
    """

    def __init__(self, what: str, base: type[T], message: str, error: type[SdcaffeError]) -> None:
        self.what, self.error = what, error
        self._base, self._message = base, message
        self._known: dict[str, type[T]] = {}

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Make a class known as `name`; it takes the place of one that `yields`.

        Raises SdcaffeError for a name that is taken and for what is no such class.
        """

        def add(cls: type[T]) -> type[T]:
            if not (isinstance(cls, type) and issubclass(cls, self._base)):
                raise self.error(f'{self.what} "{name}": {cls!r} is not a subclass of {self._base.__name__}')
            wrong = _misfit(cls, self._base)
            if wrong:
                raise self.error(f'{self.what} "{name}": {wrong}')
            known = self._known.get(name)
            if known is not None and getattr(known, "yields", False):
                known = None
            if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
                raise self.error(f'{self.what} "{name}" is already registered by {known.__module__}')
            fields: Any = vars(cls).get("Fields")
            if fields is not None:
                schema.extend(self._message, fields)
            self._known[name] = cls
            return cls

        return add

    def get(self, name: str) -> type[T] | None:
        """The class known as `name`; None where there is none."""
        return self._known.get(name)

    def names(self) -> list[str]:
        """Every known name, in the order they were registered."""
        return list(self._known)

    @contextmanager
    def blamed(self, thing: object) -> Iterator[None]:
        """What goes wrong in `thing`, a class of a plugin or one of its objects, is one error with the file and line.

        Its own words, want of memory and what goes wrong outside the plugin's file pass as they are.
        """
        try:
            yield
        except Exception as error:
            cls = thing if isinstance(thing, type) else type(thing)
            at = place_in(error, file_of(cls))
            if isinstance(error, (SdcaffeError, MemoryError)) or at is None or origin(cls) == CAFFE:
                raise
            name = next((name for name, known in self._known.items() if known is cls), cls.__qualname__)
            raise self.error(f'{self.what} "{name}": {type(error).__name__}: {error} ({at})') from error
