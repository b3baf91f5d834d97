"""Caffe's messages, their fields and enums. Written by `make stubs` from caffe.proto and the plugins of sdcaffe."""

from collections.abc import Iterable as _Iterable
from collections.abc import Mapping as _Mapping
from typing import Any as _Any
from typing import ClassVar as _ClassVar

from google.protobuf.descriptor import FileDescriptor as _FileDescriptor
from google.protobuf.internal.containers import RepeatedCompositeFieldContainer as _Messages
from google.protobuf.internal.containers import RepeatedScalarFieldContainer as _Values
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper as _Enum
from google.protobuf.message import Message as _Message

DESCRIPTOR: _FileDescriptor
Phase: _Enum
TRAIN: int
TEST: int

class AUCParameter(_Message):
    axis: int
    def __init__(
        self,
        *,
        axis: int | None = ...,
    ) -> None: ...

class AccuracyParameter(_Message):
    top_k: int
    axis: int
    ignore_label: int
    use_log: bool
    def __init__(
        self,
        *,
        top_k: int | None = ...,
        axis: int | None = ...,
        ignore_label: int | None = ...,
        use_log: bool | None = ...,
    ) -> None: ...

class AdversarialParameter(_Message):
    epsilon: float
    @property
    def std_value(self) -> _Values[float]: ...
    def __init__(
        self,
        *,
        epsilon: float | None = ...,
        std_value: _Iterable[float] | None = ...,
    ) -> None: ...

class AffineWarp(_Message):
    rotation: float
    translation: float
    scaling: float
    shear: float
    def __init__(
        self,
        *,
        rotation: float | None = ...,
        translation: float | None = ...,
        scaling: float | None = ...,
        shear: float | None = ...,
    ) -> None: ...

class AnnotatedDataParameter(_Message):
    AnnotationType: _ClassVar[_Enum]
    BBOX: _ClassVar[int]
    @property
    def batch_sampler(self) -> _Messages[BatchSampler]: ...
    label_map_file: str
    anno_type: int
    yolo_data_type: int
    yolo_data_jitter: float
    train_diffcult: bool
    single_class: bool
    seg_scales: int
    seg_resize_width: int
    seg_resize_height: int
    difficult_label_warmup: bool
    def __init__(
        self,
        *,
        batch_sampler: _Iterable[BatchSampler | _Mapping[str, _Any]] | None = ...,
        label_map_file: str | None = ...,
        anno_type: int | str | None = ...,
        yolo_data_type: int | None = ...,
        yolo_data_jitter: float | None = ...,
        train_diffcult: bool | None = ...,
        single_class: bool | None = ...,
        seg_scales: int | None = ...,
        seg_resize_width: int | None = ...,
        seg_resize_height: int | None = ...,
        difficult_label_warmup: bool | None = ...,
    ) -> None: ...

class AnnotatedDatum(_Message):
    AnnotationType: _ClassVar[_Enum]
    BBOX: _ClassVar[int]
    @property
    def datum(self) -> Datum: ...
    type: int
    @property
    def annotation_group(self) -> _Messages[AnnotationGroup]: ...
    def __init__(
        self,
        *,
        datum: Datum | _Mapping[str, _Any] | None = ...,
        type: int | str | None = ...,
        annotation_group: _Iterable[AnnotationGroup | _Mapping[str, _Any]] | None = ...,
    ) -> None: ...

class Annotation(_Message):
    instance_id: int
    @property
    def bbox(self) -> NormalizedBBox: ...
    def __init__(
        self,
        *,
        instance_id: int | None = ...,
        bbox: NormalizedBBox | _Mapping[str, _Any] | None = ...,
    ) -> None: ...

class AnnotationGroup(_Message):
    group_label: int
    @property
    def annotation(self) -> _Messages[Annotation]: ...
    def __init__(
        self,
        *,
        group_label: int | None = ...,
        annotation: _Iterable[Annotation | _Mapping[str, _Any]] | None = ...,
    ) -> None: ...

class ArgMaxParameter(_Message):
    out_max_val: bool
    top_k: int
    axis: int
    def __init__(
        self,
        *,
        out_max_val: bool | None = ...,
        top_k: int | None = ...,
        axis: int | None = ...,
    ) -> None: ...

class BNParameter(_Message):
    BNMode: _ClassVar[_Enum]
    LEARN: _ClassVar[int]
    INFERENCE: _ClassVar[int]
    Engine: _ClassVar[_Enum]
    DEFAULT: _ClassVar[int]
    CAFFE: _ClassVar[int]
    CUDNN: _ClassVar[int]
    @property
    def scale_filler(self) -> FillerParameter: ...
    @property
    def shift_filler(self) -> FillerParameter: ...
    bn_mode: int
    moving_average: bool
    decay: float
    axis: int
    momentum: float
    eps: float
    frozen: bool
    icnet: bool
    engine: int
    var_eps: float
    @property
    def slope_filler(self) -> FillerParameter: ...
    @property
    def bias_filler(self) -> FillerParameter: ...
    blob_axes: int
    def __init__(
        self,
        *,
        scale_filler: FillerParameter | _Mapping[str, _Any] | None = ...,
        shift_filler: FillerParameter | _Mapping[str, _Any] | None = ...,
        bn_mode: int | str | None = ...,
        moving_average: bool | None = ...,
        decay: float | None = ...,
        axis: int | None = ...,
        momentum: float | None = ...,
        eps: float | None = ...,
        frozen: bool | None = ...,
        icnet: bool | None = ...,
        engine: int | str | None = ...,
        var_eps: float | None = ...,
        slope_filler: FillerParameter | _Mapping[str, _Any] | None = ...,
        bias_filler: FillerParameter | _Mapping[str, _Any] | None = ...,
        blob_axes: int | None = ...,
    ) -> None: ...

class BatchNormParameter(_Message):
    Engine: _ClassVar[_Enum]
    DEFAULT: _ClassVar[int]
    CAFFE: _ClassVar[int]
    CUDNN: _ClassVar[int]
    MKL2017: _ClassVar[int]
    MKLDNN: _ClassVar[int]
    use_global_stats: bool
    moving_average_fraction: float
    eps: float
    add_eps_before_sqrt: bool
    @property
    def scale_filler(self) -> FillerParameter: ...
    @property
    def bias_filler(self) -> FillerParameter: ...
    scale_bias: bool
    stats_batch_size: int
    engine: int
    frozen: bool
    momentum: float
    @property
    def filler(self) -> FillerParameter: ...
    def __init__(
        self,
        *,
        use_global_stats: bool | None = ...,
        moving_average_fraction: float | None = ...,
        eps: float | None = ...,
        add_eps_before_sqrt: bool | None = ...,
        scale_filler: FillerParameter | _Mapping[str, _Any] | None = ...,
        bias_filler: FillerParameter | _Mapping[str, _Any] | None = ...,
        scale_bias: bool | None = ...,
        stats_batch_size: int | None = ...,
        engine: int | str | None = ...,
        frozen: bool | None = ...,
        momentum: float | None = ...,
        filler: FillerParameter | _Mapping[str, _Any] | None = ...,
    ) -> None: ...

class BatchSampler(_Message):
    use_original_image: bool
    @property
    def sampler(self) -> Sampler: ...
    @property
    def sample_constraint(self) -> SampleConstraint: ...
    max_sample: int
    max_trials: int
    def __init__(
        self,
        *,
        use_original_image: bool | None = ...,
        sampler: Sampler | _Mapping[str, _Any] | None = ...,
        sample_constraint: SampleConstraint | _Mapping[str, _Any] | None = ...,
        max_sample: int | None = ...,
        max_trials: int | None = ...,
    ) -> None: ...

class BatchToSpaceNDParameter(_Message):
    @property
    def block_shape(self) -> _Values[int]: ...
    @property
    def crops(self) -> _Values[int]: ...
    def __init__(
        self,
        *,
        block_shape: _Iterable[int] | None = ...,
        crops: _Iterable[int] | None = ...,
    ) -> None: ...

class BiasParameter(_Message):
    axis: int
    num_axes: int
    @property
    def filler(self) -> FillerParameter: ...
    def __init__(
        self,
        *,
        axis: int | None = ...,
        num_axes: int | None = ...,
        filler: FillerParameter | _Mapping[str, _Any] | None = ...,
    ) -> None: ...

class BlobProto(_Message):
    num: int
    channels: int
    height: int
    width: int
    @property
    def data(self) -> _Values[float]: ...
    @property
    def diff(self) -> _Values[float]: ...
    @property
    def shape(self) -> BlobShape: ...
    @property
    def double_data(self) -> _Values[float]: ...
    @property
    def double_diff(self) -> _Values[float]: ...
    def __init__(
        self,
        *,
        num: int | None = ...,
        channels: int | None = ...,
        height: int | None = ...,
        width: int | None = ...,
        data: _Iterable[float] | None = ...,
        diff: _Iterable[float] | None = ...,
        shape: BlobShape | _Mapping[str, _Any] | None = ...,
        double_data: _Iterable[float] | None = ...,
        double_diff: _Iterable[float] | None = ...,
    ) -> None: ...

class BlobProtoVector(_Message):
    @property
    def blobs(self) -> _Messages[BlobProto]: ...
    def __init__(
        self,
        *,
        blobs: _Iterable[BlobProto | _Mapping[str, _Any]] | None = ...,
    ) -> None: ...

class BlobShape(_Message):
    @property
    def dim(self) -> _Values[int]: ...
    def __init__(
        self,
        *,
        dim: _Iterable[int] | None = ...,
    ) -> None: ...

class Bottom2ParamParameter(_Message):
    def __init__(
        self,
    ) -> None: ...

class BoxAnnotatorOHEMParameter(_Message):
    roi_per_img: int
    ignore_label: int
    def __init__(
        self,
        *,
        roi_per_img: int | None = ...,
        ignore_label: int | None = ...,
    ) -> None: ...

class CenterLossParameter(_Message):
    num_output: int
    @property
    def center_filler(self) -> FillerParameter: ...
    axis: int
    def __init__(
        self,
        *,
        num_output: int | None = ...,
        center_filler: FillerParameter | _Mapping[str, _Any] | None = ...,
        axis: int | None = ...,
    ) -> None: ...

class ClassLatchParameter(_Message):
    @property
    def label_axis(self) -> _Values[int]: ...
    @property
    def label_nmax(self) -> _Values[int]: ...
    @property
    def latch_nmin(self) -> _Values[int]: ...
    latch_mode: bool
    def __init__(
        self,
        *,
        label_axis: _Iterable[int] | None = ...,
        label_nmax: _Iterable[int] | None = ...,
        latch_nmin: _Iterable[int] | None = ...,
        latch_mode: bool | None = ...,
    ) -> None: ...

class ClassMapping(_Message):
    src: int
    dst: int
    def __init__(
        self,
        *,
        src: int | None = ...,
        dst: int | None = ...,
    ) -> None: ...

class ClipParameter(_Message):
    min: float
    max: float
    def __init__(
        self,
        *,
        min: float | None = ...,
        max: float | None = ...,
    ) -> None: ...

class ConcatParameter(_Message):
    Engine: _ClassVar[_Enum]
    DEFAULT: _ClassVar[int]
    CAFFE: _ClassVar[int]
    MKL2017: _ClassVar[int]
    MKLDNN: _ClassVar[int]
    concat_dim: int
    axis: int
    engine: int
    def __init__(
        self,
        *,
        concat_dim: int | None = ...,
        axis: int | None = ...,
        engine: int | str | None = ...,
    ) -> None: ...

class ContinuationIndicatorParameter(_Message):
    time_step: int
    axis: int
    def __init__(
        self,
        *,
        time_step: int | None = ...,
        axis: int | None = ...,
    ) -> None: ...

class ContrastiveLossParameter(_Message):
    margin: float
    legacy_version: bool
    def __init__(
        self,
        *,
        margin: float | None = ...,
        legacy_version: bool | None = ...,
    ) -> None: ...

class Convolution3DParameter(_Message):
    num_output: int
    bias_term: bool
    pad: int
    kernel_size: int
    group: int
    kernel_depth: int
    stride: int
    temporal_stride: int
    @property
    def weight_filler(self) -> FillerParameter: ...
    @property
    def bias_filler(self) -> FillerParameter: ...
    filter_group: int
    temporal_pad: int
    def __init__(
        self,
        *,
        num_output: int | None = ...,
        bias_term: bool | None = ...,
        pad: int | None = ...,
        kernel_size: int | None = ...,
        group: int | None = ...,
        kernel_depth: int | None = ...,
        stride: int | None = ...,
        temporal_stride: int | None = ...,
        weight_filler: FillerParameter | _Mapping[str, _Any] | None = ...,
        bias_filler: FillerParameter | _Mapping[str, _Any] | None = ...,
        filter_group: int | None = ...,
        temporal_pad: int | None = ...,
    ) -> None: ...

class ConvolutionParameter(_Message):
    Engine: _ClassVar[_Enum]
    DEFAULT: _ClassVar[int]
    CAFFE: _ClassVar[int]
    CUDNN: _ClassVar[int]
    MKL2017: _ClassVar[int]
    MKLDNN: _ClassVar[int]
    AlgorithmSeeker: _ClassVar[_Enum]
    GET: _ClassVar[int]
    FINDEX: _ClassVar[int]
    num_output: int
    bias_term: bool
    @property
    def pad(self) -> _Values[int]: ...
    @property
    def kernel_size(self) -> _Values[int]: ...
    group: int
    @property
    def stride(self) -> _Values[int]: ...
    @property
    def weight_filler(self) -> FillerParameter: ...
    @property
    def bias_filler(self) -> FillerParameter: ...
    pad_h: int
    pad_w: int
    kernel_h: int
    kernel_w: int
    stride_h: int
    stride_w: int
    engine: int
    axis: int
    force_nd_im2col: bool
    @property
    def dilation(self) -> _Values[int]: ...
    pad_type: int
    conv_algos_override: str
    conv_algorithm: str
    pad_l: int
    pad_r: int
    pad_t: int
    pad_b: int
    kernel_depth: int
    temporal_stride: int
    filter_group: int
    temporal_pad: int
    cudnn_convolution_algo_seeker: int
    def __init__(
        self,
        *,
        num_output: int | None = ...,
        bias_term: bool | None = ...,
        pad: _Iterable[int] | None = ...,
        kernel_size: _Iterable[int] | None = ...,
        group: int | None = ...,
        stride: _Iterable[int] | None = ...,
        weight_filler: FillerParameter | _Mapping[str, _Any] | None = ...,
        bias_filler: FillerParameter | _Mapping[str, _Any] | None = ...,
        pad_h: int | None = ...,
        pad_w: int | None = ...,
        kernel_h: int | None = ...,
        kernel_w: int | None = ...,
        stride_h: int | None = ...,
        stride_w: int | None = ...,
        engine: int | str | None = ...,
        axis: int | None = ...,
        force_nd_im2col: bool | None = ...,
        dilation: _Iterable[int] | None = ...,
        pad_type: int | None = ...,
        conv_algos_override: str | None = ...,
        conv_algorithm: str | None = ...,
        pad_l: int | None = ...,
        pad_r: int | None = ...,
        pad_t: int | None = ...,
        pad_b: int | None = ...,
        kernel_depth: int | None = ...,
        temporal_stride: int | None = ...,
        filter_group: int | None = ...,
        temporal_pad: int | None = ...,
        cudnn_convolution_algo_seeker: int | str | None = ...,
    ) -> None: ...

class CropParameter(_Message):
    axis: int
    @property
    def offset(self) -> _Values[int]: ...
    def __init__(
        self,
        *,
        axis: int | None = ...,
        offset: _Iterable[int] | None = ...,
    ) -> None: ...

class CtcLossParameter(_Message):
    alphabet_size: int
    time_step: int
    blank_label: int
    def __init__(
        self,
        *,
        alphabet_size: int | None = ...,
        time_step: int | None = ...,
        blank_label: int | None = ...,
    ) -> None: ...

class CuDNNBatchNormParameter(_Message):
    frozen: bool
    momentum: float
    eps: float
    @property
    def scale_filler(self) -> FillerParameter: ...
    @property
    def bias_filler(self) -> FillerParameter: ...
    def __init__(
        self,
        *,
        frozen: bool | None = ...,
        momentum: float | None = ...,
        eps: float | None = ...,
        scale_filler: FillerParameter | _Mapping[str, _Any] | None = ...,
        bias_filler: FillerParameter | _Mapping[str, _Any] | None = ...,
    ) -> None: ...

class DataParameter(_Message):
    DB: _ClassVar[_Enum]
    LEVELDB: _ClassVar[int]
    LMDB: _ClassVar[int]
    source: str
    scale: float
    mean_file: str
    batch_size: int
    crop_size: int
    mirror: bool
    rand_skip: int
    backend: int
    force_encoded_color: bool
    prefetch: int
    threads: int
    parser_threads: int
    cache: bool
    precache: bool
    shuffle: bool
    seed: int
    random_order: bool
    def __init__(
        self,
        *,
        source: str | None = ...,
        scale: float | None = ...,
        mean_file: str | None = ...,
        batch_size: int | None = ...,
        crop_size: int | None = ...,
        mirror: bool | None = ...,
        rand_skip: int | None = ...,
        backend: int | str | None = ...,
        force_encoded_color: bool | None = ...,
        prefetch: int | None = ...,
        threads: int | None = ...,
        parser_threads: int | None = ...,
        cache: bool | None = ...,
        precache: bool | None = ...,
        shuffle: bool | None = ...,
        seed: int | None = ...,
        random_order: bool | None = ...,
    ) -> None: ...

