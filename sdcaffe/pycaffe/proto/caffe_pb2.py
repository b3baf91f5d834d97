"""Caffe's messages and enums where scripts look for them; `sdcaffe.proto.caffe` has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdcaffe.proto import caffe

if TYPE_CHECKING:
    from sdcaffe.proto.caffe import *  # noqa: F403
else:

    def __getattr__(name: str) -> object:
        return getattr(caffe, name)


def __dir__() -> list[str]:
    return dir(caffe)
