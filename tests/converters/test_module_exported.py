"""Detectors through torch.export, with other pictures than that of the export; judged by recordings of the forks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from onnx_nets import OTHERS, SSD, arrays, write_net, write_recorded
from torch import Tensor, nn
from written import open_module

from sdcaffe.converters.module_source import convert
from sdcaffe.net import Net


def written(files: tuple[str, str], folder: Path) -> nn.Module:
    """The module of a net and its weights, as a file of source has it."""
    convert(files[0], folder / "net.py", files[1])
    return open_module(folder / "net.py")


def outputs(result: Tensor | dict[str, Tensor]) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else list(result.values())


def close(got: list[Tensor], expected: list[Tensor]) -> None:
    for value, want in zip(got, expected, strict=True):
        torch.testing.assert_close(value.reshape(want.shape), want, rtol=1e-4, atol=1e-5)


TURNED = {"det": (1, 1), "proposal": (0, 3), "yolo": (0, 1), "yolov3": (0, 3)}  # bottom, and its axis turned round
RECORDINGS = [
    *((SSD, path.stem) for path in sorted(SSD.glob("det_*.npz"))),
    *((OTHERS, path.stem) for path in sorted([*OTHERS.glob("proposal*.npz"), *OTHERS.glob("yolo*_detection*.npz")])),
]
QUICK = ("det_ssd", "det_eta", "det_keep_top_k", "det_none", "det_center_noshare", "proposal", "yolo_", "yolov3_")


@pytest.mark.parametrize(
    ("folder", "name"),
    [pytest.param(*one, id=one[1], marks=[] if one[1].startswith(QUICK) else pytest.mark.slow) for one in RECORDINGS],
)
def test_a_detector_exported_with_one_picture_detects_in_another(folder: Path, name: str, tmp_path: Path) -> None:
    module = written(write_recorded([name], tmp_path, folder), tmp_path)
    given, expected = (list(map(torch.from_numpy, arrays(name, stem, folder))) for stem in ("bottom", "top"))
    other = list(given)
    bottom, axis = TURNED[name.partition("_")[0]]
    other[bottom] = other[bottom].flip(axis)
    with torch.no_grad():
        close(outputs(torch.export.export(module, tuple(other)).module()(*given)), expected)


@pytest.mark.parametrize("name", ["det_ssd", "proposal", "yolo_detection", "yolov3_detection"])
def test_strict_export_and_its_saved_file(name: str, tmp_path: Path) -> None:
    folder = SSD if name.startswith("det") else OTHERS
    module = written(write_recorded([name], tmp_path, folder), tmp_path)
    given, expected = (list(map(torch.from_numpy, arrays(name, stem, folder))) for stem in ("bottom", "top"))
    other = [value * 0.5 for value in given]
    with torch.no_grad():
        torch.export.save(torch.export.export(module, tuple(other), strict=True), tmp_path / "net.pt2")
        close(outputs(torch.export.load(tmp_path / "net.pt2").module()(*given)), expected)


DETECTOR = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 32 dim: 32 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 stride: 4 weight_filler { type: "msra" } } }
layer { name: "prior" type: "PriorBox" bottom: "conv" bottom: "data" top: "prior"
  prior_box_param { min_size: 6 max_size: 12 variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 } }
layer { name: "loc" type: "Convolution" bottom: "conv" top: "loc"
  convolution_param { num_output: 8 kernel_size: 1 weight_filler { type: "msra" } } }
layer { name: "loc_p" type: "Permute" bottom: "loc" top: "loc_p"
  permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "loc_f" type: "Flatten" bottom: "loc_p" top: "loc_f" }
layer { name: "conf" type: "Convolution" bottom: "conv" top: "conf"
  convolution_param { num_output: 6 kernel_size: 1 weight_filler { type: "msra" } } }
layer { name: "conf_p" type: "Permute" bottom: "conf" top: "conf_p"
  permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "conf_r" type: "Reshape" bottom: "conf_p" top: "conf_r"
  reshape_param { shape { dim: 0 dim: -1 dim: 3 } } }
layer { name: "conf_s" type: "Softmax" bottom: "conf_r" top: "conf_s" softmax_param { axis: 2 } }
layer { name: "conf_f" type: "Flatten" bottom: "conf_s" top: "conf_f" }
layer { name: "out" type: "DetectionOutput" bottom: "loc_f" bottom: "conf_f" bottom: "prior" top: "out"
  detection_output_param { num_classes: 3 code_type: CENTER_SIZE confidence_threshold: 0.6 keep_top_k: 20
    nms_param { nms_threshold: 0.45 top_k: 40 } } }
"""
YOLO = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 32 dim: 32 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 14 kernel_size: 3 pad: 1 stride: 4 weight_filler { type: "msra" } } }
layer { name: "out" type: "YoloDetectionOutput" bottom: "conv" top: "out"
  yolo_detection_output_param { num_classes: 2 num_box: 2 biases: 1 biases: 1 biases: 2 biases: 3
    confidence_threshold: 0.5 } }
