"""The forks that files may be read as, and what each means by what a file leaves out. Holds no layer type.

Of a net that could be of two forks its other layers decide: each rule looks at them first.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from sdcaffe.errors import LayerError
from sdcaffe.forks.bn import PSPNET_FIELDS, TSN_FIELDS
from sdcaffe.proto import dialects

_SSD_TYPES = {"PriorBox", "MultiBoxLoss", "DetectionOutput", "DetectionEvaluate", "AnnotatedData", "PriorBoxClustered"}
_RCNN_TYPES = {"ROIPooling", "PSROIPooling", "Proposal", "SmoothL1LossOHEM", "BoxAnnotatorOHEM"}
_XLEARN_TYPES = {"EntropyLoss", "GradientScaler", "JMMDLoss"}
_RUNNING_BN = (*TSN_FIELDS, *PSPNET_FIELDS)


def _types(net: Any) -> set[str]:
    return {layer.type for layer in net.layer}


# ---------------------------------------------------------------- SmoothL1Loss without a loss_weight


def _unweighted(net: Any) -> Iterator[Any]:
    """The SmoothL1Losses that have no loss_weight, nor the field that only Fast R-CNN's has."""
    for layer in net.layer:
        if layer.type == "SmoothL1Loss" and not layer.loss_weight and not layer.HasField("smooth_l1_loss_param"):
            yield layer


def _as_ssd(net: Any) -> None:
    for layer in _unweighted(net):
        layer.loss_weight.append(1)


def _smooth_l1(net: Any) -> None:
    """SSD's where SSD's layers are beside it, else Fast R-CNN's."""
    types = _types(net)
    if types & _SSD_TYPES and not types & _RCNN_TYPES:
        _as_ssd(net)
    elif not types & _RCNN_TYPES:
        for layer in _unweighted(net):
            logging.getLogger("sdcaffe").warning(
                'layer "%s" (SmoothL1Loss) has no loss_weight: it is 0, as in Fast R-CNN. In SSD it is 1: give '
                "--fork SSD, or write it",
                layer.name,
            )


# ---------------------------------------------------------------- BN without fields


def _bare(net: Any) -> list[Any]:
    """The BNs that no field tells the fork of; three tops are SegNet's alone."""
    norms = (layer for layer in net.layer if layer.type == "BN" and len(layer.top) == 1)
    return [layer for layer in norms if not layer.bn_param.ListFields()]


def _as_segnet(net: Any) -> None:
    for layer in _bare(net):
        layer.bn_param.bn_mode = layer.bn_param.bn_mode  # LEARN, the default, made a field


def _as_tsn(net: Any) -> None:
    for layer in _bare(net):
        layer.bn_param.momentum = layer.bn_param.momentum


def _as_tsns_own(net: Any) -> None:
    """TSN's: its blobs have two axes, where PSPNet's have four."""
    _as_tsn(net)
    for layer in net.layer:
        if layer.type == "BN" and any(layer.bn_param.HasField(field) for field in _RUNNING_BN):
            layer.bn_param.blob_axes = 2


def _bn(net: Any) -> None:
    """As the other BNs of the net; else SegNet's beside an Upsample by a mask, PSPNet's beside an Interp."""
    norms = [layer.bn_param for layer in net.layer if layer.type == "BN" and layer.bn_param.ListFields()]
    bare = _bare(net)
    masked = any(layer.type == "Upsample" and len(layer.bottom) == 2 for layer in net.layer)
    running = any(param.HasField(field) for param in norms for field in _RUNNING_BN)
    if not bare:
        return
    if running or (not norms and not masked and "Interp" in _types(net)):
        _as_tsn(net)
    elif norms or masked:
        _as_segnet(net)
    else:
        raise LayerError(
            f"layer \"{bare[0].name}\" (BN) has no bn_param, and could be SegNet's (2 blobs) or PSPNet's (4): give "
            "--fork SegNet or --fork PSPNet, or write bn_param { bn_mode: LEARN } or bn_param { momentum: 0.9 }",
            layer=bare[0].name,
            field="type",
        )


# ---------------------------------------------------------------- MMDLoss without mmd_param


def _as_xlearn(net: Any) -> None:
    for layer in net.layer:
        if layer.type == "MMDLoss" and not layer.HasField("mmd_param"):
            layer.mmd_param.SetInParent()


def _as_dach(net: Any) -> None:
    for layer in net.layer:
        if layer.type == "MMDLoss" and not layer.HasField("mmd_loss_param"):
            layer.mmd_loss_param.SetInParent()


def _mmd(net: Any) -> None:
    """thuml's beside thuml's other layers, else this package's own."""
    if _types(net) & _XLEARN_TYPES:
        _as_xlearn(net)


for _rule in (_smooth_l1, _bn, _mmd):
    dialects.tell_undecided(_rule)

dialects.tell("BVLC", "BVLC/caffe", "nothing: fields of forks mean what their own fork says")
dialects.tell("Fast-R-CNN", "rbgirshick/caffe-fast-rcnn", "SmoothL1Loss without a loss_weight trains nothing")
dialects.tell("R-FCN", "microsoft/caffe", "SmoothL1Loss without a loss_weight trains nothing")
dialects.tell("PVANet", "sanghoon/caffe", "SmoothL1Loss without a loss_weight trains nothing")
dialects.tell("SSD", "weiliu89/caffe", "SmoothL1Loss without a loss_weight has the weight 1", _as_ssd)
dialects.tell("SegNet", "alexgkendall/caffe-segnet", "BN without bn_param has 2 blobs", _as_segnet)
dialects.tell("PSPNet", "hszhao/PSPNet", "BN without bn_param has 4 blobs, (1, c, 1, 1)", _as_tsn)
dialects.tell("TSN", "yjxiong/caffe", "BN without bn_param has 4 blobs; those of every BN are (1, c)", _as_tsns_own)
dialects.tell("Xlearn", "thuml/Xlearn", "MMDLoss without mmd_param draws random pairs", _as_xlearn)
dialects.tell("CAFFE-DACH", "JiahaoLi-gdut/CAFFE-DACH", "MMDLoss without mmd_loss_param draws random pairs", _as_dach)
dialects.tell("MobileNet-YOLO", "eric612/MobileNet-YOLO")
dialects.tell("Intel", "intel/caffe")
dialects.tell("NVIDIA", "NVIDIA/caffe")
dialects.tell("Synopsys", "foss-for-synopsys-dwc-arc-processors/synopsys-caffe")
dialects.tell("training-toolbox", "openvinotoolkit/training_toolbox_caffe")
