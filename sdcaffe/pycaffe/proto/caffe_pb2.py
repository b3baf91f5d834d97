"""Caffe's messages and enums where scripts look for them; `sdcaffe.proto.caffe` has them."""

from __future__ import annotations

from typing import Any

from sdcaffe.proto import caffe


def __getattr__(name: str) -> Any:
    return getattr(caffe, name)


def __dir__() -> list[str]:
    return dir(caffe)
