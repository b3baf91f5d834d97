"""Finds the text of a message that is none: C++ writes any bytes as a string, Python gives them as bytes."""

from __future__ import annotations

from google.protobuf.message import Message


def odd_text(message: Message) -> str | None:
    """Where a message, or one in it, has a string that is not UTF-8, as `layer[3].name`; None: nowhere.

    It takes messages of any schema.
    """
    waiting = [("", message)]
    while waiting:
        place, here = waiting.pop()
        for field, value in here.ListFields():
            name = f"{place}{field.name}"
            if field.type == field.TYPE_STRING:
                if isinstance(value, bytes):
                    return name
                if not isinstance(value, str):
                    for i, item in enumerate(value):
                        if isinstance(item, bytes):
                            return f"{name}[{i}]"
            elif field.message_type is not None:
                if hasattr(value, "ListFields"):
                    waiting.append((f"{name}.", value))
                else:
                    waiting.extend((f"{name}[{i}].", item) for i, item in enumerate(value))
    return None