class Datum(_Message):
    channels: int
    height: int
    width: int
    data: bytes
    label: int
    @property
    def float_data(self) -> _Values[float]: ...
    encoded: bool
    def __init__(
        self,
        *,
        channels: int | None = ...,
        height: int | None = ...,
        width: int | None = ...,
        data: bytes | None = ...,
        label: int | None = ...,
        float_data: _Iterable[float] | None = ...,
        encoded: bool | None = ...,
    ) -> None: ...

class DegriddingParameter(_Message):
    degridding: str
    kernel_c: int
    kernel_h: int
    kernel_w: int
    stride_c: int
    stride_h: int
    stride_w: int
    cutoff_c: int
    cutoff_h: int
    cutoff_w: int
    bias_term: bool
    @property
    def weight_filler(self) -> FillerParameter: ...
    @property
    def bias_filler(self) -> FillerParameter: ...
    def __init__(
        self,
        *,
        degridding: str | None = ...,
        kernel_c: int | None = ...,
        kernel_h: int | None = ...,
        kernel_w: int | None = ...,
        stride_c: int | None = ...,
        stride_h: int | None = ...,
        stride_w: int | None = ...,
        cutoff_c: int | None = ...,
        cutoff_h: int | None = ...,
        cutoff_w: int | None = ...,
        bias_term: bool | None = ...,
        weight_filler: FillerParameter | _Mapping[str, _Any] | None = ...,
        bias_filler: FillerParameter | _Mapping[str, _Any] | None = ...,
    ) -> None: ...

class DenseBlockParameter(_Message):
    layers: int
    growth: int
    dropout: float
    @property
    def weight_filler(self) -> FillerParameter: ...
    moving_average_fraction: float
    eps: float
    def __init__(
        self,
        *,
        layers: int | None = ...,
        growth: int | None = ...,
        dropout: float | None = ...,
        weight_filler: FillerParameter | _Mapping[str, _Any] | None = ...,
        moving_average_fraction: float | None = ...,
        eps: float | None = ...,
    ) -> None: ...

class DenseImageDataParameter(_Message):
    source: str
    batch_size: int
    rand_skip: int
    shuffle: bool
    new_height: int
    new_width: int
    is_color: bool
    mean_file: str
    root_folder: str
    mirror: bool
    crop_width: int
    crop_height: int
    label_divide_factor: int
    def __init__(
        self,
        *,
        source: str | None = ...,
        batch_size: int | None = ...,
        rand_skip: int | None = ...,
        shuffle: bool | None = ...,
        new_height: int | None = ...,
        new_width: int | None = ...,
        is_color: bool | None = ...,
        mean_file: str | None = ...,
        root_folder: str | None = ...,
        mirror: bool | None = ...,
        crop_width: int | None = ...,
        crop_height: int | None = ...,
        label_divide_factor: int | None = ...,
    ) -> None: ...

class DenseblockParameter(_Message):
    numTransition: int
    initChannel: int
    growthRate: int
    pad_h: int
    pad_w: int
    conv_verticalStride: int
    conv_horizentalStride: int
    filter_H: int
    filter_W: int
    @property
    def Filter_Filler(self) -> FillerParameter: ...
    @property
    def BN_Scaler_Filler(self) -> FillerParameter: ...
    @property
    def BN_Bias_Filler(self) -> FillerParameter: ...
    gpuIdx: int
    use_dropout: bool
    dropout_amount: float
    use_BC: bool
    BC_ultra_space_efficient: bool
    workspace_MB: int
    moving_average_fraction: float
    def __init__(
        self,
        *,
        numTransition: int | None = ...,
        initChannel: int | None = ...,
        growthRate: int | None = ...,
        pad_h: int | None = ...,
        pad_w: int | None = ...,
        conv_verticalStride: int | None = ...,
        conv_horizentalStride: int | None = ...,
        filter_H: int | None = ...,
        filter_W: int | None = ...,
        Filter_Filler: FillerParameter | _Mapping[str, _Any] | None = ...,
        BN_Scaler_Filler: FillerParameter | _Mapping[str, _Any] | None = ...,
        BN_Bias_Filler: FillerParameter | _Mapping[str, _Any] | None = ...,
        gpuIdx: int | None = ...,
        use_dropout: bool | None = ...,
        dropout_amount: float | None = ...,
        use_BC: bool | None = ...,
        BC_ultra_space_efficient: bool | None = ...,
        workspace_MB: int | None = ...,
        moving_average_fraction: float | None = ...,
    ) -> None: ...

class DepthToSpaceParameter(_Message):
    block_size: int
    data_format: str
    def __init__(
        self,
        *,
        block_size: int | None = ...,
        data_format: str | None = ...,
    ) -> None: ...

class DetectNetAugmentationParameter(_Message):
    crop_prob: float
    shift_x: int
    shift_y: int
    scale_prob: float
    scale_min: float
    scale_max: float
    flip_prob: float
    rotation_prob: float
    max_rotate_degree: float
    hue_rotation_prob: float
    hue_rotation: float
    desaturation_prob: float
    desaturation_max: float
    def __init__(
        self,
        *,
        crop_prob: float | None = ...,
        shift_x: int | None = ...,
        shift_y: int | None = ...,
        scale_prob: float | None = ...,
        scale_min: float | None = ...,
        scale_max: float | None = ...,
        flip_prob: float | None = ...,
        rotation_prob: float | None = ...,
        max_rotate_degree: float | None = ...,
        hue_rotation_prob: float | None = ...,
        hue_rotation: float | None = ...,
        desaturation_prob: float | None = ...,
        desaturation_max: float | None = ...,
    ) -> None: ...

class DetectNetGroundTruthParameter(_Message):
    GridboxType: _ClassVar[_Enum]
    GRIDBOX_MAX: _ClassVar[int]
    GRIDBOX_MIN: _ClassVar[int]
    CoverageType: _ClassVar[_Enum]
    RECTANGULAR: _ClassVar[int]
    stride: int
    scale_cvg: float
    gridbox_type: int
    max_cvg_len: int
    min_cvg_len: int
    coverage_type: int
    image_size_x: int
    image_size_y: int
    obj_norm: bool
    crop_bboxes: bool
    @property
    def object_class(self) -> _Messages[ClassMapping]: ...
    def __init__(
        self,
        *,
        stride: int | None = ...,
        scale_cvg: float | None = ...,
        gridbox_type: int | str | None = ...,
        max_cvg_len: int | None = ...,
        min_cvg_len: int | None = ...,
        coverage_type: int | str | None = ...,
        image_size_x: int | None = ...,
        image_size_y: int | None = ...,
        obj_norm: bool | None = ...,
        crop_bboxes: bool | None = ...,
        object_class: _Iterable[ClassMapping | _Mapping[str, _Any]] | None = ...,
    ) -> None: ...

class DetectionEvaluateParameter(_Message):
    num_classes: int
    background_label_id: int
    overlap_threshold: float
    evaluate_difficult_gt: bool
    name_size_file: str
    @property
    def resize_param(self) -> ResizeParameter: ...
    def __init__(
        self,
        *,
        num_classes: int | None = ...,
        background_label_id: int | None = ...,
        overlap_threshold: float | None = ...,
        evaluate_difficult_gt: bool | None = ...,
        name_size_file: str | None = ...,
        resize_param: ResizeParameter | _Mapping[str, _Any] | None = ...,
    ) -> None: ...

class DetectionOutputParameter(_Message):
    CodeType: _ClassVar[_Enum]
    CORNER: _ClassVar[int]
    CENTER_SIZE: _ClassVar[int]
    CORNER_SIZE: _ClassVar[int]
    num_classes: int
    share_location: bool
    background_label_id: int
    @property
    def nms_param(self) -> NonMaximumSuppressionParameter: ...
    @property
    def save_output_param(self) -> SaveOutputParameter: ...
    code_type: int
    keep_top_k: int
    variance_encoded_in_target: bool
    confidence_threshold: float
    visualize: bool
    visualize_threshold: float
    save_file: str
    objectness_score: float
    no_permute: bool
    nbottom: int
    clip: bool
    def __init__(
        self,
        *,
        num_classes: int | None = ...,
        share_location: bool | None = ...,
        background_label_id: int | None = ...,
        nms_param: NonMaximumSuppressionParameter | _Mapping[str, _Any] | None = ...,
        save_output_param: SaveOutputParameter | _Mapping[str, _Any] | None = ...,
        code_type: int | str | None = ...,
        keep_top_k: int | None = ...,
        variance_encoded_in_target: bool | None = ...,
        confidence_threshold: float | None = ...,
        visualize: bool | None = ...,
        visualize_threshold: float | None = ...,
        save_file: str | None = ...,
        objectness_score: float | None = ...,
        no_permute: bool | None = ...,
        nbottom: int | None = ...,
        clip: bool | None = ...,
    ) -> None: ...

class DistortParameter(_Message):
    PadStage: _ClassVar[_Enum]
    RAW: _ClassVar[int]
    NORMALIZED: _ClassVar[int]
    pad: int
    crop_size: int
    mirror: bool
    @property
    def mean_value(self) -> _Values[float]: ...
    @property
    def std_value(self) -> _Values[float]: ...
    pad_stage: int
    @property
    def affine(self) -> AffineWarp: ...
    @property
    def perspective(self) -> PerspectiveWarp: ...
    @property
    def thin_plate_spline(self) -> ThinPlateSplineWarp: ...
    @property
    def erasing(self) -> RandomErasing: ...
    def __init__(
        self,
        *,
        pad: int | None = ...,
        crop_size: int | None = ...,
        mirror: bool | None = ...,
        mean_value: _Iterable[float] | None = ...,
        std_value: _Iterable[float] | None = ...,
        pad_stage: int | str | None = ...,
        affine: AffineWarp | _Mapping[str, _Any] | None = ...,
        perspective: PerspectiveWarp | _Mapping[str, _Any] | None = ...,
        thin_plate_spline: ThinPlateSplineWarp | _Mapping[str, _Any] | None = ...,
        erasing: RandomErasing | _Mapping[str, _Any] | None = ...,
    ) -> None: ...

class DistortionParameter(_Message):
    brightness_prob: float
    brightness_delta: float
    contrast_prob: float
    contrast_lower: float
    contrast_upper: float
    hue_prob: float
    hue_delta: float
    saturation_prob: float
    saturation_lower: float
    saturation_upper: float
    random_order_prob: float
    def __init__(
        self,
        *,
        brightness_prob: float | None = ...,
        brightness_delta: float | None = ...,
        contrast_prob: float | None = ...,
        contrast_lower: float | None = ...,
        contrast_upper: float | None = ...,
        hue_prob: float | None = ...,
        hue_delta: float | None = ...,
        saturation_prob: float | None = ...,
        saturation_lower: float | None = ...,
        saturation_upper: float | None = ...,
        random_order_prob: float | None = ...,
    ) -> None: ...

class DropoutParameter(_Message):
    dropout_ratio: float
    sample_weights_test: bool
    scale_train: bool
    def __init__(
        self,
        *,
        dropout_ratio: float | None = ...,
        sample_weights_test: bool | None = ...,
        scale_train: bool | None = ...,
    ) -> None: ...

class DummyDataParameter(_Message):
    @property
    def data_filler(self) -> _Messages[FillerParameter]: ...
    @property
    def num(self) -> _Values[int]: ...
    @property
    def channels(self) -> _Values[int]: ...
    @property
    def height(self) -> _Values[int]: ...
    @property
    def width(self) -> _Values[int]: ...
    @property
    def shape(self) -> _Messages[BlobShape]: ...
    def __init__(
        self,
        *,
        data_filler: _Iterable[FillerParameter | _Mapping[str, _Any]] | None = ...,
        num: _Iterable[int] | None = ...,
        channels: _Iterable[int] | None = ...,
        height: _Iterable[int] | None = ...,
        width: _Iterable[int] | None = ...,
        shape: _Iterable[BlobShape | _Mapping[str, _Any]] | None = ...,
    ) -> None: ...

class ELUParameter(_Message):
    alpha: float
    def __init__(
        self,
        *,
        alpha: float | None = ...,
    ) -> None: ...

class EltwiseParameter(_Message):
    EltwiseOp: _ClassVar[_Enum]
    PROD: _ClassVar[int]
    SUM: _ClassVar[int]
    MAX: _ClassVar[int]
    Engine: _ClassVar[_Enum]
    DEFAULT: _ClassVar[int]
    CAFFE: _ClassVar[int]
    MKL2017: _ClassVar[int]
    MKLDNN: _ClassVar[int]
    operation: int
    @property
    def coeff(self) -> _Values[float]: ...
    stable_prod_grad: bool
    engine: int
    def __init__(
        self,
        *,
        operation: int | str | None = ...,
        coeff: _Iterable[float] | None = ...,
        stable_prod_grad: bool | None = ...,
        engine: int | str | None = ...,
    ) -> None: ...

class EmbedParameter(_Message):
    num_output: int
    input_dim: int
    bias_term: bool
    @property
    def weight_filler(self) -> FillerParameter: ...
    @property
    def bias_filler(self) -> FillerParameter: ...
    def __init__(
        self,
        *,
        num_output: int | None = ...,
        input_dim: int | None = ...,
        bias_term: bool | None = ...,
        weight_filler: FillerParameter | _Mapping[str, _Any] | None = ...,
        bias_filler: FillerParameter | _Mapping[str, _Any] | None = ...,
    ) -> None: ...

class EmitConstraint(_Message):
    EmitType: _ClassVar[_Enum]
    CENTER: _ClassVar[int]
    MIN_OVERLAP: _ClassVar[int]
    emit_type: int
    emit_overlap: float
    def __init__(
        self,
        *,
        emit_type: int | str | None = ...,
        emit_overlap: float | None = ...,
    ) -> None: ...

class EntropyLossParameter(_Message):
    def __init__(
        self,
    ) -> None: ...

class EntropyParameter(_Message):
    threshold: float
    ignore_label: int
    iterations_num: int
    def __init__(
        self,
        *,
        threshold: float | None = ...,
        ignore_label: int | None = ...,
        iterations_num: int | None = ...,
    ) -> None: ...

class EvalDetectionParameter(_Message):
    ScoreType: _ClassVar[_Enum]
    OBJ: _ClassVar[int]
    PROB: _ClassVar[int]
    MULTIPLY: _ClassVar[int]
    side: int
    num_class: int
    num_object: int
    threshold: float
    sqrt: bool
    constriant: bool
    score_type: int
    nms: float
    @property
    def biases(self) -> _Values[float]: ...
    def __init__(
        self,
        *,
        side: int | None = ...,
        num_class: int | None = ...,
        num_object: int | None = ...,
        threshold: float | None = ...,
        sqrt: bool | None = ...,
        constriant: bool | None = ...,
        score_type: int | str | None = ...,
        nms: float | None = ...,
        biases: _Iterable[float] | None = ...,
    ) -> None: ...

class ExpParameter(_Message):
    base: float
    scale: float
    shift: float
    def __init__(
        self,
        *,
        base: float | None = ...,
        scale: float | None = ...,
        shift: float | None = ...,
    ) -> None: ...

class ExpScalerParameter(_Message):
    base: float
    scale: float
    def __init__(
        self,
        *,
        base: float | None = ...,
        scale: float | None = ...,
    ) -> None: ...

class ExpansionParameter(_Message):
    prob: float
    max_expand_ratio: float
    def __init__(
        self,
        *,
        prob: float | None = ...,
        max_expand_ratio: float | None = ...,
    ) -> None: ...

class FillerParameter(_Message):
    VarianceNorm: _ClassVar[_Enum]
    FAN_IN: _ClassVar[int]
    FAN_OUT: _ClassVar[int]
    AVERAGE: _ClassVar[int]
    type: str
    value: float
    min: float
    max: float
    mean: float
    std: float
    sparse: int
    variance_norm: int
    alpha: float
    def __init__(
        self,
        *,
        type: str | None = ...,
        value: float | None = ...,
        min: float | None = ...,
        max: float | None = ...,
        mean: float | None = ...,
        std: float | None = ...,
        sparse: int | None = ...,
        variance_norm: int | str | None = ...,
        alpha: float | None = ...,
    ) -> None: ...

class FlattenParameter(_Message):
    axis: int
    end_axis: int
    def __init__(
        self,
        *,
        axis: int | None = ...,
        end_axis: int | None = ...,
    ) -> None: ...

class FlipParameter(_Message):
    flip_width: bool
    flip_height: bool
    def __init__(
        self,
        *,
        flip_width: bool | None = ...,
        flip_height: bool | None = ...,
    ) -> None: ...

class GaussianMmdParameter(_Message):
    Unit: _ClassVar[_Enum]
    MEDIAN: _ClassVar[int]
    MEAN: _ClassVar[int]
    ONE: _ClassVar[int]
    @property
    def bandwidth(self) -> _Values[float]: ...
    unit: int
    unbiased: bool
    def __init__(
        self,
        *,
        bandwidth: _Iterable[float] | None = ...,
        unit: int | str | None = ...,
        unbiased: bool | None = ...,
    ) -> None: ...

class GradientAlignmentParameter(_Message):
    def __init__(
        self,
    ) -> None: ...

class GradientScalerParameter(_Message):
    lower_bound: float
    upper_bound: float
    alpha: float
    max_iter: float
    threshold_iter: int
    def __init__(
        self,
        *,
        lower_bound: float | None = ...,
        upper_bound: float | None = ...,
        alpha: float | None = ...,
        max_iter: float | None = ...,
        threshold_iter: int | None = ...,
    ) -> None: ...

