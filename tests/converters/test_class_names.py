"""Lists of class names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sdcaffe.converters.onnx_metadata import ModelError, read_classes, read_metadata
from sdcaffe.errors import SdcaffeError


def test_a_list_that_is_not_utf8_is_refused_at_its_line(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_bytes(b"cat\ndog\nb\x9brd\n")
    with pytest.raises(SdcaffeError, match=r"names\.txt: no list of class names: its line 3 is not UTF-8"):
        read_classes(tmp_path / "names.txt")


@pytest.mark.parametrize("length", [1000, 1001])
def test_a_name_is_no_book(length: int, tmp_path: Path) -> None:
    """In a list, and in what an exported model says of itself: it would be printed for each picture."""
    names = ["cat", "d" * length]
    (tmp_path / "names.txt").write_text("\n".join(names))
    if length == 1000:
        assert read_classes(tmp_path / "names.txt") == names
        assert read_metadata({"classes": json.dumps(names)}, "net.onnx").classes == names
        return
    with pytest.raises(ModelError, match=r"names\.txt:2: a class name has 1000 characters at most, but this line 1001"):
        read_classes(tmp_path / "names.txt")
    with pytest.raises(ModelError, match=r'net\.onnx: its metadata is damaged: "classes"'):
        read_metadata({"classes": json.dumps(names)}, "net.onnx")
