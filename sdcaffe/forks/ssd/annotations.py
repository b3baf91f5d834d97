"""Annotation files to labelled boxes: PASCAL VOC's XML, COCO's JSON of one image, and plain text.

What weiliu89/caffe@4817bf8 takes of them is taken, and stored as it is: sides beyond the picture, boxes that end before
they begin. These are counted. XML with entities is refused, and so is what is larger than 16 MiB.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from xml.parsers import expat

from sdcaffe import reading
from sdcaffe.errors import DataError

MAX_BYTES = 1 << 24
MAX_DEPTH = 32
_LARGEST = 2**31  # of a number of a JSON file, and of a label


@dataclass(frozen=True)
class Box:
    """A labelled box in fractions of its picture."""

    label: int
    sides: tuple[float, float, float, float]
    difficult: bool = False


@dataclass
class Found:
    """The boxes of one file, and how many of them are odd."""

    boxes: list[Box] = field(default_factory=list)
    outside: int = 0
    empty: int = 0

    def add(self, label: int, sides: tuple[float, float, float, float], size: tuple[int, int], difficult: bool) -> None:
        """Take a box whose sides are in pixels of a picture of (height, width)."""
        height, width = size
        left, top, right, bottom = sides
        self.outside += not (min(left, right) >= 0 and max(left, right) <= width and min(top, bottom) >= 0) or (
            max(top, bottom) > height
        )
        self.empty += right <= left or bottom <= top
        self.boxes.append(Box(label, (left / width, top / height, right / width, bottom / height), difficult))


Reader = Callable[[str, tuple[int, int], Mapping[str, int]], Found]


def read_bytes(path: str) -> bytes:
    return reading.read(path, DataError, "the annotations", MAX_BYTES)


# ---------------------------------------------------------------- XML


@dataclass
class _Element:
    tag: str
    line: int
    text: str = ""
    children: list[_Element] = field(default_factory=list)

    def all(self, tag: str) -> Iterator[_Element]:
        return (child for child in self.children if child.tag == tag)

    def first(self, *path: str) -> _Element | None:
        found: _Element | None = self
        for tag in path:
            found = next(found.all(tag), None) if found is not None else None
        return found


def _tree(path: str) -> _Element:
    """The elements of an XML file. Raises DataError for what is not well formed and for entities."""
    root = _Element("", 0)
    stack = [root]
    parser = expat.ParserCreate()

    def start(tag: str, _: object) -> None:
        if len(stack) > MAX_DEPTH:
            raise DataError(f"elements inside one another more than {MAX_DEPTH} deep", place())
        stack.append(_Element(tag, parser.CurrentLineNumber))
        stack[-2].children.append(stack[-1])

    def text(data: str) -> None:
        stack[-1].text += data

    def entity(*_: object) -> None:
        raise DataError("XML that declares entities is not read", place())

    def place() -> str:
        return f"{path}:{parser.CurrentLineNumber}"

    parser.StartElementHandler, parser.CharacterDataHandler = start, text
    parser.EndElementHandler = lambda _: stack.pop()
    parser.EntityDeclHandler = entity
    try:
        parser.Parse(read_bytes(path), True)
    except expat.ExpatError as error:
        raise DataError(f"is not well-formed XML: {expat.ErrorString(error.code)}", f"{path}:{error.lineno}") from None
    return root


def read_xml(path: str, size: tuple[int, int], names: Mapping[str, int]) -> Found:
    """The objects of a VOC annotation; `size` is the picture's (height, width), where the file does not say it."""
    annotation = _tree(path).first("annotation")
    if annotation is None:
        raise DataError('has no element "annotation"', path)
    height, width = annotation.first("size", "height"), annotation.first("size", "width")
    if height is not None and width is not None:
        size = _whole(height, path), _whole(width, path)
    found = Found()
    if min(size) < 1:
        raise DataError(f"says that its picture has {size[1]} x {size[0]} pixels", path)
    for item in annotation.all("object"):
        _read_object(item, path, size, names, found)
    return found