class GriddingParameter(_Message):
    gridding: str
    kernel_c: int
    kernel_h: int
    kernel_w: int
    stride_c: int
    stride_h: int
    stride_w: int
    bias_term: bool
    @property
    def weight_filler(self) -> FillerParameter: ...
    @property
    def bias_filler(self) -> FillerParameter: ...
    def __init__(
        self,
        *,
        gridding: str | None = ...,
        kernel_c: int | None = ...,
        kernel_h: int | None = ...,
        kernel_w: int | None = ...,
        stride_c: int | None = ...,
        stride_h: int | None = ...,
        stride_w: int | None = ...,
        bias_term: bool | None = ...,
        weight_filler: FillerParameter | _Mapping[str, _Any] | None = ...,
        bias_filler: FillerParameter | _Mapping[str, _Any] | None = ...,
    ) -> None: ...

class HDF5DataParameter(_Message):
    source: str
    batch_size: int
    shuffle: bool
    def __init__(
        self,
        *,
        source: str | None = ...,
        batch_size: int | None = ...,
        shuffle: bool | None = ...,
    ) -> None: ...

class HDF5OutputParameter(_Message):
    file_name: str
    def __init__(
        self,
        *,
        file_name: str | None = ...,
    ) -> None: ...

class HingeLossParameter(_Message):
    Norm: _ClassVar[_Enum]
    L1: _ClassVar[int]
    L2: _ClassVar[int]
    norm: int
    def __init__(
        self,
        *,
        norm: int | str | None = ...,
    ) -> None: ...

class HomoMeanLossParameter(_Message):
    NormalizationMode: _ClassVar[_Enum]
    NONE: _ClassVar[int]
    BATCH_SIZE: _ClassVar[int]
    FULL: _ClassVar[int]
    predict_measure: str
    cluster_measure: str
    scatter_measure: str
    clusupd_measure: str
    scatupd_measure: str
    odotter_measure: str
    ovalize_measure: str
    cluster_regular: str
    scatter_regular: str
    odotter_regular: str
    ovalize_regular: str
    cluster_clipmode: str
    scatter_clipmode: str
    topdiff_clipmode: str
    ovalize_clipmode: str
    cluster_clipactv: bool
    scatter_clipactv: bool
    topdiff_clipactv: bool
    ovalize_clipactv: bool
    cluster_clipnorm: float
    scatter_clipnorm: float
    topdiff_clipnorm: float
    ovalize_clipnorm: float
    cluster_clipprop: float
    cluster_lowrprop: float
    cluster_upprprop: float
    cluster_feedrate: float
    cluster_feedsize: float
    cluster_tradeoff: float
    scatter_clipprop: float
    scatter_lowrprop: float
    scatter_upprprop: float
    scatter_feedrate: float
    scatter_feedsize: float
    scatter_tradeoff: float
    topdiff_clipprop: float
    topdiff_lowrprop: float
    topdiff_upprprop: float
    topdiff_feedrate: float
    topdiff_feedsize: float
    topdiff_tradeoff: float
    ovalize_clipprop: float
    ovalize_lowrprop: float
    ovalize_upprprop: float
    ovalize_feedrate: float
    ovalize_feedsize: float
    ovalize_tradeoff: float
    ovals2s_01stprop: float
    ovals2s_02ndprop: float
    ovalt2t_01stprop: float
    ovalt2t_02ndprop: float
    ovals2t_01stprop: float
    ovals2t_02ndprop: float
    cluster_interval: int
    scatter_interval: int
    topdiff_interval: int
    ovalize_interval: int
    cluster_postpone: int
    scatter_postpone: int
    topdiff_postpone: int
    ovalize_postpone: int
    cluster_duration: int
    scatter_duration: int
    topdiff_duration: int
    ovalize_duration: int
    cluster_normalization: int
    scatter_normalization: int
    ovalize_normalization: int
    average_initmode: bool
    match_numb: int
    label_nmax: int
    label_axis: int
    target_label: int
    ignore_label: int
    replica_activate: bool
    predict_activate: bool
    cluster_activate: bool
    scatter_activate: bool
    clusupd_activate: bool
    scatupd_activate: bool
    ovalize_activate: bool
    def __init__(
        self,
        *,
        predict_measure: str | None = ...,
        cluster_measure: str | None = ...,
        scatter_measure: str | None = ...,
        clusupd_measure: str | None = ...,
        scatupd_measure: str | None = ...,
        odotter_measure: str | None = ...,
        ovalize_measure: str | None = ...,
        cluster_regular: str | None = ...,
        scatter_regular: str | None = ...,
        odotter_regular: str | None = ...,
        ovalize_regular: str | None = ...,
        cluster_clipmode: str | None = ...,
        scatter_clipmode: str | None = ...,
        topdiff_clipmode: str | None = ...,
        ovalize_clipmode: str | None = ...,
        cluster_clipactv: bool | None = ...,
        scatter_clipactv: bool | None = ...,
        topdiff_clipactv: bool | None = ...,
        ovalize_clipactv: bool | None = ...,
        cluster_clipnorm: float | None = ...,
        scatter_clipnorm: float | None = ...,
        topdiff_clipnorm: float | None = ...,
        ovalize_clipnorm: float | None = ...,
        cluster_clipprop: float | None = ...,
        cluster_lowrprop: float | None = ...,
        cluster_upprprop: float | None = ...,
        cluster_feedrate: float | None = ...,
        cluster_feedsize: float | None = ...,
        cluster_tradeoff: float | None = ...,
        scatter_clipprop: float | None = ...,
        scatter_lowrprop: float | None = ...,
        scatter_upprprop: float | None = ...,
        scatter_feedrate: float | None = ...,
        scatter_feedsize: float | None = ...,
        scatter_tradeoff: float | None = ...,
        topdiff_clipprop: float | None = ...,
        topdiff_lowrprop: float | None = ...,
        topdiff_upprprop: float | None = ...,
        topdiff_feedrate: float | None = ...,
        topdiff_feedsize: float | None = ...,
        topdiff_tradeoff: float | None = ...,
        ovalize_clipprop: float | None = ...,
        ovalize_lowrprop: float | None = ...,
        ovalize_upprprop: float | None = ...,
        ovalize_feedrate: float | None = ...,
        ovalize_feedsize: float | None = ...,
        ovalize_tradeoff: float | None = ...,
        ovals2s_01stprop: float | None = ...,
        ovals2s_02ndprop: float | None = ...,
        ovalt2t_01stprop: float | None = ...,
        ovalt2t_02ndprop: float | None = ...,
        ovals2t_01stprop: float | None = ...,
        ovals2t_02ndprop: float | None = ...,
        cluster_interval: int | None = ...,
        scatter_interval: int | None = ...,
        topdiff_interval: int | None = ...,
        ovalize_interval: int | None = ...,
        cluster_postpone: int | None = ...,
        scatter_postpone: int | None = ...,
        topdiff_postpone: int | None = ...,
        ovalize_postpone: int | None = ...,
        cluster_duration: int | None = ...,
        scatter_duration: int | None = ...,
        topdiff_duration: int | None = ...,
        ovalize_duration: int | None = ...,
        cluster_normalization: int | str | None = ...,
        scatter_normalization: int | str | None = ...,
        ovalize_normalization: int | str | None = ...,
        average_initmode: bool | None = ...,
        match_numb: int | None = ...,
        label_nmax: int | None = ...,
        label_axis: int | None = ...,
        target_label: int | None = ...,
        ignore_label: int | None = ...,
        replica_activate: bool | None = ...,
        predict_activate: bool | None = ...,
        cluster_activate: bool | None = ...,
        scatter_activate: bool | None = ...,
        clusupd_activate: bool | None = ...,
        scatupd_activate: bool | None = ...,
        ovalize_activate: bool | None = ...,
    ) -> None: ...

class ImageDataParameter(_Message):
    LabelType: _ClassVar[_Enum]
    NONE: _ClassVar[int]
    IMAGE: _ClassVar[int]
    PIXEL: _ClassVar[int]
    source: str
    scale: float
    mean_file: str
    batch_size: int
    crop_size: int
    mirror: bool
    rand_skip: int
    shuffle: bool
    new_height: int
    new_width: int
    is_color: bool
    root_folder: str
    threads: int
    cache: bool
    precache: bool
    new_length: int
    show_data: int
    use_image: bool
    sampling_rate: int
    use_temporal_jitter: bool
    mean_value: float
    ignore_label: int
    label_type: int
    def __init__(
        self,
        *,
        source: str | None = ...,
        scale: float | None = ...,
        mean_file: str | None = ...,
        batch_size: int | None = ...,
        crop_size: int | None = ...,
        mirror: bool | None = ...,
        rand_skip: int | None = ...,
        shuffle: bool | None = ...,
        new_height: int | None = ...,
        new_width: int | None = ...,
        is_color: bool | None = ...,
        root_folder: str | None = ...,
        threads: int | None = ...,
        cache: bool | None = ...,
        precache: bool | None = ...,
        new_length: int | None = ...,
        show_data: int | None = ...,
        use_image: bool | None = ...,
        sampling_rate: int | None = ...,
        use_temporal_jitter: bool | None = ...,
        mean_value: float | None = ...,
        ignore_label: int | None = ...,
        label_type: int | str | None = ...,
    ) -> None: ...

class InfogainLossParameter(_Message):
    source: str
    axis: int
    def __init__(
        self,
        *,
        source: str | None = ...,
        axis: int | None = ...,
    ) -> None: ...

class InnerProductParameter(_Message):
    Engine: _ClassVar[_Enum]
    DEFAULT: _ClassVar[int]
    CAFFE: _ClassVar[int]
    MKL2017: _ClassVar[int]
    MKLDNN: _ClassVar[int]
    num_output: int
    bias_term: bool
    @property
    def weight_filler(self) -> FillerParameter: ...
    @property
    def bias_filler(self) -> FillerParameter: ...
    axis: int
    transpose: bool
    engine: int
    def __init__(
        self,
        *,
        num_output: int | None = ...,
        bias_term: bool | None = ...,
        weight_filler: FillerParameter | _Mapping[str, _Any] | None = ...,
        bias_filler: FillerParameter | _Mapping[str, _Any] | None = ...,
        axis: int | None = ...,
        transpose: bool | None = ...,
        engine: int | str | None = ...,
    ) -> None: ...

class InputParameter(_Message):
    @property
    def shape(self) -> _Messages[BlobShape]: ...
    def __init__(
        self,
        *,
        shape: _Iterable[BlobShape | _Mapping[str, _Any]] | None = ...,
    ) -> None: ...

class InsanityParameter(_Message):
    lb: float
    ub: float
    def __init__(
        self,
        *,
        lb: float | None = ...,
        ub: float | None = ...,
    ) -> None: ...

class InterpParameter(_Message):
    height: int
    width: int
    zoom_factor: int
    shrink_factor: int
    pad_beg: int
    pad_end: int
    interp_type: str
    use_blob_size: bool
    def __init__(
        self,
        *,
        height: int | None = ...,
        width: int | None = ...,
        zoom_factor: int | None = ...,
        shrink_factor: int | None = ...,
        pad_beg: int | None = ...,
        pad_end: int | None = ...,
        interp_type: str | None = ...,
        use_blob_size: bool | None = ...,
    ) -> None: ...

class JMMDParameter(_Message):
    kernel_num: int
    sigma: float
    label_kernel_mul: float
    label_kernel_num: int
    kernel_mul: float
    fix_gamma: bool
    auto_sigma: bool
    def __init__(
        self,
        *,
        kernel_num: int | None = ...,
        sigma: float | None = ...,
        label_kernel_mul: float | None = ...,
        label_kernel_num: int | None = ...,
        kernel_mul: float | None = ...,
        fix_gamma: bool | None = ...,
        auto_sigma: bool | None = ...,
    ) -> None: ...

class KlLossParameter(_Message):
    Gradient: _ClassVar[_Enum]
    PRINTED: _ClassVar[int]
    EXACT: _ClassVar[int]
    HINTON: _ClassVar[int]
    temperature: float
    gradient: int
    one_sided: bool
    def __init__(
        self,
        *,
        temperature: float | None = ...,
        gradient: int | str | None = ...,
        one_sided: bool | None = ...,
    ) -> None: ...

class KnowledgeDistillationParameter(_Message):
    temperature: float
    def __init__(
        self,
        *,
        temperature: float | None = ...,
    ) -> None: ...

class LRNParameter(_Message):
    NormRegion: _ClassVar[_Enum]
    ACROSS_CHANNELS: _ClassVar[int]
    WITHIN_CHANNEL: _ClassVar[int]
    Engine: _ClassVar[_Enum]
    DEFAULT: _ClassVar[int]
    CAFFE: _ClassVar[int]
    CUDNN: _ClassVar[int]
    MKL2017: _ClassVar[int]
    MKLDNN: _ClassVar[int]
    local_size: int
    alpha: float
    beta: float
    norm_region: int
    k: float
    engine: int
    def __init__(
        self,
        *,
        local_size: int | None = ...,
        alpha: float | None = ...,
        beta: float | None = ...,
        norm_region: int | str | None = ...,
        k: float | None = ...,
        engine: int | str | None = ...,
    ) -> None: ...

class LabelMap(_Message):
    @property
    def item(self) -> _Messages[LabelMapItem]: ...
    def __init__(
        self,
        *,
        item: _Iterable[LabelMapItem | _Mapping[str, _Any]] | None = ...,
    ) -> None: ...

class LabelMapItem(_Message):
    name: str
    label: int
    display_name: str
    def __init__(
        self,
        *,
        name: str | None = ...,
        label: int | None = ...,
        display_name: str | None = ...,
    ) -> None: ...

class LabelsequenceAccuracyParameter(_Message):
    blank_label: int
    def __init__(
        self,
        *,
        blank_label: int | None = ...,
    ) -> None: ...

class LargeMarginInnerProductParameter(_Message):
    LargeMarginType: _ClassVar[_Enum]
    SINGLE: _ClassVar[int]
    DOUBLE: _ClassVar[int]
    TRIPLE: _ClassVar[int]
    QUADRUPLE: _ClassVar[int]
    num_output: int
    type: int
    @property
    def weight_filler(self) -> FillerParameter: ...
    axis: int
    base: float
    gamma: float
    power: float
    iteration: int
    lambda_min: float
    def __init__(
        self,
        *,
        num_output: int | None = ...,
        type: int | str | None = ...,
        weight_filler: FillerParameter | _Mapping[str, _Any] | None = ...,
        axis: int | None = ...,
        base: float | None = ...,
        gamma: float | None = ...,
        power: float | None = ...,
        iteration: int | None = ...,
        lambda_min: float | None = ...,
    ) -> None: ...

