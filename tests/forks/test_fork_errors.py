"""One clear line for wrong parameters of a fork's layer, and for what of a fork is not here, with its place."""

from __future__ import annotations

import logging
import re

import numpy as np
import pytest
from fork_layers import fill, make, net_param, run

import sdcaffe
from sdcaffe import layers, proto
from sdcaffe.cli import main
from sdcaffe.errors import LayerError, PrototxtError, SdcaffeError
from sdcaffe.layers import base, registry
from sdcaffe.proto import schema

IMAGE, PRIOR = (1, 4, 6, 6), (1, 2, 8)
WRONG = [
    ("DepthwiseConvolution", "convolution_param { num_output: 4 kernel_size: 1 group: 2 }", [IMAGE], "group is 2 for"),
    ("DepthwiseConvolution", "convolution_param { num_output: 6 kernel_size: 1 }", [IMAGE], r"num_output \(=6\)"),
    ("Normalize", "", [(4,)], "needs a bottom"),
    ("Normalize", "norm_param { eps: -1 }", [IMAGE], "eps must be 0 or more, not -1"),
    ("Permute", "permute_param { order: 4 }", [IMAGE], "order has axis 4, but the bottom has axes 0 to 3"),
    ("Permute", "permute_param { order: 1 order: 1 }", [IMAGE], "axis 1 twice"),
    ("PriorBox", "", [IMAGE] * 2, "needs min_size"),
    ("PriorBox", "prior_box_param { min_size: 0 }", [IMAGE] * 2, "needs min_size above 0"),
    ("PriorBox", "prior_box_param { min_size: 4 max_size: 5 max_size: 6 }", [IMAGE] * 2, "2 max_size for 1 min_size"),
    ("PriorBox", "prior_box_param { min_size: 4 max_size: 4 }", [IMAGE] * 2, "must be above min_size"),
    ("PriorBox", "prior_box_param { min_size: 4 aspect_ratio: 0 }", [IMAGE] * 2, "aspect_ratio must be above 0"),
    ("PriorBox", "prior_box_param { min_size: 4 variance: [1, 2] }", [IMAGE] * 2, "variance must be one or four"),
    ("PriorBox", "prior_box_param { min_size: 4 variance: 0 }", [IMAGE] * 2, "numbers above 0"),
    ("PriorBox", "prior_box_param { min_size: 4 img_size: 9 img_h: 9 }", [IMAGE] * 2, "img_size or img_h and img_w"),
    ("PriorBox", "prior_box_param { min_size: 4 img_h: 9 }", [IMAGE] * 2, r"img_w \(=0\) must be above 0"),
    ("PriorBox", "prior_box_param { min_size: 4 step: -1 }", [IMAGE] * 2, "must be above 0"),
    ("PriorBox", "prior_box_param { min_size: 4 }", [IMAGE, (1, 3)], r"needs bottoms \(n, c, h, w\)"),
    ("DetectionOutput", "", [(1, 8), (1, 4), PRIOR], "num_classes must be at least 1, not 0"),
    ("DetectionOutput", "detection_output_param { num_classes: 2 }", [(1, 8), (1, 4), (1, 8)], "third bottom must be"),
    ("DetectionOutput", "detection_output_param { num_classes: 2 }", [(1, 4), (1, 4), PRIOR], "need 8 offsets"),
    ("DetectionOutput", "detection_output_param { num_classes: 3 }", [(1, 8), (1, 4), PRIOR], "need 6 confidences"),
    ("DetectionOutput", "detection_output_param { num_classes: 2 }", [(2, 8), (1, 4), PRIOR], "differ in n"),
    (
        "DetectionOutput",
        "detection_output_param { num_classes: 2 share_location: false }",
        [(1, 8), (1, 4), PRIOR],
        "need 16 offsets",
    ),
    (
        "DetectionOutput",
        "detection_output_param { num_classes: 2 nms_param { nms_threshold: -1 } }",
        [(1, 8), (1, 4), PRIOR],
        "nms_threshold must be 0 or more",
    ),
    (
        "DetectionOutput",
        "detection_output_param { num_classes: 2 nms_param { eta: 1.5 } }",
        [(1, 8), (1, 4), PRIOR],
        "eta must be above 0",
    ),
    ("Interp", "", [IMAGE], "has none of them"),
    ("Interp", "interp_param { zoom_factor: 2 }", [IMAGE] * 2, "from a second bottom or from zoom_factor"),
    ("Interp", "interp_param { height: 3 }", [IMAGE], "one of these two is missing"),
    ("Interp", "interp_param { height: 0 width: 3 }", [IMAGE], "at least 1"),
    ("Interp", "interp_param { height: 9 width: 2147483647 }", [IMAGE], r"Caffe's limit is 2\^31 - 1"),
    ("DenseBlock", "denseblock_param { numTransition: 2147483647 initChannel: 4 }", [IMAGE], "the filters together"),
    ("Interp", "interp_param { zoom_factor: 0 }", [IMAGE], "zoom_factor must be at least 1, not 0"),
    ("Interp", "interp_param { shrink_factor: -2 }", [IMAGE], "shrink_factor must be at least 1, not -2"),
    ("Interp", "interp_param { zoom_factor: 2 pad_beg: 1 }", [IMAGE], r"pad_beg \(=1\) only cuts off"),
    ("Interp", "interp_param { zoom_factor: 2 pad_end: -6 }", [IMAGE], "leave nothing"),
    ("Interp", 'interp_param { zoom_factor: 2 interp_type: "cubic" }', [IMAGE], 'not "cubic"'),
    ("Interp", "interp_param { zoom_factor: 2 }", [(1, 4)], r"needs bottoms \(n, c, h, w\)"),
    ("Upsample", "", [(1, 4)], r"needs a bottom \(n, c, h, w\)"),
    ("Upsample", "", [IMAGE, (1, 4, 5, 6)], "the mask must have the shape of the values"),
    ("Upsample", "upsample_param { scale: 0 }", [IMAGE], "scale must be at least 1, not 0"),
    ("Upsample", "upsample_param { upsample_h: 4 upsample_w: 4 }", [IMAGE], "upsample_h needs a second bottom"),
    ("Upsample", "upsample_param { upsample_h: 4 }", [IMAGE] * 2, "upsample_h and upsample_w go together"),
    ("Upsample", "upsample_param { scale_w: 4 }", [IMAGE] * 2, "scale_h and scale_w go together"),
    ("Upsample", "upsample_param { scale: 2 scale_h: 2 scale_w: 2 }", [IMAGE] * 2, "not both"),
    ("Upsample", "upsample_param { scale: 1 }", [IMAGE] * 2, "scale must be above 1, not 1"),
    ("Upsample", "upsample_param { scale: 3 pad_out_w: true }", [IMAGE] * 2, "pad_out_w needs a scale of 2, not 3"),
    ("Upsample", "upsample_param { upsample_h: 1 upsample_w: 4 }", [IMAGE] * 2, "must be above 1"),
    ("Axpy", "", [(1, 3), IMAGE, IMAGE], "a number for each channel"),
    ("Axpy", "", [(1, 4, 6, 6), IMAGE, IMAGE], "a number for each channel"),
    ("Axpy", "", [(1, 4), IMAGE, (1, 4, 6, 5)], "must have one shape"),
    ("ShuffleChannel", "shuffle_channel_param { group: 3 }", [IMAGE], r"group \(=3\) must divide the channels"),
    ("ShuffleChannel", "shuffle_channel_param { group: 0 }", [IMAGE], r"group \(=0\)"),
    ("ROIPooling", "", [IMAGE, (2, 5)], r"pooled_h \(=0\)"),
    ("ROIPooling", "roi_pooling_param { pooled_h: 2 pooled_w: 2 }", [IMAGE, (2, 4)], "regions of 5 numbers"),
    ("ROIPooling", "roi_pooling_param { pooled_h: 2 pooled_w: 2 }", [(1, 4), (2, 5)], r"needs a bottom \(n, c, h, w\)"),
    ("ROIPooling", "roi_pooling_param { pooled_h: 2 pooled_w: 2 spatial_scale: 0 }", [IMAGE, (2, 5)], "spatial_scale"),
    ("BN", "", [(2, 4)], r"needs a bottom \(n, c, h, w\)"),
    ("BN", "bn_param { frozen: true }", [(4,)], r"needs a bottom \(n, c, ...\)"),
    ("CuDNNBatchNorm", "", [(4,)], r"needs a bottom \(n, c, ...\)"),
    ("BatchNorm", "batch_norm_param { scale_bias: true }", [()], "at least one axis"),
]  # fmt: skip


