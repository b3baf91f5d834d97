"""What plugins bring besides layers: things of one kind, known by name, with the fields they add to a message.

Caffe's own come in the same way. Where plugins are found is the business of `sdcaffe.layers`, which finds them all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from sdcaffe.errors import SdcaffeError
from sdcaffe.proto import schema

T = TypeVar("T")


class Kind(Generic[T]):
    """Everything of one kind, such as learning-rate policies: the classes, by the names they have in a prototxt.

    `what` is the kind's name in messages. A class may hold a class `Fields`, whose annotated attributes become fields
    of Caffe's message `message`: `winsize: Annotated[int, 1001] = 5`, see `proto.schema.extend`.
    """

    def __init__(self, what: str, base: type[T], message: str) -> None:
        self.what = what
        self._base, self._message = base, message
        self._known: dict[str, type[T]] = {}

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Make a class known as `name`. Raises SdcaffeError for a name that is taken and for what is no such class."""

        def add(cls: type[T]) -> type[T]:
            if not (isinstance(cls, type) and issubclass(cls, self._base)):
                raise SdcaffeError(f'{self.what} "{name}": {cls!r} is not a subclass of {self._base.__name__}')
            known = self._known.get(name)
            if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
                raise SdcaffeError(f'{self.what} "{name}" is already registered by {known.__module__}')
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
