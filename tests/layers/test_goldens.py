"""Every recorded layer of Caffe: forward, backward and state, in both memory orders."""

from __future__ import annotations

import golden
import pytest


@pytest.mark.parametrize("channels_last", [False, True], ids=["nchw", "channels_last"])
@pytest.mark.parametrize("name", golden.names())
def test_layer_gives_what_caffe_gave(name: str, channels_last: bool) -> None:
    golden.check(name, channels_last=channels_last)


def test_all_recordings_are_there() -> None:
    assert len(golden.names()) == 122