@pytest.mark.parametrize(("type_name", "body", "shapes", "message"), WRONG)
def test_a_wrong_parameter_is_one_clear_line(type_name, body, shapes, message):
    with pytest.raises(LayerError, match=message) as caught:
        make(type_name, body, shapes)
    assert caught.value.layer == "x"
    assert re.search(r"\n|\)[a-z]", str(caught.value)) is None  # words that run together


def test_no_statistics_to_give_with_inference():
    with pytest.raises(LayerError, match="no statistics for a second top"):
        make("BN", "bn_param { bn_mode: INFERENCE }", [IMAGE], tops=2)


def test_a_mask_of_another_size():
    layer = make("Upsample", "", [(1, 1, 1, 2)] * 2)
    for place in (8, -1):
        mask = np.array([0, place], np.float64).reshape(1, 1, 1, 2)
        with pytest.raises(LayerError, match="but the top, 2 by 4, has 0 to 7"):
            run(layer, np.ones((1, 1, 1, 2)), mask)


def test_a_region_of_no_item():
    layer = make("ROIPooling", "roi_pooling_param { pooled_h: 1 pooled_w: 1 }", [IMAGE, (1, 5)])
    with pytest.raises(LayerError, match="a region is of item 1, but the batch has 0 to 0"):
        run(layer, np.ones(IMAGE), np.array([[1.0, 0, 0, 2, 2]]))


