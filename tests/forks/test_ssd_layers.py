"""SSD's layers against recordings of the fork itself: forward, backward, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import golden
import pytest

RECORDINGS = Path(__file__).parent / "recordings" / "ssd"
LAYERS = RECORDINGS / "layers"
NOT_YET = ("smooth_l1", "multibox", "evaluate")


@pytest.mark.parametrize("channels_last", [False, True], ids=["nchw", "channels_last"])
@pytest.mark.parametrize("name", [name for name in golden.names(LAYERS) if not name.startswith(NOT_YET)])
def test_a_layer_gives_what_the_fork_gave(name, channels_last, monkeypatch):
    monkeypatch.chdir(LAYERS)  # two of them name a file
    golden.check(name, LAYERS, channels_last=channels_last)
