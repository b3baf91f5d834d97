"""The forks' files as they are: field names and numbers, text and binary, and weights whatever else stands in them."""

from __future__ import annotations

import struct
import subprocess
import sys

import numpy as np
import pytest
from fork_layers import net_param, values

import sdcaffe
from sdcaffe import proto

# The forks' own .proto files: field, number, what its bytes are (varint, float, string, message), default.
TABLE = {
    "LayerParameter": [
        ("bn_param", 45, "message"),  # SegNet's number; 137 in PSPNet and TSN is BVLC's embed_param
        ("upsample_param", 149, "message"),  # the YOLO forks' number; 137 in SegNet
        ("interp_param", 163, "message"),  # PSPNet's number; 143 in DeepLab is BVLC's input_param
        ("shuffle_channel_param", 164, "message"),
        ("annotated_data_param", 200, "message"),
        ("cudnn_batch_norm_param", 1200, "message"),  # GENet's number is SSD's 200
        ("multibox_loss_param", 201, "message"),
        ("permute_param", 202, "message"),
        ("prior_box_param", 203, "message"),
        ("detection_output_param", 204, "message"),
        ("detection_evaluate_param", 205, "message"),
        ("norm_param", 206, "message"),
        ("relu6_param", 100000, "message"),
        ("roi_pooling_param", 8266711, "message"),
    ],
    "PermuteParameter": [("order", 1, "varint")],
    "NormalizeParameter": [
        ("across_spatial", 1, "varint", True), ("scale_filler", 2, "message"),
        ("channel_shared", 3, "varint", True), ("eps", 4, "float", 1e-10),
    ],
    "PriorBoxParameter": [
        ("min_size", 1, "float"), ("max_size", 2, "float"), ("aspect_ratio", 3, "float"), ("flip", 4, "varint", True),
        ("clip", 5, "varint", False), ("variance", 6, "float"), ("img_size", 7, "varint"), ("img_h", 8, "varint"),
        ("img_w", 9, "varint"), ("step", 10, "float"), ("step_h", 11, "float"), ("step_w", 12, "float"),
        ("offset", 13, "float", 0.5),
    ],
    "NonMaximumSuppressionParameter": [
        ("nms_threshold", 1, "float", 0.3), ("top_k", 2, "varint"), ("eta", 3, "float", 1.0),
        ("soft_nms", 4, "varint", False), ("theta", 5, "float", 0.5),
    ],
    "SaveOutputParameter": [
        ("output_directory", 1, "string"), ("output_name_prefix", 2, "string"), ("output_format", 3, "string"),
        ("label_map_file", 4, "string"), ("name_size_file", 5, "string"), ("num_test_image", 6, "varint"),
        ("resize_param", 7, "message"),
    ],
    "ResizeParameter": [
        ("prob", 1, "float", 1.0), ("resize_mode", 2, "varint", 1), ("height", 3, "varint", 0),
        ("width", 4, "varint", 0), ("pad_mode", 5, "varint", 1), ("pad_value", 6, "float"),
        ("interp_mode", 7, "varint"), ("height_scale", 8, "varint", 0), ("width_scale", 9, "varint", 0),
    ],
    "DetectionOutputParameter": [
        ("num_classes", 1, "varint"), ("share_location", 2, "varint", True), ("background_label_id", 3, "varint", 0),
        ("nms_param", 4, "message"), ("save_output_param", 5, "message"), ("code_type", 6, "varint", 1),
        ("keep_top_k", 7, "varint", -1), ("variance_encoded_in_target", 8, "varint", False),
        ("confidence_threshold", 9, "float"), ("visualize", 10, "varint", False),
        ("visualize_threshold", 11, "float"), ("save_file", 12, "string"), ("clip", 1000, "varint", False),
        ("objectness_score", 24, "float", 0.01), ("no_permute", 32, "varint", False), ("nbottom", 33, "varint", 6),
    ],
    "MultiBoxLossParameter": [
        ("loc_loss_type", 1, "varint", 1), ("conf_loss_type", 2, "varint", 0), ("loc_weight", 3, "float", 1.0),
        ("num_classes", 4, "varint"), ("share_location", 5, "varint", True), ("match_type", 6, "varint", 1),
        ("overlap_threshold", 7, "float", 0.5), ("use_prior_for_matching", 8, "varint", True),
        ("background_label_id", 9, "varint", 0), ("use_difficult_gt", 10, "varint", True),
        ("do_neg_mining", 11, "varint"), ("neg_pos_ratio", 12, "float", 3.0), ("neg_overlap", 13, "float", 0.5),
        ("code_type", 14, "varint", 1), ("encode_variance_in_target", 16, "varint", False),
        ("map_object_to_agnostic", 17, "varint", False), ("ignore_cross_boundary_bbox", 18, "varint", False),
        ("bp_inside", 19, "varint", False), ("mining_type", 20, "varint", 1), ("nms_param", 21, "message"),
        ("sample_size", 22, "varint", 64), ("use_prior_for_nms", 23, "varint", False),
    ],
    "DetectionEvaluateParameter": [
        ("num_classes", 1, "varint"), ("background_label_id", 2, "varint", 0), ("overlap_threshold", 3, "float", 0.5),
        ("evaluate_difficult_gt", 4, "varint", True), ("name_size_file", 5, "string"), ("resize_param", 6, "message"),
    ],
    "TransformationParameter": [
        ("resize_param", 8, "message"), ("noise_param", 9, "message"), ("emit_constraint", 10, "message"),
        ("crop_h", 11, "varint", 0), ("crop_w", 12, "varint", 0), ("distort_param", 13, "message"),
        ("expand_param", 14, "message"),
    ],
    "NoiseParameter": [
        ("prob", 1, "float", 0.0), ("hist_eq", 2, "varint", False), ("inverse", 3, "varint", False),
        ("decolorize", 4, "varint", False), ("gauss_blur", 5, "varint", False), ("jpeg", 6, "float", -1.0),
        ("posterize", 7, "varint", False), ("erode", 8, "varint", False), ("saltpepper", 9, "varint", False),
        ("saltpepper_param", 10, "message"), ("clahe", 11, "varint", False), ("convert_to_hsv", 12, "varint", False),
        ("convert_to_lab", 13, "varint", False),
    ],
    "SaltPepperParameter": [("fraction", 1, "float", 0.0), ("value", 2, "float")],
    "DistortionParameter": [
        ("brightness_prob", 1, "float", 0.0), ("brightness_delta", 2, "float", 0.0),
        ("contrast_prob", 3, "float", 0.0), ("contrast_lower", 4, "float", 0.0), ("contrast_upper", 5, "float", 0.0),
        ("hue_prob", 6, "float", 0.0), ("hue_delta", 7, "float", 0.0), ("saturation_prob", 8, "float", 0.0),
        ("saturation_lower", 9, "float", 0.0), ("saturation_upper", 10, "float", 0.0),
        ("random_order_prob", 11, "float", 0.0),
    ],
    "ExpansionParameter": [("prob", 1, "float", 1.0), ("max_expand_ratio", 2, "float", 1.0)],
    "EmitConstraint": [("emit_type", 1, "varint", 0), ("emit_overlap", 2, "float")],
    "AnnotatedDataParameter": [
        ("batch_sampler", 1, "message"), ("label_map_file", 2, "string"),
    ],
    "BatchSampler": [
        ("use_original_image", 1, "varint", True), ("sampler", 2, "message"), ("sample_constraint", 3, "message"),
        ("max_sample", 4, "varint"), ("max_trials", 5, "varint", 100),
    ],
    "Sampler": [
        ("min_scale", 1, "float", 1.0), ("max_scale", 2, "float", 1.0), ("min_aspect_ratio", 3, "float", 1.0),
        ("max_aspect_ratio", 4, "float", 1.0),
    ],
    "SampleConstraint": [
        ("min_jaccard_overlap", 1, "float"), ("max_jaccard_overlap", 2, "float"), ("min_sample_coverage", 3, "float"),
        ("max_sample_coverage", 4, "float"), ("min_object_coverage", 5, "float"), ("max_object_coverage", 6, "float"),
    ],
    "AnnotatedDatum": [("datum", 1, "message"), ("annotation_group", 3, "message")],
    "AnnotationGroup": [("group_label", 1, "varint"), ("annotation", 2, "message")],
    "Annotation": [("instance_id", 1, "varint", 0), ("bbox", 2, "message")],
    "NormalizedBBox": [
        ("xmin", 1, "float"), ("ymin", 2, "float"), ("xmax", 3, "float"), ("ymax", 4, "float"), ("label", 5, "varint"),
        ("difficult", 6, "varint"), ("score", 7, "float"), ("size", 8, "float"),
    ],
    "LabelMap": [("item", 1, "message")],
    "LabelMapItem": [("name", 1, "string"), ("label", 2, "varint"), ("display_name", 3, "string")],
    "InterpParameter": [
        ("height", 1, "varint", 0), ("width", 2, "varint", 0), ("zoom_factor", 3, "varint", 1),
        ("shrink_factor", 4, "varint", 1), ("pad_beg", 5, "varint", 0), ("pad_end", 6, "varint", 0),
        ("interp_type", 7, "string", "bilinear"),
    ],
    "UpsampleParameter": [
        ("scale", 1, "varint"), ("scale_h", 2, "varint"), ("scale_w", 3, "varint"), ("pad_out_h", 4, "varint", False),
        ("pad_out_w", 5, "varint", False), ("upsample_h", 6, "varint"), ("upsample_w", 7, "varint"),
    ],
    "ReLU6Parameter": [("negative_slope", 1, "float", 0.0)],
    "ShuffleChannelParameter": [("group", 1, "varint", 1)],
    "ROIPoolingParameter": [
        ("pooled_h", 1, "varint", 0), ("pooled_w", 2, "varint", 0), ("spatial_scale", 3, "float", 1.0),
    ],
    "CuDNNBatchNormParameter": [
        ("frozen", 1, "varint", False), ("momentum", 2, "float", 0.999), ("eps", 3, "float", 1e-5),
        ("scale_filler", 4, "message"), ("bias_filler", 5, "message"),
    ],
    "BatchNormParameter": [
        ("scale_filler", 5, "message"), ("bias_filler", 6, "message"), ("scale_bias", 7, "varint", False),
        ("engine", 15, "varint", 0),
    ],
    "BNParameter": [  # SegNet's 1 to 3, PSPNet's from 4 on
        ("scale_filler", 1, "message"), ("shift_filler", 2, "message"), ("bn_mode", 3, "varint", 0),
        ("moving_average", 4, "varint", False), ("decay", 5, "float", 0.05), ("axis", 6, "varint", 1),
        ("momentum", 7, "float", 0.9), ("eps", 8, "float", 1e-5), ("frozen", 9, "varint", False),
        ("engine", 12, "varint", 0),
    ],
}  # fmt: skip
FIELDS = [(message, *field) for message, fields in TABLE.items() for field in fields]


