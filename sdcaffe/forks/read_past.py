"""The fields and values of forks that are read, kept and written back, but that no number here hangs on.

One table: whose message, which fields, why. A field that changes a shape or a number is not of this table: it belongs
to a layer.
"""

from __future__ import annotations

import enum
from typing import Annotated

from sdcaffe import proto
from sdcaffe.forks.known import INTEL, NVIDIA, SPARSE, TONGCHENG
from sdcaffe.proto import past


class Type(enum.IntEnum):
    """NVIDIA's types of numbers (NVIDIA/caffe@87a2554)."""

    DOUBLE = 0
    FLOAT = 1
    FLOAT16 = 2
    INT = 3
    UINT = 4
    BOOL = 5


class NetTypes:
    default_forward_type: Annotated[Type, 11] = Type.FLOAT
    default_backward_type: Annotated[Type, 12] = Type.FLOAT
    default_forward_math: Annotated[Type, 13] = Type.FLOAT
    default_backward_math: Annotated[Type, 14] = Type.FLOAT


class LayerTypes:
    """Theirs are 145 to 148, where BVLC Caffe has its newest layers' parameters."""

    forward_type: Annotated[Type, 1145] = Type.FLOAT
    backward_type: Annotated[Type, 1146] = Type.FLOAT
    forward_math: Annotated[Type, 1147] = Type.FLOAT
    backward_math: Annotated[Type, 1148] = Type.FLOAT


class GradientScale:
    global_grad_scale: Annotated[float, 15] = 1.0
    global_grad_scale_adaptive: Annotated[bool, 16] = False


class NetMemory:
    default_conv_algos_override: Annotated[str, 17] = "-1,-1,-1"
    reduce_buckets: Annotated[int, 18] = 6
    default_cudnn_math_override: Annotated[int, 19] = -1
    eltwise_mem_sharing: Annotated[bool, 20] = True


class DataThreads:
    threads: Annotated[int, 11] = 0
    parser_threads: Annotated[int, 12] = 0
    cache: Annotated[bool, 13] = False
    precache: Annotated[bool, 16] = False


class ImageThreads:
    threads: Annotated[int, 14] = 4
    cache: Annotated[bool, 15] = False
    precache: Annotated[bool, 16] = False


class GpuTransform:
    use_gpu_transform: Annotated[bool, 1008] = False  # its number, 8, is SSD's resize_param


class Packing(enum.IntEnum):
    NCHW = 0
    NHWC = 1


class TransformerMemory:
    forward_packing: Annotated[Packing, 21] = Packing.NCHW


class TransformerSeed:
    random_seed: Annotated[int, 1009] = -1  # its number, 9, is SSD's noise_param


class AlgorithmSeeker(enum.IntEnum):
    GET = 0
    FINDEX = 1


class ConvolutionAlgorithm:
    """NVIDIA's two, and Intel's; NVIDIA's number 19 is Synopsys' pad_type."""

    conv_algos_override: Annotated[str, 20] = "-1,-1,-1"
    conv_algorithm: Annotated[str, 21] = "direct"
    cudnn_convolution_algo_seeker: Annotated[AlgorithmSeeker, 1019] = AlgorithmSeeker.FINDEX


class LayerEngine:
    engine: Annotated[str, 1149] = ""  # theirs is 149, where other forks have layers' parameters


class Engine(enum.IntEnum):
    DEFAULT = 0
    CAFFE = 1
    MKL2017 = 3
    MKLDNN = 4


class ConcatEngine:
    engine: Annotated[Engine, 3] = Engine.DEFAULT


class EltwiseEngine:
    engine: Annotated[Engine, 4] = Engine.DEFAULT


class InnerProductEngine:
    engine: Annotated[Engine, 7] = Engine.DEFAULT


class NetEngine:
    engine: Annotated[str, 9] = ""


class Precision(enum.IntEnum):
    DYNAMIC_FIXED_POINT = 0


class Rounding(enum.IntEnum):
    NEAREST = 0


class QuantizationParameter:
    """Of intel/caffe@44d5363."""

    precision: Precision = Precision.DYNAMIC_FIXED_POINT
    rounding_scheme: Rounding = Rounding.NEAREST
    bw_layer_in: int = 32
    bw_layer_out: int = 32
    bw_params: int = 32
    fl_layer_in: list[int]
    fl_layer_out: list[int]
    fl_params: list[int]
    scale_in: Annotated[list[float], 20]
    scale_out: Annotated[list[float], 21]
    scale_params: Annotated[list[float], 22]
    is_negative_input: Annotated[bool, 23] = False
    force_u8_input: Annotated[bool, 24] = False


class Quantization:
    quantization_param: Annotated[QuantizationParameter, 158]


class ForceMultiplier:
    force_mult: Annotated[float, 6] = 0.0


class AccuracyLog:
    use_log: Annotated[bool, 4] = False


_PRECISION = "numbers are float32 unless --precision says otherwise"
_SCALED = "the gradients are divided by it again; in float32 it changes nothing"
_KERNEL = "it chooses a kernel, not what that computes"
_READING = "how records are read and kept, not which"

_TABLE = [
    (
        INTEL,
        "LayerParameter",
        Quantization,
        "but for force_u8_input; the net is computed in float32, as it was before its 8 bits",
    ),
    (INTEL, "LayerParameter", LayerEngine, _KERNEL),
    (INTEL, "NetParameter", NetEngine, _KERNEL),
    (INTEL, "ConcatParameter", ConcatEngine, _KERNEL),
    (INTEL, "EltwiseParameter", EltwiseEngine, _KERNEL),
    (INTEL, "InnerProductParameter", InnerProductEngine, _KERNEL),
    (NVIDIA, "ConvolutionParameter", ConvolutionAlgorithm, _KERNEL),
    (NVIDIA, "NetParameter", NetTypes, _PRECISION),
    (NVIDIA, "LayerParameter", LayerTypes, _PRECISION),
    (NVIDIA, "NetParameter", GradientScale, _SCALED),
    (NVIDIA, "NetParameter", NetMemory, _KERNEL),
    (NVIDIA, "DataParameter", DataThreads, _READING),
    (NVIDIA, "ImageDataParameter", ImageThreads, _READING),
    (NVIDIA, "TransformationParameter", GpuTransform, "where pictures are transformed, not how"),
    (NVIDIA, "TransformationParameter", TransformerMemory, "how numbers lie in memory"),
    (NVIDIA, "TransformationParameter", TransformerSeed, "what chance decides follows from the solver's random_seed"),
    (SPARSE, "ParamSpec", ForceMultiplier, "it multiplies the solver's force_decay, which is not there"),
    (TONGCHENG, "AccuracyParameter", AccuracyLog, "it writes the accuracy to a file of its own besides"),
]

# Values of the field "engine": whose, in which messages, which, with their numbers there.
_ENGINES = [
    (
        INTEL,
        "BatchNorm Convolution LRN Pooling ReLU Sigmoid Softmax SPP TanH",
        {"MKL2017": 3, "MKLDNN": 4},
    ),
]

for _fork, _message, _fields, _why in _TABLE:
    proto.schema.extend(_message, _fields)
    past.tell(_message, _fields.__annotations__, f"{_why} ({_fork})")
for _fork, _messages, _values in _ENGINES:
    for _message in _messages.split():
        proto.schema.add_values(f"{_message}Parameter", "Engine", _values)
        past.tell_values(f"{_message}Parameter", "engine", _values, f"{_KERNEL} ({_fork})")