class LayerParameter(_Message):
    Type: _ClassVar[_Enum]
    DOUBLE: _ClassVar[int]
    FLOAT: _ClassVar[int]
    FLOAT16: _ClassVar[int]
    INT: _ClassVar[int]
    UINT: _ClassVar[int]
    BOOL: _ClassVar[int]
    name: str
    type: str
    @property
    def bottom(self) -> _Values[str]: ...
    @property
    def top(self) -> _Values[str]: ...
    @property
    def loss_weight(self) -> _Values[float]: ...
    @property
    def param(self) -> _Messages[ParamSpec]: ...
    @property
    def blobs(self) -> _Messages[BlobProto]: ...
    @property
    def include(self) -> _Messages[NetStateRule]: ...
    @property
    def exclude(self) -> _Messages[NetStateRule]: ...
    phase: int
    @property
    def propagate_down(self) -> _Values[bool]: ...
    @property
    def bn_param(self) -> BNParameter: ...
    @property
    def transform_param(self) -> TransformationParameter: ...
    @property
    def loss_param(self) -> LossParameter: ...
    @property
    def accuracy_param(self) -> AccuracyParameter: ...
    @property
    def argmax_param(self) -> ArgMaxParameter: ...
    @property
    def concat_param(self) -> ConcatParameter: ...
    @property
    def contrastive_loss_param(self) -> ContrastiveLossParameter: ...
    @property
    def convolution_param(self) -> ConvolutionParameter: ...
    @property
    def data_param(self) -> DataParameter: ...
    @property
    def dropout_param(self) -> DropoutParameter: ...
    @property
    def dummy_data_param(self) -> DummyDataParameter: ...
    @property
    def eltwise_param(self) -> EltwiseParameter: ...
    @property
    def exp_param(self) -> ExpParameter: ...
    @property
    def hdf5_data_param(self) -> HDF5DataParameter: ...
    @property
    def hdf5_output_param(self) -> HDF5OutputParameter: ...
    @property
    def hinge_loss_param(self) -> HingeLossParameter: ...
    @property
    def image_data_param(self) -> ImageDataParameter: ...
    @property
    def infogain_loss_param(self) -> InfogainLossParameter: ...
    @property
    def inner_product_param(self) -> InnerProductParameter: ...
    @property
    def lrn_param(self) -> LRNParameter: ...
    @property
    def memory_data_param(self) -> MemoryDataParameter: ...
    @property
    def mvn_param(self) -> MVNParameter: ...
    @property
    def pooling_param(self) -> PoolingParameter: ...
    @property
    def power_param(self) -> PowerParameter: ...
    @property
    def relu_param(self) -> ReLUParameter: ...
    @property
    def sigmoid_param(self) -> SigmoidParameter: ...
    @property
    def softmax_param(self) -> SoftmaxParameter: ...
    @property
    def slice_param(self) -> SliceParameter: ...
    @property
    def tanh_param(self) -> TanHParameter: ...
    @property
    def threshold_param(self) -> ThresholdParameter: ...
    @property
    def window_data_param(self) -> WindowDataParameter: ...
    @property
    def python_param(self) -> PythonParameter: ...
    @property
    def prelu_param(self) -> PReLUParameter: ...
    @property
    def spp_param(self) -> SPPParameter: ...
    @property
    def reshape_param(self) -> ReshapeParameter: ...
    @property
    def log_param(self) -> LogParameter: ...
    @property
    def flatten_param(self) -> FlattenParameter: ...
    @property
    def reduction_param(self) -> ReductionParameter: ...
    @property
    def embed_param(self) -> EmbedParameter: ...
    @property
    def tile_param(self) -> TileParameter: ...
    @property
    def batch_norm_param(self) -> BatchNormParameter: ...
    @property
    def elu_param(self) -> ELUParameter: ...
    @property
    def bias_param(self) -> BiasParameter: ...
    @property
    def scale_param(self) -> ScaleParameter: ...
    @property
    def input_param(self) -> InputParameter: ...
    @property
    def crop_param(self) -> CropParameter: ...
    @property
    def parameter_param(self) -> ParameterParameter: ...
    @property
    def recurrent_param(self) -> RecurrentParameter: ...
    @property
    def swish_param(self) -> SwishParameter: ...
    @property
    def clip_param(self) -> ClipParameter: ...
    @property
    def upsample_param(self) -> UpsampleParameter: ...
    @property
    def gridding_param(self) -> GriddingParameter: ...
    @property
    def degridding_param(self) -> DegriddingParameter: ...
    @property
    def homo_mean_loss_param(self) -> HomoMeanLossParameter: ...
    @property
    def mmd_loss_param(self) -> MMDLossParameter: ...
    @property
    def ctc_loss_param(self) -> CtcLossParameter: ...
    @property
    def quantization_param(self) -> QuantizationParameter: ...
    @property
    def reorg_param(self) -> ReorgParameter: ...
    @property
    def log_scaler_param(self) -> LogScalerParameter: ...
    @property
    def exp_scaler_param(self) -> ExpScalerParameter: ...
    @property
    def bottom2param_param(self) -> Bottom2ParamParameter: ...
    @property
    def interp_param(self) -> InterpParameter: ...
    @property
    def shuffle_channel_param(self) -> ShuffleChannelParameter: ...
    @property
    def gradient_alignment_param(self) -> GradientAlignmentParameter: ...
    @property
    def entropy_loss_param(self) -> EntropyLossParameter: ...
    @property
    def multimodal_batch_norm_param(self) -> MultiModalBatchNormParameter: ...
    @property
    def class_latch_param(self) -> ClassLatchParameter: ...
    @property
    def annotated_data_param(self) -> AnnotatedDataParameter: ...
    @property
    def multibox_loss_param(self) -> MultiBoxLossParameter: ...
    @property
    def permute_param(self) -> PermuteParameter: ...
    @property
    def prior_box_param(self) -> PriorBoxParameter: ...
    @property
    def detection_output_param(self) -> DetectionOutputParameter: ...
    @property
    def detection_evaluate_param(self) -> DetectionEvaluateParameter: ...
    @property
    def norm_param(self) -> NormalizeParameter: ...
    @property
    def video_data_param(self) -> VideoDataParameter: ...
    @property
    def depth_to_space_param(self) -> DepthToSpaceParameter: ...
    @property
    def upsample_darknet_param(self) -> UpsampleDarknetParameter: ...
    @property
    def resize_nearest_neighbor_param(self) -> ResizeNearestNeighborParameter: ...
    @property
    def flip_param(self) -> FlipParameter: ...
    @property
    def pad_param(self) -> PadParameter: ...
    @property
    def resize_bilinear_param(self) -> ResizeBilinearParameter: ...
    @property
    def batch_to_space_nd_param(self) -> BatchToSpaceNDParameter: ...
    @property
    def space_to_batch_nd_param(self) -> SpaceToBatchNDParameter: ...
    @property
    def squeeze_param(self) -> SqueezeParameter: ...
    @property
    def mul_param(self) -> MulParameter: ...
    @property
    def eval_detection_param(self) -> EvalDetectionParameter: ...
    @property
    def region_loss_param(self) -> RegionLossParameter: ...
    @property
    def yolo_detection_output_param(self) -> YoloDetectionOutputParameter: ...
    @property
    def yolov3_detection_output_param(self) -> Yolov3DetectionOutputParameter: ...
    @property
    def yolov3_param(self) -> Yolov3Parameter: ...
    @property
    def yolo_seg_param(self) -> YoloSegParameter: ...
    @property
    def distort_param(self) -> DistortParameter: ...
    @property
    def kl_loss_param(self) -> KlLossParameter: ...
    @property
    def dense_block_param(self) -> DenseBlockParameter: ...
    @property
    def gaussian_mmd_param(self) -> GaussianMmdParameter: ...
    @property
    def adversarial_param(self) -> AdversarialParameter: ...
    @property
    def mixup_param(self) -> MixupParameter: ...
    @property
    def dense_image_data_param(self) -> DenseImageDataParameter: ...
    @property
    def seg_accuracy_param(self) -> SegAccuracyParameter: ...
    forward_type: int
    backward_type: int
    forward_math: int
    backward_math: int
    engine: str
    @property
    def cudnn_batch_norm_param(self) -> CuDNNBatchNormParameter: ...
    @property
    def denseblock_param(self) -> DenseblockParameter: ...
    @property
    def unpooling_param(self) -> UnpoolingParameter: ...
    @property
    def insanity_param(self) -> InsanityParameter: ...
    @property
    def mmd_param(self) -> MMDParameter: ...
    @property
    def entropy_param(self) -> EntropyParameter: ...
    @property
    def gradient_scaler_param(self) -> GradientScalerParameter: ...
    @property
    def jmmd_param(self) -> JMMDParameter: ...
    @property
    def continuation_indicator_param(self) -> ContinuationIndicatorParameter: ...
    @property
    def labelsequence_accuracy_param(self) -> LabelsequenceAccuracyParameter: ...
    @property
    def sparsify_param(self) -> SparsifyParameter: ...
    @property
    def largemargin_inner_product_param(self) -> LargeMarginInnerProductParameter: ...
    @property
    def margin_inner_product_param(self) -> MarginInnerProductParameter: ...
    @property
    def center_loss_param(self) -> CenterLossParameter: ...
    @property
    def mmdx_loss_param(self) -> MMDXLossParameter: ...
    @property
    def precision_recall_param(self) -> PrecisionRecallParameter: ...
    @property
    def auc_param(self) -> AUCParameter: ...
    @property
    def selu_param(self) -> SeLuParameter: ...
    @property
    def selu_dropout_param(self) -> SeLuDropoutParameter: ...
    @property
    def param2top_param(self) -> Param2TopParameter: ...
    @property
    def knowledge_distillation_param(self) -> KnowledgeDistillationParameter: ...
    @property
    def convolution3d_param(self) -> Convolution3DParameter: ...
    @property
    def pooling3d_param(self) -> Pooling3DParameter: ...
    @property
    def detectnet_groundtruth_param(self) -> DetectNetGroundTruthParameter: ...
    @property
    def detectnet_augmentation_param(self) -> DetectNetAugmentationParameter: ...
    @property
    def box_annotator_ohem_param(self) -> BoxAnnotatorOHEMParameter: ...
    @property
    def psroi_pooling_param(self) -> PSROIPoolingParameter: ...
    @property
    def roi_warping_param(self) -> ROIWarpingParameter: ...
    @property
    def mask_resize_param(self) -> MaskResizeParameter: ...
    @property
    def relu6_param(self) -> ReLU6Parameter: ...
    @property
    def roi_pooling_param(self) -> ROIPoolingParameter: ...
    @property
    def smooth_l1_loss_param(self) -> SmoothL1LossParameter: ...
    @property
    def proposal_param(self) -> ProposalParameter: ...
    def __init__(
        self,
        *,
        name: str | None = ...,
        type: str | None = ...,
        bottom: _Iterable[str] | None = ...,
        top: _Iterable[str] | None = ...,
        loss_weight: _Iterable[float] | None = ...,
        param: _Iterable[ParamSpec | _Mapping[str, _Any]] | None = ...,
        blobs: _Iterable[BlobProto | _Mapping[str, _Any]] | None = ...,
        include: _Iterable[NetStateRule | _Mapping[str, _Any]] | None = ...,
        exclude: _Iterable[NetStateRule | _Mapping[str, _Any]] | None = ...,
        phase: int | str | None = ...,
        propagate_down: _Iterable[bool] | None = ...,
        bn_param: BNParameter | _Mapping[str, _Any] | None = ...,
        transform_param: TransformationParameter | _Mapping[str, _Any] | None = ...,
        loss_param: LossParameter | _Mapping[str, _Any] | None = ...,
        accuracy_param: AccuracyParameter | _Mapping[str, _Any] | None = ...,
        argmax_param: ArgMaxParameter | _Mapping[str, _Any] | None = ...,
        concat_param: ConcatParameter | _Mapping[str, _Any] | None = ...,
        contrastive_loss_param: ContrastiveLossParameter | _Mapping[str, _Any] | None = ...,
        convolution_param: ConvolutionParameter | _Mapping[str, _Any] | None = ...,
        data_param: DataParameter | _Mapping[str, _Any] | None = ...,
        dropout_param: DropoutParameter | _Mapping[str, _Any] | None = ...,
        dummy_data_param: DummyDataParameter | _Mapping[str, _Any] | None = ...,
        eltwise_param: EltwiseParameter | _Mapping[str, _Any] | None = ...,
        exp_param: ExpParameter | _Mapping[str, _Any] | None = ...,
        hdf5_data_param: HDF5DataParameter | _Mapping[str, _Any] | None = ...,
        hdf5_output_param: HDF5OutputParameter | _Mapping[str, _Any] | None = ...,
        hinge_loss_param: HingeLossParameter | _Mapping[str, _Any] | None = ...,
        image_data_param: ImageDataParameter | _Mapping[str, _Any] | None = ...,
        infogain_loss_param: InfogainLossParameter | _Mapping[str, _Any] | None = ...,
        inner_product_param: InnerProductParameter | _Mapping[str, _Any] | None = ...,
        lrn_param: LRNParameter | _Mapping[str, _Any] | None = ...,
        memory_data_param: MemoryDataParameter | _Mapping[str, _Any] | None = ...,
        mvn_param: MVNParameter | _Mapping[str, _Any] | None = ...,
        pooling_param: PoolingParameter | _Mapping[str, _Any] | None = ...,
        power_param: PowerParameter | _Mapping[str, _Any] | None = ...,
        relu_param: ReLUParameter | _Mapping[str, _Any] | None = ...,
        sigmoid_param: SigmoidParameter | _Mapping[str, _Any] | None = ...,
        softmax_param: SoftmaxParameter | _Mapping[str, _Any] | None = ...,
        slice_param: SliceParameter | _Mapping[str, _Any] | None = ...,
        tanh_param: TanHParameter | _Mapping[str, _Any] | None = ...,
        threshold_param: ThresholdParameter | _Mapping[str, _Any] | None = ...,
        window_data_param: WindowDataParameter | _Mapping[str, _Any] | None = ...,
        python_param: PythonParameter | _Mapping[str, _Any] | None = ...,
        prelu_param: PReLUParameter | _Mapping[str, _Any] | None = ...,
        spp_param: SPPParameter | _Mapping[str, _Any] | None = ...,
        reshape_param: ReshapeParameter | _Mapping[str, _Any] | None = ...,
        log_param: LogParameter | _Mapping[str, _Any] | None = ...,
        flatten_param: FlattenParameter | _Mapping[str, _Any] | None = ...,
        reduction_param: ReductionParameter | _Mapping[str, _Any] | None = ...,
        embed_param: EmbedParameter | _Mapping[str, _Any] | None = ...,
        tile_param: TileParameter | _Mapping[str, _Any] | None = ...,
        batch_norm_param: BatchNormParameter | _Mapping[str, _Any] | None = ...,
        elu_param: ELUParameter | _Mapping[str, _Any] | None = ...,
        bias_param: BiasParameter | _Mapping[str, _Any] | None = ...,
        scale_param: ScaleParameter | _Mapping[str, _Any] | None = ...,
        input_param: InputParameter | _Mapping[str, _Any] | None = ...,
        crop_param: CropParameter | _Mapping[str, _Any] | None = ...,
        parameter_param: ParameterParameter | _Mapping[str, _Any] | None = ...,
        recurrent_param: RecurrentParameter | _Mapping[str, _Any] | None = ...,
        swish_param: SwishParameter | _Mapping[str, _Any] | None = ...,
        clip_param: ClipParameter | _Mapping[str, _Any] | None = ...,
        upsample_param: UpsampleParameter | _Mapping[str, _Any] | None = ...,
        gridding_param: GriddingParameter | _Mapping[str, _Any] | None = ...,
        degridding_param: DegriddingParameter | _Mapping[str, _Any] | None = ...,
        homo_mean_loss_param: HomoMeanLossParameter | _Mapping[str, _Any] | None = ...,
        mmd_loss_param: MMDLossParameter | _Mapping[str, _Any] | None = ...,
        ctc_loss_param: CtcLossParameter | _Mapping[str, _Any] | None = ...,
        quantization_param: QuantizationParameter | _Mapping[str, _Any] | None = ...,
        reorg_param: ReorgParameter | _Mapping[str, _Any] | None = ...,
        log_scaler_param: LogScalerParameter | _Mapping[str, _Any] | None = ...,
        exp_scaler_param: ExpScalerParameter | _Mapping[str, _Any] | None = ...,
        bottom2param_param: Bottom2ParamParameter | _Mapping[str, _Any] | None = ...,
        interp_param: InterpParameter | _Mapping[str, _Any] | None = ...,
        shuffle_channel_param: ShuffleChannelParameter | _Mapping[str, _Any] | None = ...,
        gradient_alignment_param: GradientAlignmentParameter | _Mapping[str, _Any] | None = ...,
        entropy_loss_param: EntropyLossParameter | _Mapping[str, _Any] | None = ...,
        multimodal_batch_norm_param: MultiModalBatchNormParameter | _Mapping[str, _Any] | None = ...,
        class_latch_param: ClassLatchParameter | _Mapping[str, _Any] | None = ...,
        annotated_data_param: AnnotatedDataParameter | _Mapping[str, _Any] | None = ...,
        multibox_loss_param: MultiBoxLossParameter | _Mapping[str, _Any] | None = ...,
        permute_param: PermuteParameter | _Mapping[str, _Any] | None = ...,
        prior_box_param: PriorBoxParameter | _Mapping[str, _Any] | None = ...,
        detection_output_param: DetectionOutputParameter | _Mapping[str, _Any] | None = ...,
        detection_evaluate_param: DetectionEvaluateParameter | _Mapping[str, _Any] | None = ...,
        norm_param: NormalizeParameter | _Mapping[str, _Any] | None = ...,
        video_data_param: VideoDataParameter | _Mapping[str, _Any] | None = ...,
        depth_to_space_param: DepthToSpaceParameter | _Mapping[str, _Any] | None = ...,
        upsample_darknet_param: UpsampleDarknetParameter | _Mapping[str, _Any] | None = ...,
        resize_nearest_neighbor_param: ResizeNearestNeighborParameter | _Mapping[str, _Any] | None = ...,
        flip_param: FlipParameter | _Mapping[str, _Any] | None = ...,
        pad_param: PadParameter | _Mapping[str, _Any] | None = ...,
        resize_bilinear_param: ResizeBilinearParameter | _Mapping[str, _Any] | None = ...,
        batch_to_space_nd_param: BatchToSpaceNDParameter | _Mapping[str, _Any] | None = ...,
        space_to_batch_nd_param: SpaceToBatchNDParameter | _Mapping[str, _Any] | None = ...,
        squeeze_param: SqueezeParameter | _Mapping[str, _Any] | None = ...,
        mul_param: MulParameter | _Mapping[str, _Any] | None = ...,
        eval_detection_param: EvalDetectionParameter | _Mapping[str, _Any] | None = ...,
        region_loss_param: RegionLossParameter | _Mapping[str, _Any] | None = ...,
        yolo_detection_output_param: YoloDetectionOutputParameter | _Mapping[str, _Any] | None = ...,
        yolov3_detection_output_param: Yolov3DetectionOutputParameter | _Mapping[str, _Any] | None = ...,
        yolov3_param: Yolov3Parameter | _Mapping[str, _Any] | None = ...,
        yolo_seg_param: YoloSegParameter | _Mapping[str, _Any] | None = ...,
        distort_param: DistortParameter | _Mapping[str, _Any] | None = ...,
        kl_loss_param: KlLossParameter | _Mapping[str, _Any] | None = ...,
        dense_block_param: DenseBlockParameter | _Mapping[str, _Any] | None = ...,
        gaussian_mmd_param: GaussianMmdParameter | _Mapping[str, _Any] | None = ...,
        adversarial_param: AdversarialParameter | _Mapping[str, _Any] | None = ...,
        mixup_param: MixupParameter | _Mapping[str, _Any] | None = ...,
        dense_image_data_param: DenseImageDataParameter | _Mapping[str, _Any] | None = ...,
        seg_accuracy_param: SegAccuracyParameter | _Mapping[str, _Any] | None = ...,
        forward_type: int | str | None = ...,
        backward_type: int | str | None = ...,
        forward_math: int | str | None = ...,
        backward_math: int | str | None = ...,
        engine: str | None = ...,
        cudnn_batch_norm_param: CuDNNBatchNormParameter | _Mapping[str, _Any] | None = ...,
        denseblock_param: DenseblockParameter | _Mapping[str, _Any] | None = ...,
        unpooling_param: UnpoolingParameter | _Mapping[str, _Any] | None = ...,
        insanity_param: InsanityParameter | _Mapping[str, _Any] | None = ...,
        mmd_param: MMDParameter | _Mapping[str, _Any] | None = ...,
        entropy_param: EntropyParameter | _Mapping[str, _Any] | None = ...,
        gradient_scaler_param: GradientScalerParameter | _Mapping[str, _Any] | None = ...,
        jmmd_param: JMMDParameter | _Mapping[str, _Any] | None = ...,
        continuation_indicator_param: ContinuationIndicatorParameter | _Mapping[str, _Any] | None = ...,
        labelsequence_accuracy_param: LabelsequenceAccuracyParameter | _Mapping[str, _Any] | None = ...,
        sparsify_param: SparsifyParameter | _Mapping[str, _Any] | None = ...,
        largemargin_inner_product_param: LargeMarginInnerProductParameter | _Mapping[str, _Any] | None = ...,
        margin_inner_product_param: MarginInnerProductParameter | _Mapping[str, _Any] | None = ...,
        center_loss_param: CenterLossParameter | _Mapping[str, _Any] | None = ...,
        mmdx_loss_param: MMDXLossParameter | _Mapping[str, _Any] | None = ...,
        precision_recall_param: PrecisionRecallParameter | _Mapping[str, _Any] | None = ...,
        auc_param: AUCParameter | _Mapping[str, _Any] | None = ...,
        selu_param: SeLuParameter | _Mapping[str, _Any] | None = ...,
        selu_dropout_param: SeLuDropoutParameter | _Mapping[str, _Any] | None = ...,
        param2top_param: Param2TopParameter | _Mapping[str, _Any] | None = ...,
        knowledge_distillation_param: KnowledgeDistillationParameter | _Mapping[str, _Any] | None = ...,
        convolution3d_param: Convolution3DParameter | _Mapping[str, _Any] | None = ...,
        pooling3d_param: Pooling3DParameter | _Mapping[str, _Any] | None = ...,
        detectnet_groundtruth_param: DetectNetGroundTruthParameter | _Mapping[str, _Any] | None = ...,
        detectnet_augmentation_param: DetectNetAugmentationParameter | _Mapping[str, _Any] | None = ...,
        box_annotator_ohem_param: BoxAnnotatorOHEMParameter | _Mapping[str, _Any] | None = ...,
        psroi_pooling_param: PSROIPoolingParameter | _Mapping[str, _Any] | None = ...,
        roi_warping_param: ROIWarpingParameter | _Mapping[str, _Any] | None = ...,
        mask_resize_param: MaskResizeParameter | _Mapping[str, _Any] | None = ...,
        relu6_param: ReLU6Parameter | _Mapping[str, _Any] | None = ...,
        roi_pooling_param: ROIPoolingParameter | _Mapping[str, _Any] | None = ...,
        smooth_l1_loss_param: SmoothL1LossParameter | _Mapping[str, _Any] | None = ...,
        proposal_param: ProposalParameter | _Mapping[str, _Any] | None = ...,
    ) -> None: ...

