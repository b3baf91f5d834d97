"""A written example of every layer that the package has of Caffe's forks: its fields and bottoms, and what it is to do.

`EXAMPLES` goes by the class that makes the layer, so that a type and each of its dialects has one of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from fork_layers import values


@dataclass
class Bottom:
    """An array that a layer is given; `learned` ones come through a layer with weights, which its gradient reaches."""

    array: np.ndarray
    learned: bool


@dataclass
class Example:
    """A layer of a fork. `out` is what becomes of it when it is deployed: itself, nothing, or an error in these words.

    `module`: why a PyTorch module cannot have it, where that is another case. `stuck`: the fork's gradient is 0.
    `still`: nothing here moves its blobs.
    """

    type: str
    body: str = ""
    bottoms: list[Bottom] = field(default_factory=list)
    tops: int = 1
    loss: bool = False
    stuck: bool = False
    still: bool = False
    out: str = "written"
    module: str = ""

    def layer(self, name="x", bottoms=None):
        blobs = bottoms if bottoms is not None else [f"b{i}" for i in range(len(self.bottoms))]
        lines = [f'bottom: "{blob}"' for blob in blobs] + [f'top: "{name}{i}"' for i in range(self.tops)]
        return f'layer {{ name: "{name}" type: "{self.type}" {" ".join(lines)} {self.body} }}\n'


def learned(*shape, seed=0):
    return Bottom(values(*shape, seed=seed).astype(np.float32), True)


def given(*shape, seed=0):
    return Bottom(values(*shape, seed=seed).astype(np.float32), False)


def exact(array):
    return Bottom(np.asarray(array, np.float32), False)


def positive(*shape, seed=0):
    """Numbers from 0.1 to 0.9 that learn."""
    found = values(*shape, seed=seed)
    return Bottom((0.5 + 0.4 * found / np.abs(found).max()).astype(np.float32), True)


IMAGE = (2, 4, 6, 8)
LEFT_OUT = {"out": "left out"}
JUDGES = {"out": "left out"}
LOSS = {"out": "left out", "loss": True}
WEIGHT = 'weight_filler { type: "gaussian" std: 0.3 }'
LABELS = exact([0, 2, 1, 0, 1, 2])
MAP = exact(np.arange(2 * 3 * 4).reshape(2, 1, 3, 4) % 3)
REGIONS = exact([[0, 1, 1, 6, 4], [1, 0, 2, 5, 5], [0, 3, 0, 7, 3]])
DETECTIONS = exact([[[[0, 1, 0.9, 0.1, 0.1, 0.4, 0.4], [1, 2, 0.8, 0.5, 0.5, 0.9, 0.9]]]])
BOXES = exact([[[[0, 1, 0, 0.1, 0.1, 0.4, 0.5, 0], [1, 2, 0, 0.5, 0.4, 0.9, 0.9, 0]]]])
PRIORS = exact([[
    [0.1, 0.1, 0.4, 0.4, 0.5, 0.5, 0.9, 0.9, 0.0, 0.5, 0.3, 0.9, 0.6, 0.0, 1.0, 0.3],
    [0.1, 0.1, 0.2, 0.2] * 4,
]])  # fmt: skip
SCORES = exact([[0.1, 0.8, 0.1, 0.2, 0.1, 0.7, 0.6, 0.2, 0.2, 0.9, 0.05, 0.05],
                [0.5, 0.2, 0.3, 0.1, 0.7, 0.2, 0.3, 0.3, 0.4, 0.1, 0.1, 0.8]])  # fmt: skip
DETECT = "num_classes: 3 code_type: CENTER_SIZE confidence_threshold: 0.15 keep_top_k: 9 nms_param { top_k: 9 }"
DIGITS = np.zeros((2, 1, 3, 16))
DIGITS[:, 0, 0, :2], DIGITS[0, 0, 1, :6], DIGITS[1, 0, 1, :6] = (1, 16), (3, 2, 8, 6, 0, 1), (9, 4, 6, 6, 0, 1)
ROWS = np.zeros((2, 300, 5))
ROWS[0, 0], ROWS[0, 1], ROWS[1, 0] = (1, 0.3, 0.4, 0.3, 0.5), (0, 0.7, 0.6, 0.2, 0.2), (1, 0.5, 0.5, 0.6, 0.4)
ANCHORS = "biases: 10 biases: 14 biases: 23 biases: 27 biases: 37 biases: 58"
CELLS = "biases: 1 biases: 2 biases: 2.5 biases: 1.5"
FILLED = 'weight_filler { type: "gaussian" std: 0.3 } bias_filler { type: "constant" value: 0.1 }'
CONV = f"num_output: 4 kernel_size: 3 {FILLED}"


def per_image(rows, n):
    """Labels of n images (n, 1, 300, 5) as MobileNet-YOLO has them."""
    return exact(rows[:n].reshape(n, 1, 300, 5))


VISION = {
    "Axpy": Example("Axpy", "", [learned(2, 4), learned(*IMAGE, seed=1), learned(*IMAGE, seed=2)]),
    "SegNetBN": Example("BN", "bn_param { bn_mode: LEARN scale_filler { value: 1 } }", [learned(*IMAGE)]),
    "PSPNetBN": Example("BN", "bn_param { moving_average: true decay: 0.1 }", [learned(*IMAGE)]),
    "TsnBN": Example("BN", "bn_param { momentum: 0.8 slope_filler { value: 1 } }", [learned(*IMAGE)]),
    "IcnetBN": Example("BN", "bn_param { icnet: true momentum: 0.8 slope_filler { value: 1 } }", [learned(*IMAGE)]),
    "NvidiaBatchNorm": Example("BatchNorm", "batch_norm_param { scale_bias: true }", [learned(*IMAGE)]),
    "IntelBatchNorm": Example("BatchNorm", "batch_norm_param { stats_batch_size: 1 }", [learned(*IMAGE)]),
    "EpsBehindBatchNorm": Example("BatchNorm", "batch_norm_param { add_eps_before_sqrt: false }", [learned(*IMAGE)]),
    "CuDNNBatchNorm": Example(
        "CuDNNBatchNorm", "cudnn_batch_norm_param { momentum: 0.8 scale_filler { value: 1 } }", [learned(*IMAGE)]
    ),
    "EpsInsideMVN": Example("MVN", "mvn_param { add_eps_before_sqrt: true eps: 0.1 }", [learned(*IMAGE)]),
    "MultiModalBatchNorm": Example("MultiModalBatchNorm", "", [learned(3, 4, 5), positive(3)]),
    "Normalize": Example("Normalize", "norm_param { across_spatial: false channel_shared: false }", [learned(*IMAGE)]),
    "ConvolutionDepthwise": Example("ConvolutionDepthwise", f"convolution_param {{ {CONV} }}", [learned(*IMAGE)]),
    "SameConvolutionDepthwise": Example(
        "ConvolutionDepthwise", f"convolution_param {{ {CONV} stride: 2 pad_type: 1 }}", [learned(*IMAGE)]
    ),
    "DepthwiseConvolution": Example(
        "DepthwiseConvolution", f"convolution_param {{ {CONV} pad: 1 }}", [learned(*IMAGE)]
    ),
    "SidedConvolution": Example(
        "Convolution",
        f"convolution_param {{ {CONV} stride: 2 pad_t: 1 pad_l: 2 pad_b: 0 pad_r: 1 }}",
        [learned(*IMAGE)],
    ),
    "SameConvolution": Example(
        "Convolution", f"convolution_param {{ {CONV} stride: 2 pad_type: 1 }}", [learned(*IMAGE)]
    ),
    "BytesConvolution": Example(
        "Convolution",
        f"convolution_param {{ {CONV} }} quantization_param {{ scale_in: 50 force_u8_input: true }}",
        [learned(*IMAGE)],
    ),
    "SidedDeconvolution": Example(
        "Deconvolution", f"convolution_param {{ {CONV} stride: 2 pad_b: 1 pad_r: 1 }}", [learned(*IMAGE)]
    ),
    "TongchengDenseBlock": Example(
        "DenseBlock",
        "denseblock_param { numTransition: 2 initChannel: 4 growthRate: 3 use_BC: true moving_average_fraction: 0.5 "
        'Filter_Filler { type: "gaussian" std: 0.2 } BN_Scaler_Filler { value: 1 } BN_Bias_Filler { value: 0.1 } }',
        [learned(*IMAGE)],
    ),
    "SynopsysPooling": Example(
        "Pooling",
        "pooling_param { pool: AVE_EXC_PAD kernel_size: 3 stride: 2 pad_t: 1 pad_l: 1 ceil_mode: false }",
        [learned(*IMAGE)],
    ),
    "SamePooling": Example("Pooling", "pooling_param { kernel_size: 3 stride: 2 pad_type: 1 }", [learned(*IMAGE)]),
    "ChannelPooling": Example(
        "Pooling",
        "pooling_param { kernel_c: 2 stride_c: 2 kernel_h: 2 stride_h: 2 kernel_w: 2 stride_w: 2 }",
        [learned(*IMAGE)],
        tops=2,
    ),
    "Unpooling": Example(
        "Unpooling", "unpooling_param { unpool: AVE kernel_c: 1 kernel2d: 2 stride2d: 2 }", [learned(*IMAGE)]
    ),
    "Upsample": Example("Upsample", "upsample_param { scale: 2 }", [learned(*IMAGE)]),
    "UpsampleDarknet": Example("UpsampleDarknet", "upsample_darknet_param { stride: 2 }", [learned(*IMAGE)]),
    "Interp": Example("Interp", "interp_param { zoom_factor: 2 pad_end: -1 }", [learned(*IMAGE)]),
    "PixelShuffle": Example("Reshape", "reshape_param { pixelshuffler: 2 }", [learned(*IMAGE)]),
    "ShuffleChannel": Example("ShuffleChannel", "shuffle_channel_param { group: 2 }", [learned(*IMAGE)]),
    "Flip": Example("Flip", "flip_param { flip_height: true }", [learned(*IMAGE)]),
    "Permute": Example("Permute", "permute_param { order: 0 order: 2 order: 3 order: 1 }", [learned(*IMAGE)]),
    "Squeeze": Example("Squeeze", "squeeze_param { axis: 2 axis: -1 }", [learned(2, 4, 1, 1)]),
    "Pad": Example(
        "Pad",
        f"pad_param {{ {' '.join(f'paddings: {n}' for n in (0, 0, 1, 0, 2, 1, 0, 3))} constant_values: 0.5 }}",
        [learned(*IMAGE)],
    ),
    "DepthToSpace": Example(
        "DepthToSpace", 'depth_to_space_param { block_size: 2 data_format: "NCHW" }', [learned(*IMAGE)]
    ),
    "SpaceToBatchND": Example(
        "SpaceToBatchND",
        "space_to_batch_nd_param { block_shape: 2 block_shape: 3 paddings: 0 paddings: 0 paddings: 1 paddings: 2 }",
        [learned(2, 4, 6, 3)],
    ),
    "BatchToSpaceND": Example(
        "BatchToSpaceND",
        "batch_to_space_nd_param { block_shape: 2 block_shape: 2 crops: 0 crops: 1 crops: 1 crops: 0 }",
        [learned(8, 2, 3, 5)],
    ),
    "ResizeBilinear": Example(
        "ResizeBilinear",
        'resize_bilinear_param { output_height: 9 output_width: 5 data_format: "NCHW" half_pixel_centers: true }',
        [learned(*IMAGE)],
    ),
    "ResizeNearestNeighbor": Example(
        "ResizeNearestNeighbor",
        'resize_nearest_neighbor_param { output_height: 9 output_width: 5 data_format: "NCHW" }',
        [learned(*IMAGE)],
    ),
    "Mul": Example("Mul", "", [learned(*IMAGE), learned(2, 4, 1, 1, seed=1)]),
    "HardSwish": Example("HardSwish", "", [learned(*IMAGE)]),
    "ReLU6": Example("ReLU6", "relu6_param { negative_slope: 0.1 }", [learned(*IMAGE)]),
    "CappedReLU": Example("ReLU", "relu_param { relu6: true }", [learned(*IMAGE)]),
    "SeLu": Example("SeLu", "selu_param { alpha: 1.5 }", [learned(*IMAGE)]),
    "SeLuDropout": Example("SeLuDropout", "selu_dropout_param { dropout_ratio: 0.3 }", [learned(*IMAGE)]),
    "UnscaledDropout": Example("Dropout", "dropout_param { dropout_ratio: 0.3 scale_train: false }", [learned(*IMAGE)]),
    "SampledDropout": Example(
        "Dropout",
        "dropout_param { dropout_ratio: 0.3 sample_weights_test: true }",
        [learned(*IMAGE)],
        out="draws in the test phase",
    ),
    "Insanity": Example("Insanity", "insanity_param { lb: 4 ub: 9 }", [learned(*IMAGE)]),
    "Sparsify": Example("Sparsify", "sparsify_param { thre: 0.2 coef: 0.01 }", [learned(*IMAGE)]),
    "LogScaler": Example("LogScaler", "log_scaler_param { scale: 2 }", [learned(*IMAGE)]),
    "ExpScaler": Example("ExpScaler", "exp_scaler_param { base: 1.5 scale: 0.5 }", [learned(*IMAGE)]),
    "Gridding": Example(
        "Gridding", f"gridding_param {{ kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 2 {FILLED} }}", [learned(*IMAGE)]
    ),
    "Degridding": Example(
        "Degridding",
        f"degridding_param {{ kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 2 {FILLED} }}",
        [learned(*IMAGE)],
    ),
    "GradientScaler": Example(
        "GradientScaler", "gradient_scaler_param { max_iter: 4 lower_bound: 0.5 }", [learned(2, 3)]
    ),
    "GradientAlignment": Example(
        "GradientAlignment", "gradient_alignment_param { lambda: 0.5 }", [learned(2, 3)], tops=2
    ),
    "Reorg": Example("Reorg", "reorg_param { stride: 2 }", [learned(*IMAGE)], stuck=True),
    "ContinuationIndicator": Example(
        "ContinuationIndicator", "continuation_indicator_param { time_step: 3 }", [given(4, 2)]
    ),
    "Convolution3D": Example(
        "Convolution3D",
        f"convolution3d_param {{ num_output: 3 kernel_size: 3 kernel_depth: 2 pad: 1 temporal_pad: 1 {FILLED} }}",
        [learned(2, 2, 3, 5, 6)],
    ),
    "Convolution3DOfC3D10": Example(
        "Convolution3D",
        f"convolution_param {{ num_output: 3 kernel_size: 3 kernel_depth: 2 pad: 1 temporal_pad: 1 {FILLED} }}",
        [learned(2, 2, 3, 5, 6)],
    ),
    "Pooling3D": Example(
        "Pooling3D",
        "pooling3d_param { kernel_size: 2 kernel_depth: 2 stride: 2 temporal_stride: 2 }",
        [learned(2, 2, 3, 5, 6)],
    ),
    "Pooling3DOfC3D10": Example(
        "Pooling3D",
        "pooling_param { kernel_size: 2 kernel_depth: 2 stride: 2 temporal_stride: 2 }",
        [learned(2, 2, 3, 5, 6)],
    ),
}

REGIONAL = {
    "ROIPooling": Example("ROIPooling", "roi_pooling_param { pooled_h: 2 pooled_w: 3 }", [learned(*IMAGE), REGIONS]),
    "PSROIPooling": Example(
        "PSROIPooling",
        "psroi_pooling_param { spatial_scale: 1 output_dim: 2 group_size: 2 }",
        [learned(2, 8, 6, 8), REGIONS],
    ),
    "ROIWarping": Example("ROIWarping", "roi_warping_param { pooled_h: 2 pooled_w: 3 }", [learned(*IMAGE), REGIONS]),
    "MaskPooling": Example("MaskPooling", "", [learned(*IMAGE), learned(2, 1, 6, 8, seed=1)]),
    "MaskResize": Example(
        "MaskResize", "mask_resize_param { output_height: 3 output_width: 4 }", [learned(2, 1, 6, 8)]
    ),
    "Proposal": Example(
        "Proposal",
        "proposal_param { feat_stride: 4 base_size: 4 min_size: 1 ratio: 1 scale: 1 scale: 2 post_nms_topn: 5 }",
        [positive(1, 4, 3, 4), given(1, 8, 3, 4), exact([[12, 16, 1, 1]])],
        tops=2,
    ),
    "SynopsysProposal": Example(
        "Proposal",
        "proposal_param { feat_stride: 4 anchor_base_size: 2 anchor_scale: 1 anchor_ratio: 3 rpn_min_size: 1 "
        "max_rois: 5 }",
        [positive(1, 6, 3, 4), given(1, 12, 3, 4), exact([[12, 16, 1]])],
        tops=2,
    ),
    "BoxAnnotatorOHEM": Example(
        "BoxAnnotatorOHEM",
        "box_annotator_ohem_param { roi_per_img: 1 }",
        [REGIONS, positive(3), exact([1, 0, 2]), given(3, 4)],
        tops=2,
        **JUDGES,
    ),
    "SmoothL1Loss": Example(
        "SmoothL1Loss", "loss_weight: 1 smooth_l1_loss_param { sigma: 2 }", [learned(3, 4), given(3, 4, seed=1)], **LOSS
    ),
    "SmoothL1LossOHEM": Example(
        "SmoothL1LossOHEM",
        "loss_weight: 1 loss_weight: 0 loss_param { normalization: PRE_FIXED pre_fixed_normalizer: 2 }",
        [learned(3, 4), given(3, 4, seed=1), exact(np.ones((3, 4)))],
        tops=2,
        **LOSS,
    ),
    "SoftmaxWithLossOHEM": Example(
        "SoftmaxWithLossOHEM",
        "loss_weight: 1 loss_weight: 0 loss_weight: 0 loss_param { ignore_label: -1 }",
        [learned(6, 3), LABELS],
        tops=3,
        **LOSS,
    ),
    "PriorBox": Example(
        "PriorBox",
        "prior_box_param { min_size: 8 max_size: 12 aspect_ratio: 2 }",
        [given(1, 2, 3, 4), given(1, 3, 24, 32)],
    ),
    "SynopsysPriorBox": Example(
        "PriorBox",
        "prior_box_param { min_size: 8 aspect_ratio: 2 yx_order: true }",
        [given(1, 2, 3, 4), given(1, 3, 24, 32)],
    ),
    "PriorBoxClustered": Example(
        "PriorBoxClustered",
        "prior_box_param { width: 8 width: 12 height: 6 height: 20 }",
        [given(1, 2, 3, 4), given(1, 3, 24, 32)],
    ),
    "DetectionOutput": Example(
        "DetectionOutput", f"detection_output_param {{ {DETECT} }}", [given(2, 16), SCORES, PRIORS]
    ),
    "RefinedDetectionOutput": Example(
        "DetectionOutput",
        f"detection_output_param {{ {DETECT} objectness_score: 0.3 }}",
        [given(2, 16), SCORES, PRIORS, exact([[0.2, 0.8, 0.9, 0.1, 0.5, 0.5, 0.1, 0.9]] * 2), given(2, 16, seed=2)],
        module="refined prior boxes",
    ),
    "SeparateDetectionOutput": Example(
        "DetectionOutput",
        f"detection_output_param {{ {DETECT} no_permute: true nbottom: 1 }}",
        [exact(SCORES.array.reshape(2, 4, 3).transpose(0, 2, 1).reshape(2, 3, 1, 4)), given(2, 4, 2, 2), PRIORS],
    ),
    "DetectionEvaluate": Example(
        "DetectionEvaluate", "detection_evaluate_param { num_classes: 3 }", [DETECTIONS, BOXES], **JUDGES
    ),
    "MultiBoxLoss": Example(
        "MultiBoxLoss",
        "multibox_loss_param { num_classes: 3 code_type: CENTER_SIZE overlap_threshold: 0.4 do_neg_mining: true }",
        [learned(2, 16), learned(2, 12, seed=1), PRIORS, BOXES],
        **LOSS,
    ),
    "RegionLoss": Example(
        "RegionLoss",
        f"region_loss_param {{ num_class: 2 {CELLS} {CELLS} biases: 1 biases: 2 }}",
        [learned(2, 35, 3, 3), per_image(ROWS, 2)],
        **LOSS,
    ),
    "Yolov3": Example(
        "Yolov3",
        f"yolov3_param {{ num_class: 2 num: 2 mask: 0 mask: 1 anchors_scale: 8 {ANCHORS} }}",
        [learned(2, 14, 3, 4), per_image(ROWS, 2)],
        **LOSS,
    ),
    "YoloSeg": Example(
        "YoloSeg",
        "yolo_seg_param { num_class: 2 }",
        [learned(2, 2, 3, 4), exact(np.arange(48).reshape(2, 2, 3, 4) % 2), exact([[6, 6], [6, 6]])],
        **LOSS,
    ),
    "YoloDetectionOutput": Example(
        "YoloDetectionOutput",
        f"yolo_detection_output_param {{ num_classes: 2 num_box: 2 {CELLS} }}",
        [given(2, 14, 3, 3)],
    ),
    "Yolov3DetectionOutput": Example(
        "Yolov3DetectionOutput",
        "yolov3_detection_output_param { num_classes: 2 num_box: 3 mask: 0 mask: 1 mask: 2 mask_group_num: 1 "
        f"anchors_scale: 8 {ANCHORS} }}",
        [given(2, 21, 3, 4)],
    ),
    "EvalDetection": Example(
        "EvalDetection",
        f"eval_detection_param {{ side: 3 num_class: 2 num_object: 5 nms: 0.5 {CELLS} {CELLS} biases: 1 biases: 2 }}",
        [given(2, 35, 3, 3), BOXES],
        out="it compares with labels",
    ),
    "DetectNetTransformation": Example(
        "DetectNetTransformation",
        "detectnet_groundtruth_param { image_size_x: 16 image_size_y: 8 object_class { src: 1 dst: 1 } } "
        "detectnet_augmentation_param { rotation_prob: 0.5 } transform_param { mean_value: 0.1 }",
        [given(2, 3, 12, 20), exact(DIGITS)],
        tops=2,
        out="it makes labels",
    ),
}

LEARNING = {
    "CenterLoss": Example(
        "CenterLoss",
        'center_loss_param { num_output: 3 center_filler { type: "xavier" } }',
        [learned(6, 4), LABELS],
        **LOSS,
    ),
    "MarginInnerProduct": Example(
        "MarginInnerProduct",
        "margin_inner_product_param { num_output: 3 type: QUADRUPLE base: 10 gamma: 0.1 "
        'lambda_min: 5 weight_filler { type: "xavier" } }',
        [learned(6, 4), LABELS],
        tops=2,
        **LEFT_OUT,
    ),
    "LargeMarginInnerProduct": Example(
        "LargeMarginInnerProduct",
        "largemargin_inner_product_param { num_output: 3 type: DOUBLE base: 10 gamma: 0.1 "
        'weight_filler { type: "xavier" } }',
        [learned(6, 4), LABELS],
        tops=2,
        out="InnerProduct",
    ),
    "WeightedSoftmaxWithLoss": Example(
        "SoftmaxWithLoss",
        "loss_param { weight_by_label_freqs: true class_weighting: 1 class_weighting: 2 class_weighting: 3 }",
        [learned(2, 3, 3, 4), MAP],
        **LOSS,
    ),
    "L1Loss": Example("L1Loss", "", [learned(3, 4), learned(3, 4, seed=1)], **LOSS),
    "KnowledgeDistillation": Example(
        "KnowledgeDistillation",
        "knowledge_distillation_param { temperature: 3 }",
        [learned(6, 3), given(6, 3, seed=1)],
        **LOSS,
    ),
    "EntropyLoss": Example("EntropyLoss", "entropy_param { threshold: 0.01 }", [positive(6, 3), LABELS], **LOSS),
    "DachEntropyLoss": Example("EntropyLoss", "", [positive(6, 3)], **LOSS),
    "ThumlMMDLoss": Example("MMDLoss", "mmd_param { kernel_num: 3 }", [learned(4, 3), learned(5, 3, seed=1)], **LOSS),
    "DachMMDLoss": Example(
        "MMDLoss", "mmd_loss_param { kernel_numb: 3 }", [learned(4, 3), learned(5, 3, seed=1)], **LOSS
    ),
    "MMDXLoss": Example(
        "MMDXLoss",
        "mmdx_loss_param { kernel_numb: 3 }",
        [learned(6, 3), learned(6, 3, seed=1), LABELS, LABELS],
        **LOSS,
    ),
    "HomoMeanLoss": Example(
        "HomoMeanLoss",
        "homo_mean_loss_param { label_nmax: 3 average_initmode: false clusupd_activate: true topdiff_clipprop: 1 "
        "cluster_clipprop: 1 cluster_interval: 1 cluster_duration: 1 }",
        [learned(6, 4), LABELS],
        tops=2,
        still=True,
        out="Split",
    ),
    "ClassLatch": Example("ClassLatch", "class_latch_param { label_nmax: 3 }", [given(6, 4), LABELS]),
    "Param2Top": Example(
        "Param2Top",
        "param2top_param { shape { dim: 2 dim: 3 } data_filler { value: -1 } data_refill: 1 }",
        still=True,
        module="cannot be written as a PyTorch module",
    ),
    "Bottom2Param": Example("Bottom2Param", "", [given(2, 3)], tops=0, still=True, **LEFT_OUT),
    "JMMDLoss": Example(
        "JMMDLoss",
        "jmmd_param { kernel_num: 3 auto_sigma: true }",
        [learned(4, 3), learned(5, 3, seed=1), positive(4, 2), positive(5, 2, seed=1)],
        **LOSS,
    ),
    "CtcLoss": Example(
        "CtcLoss",
        "ctc_loss_param { alphabet_size: 3 time_step: 5 }",
        [learned(5, 2, 3), exact([[1, 2, 0], [2, 0, 0]])],
        **LOSS,
    ),
    "LabelsequenceAccuracy": Example(
        "LabelsequenceAccuracy", "", [given(2, 5, 3), exact([[1, 2, 0], [2, 0, 0]])], **JUDGES
    ),
    "PrecisionRecall": Example("PrecisionRecall", "", [given(6, 3), LABELS], tops=2, **JUDGES),
    "AUC": Example("AUC", "", [given(6, 3), LABELS], **JUDGES),
    "SegAccuracy": Example("SegAccuracy", "seg_accuracy_param { ignore_label: 2 }", [given(2, 3, 3, 4), MAP], **JUDGES),
}

DATA = {
    "AnnotatedData": Example("AnnotatedData", 'data_param { source: "boxes" backend: LMDB batch_size: 2 }', tops=2),
    "DenseImageData": Example(
        "DenseImageData",
        'dense_image_data_param { source: "pairs.txt" batch_size: 2 shuffle: true mirror: true }',
        tops=2,
    ),
    "ImageSegData": Example(
        "ImageSegData",
        "transform_param { scale_factors: 0.5 scale_factors: 1 crop_height: 8 crop_width: 8 } "
        'image_data_param { source: "pairs.txt" batch_size: 2 shuffle: true label_type: PIXEL }',
        tops=2,
    ),
    "VideoData": Example(
        "VideoData",
        'data_param { batch_size: 2 } video_data_param { video_type: VIDEO video_file: "video.avi" }',
        tops=2,
    ),
    "ClipData": Example(
        "VideoData",
        'image_data_param { source: "clips.txt" batch_size: 2 new_length: 2 shuffle: true } '
        "transform_param { crop_size: 5 mirror: true }",
        tops=2,
    ),
    "LaterClipData": Example(
        "VideoData",
        'video_data_param { source: "clips.txt" batch_size: 2 new_length: 2 shuffle: true use_multiple_label: true '
        "num_of_labels: 4 } transform_param { crop_size: 5 mirror: true }",
        tops=2,
    ),
    "RandomOrderData": Example(
        "Data", 'data_param { source: "images" backend: LMDB batch_size: 3 random_order: true }', tops=2
    ),
    "TransformedData": Example(
        "Data",
        'data_param { source: "images" backend: LMDB batch_size: 3 } '
        "transform_param { resize_param { height: 5 width: 6 } }",
        tops=2,
    ),
    "TransformedImageData": Example(
        "ImageData",
        'image_data_param { source: "list.txt" batch_size: 2 shuffle: true } '
        "transform_param { resize_param { height: 5 width: 6 } "
        "distort_param { brightness_prob: 0.5 brightness_delta: 9 } }",
        tops=2,
    ),
}

EXAMPLES = {**VISION, **REGIONAL, **LEARNING, **DATA}
