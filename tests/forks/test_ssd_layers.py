"""SSD's layers against recordings of the fork itself: forward, backward, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import golden
import numpy as np
import pytest
from fork_layers import net_param

import sdcaffe
from sdcaffe.errors import SdcaffeError

RECORDINGS = Path(__file__).parent / "recordings" / "ssd"
LAYERS = RECORDINGS / "layers"
OTHERS = ("smooth_l1",)  # its default is Fast R-CNN's unless the net is read as SSD's


@pytest.mark.parametrize("channels_last", [False, True], ids=["nchw", "channels_last"])
@pytest.mark.parametrize("name", [name for name in golden.names(LAYERS) if name not in OTHERS])
def test_a_layer_gives_what_the_fork_gave(name, channels_last, monkeypatch):
    monkeypatch.chdir(LAYERS)  # two of them name a file
    golden.check(name, LAYERS, channels_last=channels_last)


REFUSED = json.loads((RECORDINGS / "refused.json").read_text())
# What a net of refused.json is given beside zeros: the label's boxes, which only these look at.
LABELS = {
    "multibox_background_label": [0, 1, 0, 1, 0, 1],
    "multibox_label_too_big": [5] * 6,
    "multibox_agnostic_mining": [1, 2, 3, 1, 2, 3],
    "evaluate_background_gt": [1, 2, 3, 1, 2, 3],
}


def run_once(case):
    """Build the net of a case and compute it on boxes of the size of its prior boxes."""
    net = sdcaffe.Net(net_param(case["prototxt"]), sdcaffe.TRAIN)
    box = np.array([0.1, 0.1, 0.4, 0.4], np.float32)
    feeds = {name: np.zeros(net.blob_shapes[name], np.float32) for name in net.inputs}
    for values in feeds.values():
        if values.shape[-1] == 8:
            for i, label in enumerate(LABELS.get(case["name"], [1, 2, 3, 1, 2, 3])):
                values[0, 0, i] = [i // 2, label, 0, *box, 0]
        elif values.ndim == 3:
            values[0] = np.resize(box, values.shape[2]), np.full(values.shape[2], 0.1)
    net.compute(net.feed(feeds))


@pytest.mark.parametrize("case", REFUSED, ids=lambda c: c["name"])
def test_what_the_fork_refuses_is_refused_in_one_line(case):
    if case["fork"] == "accepts":
        run_once(case)
        return
    with pytest.raises(SdcaffeError) as error:
        run_once(case)
    assert "\n" not in str(error.value)
    assert "layer" in str(error.value)