"""


@pytest.mark.parametrize("text", [DETECTOR, YOLO], ids=["ssd", "yolo"])
def test_an_exported_detector_takes_any_batch_and_finds_nothing_in_some(text: str, tmp_path: Path) -> None:
    files = write_net(text, tmp_path)
    module, net = written(files, tmp_path), Net(files[0], weights=files[1])
    generator = torch.Generator().manual_seed(3)
    batch = torch.export.Dim("batch")
    with torch.no_grad():
        x = torch.randn(2, 3, 32, 32, generator=generator)
        exported = torch.export.export(module, (x,), dynamic_shapes=({0: batch},)).module()
        found = []
        for n, scale in ((1, 1.0), (5, 2.0), (3, 0.0), (2, 0.3)):
            x = torch.randn(n, 3, 32, 32, generator=generator) * scale
            net.reshape({"data": x.shape})
            expected = net({"data": x})["out"]
            found.append(expected.shape[2])
            close([exported(x)], [expected])
    assert found[2] == 3  # of three empty pictures a row each, which says that nothing is there
    assert len(set(found)) > 2


# Faster R-CNN and R-FCN: a Proposal, the pooling of its regions and what is said of each.
REGIONS = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 96 dim: 128 } } }
layer { name: "info" type: "Input" top: "info" input_param { shape { dim: 1 dim: 3 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 18 kernel_size: 3 pad: 1 stride: 16 weight_filler { type: "msra" } } }
layer { name: "score" type: "Convolution" bottom: "conv" top: "score"
  convolution_param { num_output: 18 kernel_size: 1 weight_filler { type: "msra" } } }
layer { name: "moves" type: "Convolution" bottom: "conv" top: "moves"
  convolution_param { num_output: 36 kernel_size: 1 weight_filler { type: "gaussian" std: 0.05 } } }
layer { name: "pairs" type: "Reshape" bottom: "score" top: "pairs"
  reshape_param { shape { dim: 0 dim: 2 dim: -1 dim: 0 } } }
layer { name: "prob" type: "Softmax" bottom: "pairs" top: "pairs" }
layer { name: "back" type: "Reshape" bottom: "pairs" top: "back"
  reshape_param { shape { dim: 0 dim: 18 dim: -1 dim: 0 } } }
layer { name: "proposal" type: "Proposal" bottom: "back" bottom: "moves" bottom: "info" top: "rois" top: "rank"
  proposal_param { OF } }
layer { name: "pool" bottom: "conv" bottom: "rois" top: "pool" POOL }
layer { name: "norm" type: "BatchNorm" bottom: "pool" top: "pool" }
layer { name: "ave" type: "Pooling" bottom: "pool" top: "ave" pooling_param { pool: AVE kernel_size: 2 stride: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "ave" top: "fc"
  inner_product_param { num_output: 12 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "fc" top: "fc" }
layer { name: "drop" type: "Dropout" bottom: "fc" top: "fc" }
layer { name: "class" type: "InnerProduct" bottom: "fc" top: "class"
  inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "box" type: "InnerProduct" bottom: "fc" top: "box"
  inner_product_param { num_output: 16 weight_filler { type: "xavier" } } }
layer { name: "named" type: "Softmax" bottom: "class" top: "named" }
layer { name: "grid" type: "Reshape" bottom: "named" top: "grid"
  reshape_param { shape { dim: -1 dim: 4 dim: 1 dim: 1 } } }
layer { name: "parts" type: "Slice" bottom: "box" top: "one" top: "two" slice_param { axis: 1 } }
layer { name: "sum" type: "Eltwise" bottom: "one" bottom: "two" top: "sum" }
layer { name: "all" type: "Concat" bottom: "sum" bottom: "class" top: "all" }
"""
PVANET = (
    "ratio: 0.5 ratio: 1 ratio: 2 scale: 1 scale: 2 scale: 4 base_size: 16 feat_stride: 16 min_size: 40 "
    "pre_nms_topn: 300 post_nms_topn: 200 nms_thresh: 0.3"
)
SYNOPSYS = "anchor_scale: 3 anchor_base_size: 4 max_rois: 200 rpn_min_size: 30 rpn_nms_thresh: 0.4"
MAXIMA = 'type: "ROIPooling" roi_pooling_param { pooled_h: 3 pooled_w: 3 spatial_scale: 0.0625 }'
MEANS = 'type: "PSROIPooling" psroi_pooling_param { output_dim: 2 group_size: 3 spatial_scale: 0.0625 }'


@pytest.mark.filterwarnings("ignore:.*torch.jit", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize(("regions", "pool"), [(PVANET, MAXIMA), (SYNOPSYS, MEANS)], ids=["pvanet", "synopsys"])
def test_what_follows_a_proposal_goes_too(regions: str, pool: str, tmp_path: Path) -> None:
    files = write_net(REGIONS.replace("OF", regions).replace("POOL", pool), tmp_path)
    module, net = written(files, tmp_path), Net(files[0], weights=files[1])
    generator = torch.Generator().manual_seed(3)
    pictures = [torch.randn(1, 3, 96, 128, generator=generator) * scale for scale in (0.5, 2.0, 0.1)]
    info = torch.tensor([[96.0, 128.0, 1.0]])
    counts = set()
    with torch.no_grad():
        ways = [
            module,
            torch.export.export(module, (pictures[0], info)).module(),
            torch.jit.script(module),
            torch.jit.trace(module, (pictures[0], info), strict=False, check_trace=False),
        ]
        for picture in pictures:
            expected = net({"data": picture, "info": info})
            counts.add(expected["all"].shape[0])
            for made in ways:
                close(outputs(made(picture, info)), [expected[name] for name in net.outputs])
    assert len(counts) > 1