# ---- What is not here ----


def net_error(tmp_path, body, **options):
    file = tmp_path / "fork.prototxt"
    text = 'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }\n'
    file.write_text(text + body)
    with pytest.raises(SdcaffeError) as caught:
        sdcaffe.Net(proto.read_net(file, **options) if options else file)
    line, _, caret = str(caught.value).split("\n")
    assert caret.strip() == "^"
    return line.removeprefix(f"{tmp_path}/")


@pytest.mark.parametrize(
    ("type_name", "fork"),
    [
        ("DenseCRF", "DeepLab"),
        ("DeformableConvolution", "R-FCN"),
        ("CPMData", "OpenPose"),
    ],
)
def test_a_type_that_only_a_fork_has(tmp_path, type_name, fork):
    error = net_error(tmp_path, f'layer {{\n  name: "l"\n  type: "{type_name}" bottom: "x" top: "y" }}')
    assert error.startswith(f'fork.prototxt:4:3: unknown layer type "{type_name}" in layer "l". It is not')
    assert f"not one of BVLC Caffe's, but {fork}" in error
    assert "write it as a plugin and name its file with --plugin; docs/own-layer.md shows how" in error


def test_a_type_that_nobody_has(tmp_path):
    error = net_error(tmp_path, 'layer { name: "l" type: "Qqqqqq" bottom: "x" top: "y" }')
    assert error.startswith('fork.prototxt:2:19: unknown layer type "Qqqqqq"')
    assert "not one of BVLC Caffe's" in error
    assert "--plugin" in error


@pytest.mark.parametrize(
    ("body", "place", "fork"),
    [
        ("densecrf_param { max_iter: 5 }", "2:23", "DeepLab"),
        ("deformable_convolution_param { num_output: 2 }", "2:23", "R-FCN"),
        ("cudnn_math_override: 1", "2:23", "NVIDIA Caffe"),
        ("transform_param { resize_to_square: true }", "2:41", "NVIDIA Caffe"),
        ("batch_norm_param { use_weight_bias: false }", "2:42", "Intel Caffe"),
        ("convolution_param { hole: 2 }", "2:43", "DeepLab"),
        ('video_data_param { source: "a" num_segments: 3 }', "2:54", "TSN and PSPNet (yjxiong/caffe"),
        ("video_data_param { modality: FLOW }", "2:42", "TSN and PSPNet (yjxiong/caffe"),
    ],
)
def test_a_field_that_only_a_fork_has(tmp_path, body, place, fork):
    error = net_error(tmp_path, f'layer {{ type: "Split" {body} }}')
    assert error.startswith(f'fork.prototxt:{place}: message "')
    assert f"it is not one of BVLC Caffe's, but {fork}" in error
    assert "--ignore-unknown reads on without it" in error
    assert "docs/own-layer.md shows how a plugin adds it" in error


def test_what_caffes_own_word_for_it_is(tmp_path):
    assert "BVLC Caffe's word for it is dilation" in net_error(tmp_path, "layer { convolution_param { hole: 2 } }")


def test_a_value_that_only_a_fork_has(tmp_path):
    error = net_error(tmp_path, "layer { convolution_param { engine: OCL } }")
    assert error.startswith('fork.prototxt:2:37: field "engine" takes DEFAULT, CAFFE, CUDNN, MKL2017 or MKLDNN, not')
    assert "which is not BVLC Caffe's; FPGA Caffe (dicecco1/fpga_caffe) has it" in error


def test_an_old_layer_type_that_only_a_fork_has(tmp_path):
    file = tmp_path / "old.prototxt"
    file.write_text('layers { name: "data" type: VOLUME_DATA top: "data" }')
    with pytest.raises(SdcaffeError, match=r"is not BVLC Caffe's; C3D \(facebook/C3D\) has it\. .*own-layer\.md"):
        proto.read_net(file)