def _read_object(item: _Element, path: str, size: tuple[int, int], names: Mapping[str, int], found: Found) -> None:
    name = item.first("name")
    if name is None:
        raise DataError("an object has no name", f"{path}:{item.line}")
    label = _label(name.text.strip(), names, f"{path}:{name.line}")
    box = item.first("bndbox")
    if box is None:
        raise DataError("an object has no bndbox", f"{path}:{item.line}")
    sides = []
    for side in ("xmin", "ymin", "xmax", "ymax"):
        element = box.first(side)
        if element is None:
            raise DataError(f"a bndbox has no {side}", f"{path}:{box.line}")
        sides.append(_whole(element, path))
    difficult = item.first("difficult")
    hard = difficult is not None and difficult.text.strip() == "1"
    found.add(label, (sides[0], sides[1], sides[2], sides[3]), size, hard)


def _whole(element: _Element, path: str) -> int:
    text = element.text.strip()
    if not text.removeprefix("-").isdecimal() or len(text) > 9:
        raise DataError(f'{element.tag} is "{text[:40]}", not a whole number', f"{path}:{element.line}")
    return int(text)


def _label(name: str, names: Mapping[str, int], where: str) -> int:
    if name not in names:
        raise DataError(f'the label map has no name "{name[:80]}"', where)
    return names[name]


# ---------------------------------------------------------------- JSON


def read_json(path: str, size: tuple[int, int], names: Mapping[str, int]) -> Found:
    """The annotations of a JSON file `{"image": {...}, "annotation": [...]}`, as SSD's scripts cut COCO's into."""
    try:
        content = json.loads(read_bytes(path))
    except RecursionError:
        raise DataError("lists inside one another too deep", path) from None
    except json.JSONDecodeError as error:
        raise DataError(f"is not JSON: {error.msg}", f"{path}:{error.lineno}") from None
    except ValueError:  # more digits than Python turns into a number, or bytes that are no text
        raise DataError("is not JSON: it holds bytes that are no text, or a number of too many digits", path) from None
    if not isinstance(content, dict) or not isinstance(content.get("annotation"), list):
        raise DataError('has no list "annotation"', path)
    image = content.get("image")
    if isinstance(image, dict) and all(_is_size(image.get(side)) for side in ("height", "width")):
        size = image["height"], image["width"]
    if min(size) < 1:
        raise DataError(f"says that its picture has {size[1]} x {size[0]} pixels", path)
    found = Found()
    for i, item in enumerate(content["annotation"]):
        where = f"{path}, annotation {i}"
        if not isinstance(item, dict) or "category_id" not in item:
            raise DataError("has no category_id", where)
        sides = item.get("bbox")
        if not (isinstance(sides, list) and len(sides) == 4 and all(_is_number(side) for side in sides)):
            raise DataError("has no bbox of four numbers", where)
        left, top, width, height = (float(side) for side in sides)
        label = _label(str(item["category_id"]), names, where)
        found.add(label, (left, top, left + width, top + height), size, bool(item.get("iscrowd", 0)))
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _LARGEST


def _is_size(value: object) -> bool:
    return type(value) is int and abs(value) < _LARGEST


# ---------------------------------------------------------------- text


def read_txt(path: str, size: tuple[int, int], names: Mapping[str, int]) -> Found:
    """Lines of a label's number, xmin, ymin, xmax and ymax in pixels."""
    found = Found()
    for number, line in enumerate(read_bytes(path).decode("utf-8", "replace").splitlines(), 1):
        words = line.split()
        if not words:
            continue
        try:
            label, sides = int(words[0]), [float(word) for word in words[1:]]
        except ValueError:
            label, sides = 0, []
        if len(sides) != 4 or not all(math.isfinite(side) for side in sides) or abs(label) >= _LARGEST:
            raise DataError(f'"{line.strip()[:80]}" is not a label and four numbers', f"{path}:{number}")
        left, top, right, bottom = sides
        found.add(label, (left, top, right, bottom), size, False)
    return found


READERS: dict[str, Reader] = {"xml": read_xml, "json": read_json, "txt": read_txt}