class LogParameter(_Message):
    base: float
    scale: float
    shift: float
    def __init__(
        self,
        *,
        base: float | None = ...,
        scale: float | None = ...,
        shift: float | None = ...,
    ) -> None: ...

class LogScalerParameter(_Message):
    base: float
    scale: float
    def __init__(
        self,
        *,
        base: float | None = ...,
        scale: float | None = ...,
    ) -> None: ...

class LossParameter(_Message):
    NormalizationMode: _ClassVar[_Enum]
    FULL: _ClassVar[int]
    VALID: _ClassVar[int]
    BATCH_SIZE: _ClassVar[int]
    NONE: _ClassVar[int]
    PRE_FIXED: _ClassVar[int]
    ignore_label: int
    normalize: bool
    normalization: int
    weight_by_label_freqs: bool
    @property
    def class_weighting(self) -> _Values[float]: ...
    label_smoothing: float
    pre_fixed_normalizer: float
    def __init__(
        self,
        *,
        ignore_label: int | None = ...,
        normalize: bool | None = ...,
        normalization: int | str | None = ...,
        weight_by_label_freqs: bool | None = ...,
        class_weighting: _Iterable[float] | None = ...,
        label_smoothing: float | None = ...,
        pre_fixed_normalizer: float | None = ...,
    ) -> None: ...

class MMDLossParameter(_Message):
    kernel_numb: int
    kernel_mult: float
    absfix_flag: bool
    loss_weight: float
    def __init__(
        self,
        *,
        kernel_numb: int | None = ...,
        kernel_mult: float | None = ...,
        absfix_flag: bool | None = ...,
        loss_weight: float | None = ...,
    ) -> None: ...

class MMDParameter(_Message):
    kernel_num: int
    kernel_mul: float
    fix_gamma: bool
    def __init__(
        self,
        *,
        kernel_num: int | None = ...,
        kernel_mul: float | None = ...,
        fix_gamma: bool | None = ...,
    ) -> None: ...

class MMDXLossParameter(_Message):
    kernel_numb: int
    kernel_mult: float
    absfix_flag: bool
    def __init__(
        self,
        *,
        kernel_numb: int | None = ...,
        kernel_mult: float | None = ...,
        absfix_flag: bool | None = ...,
    ) -> None: ...

class MVNParameter(_Message):
    normalize_variance: bool
    across_channels: bool
    eps: float
    add_eps_before_sqrt: bool
    def __init__(
        self,
        *,
        normalize_variance: bool | None = ...,
        across_channels: bool | None = ...,
        eps: float | None = ...,
        add_eps_before_sqrt: bool | None = ...,
    ) -> None: ...

class MarginInnerProductParameter(_Message):
    MarginType: _ClassVar[_Enum]
    SINGLE: _ClassVar[int]
    DOUBLE: _ClassVar[int]
    TRIPLE: _ClassVar[int]
    QUADRUPLE: _ClassVar[int]
    num_output: int
    type: int
    @property
    def weight_filler(self) -> FillerParameter: ...
    axis: int
    base: float
    gamma: float
    power: float
    iteration: int
    lambda_min: float
    def __init__(
        self,
        *,
        num_output: int | None = ...,
        type: int | str | None = ...,
        weight_filler: FillerParameter | _Mapping[str, _Any] | None = ...,
        axis: int | None = ...,
        base: float | None = ...,
        gamma: float | None = ...,
        power: float | None = ...,
        iteration: int | None = ...,
        lambda_min: float | None = ...,
    ) -> None: ...

class MaskResizeParameter(_Message):
    output_height: int
    output_width: int
    def __init__(
        self,
        *,
        output_height: int | None = ...,
        output_width: int | None = ...,
    ) -> None: ...

class MemoryDataParameter(_Message):
    batch_size: int
    channels: int
    height: int
    width: int
    def __init__(
        self,
        *,
        batch_size: int | None = ...,
        channels: int | None = ...,
        height: int | None = ...,
        width: int | None = ...,
    ) -> None: ...

class MixupParameter(_Message):
    alpha: float
    def __init__(
        self,
        *,
        alpha: float | None = ...,
    ) -> None: ...

class MulParameter(_Message):
    @property
    def mul_shape(self) -> _Values[int]: ...
    def __init__(
        self,
        *,
        mul_shape: _Iterable[int] | None = ...,
    ) -> None: ...

class MultiBoxLossParameter(_Message):
    LocLossType: _ClassVar[_Enum]
    L2: _ClassVar[int]
    SMOOTH_L1: _ClassVar[int]
    ConfLossType: _ClassVar[_Enum]
    SOFTMAX: _ClassVar[int]
    LOGISTIC: _ClassVar[int]
    MatchType: _ClassVar[_Enum]
    BIPARTITE: _ClassVar[int]
    PER_PREDICTION: _ClassVar[int]
    CodeType: _ClassVar[_Enum]
    CORNER: _ClassVar[int]
    CENTER_SIZE: _ClassVar[int]
    CORNER_SIZE: _ClassVar[int]
    MiningType: _ClassVar[_Enum]
    NONE: _ClassVar[int]
    MAX_NEGATIVE: _ClassVar[int]
    HARD_EXAMPLE: _ClassVar[int]
    loc_loss_type: int
    conf_loss_type: int
    loc_weight: float
    num_classes: int
    share_location: bool
    match_type: int
    overlap_threshold: float
    use_prior_for_matching: bool
    background_label_id: int
    use_difficult_gt: bool
    do_neg_mining: bool
    neg_pos_ratio: float
    neg_overlap: float
    code_type: int
    encode_variance_in_target: bool
    map_object_to_agnostic: bool
    ignore_cross_boundary_bbox: bool
    bp_inside: bool
    mining_type: int
    @property
    def nms_param(self) -> NonMaximumSuppressionParameter: ...
    sample_size: int
    use_prior_for_nms: bool
    def __init__(
        self,
        *,
        loc_loss_type: int | str | None = ...,
        conf_loss_type: int | str | None = ...,
        loc_weight: float | None = ...,
        num_classes: int | None = ...,
        share_location: bool | None = ...,
        match_type: int | str | None = ...,
        overlap_threshold: float | None = ...,
        use_prior_for_matching: bool | None = ...,
        background_label_id: int | None = ...,
        use_difficult_gt: bool | None = ...,
        do_neg_mining: bool | None = ...,
        neg_pos_ratio: float | None = ...,
        neg_overlap: float | None = ...,
        code_type: int | str | None = ...,
        encode_variance_in_target: bool | None = ...,
        map_object_to_agnostic: bool | None = ...,
        ignore_cross_boundary_bbox: bool | None = ...,
        bp_inside: bool | None = ...,
        mining_type: int | str | None = ...,
        nms_param: NonMaximumSuppressionParameter | _Mapping[str, _Any] | None = ...,
        sample_size: int | None = ...,
        use_prior_for_nms: bool | None = ...,
    ) -> None: ...

class MultiModalBatchNormParameter(_Message):
    use_global_stats: bool
    moving_average_fraction: float
    eps: float
    def __init__(
        self,
        *,
        use_global_stats: bool | None = ...,
        moving_average_fraction: float | None = ...,
        eps: float | None = ...,
    ) -> None: ...

class NetParameter(_Message):
    Type: _ClassVar[_Enum]
    DOUBLE: _ClassVar[int]
    FLOAT: _ClassVar[int]
    FLOAT16: _ClassVar[int]
    INT: _ClassVar[int]
    UINT: _ClassVar[int]
    BOOL: _ClassVar[int]
    name: str
    @property
    def layers(self) -> _Messages[V1LayerParameter]: ...
    @property
    def input(self) -> _Values[str]: ...
    @property
    def input_dim(self) -> _Values[int]: ...
    force_backward: bool
    @property
    def state(self) -> NetState: ...
    debug_info: bool
    @property
    def input_shape(self) -> _Messages[BlobShape]: ...
    engine: str
    default_forward_type: int
    default_backward_type: int
    default_forward_math: int
    default_backward_math: int
    global_grad_scale: float
    global_grad_scale_adaptive: bool
    default_conv_algos_override: str
    reduce_buckets: int
    default_cudnn_math_override: int
    eltwise_mem_sharing: bool
    @property
    def layer(self) -> _Messages[LayerParameter]: ...
    @property
    def sdcaffe_seal(self) -> Seal: ...
    bn_stats_batch_size: int
    def __init__(
        self,
        *,
        name: str | None = ...,
        layers: _Iterable[V1LayerParameter | _Mapping[str, _Any]] | None = ...,
        input: _Iterable[str] | None = ...,
        input_dim: _Iterable[int] | None = ...,
        force_backward: bool | None = ...,
        state: NetState | _Mapping[str, _Any] | None = ...,
        debug_info: bool | None = ...,
        input_shape: _Iterable[BlobShape | _Mapping[str, _Any]] | None = ...,
        engine: str | None = ...,
        default_forward_type: int | str | None = ...,
        default_backward_type: int | str | None = ...,
        default_forward_math: int | str | None = ...,
        default_backward_math: int | str | None = ...,
        global_grad_scale: float | None = ...,
        global_grad_scale_adaptive: bool | None = ...,
        default_conv_algos_override: str | None = ...,
        reduce_buckets: int | None = ...,
        default_cudnn_math_override: int | None = ...,
        eltwise_mem_sharing: bool | None = ...,
        layer: _Iterable[LayerParameter | _Mapping[str, _Any]] | None = ...,
        sdcaffe_seal: Seal | _Mapping[str, _Any] | None = ...,
        bn_stats_batch_size: int | None = ...,
    ) -> None: ...

class NetState(_Message):
    phase: int
    level: int
    @property
    def stage(self) -> _Values[str]: ...
    def __init__(
        self,
        *,
        phase: int | str | None = ...,
        level: int | None = ...,
        stage: _Iterable[str] | None = ...,
    ) -> None: ...

class NetStateRule(_Message):
    phase: int
    min_level: int
    max_level: int
    @property
    def stage(self) -> _Values[str]: ...
    @property
    def not_stage(self) -> _Values[str]: ...
    def __init__(
        self,
        *,
        phase: int | str | None = ...,
        min_level: int | None = ...,
        max_level: int | None = ...,
        stage: _Iterable[str] | None = ...,
        not_stage: _Iterable[str] | None = ...,
    ) -> None: ...

class NoiseParameter(_Message):
    prob: float
    hist_eq: bool
    inverse: bool
    decolorize: bool
    gauss_blur: bool
    jpeg: float
    posterize: bool
    erode: bool
    saltpepper: bool
    @property
    def saltpepper_param(self) -> SaltPepperParameter: ...
    clahe: bool
    convert_to_hsv: bool
    convert_to_lab: bool
    def __init__(
        self,
        *,
        prob: float | None = ...,
        hist_eq: bool | None = ...,
        inverse: bool | None = ...,
        decolorize: bool | None = ...,
        gauss_blur: bool | None = ...,
        jpeg: float | None = ...,
        posterize: bool | None = ...,
        erode: bool | None = ...,
        saltpepper: bool | None = ...,
        saltpepper_param: SaltPepperParameter | _Mapping[str, _Any] | None = ...,
        clahe: bool | None = ...,
        convert_to_hsv: bool | None = ...,
        convert_to_lab: bool | None = ...,
    ) -> None: ...

class NonMaximumSuppressionParameter(_Message):
    nms_threshold: float
    top_k: int
    eta: float
    soft_nms: bool
    theta: float
    def __init__(
        self,
        *,
        nms_threshold: float | None = ...,
        top_k: int | None = ...,
        eta: float | None = ...,
        soft_nms: bool | None = ...,
        theta: float | None = ...,
    ) -> None: ...

class NormalizeParameter(_Message):
    across_spatial: bool
    @property
    def scale_filler(self) -> FillerParameter: ...
    channel_shared: bool
    eps: float
    add_eps_before_sqrt: bool
    def __init__(
        self,
        *,
        across_spatial: bool | None = ...,
        scale_filler: FillerParameter | _Mapping[str, _Any] | None = ...,
        channel_shared: bool | None = ...,
        eps: float | None = ...,
        add_eps_before_sqrt: bool | None = ...,
    ) -> None: ...

class NormalizedBBox(_Message):
    xmin: float
    ymin: float
    xmax: float
    ymax: float
    label: int
    difficult: bool
    score: float
    size: float
    def __init__(
        self,
        *,
        xmin: float | None = ...,
        ymin: float | None = ...,
        xmax: float | None = ...,
        ymax: float | None = ...,
        label: int | None = ...,
        difficult: bool | None = ...,
        score: float | None = ...,
        size: float | None = ...,
    ) -> None: ...

class PReLUParameter(_Message):
    @property
    def filler(self) -> FillerParameter: ...
    channel_shared: bool
    def __init__(
        self,
        *,
        filler: FillerParameter | _Mapping[str, _Any] | None = ...,
        channel_shared: bool | None = ...,
    ) -> None: ...

class PSROIPoolingParameter(_Message):
    spatial_scale: float
    output_dim: int
    group_size: int
    def __init__(
        self,
        *,
        spatial_scale: float | None = ...,
        output_dim: int | None = ...,
        group_size: int | None = ...,
    ) -> None: ...

class PadParameter(_Message):
    @property
    def paddings(self) -> _Values[int]: ...
    constant_values: float
    def __init__(
        self,
        *,
        paddings: _Iterable[int] | None = ...,
        constant_values: float | None = ...,
    ) -> None: ...

class Param2TopParameter(_Message):
    @property
    def data_filler(self) -> _Messages[FillerParameter]: ...
    @property
    def data_refill(self) -> _Values[int]: ...
    @property
    def shape(self) -> _Messages[BlobShape]: ...
    @property
    def num(self) -> _Values[int]: ...
    @property
    def channels(self) -> _Values[int]: ...
    @property
    def height(self) -> _Values[int]: ...
    @property
    def width(self) -> _Values[int]: ...
    def __init__(
        self,
        *,
        data_filler: _Iterable[FillerParameter | _Mapping[str, _Any]] | None = ...,
        data_refill: _Iterable[int] | None = ...,
        shape: _Iterable[BlobShape | _Mapping[str, _Any]] | None = ...,
        num: _Iterable[int] | None = ...,
        channels: _Iterable[int] | None = ...,
        height: _Iterable[int] | None = ...,
        width: _Iterable[int] | None = ...,
    ) -> None: ...

