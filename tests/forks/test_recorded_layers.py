"""Layers of Caffe's forks against recordings of the forks: forward, backward, state, and as PyTorch source."""

from __future__ import annotations

from pathlib import Path

import golden
import pytest
import torch

from sdcaffe.converters.state_dict import blob_names

RECORDINGS = Path(__file__).parent / "recordings" / "others"
OPTIONS = RECORDINGS.with_name("options")  # made by the forks' own code too, on a CPU: a setting each of some layers
RCNN = ("smooth_l1", "softmax_ohem", "box_annotator", "psroi", "roi_pool", "proposal")
YOLO = ("yolov3", "region_loss", "yolo_detection", "reorg", "upsample_nearest")
SYNOPSYS = ("squeeze", "pad_")
OTHERS = (
    "bn_psp_t",
    "bn_psp_frozen",
    "bn_segnet",
    "denseblock",
    "interp",
    "prior_box_clustered",
    "entropy_loss",
    "gradient_scaler",
)
HELD = [name for name in golden.names(RECORDINGS) if name.startswith(RCNN + YOLO + SYNOPSYS + OTHERS)]
PASSES = {"denseblock_decay": 2, "bn_psp_train_passes": 3}  # recorded forward passes; 1 for others
SEGMENTATION = ("axpy", "bn_segnet", "bn_psp_t", "bn_psp_frozen", "interp", "shuffle", "upsample")
DENSE = ("denseblock_test", "denseblock_bc_test")
DETECTION = ("psroi", "roi_pool", "proposal", "yolov3_det", "yolo_det", "reorg", "prior_box")
WRITTEN = [
    name
    for name in golden.names(RECORDINGS)
    if name.startswith((*DETECTION, *SEGMENTATION, *SYNOPSYS, "denseblock_test", "denseblock_bc_test"))
]


@pytest.mark.parametrize("channels_last", [False, True], ids=["nchw", "channels_last"])
@pytest.mark.parametrize("name", HELD)
def test_a_layer_gives_what_its_fork_gave(name, channels_last):
    golden.check(name, RECORDINGS, channels_last=channels_last, passes=PASSES.get(name))


@pytest.mark.parametrize("name", golden.names(OPTIONS))
def test_a_layer_with_options_gives_what_its_fork_gave(name):
    golden.check(name, OPTIONS, channels_last=False)


class Parts(dict):
    """Takes what a layer's source needs beside it."""

    def part(self, part):
        self[part.__name__] = part
        return part.__name__


@pytest.mark.parametrize("name", WRITTEN)
def test_the_source_of_a_layer_computes_what_the_fork_did(name):
    recording = golden.read(name, RECORDINGS)
    bottoms = [torch.from_numpy(values) for _, values in sorted(recording.all("bottom").items())]
    shapes = [tuple(bottom.shape) for bottom in bottoms]
    layer = golden.build(recording.text("prototxt"), shapes, recording.text("phase"))
    scope = Parts(torch=torch, F=torch.nn.functional, nn=torch.nn)
    source = layer.to_source(scope, *shapes)
    if source.module is not None:
        scope["module"] = eval(source.module, dict(scope))
        params = recording.all("param").values()
        keys = blob_names(layer.type, len(layer.blobs), "x")
        scope["module"].load_state_dict(
            {
                key: torch.from_numpy(values).reshape(blob.shape)
                for key, values, blob in zip(keys, params, layer.blobs, strict=True)
            }
        )
    text = source.text.format(*(f"bottoms[{i}]" for i in range(len(bottoms))), self="module")
    with torch.no_grad():
        tops = eval(text, {**scope, "bottoms": bottoms})
    tops = (tops,) if isinstance(tops, torch.Tensor) else tops
    for top, expected in zip(tops, recording.all("top").values(), strict=True):
        golden.close(top, expected)