def varint(value):
    found = b""
    while value > 127:
        found, value = found + bytes([value & 127 | 128]), value >> 7
    return found + bytes([value])


def wire(number, kind, payload=b""):
    """A field as protobuf writes it: 1 for a varint, 0.5 for a float, `payload` for a string or a message."""
    if kind == "varint":
        return varint(number << 3) + b"\1"
    if kind == "float":
        return varint(number << 3 | 5) + struct.pack("<f", 0.5)
    return varint(number << 3 | 2) + varint(len(payload)) + payload


@pytest.mark.parametrize(("message", "name", "number", "kind", "default"), [(*f, None)[:5] for f in FIELDS])
def test_a_field_has_the_forks_number_type_and_default(message, name, number, kind, default):
    cls = getattr(proto, message)
    if default is not None:
        own = getattr(cls(), name)
        assert own == (pytest.approx(default, rel=1e-6) if kind == "float" else default)
    found = cls.FromString(wire(number, kind, b"abc" if kind == "string" else b""))
    wanted = {"varint": 1, "float": 0.5, "string": "abc"}.get(kind)
    value = getattr(found, name)
    if cls.DESCRIPTOR.fields_by_name[name].has_presence:
        assert found.HasField(name)
        assert wanted is None or value == wanted
    else:
        assert len(value) == 1 if wanted is None else list(value) == [wanted]