class ParamSpec(_Message):
    DimCheckMode: _ClassVar[_Enum]
    STRICT: _ClassVar[int]
    PERMISSIVE: _ClassVar[int]
    name: str
    share_mode: int
    lr_mult: float
    decay_mult: float
    force_mult: float
    def __init__(
        self,
        *,
        name: str | None = ...,
        share_mode: int | str | None = ...,
        lr_mult: float | None = ...,
        decay_mult: float | None = ...,
        force_mult: float | None = ...,
    ) -> None: ...

class ParameterParameter(_Message):
    @property
    def shape(self) -> BlobShape: ...
    def __init__(
        self,
        *,
        shape: BlobShape | _Mapping[str, _Any] | None = ...,
    ) -> None: ...

class PermuteParameter(_Message):
    @property
    def order(self) -> _Values[int]: ...
    def __init__(
        self,
        *,
        order: _Iterable[int] | None = ...,
    ) -> None: ...

class PerspectiveWarp(_Message):
    displacement: float
    def __init__(
        self,
        *,
        displacement: float | None = ...,
    ) -> None: ...

class Pooling3DParameter(_Message):
    PoolMethod: _ClassVar[_Enum]
    MAX: _ClassVar[int]
    AVE: _ClassVar[int]
    STOCHASTIC: _ClassVar[int]
    pool: int
    kernel_size: int
    stride: int
    pad: int
    kernel_depth: int
    temporal_stride: int
    def __init__(
        self,
        *,
        pool: int | str | None = ...,
        kernel_size: int | None = ...,
        stride: int | None = ...,
        pad: int | None = ...,
        kernel_depth: int | None = ...,
        temporal_stride: int | None = ...,
    ) -> None: ...

class PoolingParameter(_Message):
    PoolMethod: _ClassVar[_Enum]
    MAX: _ClassVar[int]
    AVE: _ClassVar[int]
    STOCHASTIC: _ClassVar[int]
    AVE_EXC_PAD: _ClassVar[int]
    AVE_TF: _ClassVar[int]
    Engine: _ClassVar[_Enum]
    DEFAULT: _ClassVar[int]
    CAFFE: _ClassVar[int]
    CUDNN: _ClassVar[int]
    MKL2017: _ClassVar[int]
    MKLDNN: _ClassVar[int]
    RoundMode: _ClassVar[_Enum]
    CEIL: _ClassVar[int]
    FLOOR: _ClassVar[int]
    pool: int
    kernel_size: int
    stride: int
    pad: int
    kernel_h: int
    kernel_w: int
    stride_h: int
    stride_w: int
    pad_h: int
    pad_w: int
    engine: int
    global_pooling: bool
    round_mode: int
    ceil_mode: bool
    pad_l: int
    pad_r: int
    pad_t: int
    pad_b: int
    kernel_c: int
    stride_c: int
    pad_type: int
    pad_c: int
    kernel_depth: int
    temporal_stride: int
    def __init__(
        self,
        *,
        pool: int | str | None = ...,
        kernel_size: int | None = ...,
        stride: int | None = ...,
        pad: int | None = ...,
        kernel_h: int | None = ...,
        kernel_w: int | None = ...,
        stride_h: int | None = ...,
        stride_w: int | None = ...,
        pad_h: int | None = ...,
        pad_w: int | None = ...,
        engine: int | str | None = ...,
        global_pooling: bool | None = ...,
        round_mode: int | str | None = ...,
        ceil_mode: bool | None = ...,
        pad_l: int | None = ...,
        pad_r: int | None = ...,
        pad_t: int | None = ...,
        pad_b: int | None = ...,
        kernel_c: int | None = ...,
        stride_c: int | None = ...,
        pad_type: int | None = ...,
        pad_c: int | None = ...,
        kernel_depth: int | None = ...,
        temporal_stride: int | None = ...,
    ) -> None: ...

class PowerParameter(_Message):
    power: float
    scale: float
    shift: float
    def __init__(
        self,
        *,
        power: float | None = ...,
        scale: float | None = ...,
        shift: float | None = ...,
    ) -> None: ...

class PrecisionRecallParameter(_Message):
    axis: int
    def __init__(
        self,
        *,
        axis: int | None = ...,
    ) -> None: ...

class PriorBoxParameter(_Message):
    @property
    def min_size(self) -> _Values[float]: ...
    @property
    def max_size(self) -> _Values[float]: ...
    @property
    def aspect_ratio(self) -> _Values[float]: ...
    flip: bool
    clip: bool
    @property
    def variance(self) -> _Values[float]: ...
    img_size: int
    img_h: int
    img_w: int
    step: float
    step_h: float
    step_w: float
    offset: float
    @property
    def width(self) -> _Values[float]: ...
    @property
    def height(self) -> _Values[float]: ...
    tf: bool
    yx_order: bool
    keras: bool
    @property
    def box_width(self) -> _Values[float]: ...
    @property
    def box_height(self) -> _Values[float]: ...
    def __init__(
        self,
        *,
        min_size: _Iterable[float] | None = ...,
        max_size: _Iterable[float] | None = ...,
        aspect_ratio: _Iterable[float] | None = ...,
        flip: bool | None = ...,
        clip: bool | None = ...,
        variance: _Iterable[float] | None = ...,
        img_size: int | None = ...,
        img_h: int | None = ...,
        img_w: int | None = ...,
        step: float | None = ...,
        step_h: float | None = ...,
        step_w: float | None = ...,
        offset: float | None = ...,
        width: _Iterable[float] | None = ...,
        height: _Iterable[float] | None = ...,
        tf: bool | None = ...,
        yx_order: bool | None = ...,
        keras: bool | None = ...,
        box_width: _Iterable[float] | None = ...,
        box_height: _Iterable[float] | None = ...,
    ) -> None: ...

class ProposalParameter(_Message):
    feat_stride: int
    base_size: int
    min_size: int
    @property
    def ratio(self) -> _Values[float]: ...
    @property
    def scale(self) -> _Values[float]: ...
    pre_nms_topn: int
    post_nms_topn: int
    nms_thresh: float
    anchor_base_size: int
    anchor_scale: int
    anchor_ratio: int
    max_rois: int
    rpn_min_size: float
    rpn_nms_thresh: float
    def __init__(
        self,
        *,
        feat_stride: int | None = ...,
        base_size: int | None = ...,
        min_size: int | None = ...,
        ratio: _Iterable[float] | None = ...,
        scale: _Iterable[float] | None = ...,
        pre_nms_topn: int | None = ...,
        post_nms_topn: int | None = ...,
        nms_thresh: float | None = ...,
        anchor_base_size: int | None = ...,
        anchor_scale: int | None = ...,
        anchor_ratio: int | None = ...,
        max_rois: int | None = ...,
        rpn_min_size: float | None = ...,
        rpn_nms_thresh: float | None = ...,
    ) -> None: ...

class PythonParameter(_Message):
    module: str
    layer: str
    param_str: str
    share_in_parallel: bool
    def __init__(
        self,
        *,
        module: str | None = ...,
        layer: str | None = ...,
        param_str: str | None = ...,
        share_in_parallel: bool | None = ...,
    ) -> None: ...

class QuantizationParameter(_Message):
    Precision: _ClassVar[_Enum]
    DYNAMIC_FIXED_POINT: _ClassVar[int]
    Rounding: _ClassVar[_Enum]
    NEAREST: _ClassVar[int]
    precision: int
    rounding_scheme: int
    bw_layer_in: int
    bw_layer_out: int
    bw_params: int
    @property
    def fl_layer_in(self) -> _Values[int]: ...
    @property
    def fl_layer_out(self) -> _Values[int]: ...
    @property
    def fl_params(self) -> _Values[int]: ...
    @property
    def scale_in(self) -> _Values[float]: ...
    @property
    def scale_out(self) -> _Values[float]: ...
    @property
    def scale_params(self) -> _Values[float]: ...
    is_negative_input: bool
    force_u8_input: bool
    def __init__(
        self,
        *,
        precision: int | str | None = ...,
        rounding_scheme: int | str | None = ...,
        bw_layer_in: int | None = ...,
        bw_layer_out: int | None = ...,
        bw_params: int | None = ...,
        fl_layer_in: _Iterable[int] | None = ...,
        fl_layer_out: _Iterable[int] | None = ...,
        fl_params: _Iterable[int] | None = ...,
        scale_in: _Iterable[float] | None = ...,
        scale_out: _Iterable[float] | None = ...,
        scale_params: _Iterable[float] | None = ...,
        is_negative_input: bool | None = ...,
        force_u8_input: bool | None = ...,
    ) -> None: ...

class ROIPoolingParameter(_Message):
    pooled_h: int
    pooled_w: int
    spatial_scale: float
    def __init__(
        self,
        *,
        pooled_h: int | None = ...,
        pooled_w: int | None = ...,
        spatial_scale: float | None = ...,
    ) -> None: ...

class ROIWarpingParameter(_Message):
    pooled_h: int
    pooled_w: int
    spatial_scale: float
    def __init__(
        self,
        *,
        pooled_h: int | None = ...,
        pooled_w: int | None = ...,
        spatial_scale: float | None = ...,
    ) -> None: ...

class RandomAspectRatioParameter(_Message):
    min_area_ratio: float
    max_area_ratio: float
    aspect_ratio_change: float
    max_attempt: int
    @property
    def resize_param(self) -> ResizeParameter: ...
    def __init__(
        self,
        *,
        min_area_ratio: float | None = ...,
        max_area_ratio: float | None = ...,
        aspect_ratio_change: float | None = ...,
        max_attempt: int | None = ...,
        resize_param: ResizeParameter | _Mapping[str, _Any] | None = ...,
    ) -> None: ...

class RandomErasing(_Message):
    probability: float
    min_area: float
    max_area: float
    max_aspect: float
    def __init__(
        self,
        *,
        probability: float | None = ...,
        min_area: float | None = ...,
        max_area: float | None = ...,
        max_aspect: float | None = ...,
    ) -> None: ...

class RandomResizeParameter(_Message):
    min_size: int
    max_size: int
    @property
    def resize_param(self) -> ResizeParameter: ...
    def __init__(
        self,
        *,
        min_size: int | None = ...,
        max_size: int | None = ...,
        resize_param: ResizeParameter | _Mapping[str, _Any] | None = ...,
    ) -> None: ...

class ReLU6Parameter(_Message):
    negative_slope: float
    def __init__(
        self,
        *,
        negative_slope: float | None = ...,
    ) -> None: ...

class ReLUParameter(_Message):
    Engine: _ClassVar[_Enum]
    DEFAULT: _ClassVar[int]
    CAFFE: _ClassVar[int]
    CUDNN: _ClassVar[int]
    MKL2017: _ClassVar[int]
    MKLDNN: _ClassVar[int]
    negative_slope: float
    engine: int
    relu6: bool
    def __init__(
        self,
        *,
        negative_slope: float | None = ...,
        engine: int | str | None = ...,
        relu6: bool | None = ...,
    ) -> None: ...

class RecurrentParameter(_Message):
    num_output: int
    @property
    def weight_filler(self) -> FillerParameter: ...
    @property
    def bias_filler(self) -> FillerParameter: ...
    debug_info: bool
    expose_hidden: bool
    def __init__(
        self,
        *,
        num_output: int | None = ...,
        weight_filler: FillerParameter | _Mapping[str, _Any] | None = ...,
        bias_filler: FillerParameter | _Mapping[str, _Any] | None = ...,
        debug_info: bool | None = ...,
        expose_hidden: bool | None = ...,
    ) -> None: ...

class ReductionParameter(_Message):
    ReductionOp: _ClassVar[_Enum]
    SUM: _ClassVar[int]
    ASUM: _ClassVar[int]
    SUMSQ: _ClassVar[int]
    MEAN: _ClassVar[int]
    operation: int
    axis: int
    coeff: float
    def __init__(
        self,
        *,
        operation: int | str | None = ...,
        axis: int | None = ...,
        coeff: float | None = ...,
    ) -> None: ...

class RegionLossParameter(_Message):
    side: int
    num_class: int
    bias_match: int
    coords: int
    num: int
    softmax: int
    jitter: float
    rescore: int
    object_scale: float
    class_scale: float
    noobject_scale: float
    coord_scale: float
    absolute: int
    thresh: float
    random: int
    @property
    def biases(self) -> _Values[float]: ...
    softmax_tree: str
    class_map: str
    def __init__(
        self,
        *,
        side: int | None = ...,
        num_class: int | None = ...,
        bias_match: int | None = ...,
        coords: int | None = ...,
        num: int | None = ...,
        softmax: int | None = ...,
        jitter: float | None = ...,
        rescore: int | None = ...,
        object_scale: float | None = ...,
        class_scale: float | None = ...,
        noobject_scale: float | None = ...,
        coord_scale: float | None = ...,
        absolute: int | None = ...,
        thresh: float | None = ...,
        random: int | None = ...,
        biases: _Iterable[float] | None = ...,
        softmax_tree: str | None = ...,
        class_map: str | None = ...,
    ) -> None: ...

class ReorgParameter(_Message):
    stride: int
    reverse: bool
    def __init__(
        self,
        *,
        stride: int | None = ...,
        reverse: bool | None = ...,
    ) -> None: ...

class ReshapeParameter(_Message):
    @property
    def shape(self) -> BlobShape: ...
    axis: int
    num_axes: int
    pixelshuffler: int
    def __init__(
        self,
        *,
        shape: BlobShape | _Mapping[str, _Any] | None = ...,
        axis: int | None = ...,
        num_axes: int | None = ...,
        pixelshuffler: int | None = ...,
    ) -> None: ...

class ResizeBilinearParameter(_Message):
    align_corners: bool
    output_height: int
    output_width: int
    data_format: str
    scale_height: float
    scale_width: float
    half_pixel_centers: bool
    pytorch_half_pixel: bool
    output_depth: int
    scale_depth: float
    input_scale: float
    output_scale: float
    input_zero_point: int
    output_zero_point: int
    def __init__(
        self,
        *,
        align_corners: bool | None = ...,
        output_height: int | None = ...,
        output_width: int | None = ...,
        data_format: str | None = ...,
        scale_height: float | None = ...,
        scale_width: float | None = ...,
        half_pixel_centers: bool | None = ...,
        pytorch_half_pixel: bool | None = ...,
        output_depth: int | None = ...,
        scale_depth: float | None = ...,
        input_scale: float | None = ...,
        output_scale: float | None = ...,
        input_zero_point: int | None = ...,
        output_zero_point: int | None = ...,
    ) -> None: ...

class ResizeNearestNeighborParameter(_Message):
    align_corners: bool
    output_height: int
    output_width: int
    data_format: str
    scale_height: float
    scale_width: float
    half_pixel_centers: bool
    half_pixel_onnx: bool
    def __init__(
        self,
        *,
        align_corners: bool | None = ...,
        output_height: int | None = ...,
        output_width: int | None = ...,
        data_format: str | None = ...,
        scale_height: float | None = ...,
        scale_width: float | None = ...,
        half_pixel_centers: bool | None = ...,
        half_pixel_onnx: bool | None = ...,
    ) -> None: ...

class ResizeParameter(_Message):
    Resize_mode: _ClassVar[_Enum]
    WARP: _ClassVar[int]
    FIT_SMALL_SIZE: _ClassVar[int]
    FIT_LARGE_SIZE_AND_PAD: _ClassVar[int]
    Pad_mode: _ClassVar[_Enum]
    CONSTANT: _ClassVar[int]
    MIRRORED: _ClassVar[int]
    REPEAT_NEAREST: _ClassVar[int]
    Interp_mode: _ClassVar[_Enum]
    LINEAR: _ClassVar[int]
    AREA: _ClassVar[int]
    NEAREST: _ClassVar[int]
    CUBIC: _ClassVar[int]
    LANCZOS4: _ClassVar[int]
    prob: float
    resize_mode: int
    height: int
    width: int
    pad_mode: int
    @property
    def pad_value(self) -> _Values[float]: ...
    @property
    def interp_mode(self) -> _Values[int]: ...
    height_scale: int
    width_scale: int
    def __init__(
        self,
        *,
        prob: float | None = ...,
        resize_mode: int | str | None = ...,
        height: int | None = ...,
        width: int | None = ...,
        pad_mode: int | str | None = ...,
        pad_value: _Iterable[float] | None = ...,
        interp_mode: _Iterable[int | str] | None = ...,
        height_scale: int | None = ...,
        width_scale: int | None = ...,
    ) -> None: ...

class SPPParameter(_Message):
    PoolMethod: _ClassVar[_Enum]
    MAX: _ClassVar[int]
    AVE: _ClassVar[int]
    STOCHASTIC: _ClassVar[int]
    Engine: _ClassVar[_Enum]
    DEFAULT: _ClassVar[int]
    CAFFE: _ClassVar[int]
    CUDNN: _ClassVar[int]
    MKL2017: _ClassVar[int]
    MKLDNN: _ClassVar[int]
    pyramid_height: int
    pool: int
    engine: int
    def __init__(
        self,
        *,
        pyramid_height: int | None = ...,
        pool: int | str | None = ...,
        engine: int | str | None = ...,
    ) -> None: ...

