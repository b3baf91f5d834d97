"""What plugins bring besides layers: things of one kind, known by name, with the fields they add to a message.

Caffe's own come in the same way. Where plugins are found is the business of `sdcaffe.layers`, which finds them all.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

from sdcaffe.errors import SdcaffeError
from sdcaffe.proto import schema

T = TypeVar("T")
_PACKAGE = Path(__file__).parent


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
        """Make a class known as `name`. Raises SdcaffeError for a name that is taken and for what is no such class."""

        def add(cls: type[T]) -> type[T]:
            if not (isinstance(cls, type) and issubclass(cls, self._base)):
                raise self.error(f'{self.what} "{name}": {cls!r} is not a subclass of {self._base.__name__}')
            known = self._known.get(name)
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
            file = getattr(sys.modules.get(cls.__module__), "__file__", None)
            frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
            if (
                isinstance(error, (SdcaffeError, MemoryError))
                or not frames
                or Path(file or "").is_relative_to(_PACKAGE)
            ):
                raise
            name = next((name for name, known in self._known.items() if known is cls), cls.__qualname__)
            place = f"{file}:{frames[-1].lineno}"
            raise self.error(f'{self.what} "{name}": {type(error).__name__}: {error} ({place})') from error
