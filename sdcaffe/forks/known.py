"""Which fork of Caffe has a layer type, a field or an enum value that BVLC Caffe lacks: told to the error messages.

What is named here is not implemented; a layer of a fork that is stands in a module of its own beside this one.
"""

from __future__ import annotations

from sdcaffe.proto import elsewhere

SSD = "SSD (weiliu89/caffe)"
NVIDIA = "NVIDIA Caffe"
INTEL = "Intel Caffe"
RFCN = "R-FCN"
DEEPLAB = "DeepLab"
SEGNET = "SegNet (alexgkendall/caffe-segnet)"
TSN = "TSN and PSPNet (yjxiong/caffe, hszhao/PSPNet)"
YOLO = "MobileNet-YOLO (eric612/MobileNet-YOLO)"
DARKNET = "darknet2caffe"
OPENPOSE = "OpenPose (CMU caffe_rtpose and caffe_train)"
FLOWNET = "FlowNet (lmb-freiburg)"
CRFRNN = "CRF-RNN"
ENET = "ENet (TimoSaemann)"
RISTRETTO = "Ristretto"
FPGA = "FPGA Caffe (dicecco1/fpga_caffe)"
SPARSE = "wenwei202/caffe"
DACH = "CAFFE-DACH (JiahaoLi-gdut/CAFFE-DACH)"
C3D = "C3D (facebook/C3D)"
SYNOPSYS = "Synopsys' Caffe (foss-for-synopsys-dwc-arc-processors/synopsys-caffe)"
HAPPYNEAR = "happynear/caffe-windows"
OPENVINO = "OpenVINO's training_toolbox_caffe"
TONGCHENG = "Tongcheng/caffe"

_TYPES = {
    RFCN: "DeformableConvolution DeformablePSROIPooling",
    DEEPLAB: "DenseCRF MatRead MatWrite UniqueLabel DomainTransform SpatialProduct BiasChannel AdaptiveBiasChannel",
    TSN: "BatchReduction Gather Scatter",
    YOLO: "GaussianYolov3 AssistedExcitation SegmentationEvaluate LaneData",
    DARKNET: "Mish",
    OPENPOSE: "CPMData ImResize Nms",
    FLOWNET: "FlowAugmentation DataAugmentation GenerateAugmentationParameters Correlation Correlation1D "
    "LpqLoss Resample Downsample ChannelNorm FlowWarp CustomData ImgWriter FLOWriter Accum Mean",
    CRFRNN: "MultiStageMeanfield",
    ENET: "SpatialDropout",
    DACH: "HomoBiasLoss Homomorphism GANGate VanillaGANLoss EBGANLoss RandomBlob ImageStorage Rgb2Gray",
    C3D: "VideoWithVoxelTruthData",
    SYNOPSYS: "ICNetSubgraph Add YoloV2Loss YoloV3Loss",
    HAPPYNEAR: "ChannelScale InnerDistance MultiLabelImageData LabelSpecificAdd",
    OPENVINO: "GRN DetectionOutputExtended ScaleFilter AnchorEmbeddingExtractor",
    "thuml's Xlearn": "OuterProduct",
    FPGA: "HWCN OCLPoolingHWCN XCLProgram OCLCRHWCN CPFPConversion OCLHWCNInnerProduct HalfConversion",
    RISTRETTO: "ConvolutionRistretto DeconvolutionRistretto FcRistretto LRNRistretto",
}

_FIELDS = {
    NVIDIA: {
        "SolverParameter": "min_lr rampup_interval rampup_lr momentum_policy max_momentum momentum_power "
        "local_lr_auto local_gw_ratio solver_data_type store_blobs_in_old_format",
        "LayerParameter": "debug cudnn_math_override",
        "TransformationParameter": "resize_to_square",
    },
    INTEL: {
        "NetParameter": "compile_net_state multinode",
        "ConcatParameter": "per_fla_fuse",
        "SolverParameter": "engine warmup_start_lr",
        "LayerParameter": "multinode mn_activation_param mn_grad_compress_param split_param",
        "BatchNormParameter": "use_weight_bias bias_term relu",
        "ConvolutionParameter": "relu negative_slope",
    },
    RFCN: {"LayerParameter": "deformable_convolution_param deformable_psroi_pooling_param"},
    DEEPLAB: {
        "LayerParameter": "densecrf_param mat_read_param mat_write_param unique_label_param domain_transform_param",
        "ConvolutionParameter": "hole hole_h hole_w",
        "ImageDataParameter": "has_label",
    },
    TSN: {
        "LayerParameter": "batch_reduction_param",
        "TransformationParameter": "rand_resize rand_rotate gaussian_blur rand_aspect_ratio "
        "scale_ratios max_distort fix_crop more_fix_crop multi_scale is_flow original_image",
        "VideoDataParameter": "num_segments modality name_pattern encoded grayscale",
    },
    YOLO: {"LayerParameter": "gaussian_yolov3_param assisted_excitation_param segmentation_eval_param"},
    DARKNET: {"LayerParameter": "mish_param"},
    OPENPOSE: {"LayerParameter": "cpm_transform_param imresize_param nms_param"},
    FLOWNET: {
        "LayerParameter": "augmentation_param correlation_param flow_warp_param resample_param downsample_param "
        "coeff_schedule_param lpq_loss_param l1_loss_param writer_param reader_param mean_param accum_param"
    },
    CRFRNN: {"LayerParameter": "multi_stage_meanfield_param"},
    ENET: {"LayerParameter": "spatial_dropout_param"},
    DACH: {
        "LayerParameter": "homo_bias_loss_param homomorphism_param gan_gate_param forward_down_init "
        "preforward_down_init param_backward_down_init bottom_backward_down_init param_prebackward_down_init "
        "bottom_prebackward_down_init async_command_pusher async_command_puller",
    },
    C3D: {
        "VideoDataParameter": "show_level_set",
        "ImageDataParameter": "use_label num_truth_channels use_byte_input is_flow truth_scale clip_min clip_max",
    },
    SYNOPSYS: {
        "PriorBoxParameter": "faceboxes",
        "BatchNormParameter": "update_global_stats",
        "TransformationParameter": "caffe_yolo",
        "DataParameter": "side",
    },
    HAPPYNEAR: {
        "LayerParameter": "normalize_param inner_distance_param channel_scale_param",
        "SoftmaxParameter": "normalize_type",
    },
    OPENVINO: {
        "LayerParameter": "grn_param scale_filter_param anchor_embedding_extractor_param",
        "ParameterParameter": "filler",
        "InnerProductParameter": "normalize",
        "LossParameter": "min_weight max_weight gamma max_entropy_weight adaptive_weighting scale",
    },
}

_VALUES = {FPGA: "OCL", C3D: "VOLUME_DATA VIDEO_SEGMENTATION_DATA VOXEL_SOFTMAX DECONVOLUTION3D"}

# What the word for a fork's field is in BVLC Caffe, or here.
_INSTEAD = {
    ("ConvolutionParameter", "hole"): "BVLC Caffe's word for it is dilation",
    ("SolverParameter", "warmup_start_lr"): "the word for it here is warmup_start",
}


for _fork in dict.fromkeys((*_FIELDS, *_TYPES)):
    elsewhere.tell(
        _fork,
        types=_TYPES.get(_fork, "").split(),
        fields={message: names.split() for message, names in _FIELDS.get(_fork, {}).items()},
    )
for _fork, _names in _VALUES.items():
    elsewhere.tell(_fork, values=_names.split())
for (_message, _field), _words in _INSTEAD.items():
    elsewhere.tell_instead(_message, _field, _words)