class SaltPepperParameter(_Message):
    fraction: float
    @property
    def value(self) -> _Values[float]: ...
    def __init__(
        self,
        *,
        fraction: float | None = ...,
        value: _Iterable[float] | None = ...,
    ) -> None: ...

class SampleConstraint(_Message):
    min_jaccard_overlap: float
    max_jaccard_overlap: float
    min_sample_coverage: float
    max_sample_coverage: float
    min_object_coverage: float
    max_object_coverage: float
    def __init__(
        self,
        *,
        min_jaccard_overlap: float | None = ...,
        max_jaccard_overlap: float | None = ...,
        min_sample_coverage: float | None = ...,
        max_sample_coverage: float | None = ...,
        min_object_coverage: float | None = ...,
        max_object_coverage: float | None = ...,
    ) -> None: ...

class Sampler(_Message):
    min_scale: float
    max_scale: float
    min_aspect_ratio: float
    max_aspect_ratio: float
    def __init__(
        self,
        *,
        min_scale: float | None = ...,
        max_scale: float | None = ...,
        min_aspect_ratio: float | None = ...,
        max_aspect_ratio: float | None = ...,
    ) -> None: ...

class SaveOutputParameter(_Message):
    output_directory: str
    output_name_prefix: str
    output_format: str
    label_map_file: str
    name_size_file: str
    num_test_image: int
    @property
    def resize_param(self) -> ResizeParameter: ...
    def __init__(
        self,
        *,
        output_directory: str | None = ...,
        output_name_prefix: str | None = ...,
        output_format: str | None = ...,
        label_map_file: str | None = ...,
        name_size_file: str | None = ...,
        num_test_image: int | None = ...,
        resize_param: ResizeParameter | _Mapping[str, _Any] | None = ...,
    ) -> None: ...

class ScaleParameter(_Message):
    axis: int
    num_axes: int
    @property
    def filler(self) -> FillerParameter: ...
    bias_term: bool
    @property
    def bias_filler(self) -> FillerParameter: ...
    def __init__(
        self,
        *,
        axis: int | None = ...,
        num_axes: int | None = ...,
        filler: FillerParameter | _Mapping[str, _Any] | None = ...,
        bias_term: bool | None = ...,
        bias_filler: FillerParameter | _Mapping[str, _Any] | None = ...,
    ) -> None: ...

class SeLuDropoutParameter(_Message):
    dropout_ratio: float
    alpha: float
    def __init__(
        self,
        *,
        dropout_ratio: float | None = ...,
        alpha: float | None = ...,
    ) -> None: ...

class SeLuParameter(_Message):
    alpha: float
    def __init__(
        self,
        *,
        alpha: float | None = ...,
    ) -> None: ...

class Seal(_Message):
    size: int
    crc32: int
    def __init__(
        self,
        *,
        size: int | None = ...,
        crc32: int | None = ...,
    ) -> None: ...

class SegAccuracyParameter(_Message):
    AccuracyMetric: _ClassVar[_Enum]
    PixelAccuracy: _ClassVar[int]
    ClassAccuracy: _ClassVar[int]
    PixelIOU: _ClassVar[int]
    metric: int
    @property
    def ignore_label(self) -> _Values[int]: ...
    reset: bool
    def __init__(
        self,
        *,
        metric: int | str | None = ...,
        ignore_label: _Iterable[int] | None = ...,
        reset: bool | None = ...,
    ) -> None: ...

class ShuffleChannelParameter(_Message):
    group: int
    def __init__(
        self,
        *,
        group: int | None = ...,
    ) -> None: ...

class SigmoidParameter(_Message):
    Engine: _ClassVar[_Enum]
    DEFAULT: _ClassVar[int]
    CAFFE: _ClassVar[int]
    CUDNN: _ClassVar[int]
    MKL2017: _ClassVar[int]
    MKLDNN: _ClassVar[int]
    engine: int
    def __init__(
        self,
        *,
        engine: int | str | None = ...,
    ) -> None: ...

class SliceParameter(_Message):
    slice_dim: int
    @property
    def slice_point(self) -> _Values[int]: ...
    axis: int
    def __init__(
        self,
        *,
        slice_dim: int | None = ...,
        slice_point: _Iterable[int] | None = ...,
        axis: int | None = ...,
    ) -> None: ...

class SmoothL1LossParameter(_Message):
    sigma: float
    def __init__(
        self,
        *,
        sigma: float | None = ...,
    ) -> None: ...

class SoftmaxParameter(_Message):
    Engine: _ClassVar[_Enum]
    DEFAULT: _ClassVar[int]
    CAFFE: _ClassVar[int]
    CUDNN: _ClassVar[int]
    MKL2017: _ClassVar[int]
    MKLDNN: _ClassVar[int]
    engine: int
    axis: int
    def __init__(
        self,
        *,
        engine: int | str | None = ...,
        axis: int | None = ...,
    ) -> None: ...

class SolverParameter(_Message):
    SolverMode: _ClassVar[_Enum]
    CPU: _ClassVar[int]
    GPU: _ClassVar[int]
    SolverType: _ClassVar[_Enum]
    SGD: _ClassVar[int]
    NESTEROV: _ClassVar[int]
    ADAGRAD: _ClassVar[int]
    RMSPROP: _ClassVar[int]
    ADADELTA: _ClassVar[int]
    ADAM: _ClassVar[int]
    SnapshotFormat: _ClassVar[_Enum]
    HDF5: _ClassVar[int]
    BINARYPROTO: _ClassVar[int]
    train_net: str
    @property
    def test_net(self) -> _Values[str]: ...
    @property
    def test_iter(self) -> _Values[int]: ...
    test_interval: int
    base_lr: float
    display: int
    max_iter: int
    lr_policy: str
    gamma: float
    power: float
    momentum: float
    weight_decay: float
    stepsize: int
    snapshot: int
    snapshot_prefix: str
    snapshot_diff: bool
    solver_mode: int
    device_id: int
    test_compute_loss: bool
    random_seed: int
    @property
    def train_net_param(self) -> NetParameter: ...
    @property
    def test_net_param(self) -> _Messages[NetParameter]: ...
    debug_info: bool
    net: str
    @property
    def net_param(self) -> NetParameter: ...
    @property
    def train_state(self) -> NetState: ...
    @property
    def test_state(self) -> _Messages[NetState]: ...
    snapshot_after_train: bool
    regularization_type: str
    solver_type: int
    delta: float
    test_initialization: bool
    average_loss: int
    @property
    def stepvalue(self) -> _Values[int]: ...
    clip_gradients: float
    iter_size: int
    snapshot_format: int
    rms_decay: float
    momentum2: float
    type: str
    layer_wise_reduce: bool
    @property
    def weights(self) -> _Values[str]: ...
    @property
    def plateau_winsize(self) -> _Values[int]: ...
    show_per_class_result: bool
    precision: str
    sync_batch_norm: bool
    eval_type: str
    test_metrics: bool
    warmup_iter: int
    warmup_start: float
    ema_decay: float
    ap_version: str
    preforward_termination: bool
    preforward_interval: int
    preforward_iter: int
    def __init__(
        self,
        *,
        train_net: str | None = ...,
        test_net: _Iterable[str] | None = ...,
        test_iter: _Iterable[int] | None = ...,
        test_interval: int | None = ...,
        base_lr: float | None = ...,
        display: int | None = ...,
        max_iter: int | None = ...,
        lr_policy: str | None = ...,
        gamma: float | None = ...,
        power: float | None = ...,
        momentum: float | None = ...,
        weight_decay: float | None = ...,
        stepsize: int | None = ...,
        snapshot: int | None = ...,
        snapshot_prefix: str | None = ...,
        snapshot_diff: bool | None = ...,
        solver_mode: int | str | None = ...,
        device_id: int | None = ...,
        test_compute_loss: bool | None = ...,
        random_seed: int | None = ...,
        train_net_param: NetParameter | _Mapping[str, _Any] | None = ...,
        test_net_param: _Iterable[NetParameter | _Mapping[str, _Any]] | None = ...,
        debug_info: bool | None = ...,
        net: str | None = ...,
        net_param: NetParameter | _Mapping[str, _Any] | None = ...,
        train_state: NetState | _Mapping[str, _Any] | None = ...,
        test_state: _Iterable[NetState | _Mapping[str, _Any]] | None = ...,
        snapshot_after_train: bool | None = ...,
        regularization_type: str | None = ...,
        solver_type: int | str | None = ...,
        delta: float | None = ...,
        test_initialization: bool | None = ...,
        average_loss: int | None = ...,
        stepvalue: _Iterable[int] | None = ...,
        clip_gradients: float | None = ...,
        iter_size: int | None = ...,
        snapshot_format: int | str | None = ...,
        rms_decay: float | None = ...,
        momentum2: float | None = ...,
        type: str | None = ...,
        layer_wise_reduce: bool | None = ...,
        weights: _Iterable[str] | None = ...,
        plateau_winsize: _Iterable[int] | None = ...,
        show_per_class_result: bool | None = ...,
        precision: str | None = ...,
        sync_batch_norm: bool | None = ...,
        eval_type: str | None = ...,
        test_metrics: bool | None = ...,
        warmup_iter: int | None = ...,
        warmup_start: float | None = ...,
        ema_decay: float | None = ...,
        ap_version: str | None = ...,
        preforward_termination: bool | None = ...,
        preforward_interval: int | None = ...,
        preforward_iter: int | None = ...,
    ) -> None: ...

class SolverState(_Message):
    iter: int
    learned_net: str
    @property
    def history(self) -> _Messages[BlobProto]: ...
    current_step: int
    sdcaffe_state: bytes
    @property
    def sdcaffe_seal(self) -> Seal: ...
    def __init__(
        self,
        *,
        iter: int | None = ...,
        learned_net: str | None = ...,
        history: _Iterable[BlobProto | _Mapping[str, _Any]] | None = ...,
        current_step: int | None = ...,
        sdcaffe_state: bytes | None = ...,
        sdcaffe_seal: Seal | _Mapping[str, _Any] | None = ...,
    ) -> None: ...

class SpaceToBatchNDParameter(_Message):
    @property
    def block_shape(self) -> _Values[int]: ...
    @property
    def paddings(self) -> _Values[int]: ...
    def __init__(
        self,
        *,
        block_shape: _Iterable[int] | None = ...,
        paddings: _Iterable[int] | None = ...,
    ) -> None: ...

class SparsifyParameter(_Message):
    thre: float
    coef: float
    def __init__(
        self,
        *,
        thre: float | None = ...,
        coef: float | None = ...,
    ) -> None: ...

class SqueezeParameter(_Message):
    @property
    def axis(self) -> _Values[int]: ...
    def __init__(
        self,
        *,
        axis: _Iterable[int] | None = ...,
    ) -> None: ...

class SwishParameter(_Message):
    beta: float
    def __init__(
        self,
        *,
        beta: float | None = ...,
    ) -> None: ...

class TanHParameter(_Message):
    Engine: _ClassVar[_Enum]
    DEFAULT: _ClassVar[int]
    CAFFE: _ClassVar[int]
    CUDNN: _ClassVar[int]
    MKL2017: _ClassVar[int]
    MKLDNN: _ClassVar[int]
    engine: int
    def __init__(
        self,
        *,
        engine: int | str | None = ...,
    ) -> None: ...

class ThinPlateSplineWarp(_Message):
    displacement: float
    points: int
    def __init__(
        self,
        *,
        displacement: float | None = ...,
        points: int | None = ...,
    ) -> None: ...

class ThresholdParameter(_Message):
    threshold: float
    def __init__(
        self,
        *,
        threshold: float | None = ...,
    ) -> None: ...

class TileParameter(_Message):
    axis: int
    tiles: int
    def __init__(
        self,
        *,
        axis: int | None = ...,
        tiles: int | None = ...,
    ) -> None: ...

class TransformationParameter(_Message):
    Packing: _ClassVar[_Enum]
    NCHW: _ClassVar[int]
    NHWC: _ClassVar[int]
    InterpolationAlgo: _ClassVar[_Enum]
    INTER_NEAREST: _ClassVar[int]
    INTER_LINEAR: _ClassVar[int]
    INTER_CUBIC: _ClassVar[int]
    INTER_AREA: _ClassVar[int]
    scale: float
    mirror: bool
    crop_size: int
    mean_file: str
    @property
    def mean_value(self) -> _Values[float]: ...
    force_color: bool
    force_gray: bool
    @property
    def resize_param(self) -> _Messages[ResizeParameter]: ...
    @property
    def noise_param(self) -> NoiseParameter: ...
    @property
    def emit_constraint(self) -> EmitConstraint: ...
    crop_h: int
    crop_w: int
    @property
    def distort_param(self) -> DistortionParameter: ...
    @property
    def expand_param(self) -> ExpansionParameter: ...
    @property
    def random_resize_param(self) -> RandomResizeParameter: ...
    @property
    def random_aspect_ratio_param(self) -> RandomAspectRatioParameter: ...
    horizontal_stretch_upper: float
    interpolation_algo_down: int
    pad: int
    allow_upscale: bool
    forward_packing: int
    use_gpu_transform: bool
    random_seed: int
    img_rand_resize_lower: int
    img_rand_resize_upper: int
    rand_resize_ratio_lower: float
    rand_resize_ratio_upper: float
    vertical_stretch_lower: float
    vertical_stretch_upper: float
    horizontal_stretch_lower: float
    interpolation_algo_up: int
    @property
    def scale_factors(self) -> _Values[float]: ...
    crop_width: int
    crop_height: int
    def __init__(
        self,
        *,
        scale: float | None = ...,
        mirror: bool | None = ...,
        crop_size: int | None = ...,
        mean_file: str | None = ...,
        mean_value: _Iterable[float] | None = ...,
        force_color: bool | None = ...,
        force_gray: bool | None = ...,
        resize_param: _Iterable[ResizeParameter | _Mapping[str, _Any]] | None = ...,
        noise_param: NoiseParameter | _Mapping[str, _Any] | None = ...,
        emit_constraint: EmitConstraint | _Mapping[str, _Any] | None = ...,
        crop_h: int | None = ...,
        crop_w: int | None = ...,
        distort_param: DistortionParameter | _Mapping[str, _Any] | None = ...,
        expand_param: ExpansionParameter | _Mapping[str, _Any] | None = ...,
        random_resize_param: RandomResizeParameter | _Mapping[str, _Any] | None = ...,
        random_aspect_ratio_param: RandomAspectRatioParameter | _Mapping[str, _Any] | None = ...,
        horizontal_stretch_upper: float | None = ...,
        interpolation_algo_down: int | str | None = ...,
        pad: int | None = ...,
        allow_upscale: bool | None = ...,
        forward_packing: int | str | None = ...,
        use_gpu_transform: bool | None = ...,
        random_seed: int | None = ...,
        img_rand_resize_lower: int | None = ...,
        img_rand_resize_upper: int | None = ...,
        rand_resize_ratio_lower: float | None = ...,
        rand_resize_ratio_upper: float | None = ...,
        vertical_stretch_lower: float | None = ...,
        vertical_stretch_upper: float | None = ...,
        horizontal_stretch_lower: float | None = ...,
        interpolation_algo_up: int | str | None = ...,
        scale_factors: _Iterable[float] | None = ...,
        crop_width: int | None = ...,
        crop_height: int | None = ...,
    ) -> None: ...

class UnpoolingParameter(_Message):
    UnpoolMethod: _ClassVar[_Enum]
    AVE: _ClassVar[int]
    MAX: _ClassVar[int]
    TILE: _ClassVar[int]
    Engine: _ClassVar[_Enum]
    DEFAULT: _ClassVar[int]
    CAFFE: _ClassVar[int]
    unpool: int
    kernel3d: int
    kernel2d: int
    kernel_c: int
    kernel_h: int
    kernel_w: int
    stride3d: int
    stride2d: int
    stride_c: int
    stride_h: int
    stride_w: int
    pad3d: int
    pad2d: int
    pad_c: int
    pad_h: int
    pad_w: int
    cutext3d: int
    cutext2d: int
    cutext_c: int
    cutext_h: int
    cutext_w: int
    ceil3d: bool
    ceil2d: bool
    ceil_c: bool
    ceil_h: bool
    ceil_w: bool
    engine: int
    def __init__(
        self,
        *,
        unpool: int | str | None = ...,
        kernel3d: int | None = ...,
        kernel2d: int | None = ...,
        kernel_c: int | None = ...,
        kernel_h: int | None = ...,
        kernel_w: int | None = ...,
        stride3d: int | None = ...,
        stride2d: int | None = ...,
        stride_c: int | None = ...,
        stride_h: int | None = ...,
        stride_w: int | None = ...,
        pad3d: int | None = ...,
        pad2d: int | None = ...,
        pad_c: int | None = ...,
        pad_h: int | None = ...,
        pad_w: int | None = ...,
        cutext3d: int | None = ...,
        cutext2d: int | None = ...,
        cutext_c: int | None = ...,
        cutext_h: int | None = ...,
        cutext_w: int | None = ...,
        ceil3d: bool | None = ...,
        ceil2d: bool | None = ...,
        ceil_c: bool | None = ...,
        ceil_h: bool | None = ...,
        ceil_w: bool | None = ...,
        engine: int | str | None = ...,
    ) -> None: ...

class UpsampleDarknetParameter(_Message):
    stride: int
    def __init__(
        self,
        *,
        stride: int | None = ...,
    ) -> None: ...