@pytest.mark.parametrize(("message", "name", "number"), [("AnnotatedDatum", "type", 2),
                                                           ("AnnotatedDataParameter", "anno_type", 3)])  # fmt: skip
def test_the_one_type_of_annotation_is_0(message, name, number):
    cls = getattr(proto, message)
    found = cls.FromString(varint(number << 3) + b"\0")
    assert found.HasField(name)
    assert getattr(found, name) == cls.DESCRIPTOR.fields_by_name[name].enum_type.values_by_name["BBOX"].number


TEXT = """layer {
  name: "prior"
  type: "PriorBox"
  bottom: "a"
  bottom: "data"
  top: "prior"
  prior_box_param {
    min_size: 60
    max_size: 110.5
    aspect_ratio: 2
    flip: true
    variance: 0.1
    variance: 0.2
    step: 16
  }
}
layer {
  name: "out"
  type: "DetectionOutput"
  detection_output_param {
    num_classes: 21
    nms_param {
      nms_threshold: 0.45
      top_k: 400
    }
    save_output_param {
      output_directory: "results"
      output_format: "VOC"
      resize_param {
        resize_mode: FIT_SMALL_SIZE
        pad_value: 104
        interp_mode: LINEAR
        interp_mode: CUBIC
      }
    }
    code_type: CENTER_SIZE
    keep_top_k: -1
    confidence_threshold: 0.01
  }
}
layer {
  name: "bn"
  type: "BatchNorm"
  batch_norm_param {
    moving_average_fraction: 0.9
    eps: 0.0001
    scale_filler {
      type: "constant"
      value: 1
    }
    scale_bias: true
    engine: CUDNN
  }
}
layer {
  name: "seg"
  type: "BN"
  bn_param {
    scale_filler {
      type: "constant"
      value: 1
    }
    bn_mode: INFERENCE
  }
}
layer {
  name: "up"
  type: "Upsample"
  upsample_param {
    scale: 2
    pad_out_w: true
    upsample_h: 45
  }
}
layer {
  name: "roi"
  type: "ROIPooling"
  roi_pooling_param {
    pooled_h: 7
    pooled_w: 7
    spatial_scale: 0.0625
  }
}
"""


