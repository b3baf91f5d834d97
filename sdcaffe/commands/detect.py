"""Find objects on pictures with a detector such as SSD: boxes drawn, and JSON beside."""

from __future__ import annotations

import argparse
import sys
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from sdcaffe import flags
from sdcaffe.errors import DataError, one_line
from sdcaffe.flags import Parser, UsageError

if TYPE_CHECKING:
    from sdcaffe.forks.ssd import detect

EXAMPLE = "sdcaffe detect detector.prototxt picture.png --weights detector.caffemodel --mean 128 -o found"


def add_flags(parser: Parser) -> None:
    parser.add_argument(
        "net", metavar="NET", help="a prototxt with one input that ends in DetectionOutput, or an .onnx file of one"
    )
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help="the pictures")
    parser.add_argument("--weights", metavar="FILE", help="the .caffemodel of a prototxt (default: none)")
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="FOLDER",
        help="where PICTURE.png, with boxes and enlarged if it is small, and PICTURE.json go",
    )
    parser.add_argument(
        "--data",
        metavar="NET",
        help="the prototxt that it was trained or tested with: its mean, scale and resizing (default: none)",
    )
    parser.add_argument(
        "--mean", metavar="B,G,R", help="mean to subtract (default: as --data or the ONNX file says, else 0)"
    )
    parser.add_argument(
        "--scale",
        type=flags.finite,
        metavar="X",
        help="factor after it (default: as --data or the ONNX file says, else 1)",
    )
    parser.add_argument("--threshold", type=flags.finite, default=0.5, metavar="X", help="least score (default 0.5)")
    parser.add_argument(
        "--label-map-file", metavar="FILE", help="names of the labels, a LabelMap prototxt (default: numbers)"
    )
    flags.add_engine_flag(parser)
    flags.add_plugin_flags(parser)


def run(args: Namespace) -> int:
    from sdcaffe import layers
    from sdcaffe.forks.ssd import detect

    is_onnx = args.net.endswith(".onnx")
    if is_onnx == (args.weights is not None):
        raise UsageError("an ONNX file has its weights" if is_onnx else "--weights FILE is wanted with a prototxt")
    layers.discover(args.plugin)
    names = detect.names_for(args.pictures)
    transform = _transform(args)
    model = _onnx(args, transform) if is_onnx else _net(args, transform)
    resize = transform.resize_param[0] if transform.resize_param else transform.resize_param.add()
    detector = detect.Detector(model, resize, args.label_map_file)
    broken = 0
    for picture, name in zip(args.pictures, names, strict=True):
        try:
            pixels, found = detector.find(picture, args.threshold)
        except DataError as error:  # the others are looked at all the same
            sys.stdout.flush()
            print(f"sdcaffe: error: {one_line(error)}", file=sys.stderr)
            broken += 1
            continue
        detect.write(args.output, name, picture, pixels, found)
        print(f"{picture}: {len(found)} found")
        for one in found:
            print(f"  {one.score:.4f} {one.name} {one.xmin:.1f} {one.ymin:.1f} {one.xmax:.1f} {one.ymax:.1f}")
    return 1 if broken else 0


def _net(args: Namespace, transform: Any) -> detect.Model:
    import sdcaffe
    from sdcaffe.forks.ssd import detect
    from sdcaffe.tools.loading import choose_engine

    net = sdcaffe.Net(args.net, sdcaffe.TEST, args.weights, device="cpu")
    choose_engine(net, args.engine, len(args.pictures))
    return detect.model_of(net, *_pixels(transform))


def _onnx(args: Namespace, transform: Any) -> detect.Model:
    """What flags and --data say of the pixels, else what the file records."""
    import numpy as np

    from sdcaffe.converters.onnx_detect import open_finder
    from sdcaffe.forks.ssd import detect

    finder = open_finder(args.net)
    mean, scale = _pixels(transform)
    recorded = finder.normalisation
    if recorded is None:
        return detect.Model(finder.run, finder.size, mean, scale)
    said = args.data is not None
    if recorded.in_graph:
        if said or args.mean is not None or args.scale is not None:
            raise UsageError(f"{args.net} takes bytes and normalises them itself: there is no mean or scale to give")
        return detect.Model(finder.run, finder.size, mean, scale, in_bytes=True)
    if not said and args.mean is None:
        mean = np.array(recorded.mean, np.float32).reshape(-1, 1, 1)
    if not said and args.scale is None:
        scale = np.array(recorded.scale, np.float32).reshape(-1, 1, 1)
    return detect.Model(finder.run, finder.size, mean, scale, recorded.order)


def _pixels(transform: Any) -> tuple[Any, Any]:
    """Mean and scale of a TransformationParameter, as arrays that suit (c, h, w)."""
    import numpy as np

    from sdcaffe import proto

    if transform.HasField("mean_file"):
        mean = np.asarray(proto.read_blob(transform.mean_file), np.float32)
        mean = mean.reshape(mean.shape[-3:])
    else:
        mean = np.array(list(transform.mean_value) or [0.0], np.float32).reshape(-1, 1, 1)
    return mean, np.float32(transform.scale).reshape(1, 1, 1)


def _transform(args: Namespace) -> Any:
    """The TransformationParameter of the data layer of --data, and over it what flags say."""
    from sdcaffe import proto

    found = proto.TransformationParameter()
    if args.data is not None:
        layers = [layer for layer in proto.read_net(args.data).layer if layer.HasField("transform_param")]
        if not layers:
            raise DataError("has no data layer with a transform_param", args.data)
        found.CopyFrom(layers[-1].transform_param)
    if args.mean is not None:
        try:
            values = [flags.finite(word) for word in args.mean.split(",")]
        except argparse.ArgumentTypeError:
            raise UsageError(
                f'--mean takes a number, or one for each channel, such as 104,117,123, not "{args.mean}"'
            ) from None
        found.ClearField("mean_file")
        del found.mean_value[:]
        found.mean_value.extend(values)
    if args.scale is not None:
        found.scale = args.scale
    return found