def test_fields_of_a_fork_are_read_past_on_request(tmp_path, caplog):
    body = 'layer { name: "r" type: "ReLU" bottom: "x" top: "r" debug: true densecrf_param { a: 1 } }'
    file = tmp_path / "fork.prototxt"
    file.write_text('input: "x" input_shape { dim: 1 dim: 3 }\n' + body + "\ncompile_net_state {}")
    with caplog.at_level(logging.WARNING, "sdcaffe"):
        net = sdcaffe.Net(proto.read_net(file, ignore_unknown=True))
    assert net({"x": np.ones((1, 3))})["r"].shape == (1, 3)
    assert [r.getMessage().split(": ")[0].rpartition("/")[2] for r in caplog.records] == [
        "fork.prototxt:2:53",
        "fork.prototxt:2:65",
        "fork.prototxt:3:1",
    ]


def test_the_command_line_prints_the_line(tmp_path, capsys):
    solver = tmp_path / "solver.prototxt"
    (tmp_path / "net.prototxt").write_text('layer { name: "l" type: "DenseCRF" top: "y" }')
    solver.write_text(f'net: "{tmp_path}/net.prototxt" base_lr: 1 lr_policy: "fixed" snapshot_prefix: "{tmp_path}/s"')
    assert main(["train", str(solver), "--device", "cpu"]) == 1
    error, line, _ = capsys.readouterr().err.splitlines()[-3:]
    assert error.startswith("sdcaffe: error: ")
    assert 'net.prototxt:1:19: unknown layer type "DenseCRF"' in error
    assert line.strip() == 'layer { name: "l" type: "DenseCRF" top: "y" }'


# ---- Names that forks give to different layers ----

OWN = """
import sdcaffe

@sdcaffe.register("Normalize", field="norm_param", number=206)
class Normalize(sdcaffe.Layer):
    class Param:
        power: float = 2.0

    def setup(self, bottom_shapes):
        return bottom_shapes

    def forward(self, bottom):
        return bottom ** self.param.power
"""


@pytest.fixture
def forgotten(monkeypatch):
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(registry, "_registry", dict(registry._registry))
    monkeypatch.setattr(registry, "_dialects", {name: dict(found) for name, found in registry._dialects.items()})
    monkeypatch.setattr(schema, "_declared", dict(schema._declared))
    monkeypatch.setattr(schema, "_pools", {})


def test_a_plugin_of_ones_own_takes_the_place_of_a_forks(tmp_path, forgotten):
    (tmp_path / "own_normalize.py").write_text(OWN)
    layers.load_plugin(str(tmp_path / "own_normalize.py"))
    layer = make("Normalize", "norm_param { power: 3 }", [(2,)])
    assert run(layer, np.array([2.0, 3.0])).tolist() == [8, 27]
    with pytest.raises(PrototxtError, match='no field "across_spatial"'):
        net_param("layer { norm_param { across_spatial: true } }")


def test_a_plugin_of_ones_own_is_not_asked_for_the_forks_dialects(forgotten):
    @base.register("BN", field="bn_param", number=45)
    class Own(base.Layer):
        class Param:
            frozen: bool = False

        def setup(self, bottom_shapes):
            return bottom_shapes

        def forward(self, bottom):
            return bottom + self.param.frozen

    assert run(make("BN", "bn_param { frozen: true }", [(2,)]), np.zeros(2)).tolist() == [1, 1]
    late = type("Late", (base.Layer,), {"yields": True})
    base.register("BN", field="bn_param", when=lambda layer_param: True)(late)
    assert base.class_of(net_param('layer { type: "BN" }').layer[0]) is Own


def test_a_plugin_that_comes_first_stays(forgotten):
    from sdcaffe.forks.ssd.normalize import Normalize

    @base.register("Permute", field="permute_param", number=202)
    class Permute(base.Layer):
        class Param:
            way: str = "up"

    base.register("Permute", field="permute_param", number=202)(type("Late", (Normalize,), {}))
    assert base.registered()["Permute"] is Permute
    assert net_param('layer { permute_param { way: "down" } }').layer[0].permute_param.way == "down"


def test_a_dialect_makes_the_layers_that_it_claims(forgotten):
    @base.register("Permute", field="permute_param", when=lambda layer_param: not layer_param.permute_param.order)
    class Reverse(base.Layer):
        def setup(self, bottom_shapes):
            return [bottom_shapes[0][::-1]]

        def forward(self, bottom):
            return bottom.permute(*reversed(range(bottom.dim())))

    x = np.arange(6.0).reshape(1, 2, 3)
    assert np.array_equal(run(make("Permute", "", [x.shape]), x), x.T)
    assert np.array_equal(run(make("Permute", "permute_param { order: 2 }", [x.shape]), x), x.transpose(2, 0, 1))
    assert fill(make("Permute", "", [x.shape])).type == "Permute"