class UpsampleParameter(_Message):
    scale: int
    scale_h: int
    scale_w: int
    pad_out_h: bool
    pad_out_w: bool
    upsample_h: int
    upsample_w: int
    def __init__(
        self,
        *,
        scale: int | None = ...,
        scale_h: int | None = ...,
        scale_w: int | None = ...,
        pad_out_h: bool | None = ...,
        pad_out_w: bool | None = ...,
        upsample_h: int | None = ...,
        upsample_w: int | None = ...,
    ) -> None: ...

class V0LayerParameter(_Message):
    PoolMethod: _ClassVar[_Enum]
    MAX: _ClassVar[int]
    AVE: _ClassVar[int]
    STOCHASTIC: _ClassVar[int]
    name: str
    type: str
    num_output: int
    biasterm: bool
    @property
    def weight_filler(self) -> FillerParameter: ...
    @property
    def bias_filler(self) -> FillerParameter: ...
    pad: int
    kernelsize: int
    group: int
    stride: int
    pool: int
    dropout_ratio: float
    local_size: int
    alpha: float
    beta: float
    source: str
    scale: float
    meanfile: str
    batchsize: int
    cropsize: int
    mirror: bool
    k: float
    @property
    def blobs(self) -> _Messages[BlobProto]: ...
    @property
    def blobs_lr(self) -> _Values[float]: ...
    @property
    def weight_decay(self) -> _Values[float]: ...
    rand_skip: int
    det_fg_threshold: float
    det_bg_threshold: float
    det_fg_fraction: float
    det_context_pad: int
    det_crop_mode: str
    new_num: int
    new_channels: int
    new_height: int
    new_width: int
    shuffle_images: bool
    concat_dim: int
    @property
    def hdf5_output_param(self) -> HDF5OutputParameter: ...
    def __init__(
        self,
        *,
        name: str | None = ...,
        type: str | None = ...,
        num_output: int | None = ...,
        biasterm: bool | None = ...,
        weight_filler: FillerParameter | _Mapping[str, _Any] | None = ...,
        bias_filler: FillerParameter | _Mapping[str, _Any] | None = ...,
        pad: int | None = ...,
        kernelsize: int | None = ...,
        group: int | None = ...,
        stride: int | None = ...,
        pool: int | str | None = ...,
        dropout_ratio: float | None = ...,
        local_size: int | None = ...,
        alpha: float | None = ...,
        beta: float | None = ...,
        source: str | None = ...,
        scale: float | None = ...,
        meanfile: str | None = ...,
        batchsize: int | None = ...,
        cropsize: int | None = ...,
        mirror: bool | None = ...,
        k: float | None = ...,
        blobs: _Iterable[BlobProto | _Mapping[str, _Any]] | None = ...,
        blobs_lr: _Iterable[float] | None = ...,
        weight_decay: _Iterable[float] | None = ...,
        rand_skip: int | None = ...,
        det_fg_threshold: float | None = ...,
        det_bg_threshold: float | None = ...,
        det_fg_fraction: float | None = ...,
        det_context_pad: int | None = ...,
        det_crop_mode: str | None = ...,
        new_num: int | None = ...,
        new_channels: int | None = ...,
        new_height: int | None = ...,
        new_width: int | None = ...,
        shuffle_images: bool | None = ...,
        concat_dim: int | None = ...,
        hdf5_output_param: HDF5OutputParameter | _Mapping[str, _Any] | None = ...,
    ) -> None: ...

class V1LayerParameter(_Message):
    LayerType: _ClassVar[_Enum]
    NONE: _ClassVar[int]
    ACCURACY: _ClassVar[int]
    BNLL: _ClassVar[int]
    CONCAT: _ClassVar[int]
    CONVOLUTION: _ClassVar[int]
    DATA: _ClassVar[int]
    DROPOUT: _ClassVar[int]
    EUCLIDEAN_LOSS: _ClassVar[int]
    FLATTEN: _ClassVar[int]
    HDF5_DATA: _ClassVar[int]
    HDF5_OUTPUT: _ClassVar[int]
    IM2COL: _ClassVar[int]
    IMAGE_DATA: _ClassVar[int]
    INFOGAIN_LOSS: _ClassVar[int]
    INNER_PRODUCT: _ClassVar[int]
    LRN: _ClassVar[int]
    MULTINOMIAL_LOGISTIC_LOSS: _ClassVar[int]
    POOLING: _ClassVar[int]
    RELU: _ClassVar[int]
    SIGMOID: _ClassVar[int]
    SOFTMAX: _ClassVar[int]
    SOFTMAX_LOSS: _ClassVar[int]
    SPLIT: _ClassVar[int]
    TANH: _ClassVar[int]
    WINDOW_DATA: _ClassVar[int]
    ELTWISE: _ClassVar[int]
    POWER: _ClassVar[int]
    SIGMOID_CROSS_ENTROPY_LOSS: _ClassVar[int]
    HINGE_LOSS: _ClassVar[int]
    MEMORY_DATA: _ClassVar[int]
    ARGMAX: _ClassVar[int]
    THRESHOLD: _ClassVar[int]
    DUMMY_DATA: _ClassVar[int]
    SLICE: _ClassVar[int]
    MVN: _ClassVar[int]
    ABSVAL: _ClassVar[int]
    SILENCE: _ClassVar[int]
    CONTRASTIVE_LOSS: _ClassVar[int]
    EXP: _ClassVar[int]
    DECONVOLUTION: _ClassVar[int]
    CONVOLUTION3D: _ClassVar[int]
    POOLING3D: _ClassVar[int]
    VIDEO_DATA: _ClassVar[int]
    DimCheckMode: _ClassVar[_Enum]
    STRICT: _ClassVar[int]
    PERMISSIVE: _ClassVar[int]
    @property
    def layer(self) -> V0LayerParameter: ...
    @property
    def bottom(self) -> _Values[str]: ...
    @property
    def top(self) -> _Values[str]: ...
    name: str
    type: int
    @property
    def blobs(self) -> _Messages[BlobProto]: ...
    @property
    def blobs_lr(self) -> _Values[float]: ...
    @property
    def weight_decay(self) -> _Values[float]: ...
    @property
    def concat_param(self) -> ConcatParameter: ...
    @property
    def convolution_param(self) -> ConvolutionParameter: ...
    @property
    def data_param(self) -> DataParameter: ...
    @property
    def dropout_param(self) -> DropoutParameter: ...
    @property
    def hdf5_data_param(self) -> HDF5DataParameter: ...
    @property
    def hdf5_output_param(self) -> HDF5OutputParameter: ...
    @property
    def image_data_param(self) -> ImageDataParameter: ...
    @property
    def infogain_loss_param(self) -> InfogainLossParameter: ...
    @property
    def inner_product_param(self) -> InnerProductParameter: ...
    @property
    def lrn_param(self) -> LRNParameter: ...
    @property
    def pooling_param(self) -> PoolingParameter: ...
    @property
    def window_data_param(self) -> WindowDataParameter: ...
    @property
    def power_param(self) -> PowerParameter: ...
    @property
    def memory_data_param(self) -> MemoryDataParameter: ...
    @property
    def argmax_param(self) -> ArgMaxParameter: ...
    @property
    def eltwise_param(self) -> EltwiseParameter: ...
    @property
    def threshold_param(self) -> ThresholdParameter: ...
    @property
    def dummy_data_param(self) -> DummyDataParameter: ...
    @property
    def accuracy_param(self) -> AccuracyParameter: ...
    @property
    def hinge_loss_param(self) -> HingeLossParameter: ...
    @property
    def relu_param(self) -> ReLUParameter: ...
    @property
    def slice_param(self) -> SliceParameter: ...
    @property
    def include(self) -> _Messages[NetStateRule]: ...
    @property
    def exclude(self) -> _Messages[NetStateRule]: ...
    @property
    def mvn_param(self) -> MVNParameter: ...
    @property
    def loss_weight(self) -> _Values[float]: ...
    @property
    def transform_param(self) -> TransformationParameter: ...
    @property
    def tanh_param(self) -> TanHParameter: ...
    @property
    def sigmoid_param(self) -> SigmoidParameter: ...
    @property
    def softmax_param(self) -> SoftmaxParameter: ...
    @property
    def contrastive_loss_param(self) -> ContrastiveLossParameter: ...
    @property
    def exp_param(self) -> ExpParameter: ...
    @property
    def loss_param(self) -> LossParameter: ...
    @property
    def param(self) -> _Values[str]: ...
    @property
    def blob_share_mode(self) -> _Values[int]: ...
    def __init__(
        self,
        *,
        layer: V0LayerParameter | _Mapping[str, _Any] | None = ...,
        bottom: _Iterable[str] | None = ...,
        top: _Iterable[str] | None = ...,
        name: str | None = ...,
        type: int | str | None = ...,
        blobs: _Iterable[BlobProto | _Mapping[str, _Any]] | None = ...,
        blobs_lr: _Iterable[float] | None = ...,
        weight_decay: _Iterable[float] | None = ...,
        concat_param: ConcatParameter | _Mapping[str, _Any] | None = ...,
        convolution_param: ConvolutionParameter | _Mapping[str, _Any] | None = ...,
        data_param: DataParameter | _Mapping[str, _Any] | None = ...,
        dropout_param: DropoutParameter | _Mapping[str, _Any] | None = ...,
        hdf5_data_param: HDF5DataParameter | _Mapping[str, _Any] | None = ...,
        hdf5_output_param: HDF5OutputParameter | _Mapping[str, _Any] | None = ...,
        image_data_param: ImageDataParameter | _Mapping[str, _Any] | None = ...,
        infogain_loss_param: InfogainLossParameter | _Mapping[str, _Any] | None = ...,
        inner_product_param: InnerProductParameter | _Mapping[str, _Any] | None = ...,
        lrn_param: LRNParameter | _Mapping[str, _Any] | None = ...,
        pooling_param: PoolingParameter | _Mapping[str, _Any] | None = ...,
        window_data_param: WindowDataParameter | _Mapping[str, _Any] | None = ...,
        power_param: PowerParameter | _Mapping[str, _Any] | None = ...,
        memory_data_param: MemoryDataParameter | _Mapping[str, _Any] | None = ...,
        argmax_param: ArgMaxParameter | _Mapping[str, _Any] | None = ...,
        eltwise_param: EltwiseParameter | _Mapping[str, _Any] | None = ...,
        threshold_param: ThresholdParameter | _Mapping[str, _Any] | None = ...,
        dummy_data_param: DummyDataParameter | _Mapping[str, _Any] | None = ...,
        accuracy_param: AccuracyParameter | _Mapping[str, _Any] | None = ...,
        hinge_loss_param: HingeLossParameter | _Mapping[str, _Any] | None = ...,
        relu_param: ReLUParameter | _Mapping[str, _Any] | None = ...,
        slice_param: SliceParameter | _Mapping[str, _Any] | None = ...,
        include: _Iterable[NetStateRule | _Mapping[str, _Any]] | None = ...,
        exclude: _Iterable[NetStateRule | _Mapping[str, _Any]] | None = ...,
        mvn_param: MVNParameter | _Mapping[str, _Any] | None = ...,
        loss_weight: _Iterable[float] | None = ...,
        transform_param: TransformationParameter | _Mapping[str, _Any] | None = ...,
        tanh_param: TanHParameter | _Mapping[str, _Any] | None = ...,
        sigmoid_param: SigmoidParameter | _Mapping[str, _Any] | None = ...,
        softmax_param: SoftmaxParameter | _Mapping[str, _Any] | None = ...,
        contrastive_loss_param: ContrastiveLossParameter | _Mapping[str, _Any] | None = ...,
        exp_param: ExpParameter | _Mapping[str, _Any] | None = ...,
        loss_param: LossParameter | _Mapping[str, _Any] | None = ...,
        param: _Iterable[str] | None = ...,
        blob_share_mode: _Iterable[int | str] | None = ...,
    ) -> None: ...

class VideoDataParameter(_Message):
    VideoType: _ClassVar[_Enum]
    WEBCAM: _ClassVar[int]
    VIDEO: _ClassVar[int]
    video_type: int
    device_id: int
    video_file: str
    skip_frames: int
    source: str
    batch_size: int
    rand_skip: int
    shuffle: bool
    new_height: int
    new_width: int
    is_color: bool
    root_folder: str
    new_length: int
    show_data: bool
    use_image: bool
    use_temporal_jitter: bool
    sampling_rate: int
    max_sampling_rate: int
    use_sampling_rate_jitter: bool
    use_multiple_label: bool
    num_of_labels: int
    def __init__(
        self,
        *,
        video_type: int | str | None = ...,
        device_id: int | None = ...,
        video_file: str | None = ...,
        skip_frames: int | None = ...,
        source: str | None = ...,
        batch_size: int | None = ...,
        rand_skip: int | None = ...,
        shuffle: bool | None = ...,
        new_height: int | None = ...,
        new_width: int | None = ...,
        is_color: bool | None = ...,
        root_folder: str | None = ...,
        new_length: int | None = ...,
        show_data: bool | None = ...,
        use_image: bool | None = ...,
        use_temporal_jitter: bool | None = ...,
        sampling_rate: int | None = ...,
        max_sampling_rate: int | None = ...,
        use_sampling_rate_jitter: bool | None = ...,
        use_multiple_label: bool | None = ...,
        num_of_labels: int | None = ...,
    ) -> None: ...

class WindowDataParameter(_Message):
    source: str
    scale: float
    mean_file: str
    batch_size: int
    crop_size: int
    mirror: bool
    fg_threshold: float
    bg_threshold: float
    fg_fraction: float
    context_pad: int
    crop_mode: str
    cache_images: bool
    root_folder: str
    def __init__(
        self,
        *,
        source: str | None = ...,
        scale: float | None = ...,
        mean_file: str | None = ...,
        batch_size: int | None = ...,
        crop_size: int | None = ...,
        mirror: bool | None = ...,
        fg_threshold: float | None = ...,
        bg_threshold: float | None = ...,
        fg_fraction: float | None = ...,
        context_pad: int | None = ...,
        crop_mode: str | None = ...,
        cache_images: bool | None = ...,
        root_folder: str | None = ...,
    ) -> None: ...

class YoloDetectionOutputParameter(_Message):
    side: int
    num_classes: int
    num_box: int
    coords: int
    confidence_threshold: float
    nms_threshold: float
    @property
    def biases(self) -> _Values[float]: ...
    label_map_file: str
    def __init__(
        self,
        *,
        side: int | None = ...,
        num_classes: int | None = ...,
        num_box: int | None = ...,
        coords: int | None = ...,
        confidence_threshold: float | None = ...,
        nms_threshold: float | None = ...,
        biases: _Iterable[float] | None = ...,
        label_map_file: str | None = ...,
    ) -> None: ...

class YoloSegParameter(_Message):
    num_class: int
    object_scale: float
    class_scale: float
    use_logic_gradient: bool
    use_hardsigmoid: bool
    def __init__(
        self,
        *,
        num_class: int | None = ...,
        object_scale: float | None = ...,
        class_scale: float | None = ...,
        use_logic_gradient: bool | None = ...,
        use_hardsigmoid: bool | None = ...,
    ) -> None: ...

class Yolov3DetectionOutputParameter(_Message):
    num_classes: int
    num_box: int
    confidence_threshold: float
    nms_threshold: float
    @property
    def biases(self) -> _Values[float]: ...
    @property
    def anchors_scale(self) -> _Values[int]: ...
    mask_group_num: int
    @property
    def mask(self) -> _Values[int]: ...
    gaussian_box: bool
    def __init__(
        self,
        *,
        num_classes: int | None = ...,
        num_box: int | None = ...,
        confidence_threshold: float | None = ...,
        nms_threshold: float | None = ...,
        biases: _Iterable[float] | None = ...,
        anchors_scale: _Iterable[int] | None = ...,
        mask_group_num: int | None = ...,
        mask: _Iterable[int] | None = ...,
        gaussian_box: bool | None = ...,
    ) -> None: ...

class Yolov3Parameter(_Message):
    IouLoss: _ClassVar[_Enum]
    IOU: _ClassVar[int]
    GIOU: _ClassVar[int]
    MSE: _ClassVar[int]
    DIOU: _ClassVar[int]
    CIOU: _ClassVar[int]
    side: int
    num_class: int
    num: int
    object_scale: float
    class_scale: float
    noobject_scale: float
    coord_scale: float
    thresh: float
    anchors_scale: int
    @property
    def biases(self) -> _Values[float]: ...
    @property
    def mask(self) -> _Values[int]: ...
    use_logic_gradient: bool
    use_focal_loss: bool
    iou_loss: int
    iou_normalizer: float
    iou_thresh: float
    max_delta: float
    accumulate: bool
    label_smooth_eps: float
    def __init__(
        self,
        *,
        side: int | None = ...,
        num_class: int | None = ...,
        num: int | None = ...,
        object_scale: float | None = ...,
        class_scale: float | None = ...,
        noobject_scale: float | None = ...,
        coord_scale: float | None = ...,
        thresh: float | None = ...,
        anchors_scale: int | None = ...,
        biases: _Iterable[float] | None = ...,
        mask: _Iterable[int] | None = ...,
        use_logic_gradient: bool | None = ...,
        use_focal_loss: bool | None = ...,
        iou_loss: int | str | None = ...,
        iou_normalizer: float | None = ...,
        iou_thresh: float | None = ...,
        max_delta: float | None = ...,
        accumulate: bool | None = ...,
        label_smooth_eps: float | None = ...,
    ) -> None: ...
