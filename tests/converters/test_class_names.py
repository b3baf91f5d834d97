"""Lists of class names."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdcaffe.converters.onnx_metadata import read_classes
from sdcaffe.errors import SdcaffeError


def test_a_list_that_is_not_utf8_is_refused_at_its_line(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_bytes(b"cat\ndog\nb\x9brd\n")
    with pytest.raises(SdcaffeError, match=r"names\.txt: no list of class names: its line 3 is not UTF-8"):
        read_classes(tmp_path / "names.txt")
