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


@pytest.mark.parametrize("clip", ["", "clip: true"])
def test_boxes_are_cut_to_the_image_as_opencvs_detectors_cut_them(clip, tmp_path):
    cv2 = pytest.importorskip("cv2")
    random = np.random.default_rng(0)
    boxes, classes = 40, 3
    sizes = {"loc": (1, boxes * 4), "conf": (1, boxes * classes), "prior": (1, 2, boxes * 4)}
    text = 'name: "detector"\n'
    for name, shape in sizes.items():
        dims = " ".join(f"dim: {size}" for size in shape)
        text += f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}\n'
    text += f"""layer {{ name: "found" type: "DetectionOutput" bottom: "loc" bottom: "conf" bottom: "prior" top: "found"
        detection_output_param {{ num_classes: {classes} share_location: true background_label_id: 0 {clip}
          code_type: CENTER_SIZE nms_param {{ nms_threshold: 0.45 top_k: 30 }} keep_top_k: 20
          confidence_threshold: 0.1 }} }}"""
    net, weights = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    net.write_text(text)
    centre, size = random.uniform(0, 1, (boxes, 2)), random.uniform(0.1, 0.6, (boxes, 2))
    corners = np.concatenate([centre - size / 2, centre + size / 2], 1).ravel()
    given = {
        "loc": random.normal(size=sizes["loc"]).astype(np.float32),
        "conf": random.dirichlet(np.ones(classes), boxes).reshape(1, -1).astype(np.float32),
        "prior": np.stack([corners, np.tile([0.1, 0.1, 0.2, 0.2], boxes)])[None].astype(np.float32),
    }
    ours = sdcaffe.Net(net, sdcaffe.TEST)
    ours.save(weights)
    found = ours(given)["found"].numpy()[0, 0]
    theirs = cv2.dnn.readNetFromCaffe(str(net), str(weights))  # the binary file's fields too, under OpenCV's numbers
    for name, values in given.items():
        theirs.setInput(values, name)
    expected = theirs.forward("found")[0, 0]
    rows = [table[np.lexsort((table[:, 2], table[:, 1]))] for table in (found, expected)]
    assert np.allclose(*rows, atol=1e-6)
    assert ((found[:, 3:] < 0) | (found[:, 3:] > 1)).any() == (not clip)
