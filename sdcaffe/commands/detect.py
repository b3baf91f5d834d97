"""Find objects on pictures with a detector such as SSD: boxes drawn, and JSON beside."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import Any

from sdcaffe import flags
from sdcaffe.errors import DataError, one_line
from sdcaffe.flags import Parser, UsageError

EXAMPLE = "sdcaffe detect detector.prototxt picture.png --weights detector.caffemodel --mean 128 -o found"


def add_flags(parser: Parser) -> None:
    parser.add_argument("net", metavar="NET", help="a prototxt with one input that ends in DetectionOutput")
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help="the pictures")
    parser.add_argument("--weights", required=True, metavar="FILE", help="its .caffemodel")
    parser.add_argument(
        "-o", "--output", required=True, metavar="FOLDER", help="where PICTURE.png, with boxes, and PICTURE.json go"
    )
    parser.add_argument(
        "--data",
        metavar="NET",
        help="the prototxt that it was trained or tested with: its mean, scale and resizing (default: none)",
    )
    parser.add_argument("--mean", metavar="B,G,R", help="mean to subtract (default: as --data says, else 0)")
    parser.add_argument("--scale", type=float, metavar="X", help="factor after it (default: as --data says, else 1)")
    parser.add_argument("--threshold", type=float, default=0.5, metavar="X", help="least score (default 0.5)")
    parser.add_argument(
        "--label-map-file", metavar="FILE", help="names of the labels, a LabelMap prototxt (default: numbers)"
    )
    flags.add_plugin_flags(parser)


def run(args: Namespace) -> int:
    import sdcaffe
    from sdcaffe import layers, proto
    from sdcaffe.forks.ssd import detect

    layers.discover(args.plugin)
    names = detect.names_for(args.pictures)
    net = sdcaffe.Net(args.net, proto.TEST, args.weights, device="cpu")
    detector = detect.Detector(net, _transform(args), args.label_map_file)
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
            values = [float(word) for word in args.mean.split(",")]
        except ValueError:
            raise UsageError(
                f'--mean takes a number, or one for each channel, such as 104,117,123, not "{args.mean}"'
            ) from None
        found.ClearField("mean_file")
        del found.mean_value[:]
        found.mean_value.extend(values)
    if args.scale is not None:
        found.scale = args.scale
    return found