def test_the_types_are_there_without_being_named():
    code = "from sdcaffe import layers; layers.discover(); print(*layers.base.registered())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {
        "Axpy", "BN", "ConvolutionDepthwise", "CuDNNBatchNorm", "DepthwiseConvolution", "DetectionOutput", "Interp",
        "Normalize", "Permute", "PriorBox", "ReLU6", "ROIPooling", "ShuffleChannel", "Upsample",
    } <= set(found)  # fmt: skip


def test_text_and_binary_keep_everything():
    net = net_param(TEXT)
    assert proto.format(net) == TEXT
    again = proto.NetParameter.FromString(net.SerializeToString())
    assert proto.format(again) == TEXT
    assert again.layer[1].detection_output_param.code_type == 2


def test_a_stored_net_has_the_forks_numbers(tmp_path):
    proto.write_binary(tmp_path / "net.binaryproto", net_param(TEXT))
    data = (tmp_path / "net.binaryproto").read_bytes()
    for number in (139, 45, 149, 203, 204, 8266711):
        assert varint(number << 3 | 2) in data
    assert proto.format(proto.read_binary(tmp_path / "net.binaryproto", proto.NetParameter)).endswith(TEXT)


def blob(array):
    dims = wire(1, "bytes", b"".join(varint(n) for n in array.shape))
    return wire(7, "bytes", dims) + wire(5, "bytes", array.astype("<f4").tobytes())


# What forks store of a layer under numbers that are other messages' here: PSPNet's bn_param and SegNet's
# upsample_param (137), DeepLab's interp_param (143), Intel's smooth_l1_loss_param (148), bytes that are no message.
COLLIDING = [
    wire(137, "bytes", wire(1, "bytes", wire(1, "bytes", b"constant")) + wire(3, "float") + wire(5, "float")),
    wire(137, "bytes", wire(1, "varint") + wire(5, "varint")),
    wire(143, "bytes", wire(1, "varint")),
    wire(148, "bytes", wire(1, "float")),
    wire(204, "bytes", b"\xff\xff\xff"),
    wire(106, "bytes", b"\x0a\x7f"),
    wire(149, "bytes", b"MKL2017"),
]


@pytest.mark.parametrize("extra", COLLIDING)
def test_weights_are_read_whatever_a_fork_means_by_a_number(tmp_path, extra):
    weight = values(2, 3, 1, 1)
    fields = wire(1, "bytes", b"c") + wire(2, "bytes", b"Convolution") + extra + wire(7, "bytes", blob(weight))
    file = tmp_path / "fork.caffemodel"
    file.write_bytes(wire(1, "bytes", b"net") + wire(100, "bytes", fields))
    (layer,) = proto.read_weights(file)
    assert (layer.name, layer.type) == ("c", "Convolution")
    assert np.allclose(layer.blobs[0], weight)


def test_weights_of_a_fork_fill_a_net(tmp_path):
    text = """
    layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 4 dim: 4 } } }
    layer { name: "dw" type: "ConvolutionDepthwise" bottom: "x" top: "dw"
            convolution_param { num_output: 3 kernel_size: 1 bias_term: false } }
    layer { name: "n" type: "Normalize" bottom: "dw" top: "n" norm_param { across_spatial: false } }"""
    weight, scale = np.array([2.0, -1.0, 0.5]), 20.0
    layers = [
        wire(1, "bytes", b"dw") + wire(7, "bytes", blob(weight.reshape(3, 1, 1, 1))),
        wire(1, "bytes", b"n") + wire(7, "bytes", wire(7, "bytes") + wire(5, "bytes", struct.pack("<f", scale))),
    ]
    file = tmp_path / "fork.caffemodel"
    file.write_bytes(b"".join(wire(100, "bytes", layer) for layer in layers))
    x = values(1, 3, 4, 4)
    out = sdcaffe.Net(net_param(text), sdcaffe.TEST, weights=file)({"x": x})["n"].detach().numpy()
    y = x * weight.reshape(1, 3, 1, 1)
    assert np.allclose(out, scale * y / np.sqrt((y**2).sum(1, keepdims=True)), rtol=1e-4)
    net = sdcaffe.Net(net_param(text), sdcaffe.TEST, weights=file)
    net.save(tmp_path / "ours.caffemodel")
    again = sdcaffe.Net(net_param(text), sdcaffe.TEST, weights=tmp_path / "ours.caffemodel")
    assert all(
        np.array_equal(a[0], b[0]) for a, b in zip(*(n.blob_arrays().values() for n in (net, again)), strict=True)
    )
