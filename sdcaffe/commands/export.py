"""Write a network as an ONNX file, checked against ONNX Runtime.

From a deploy prototxt, or from a train_val, whose data layers become inputs and whose losses go.
"""

from __future__ import annotations

import argparse
from argparse import Namespace
from typing import TYPE_CHECKING

from sdcaffe import flags
from sdcaffe.flags import Parser, UsageError

if TYPE_CHECKING:
    from sdcaffe.converters.onnx_metadata import Normalisation
    from sdcaffe.converters.onnx_pixels import Pixels
    from sdcaffe.converters.onnx_smaller import Smaller

EXAMPLE = "sdcaffe export prototxt/quickstart/deploy.prototxt runs/quickstart/baseline_iter_400.caffemodel -o net.onnx"


def add_flags(parser: Parser) -> None:
    parser.add_argument("model", metavar="NET", help="the net's prototxt; its TEST phase is exported")
    parser.add_argument("weights", metavar="WEIGHTS", help="a .caffemodel, .caffemodel.h5 or .solverstate")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the .onnx file to write")
    parser.add_argument(
        "--opset", type=flags.positive, default=18, metavar="N", help="ONNX opset, 11 to 23 (default 18)"
    )
    parser.add_argument(
        "--static", action="store_true", help="fix every size: the batch's too, as NET or --shape has it"
    )
    parser.add_argument(
        "--batch", type=flags.positive, metavar="N", help="the batch of --static (default: as NET or --shape has it)"
    )
    parser.add_argument("--no-fold", action="store_true", help="keep BatchNorm and Scale as operators of their own")
    add_cut_flags(parser)
    parser.add_argument(
        "--classes",
        metavar="FILE",
        help="class names, one a line, to go into the file (default: those of the data, where CIFAR's files or the "
        "synthetic set name their classes)",
    )
    parser.add_argument("--preprocess", action="store_true", help="take RGB bytes (n, h, w, c) and normalise them")
    add_pixel_flags(parser)
    smaller = parser.add_mutually_exclusive_group()
    smaller.add_argument("--fp16", action="store_true", help="half precision inside; says what it costs")
    smaller.add_argument(
        "--int8", action="store_true", help="8 bits inside, by static quantisation; says what it costs"
    )
    parser.add_argument(
        "--calibration",
        metavar="FOLDER",
        help="pictures, without labels, whose ranges the 8 bits of --int8 are spread over: a folder of them, a list or "
        "a database (default: the images of the net's data layer)",
    )
    parser.add_argument(
        "--iterations",
        type=flags.positive,
        metavar="N",
        help="batches to test on (default: the whole test set once)",
    )
    flags.add_state_flags(parser)
    flags.add_plugin_flags(parser)


def add_cut_flags(parser: Parser) -> None:
    """Which part of the net is written, and for which shapes."""
    parser.add_argument(
        "--shape",
        type=shape_of,
        action="append",
        default=[],
        metavar="BLOB=N,C,H,W",
        help="the shape of an input; a data layer whose shape is given is not opened (default: as NET says)",
    )
    parser.add_argument(
        "--begin",
        action="append",
        default=[],
        metavar="BLOB",
        help="take this blob as an input, and leave out what makes it; may be given several times (default: NET's)",
    )
    parser.add_argument(
        "--end",
        action="append",
        default=[],
        metavar="BLOB",
        help="give this blob as an output, and leave out what follows; may be given several times (default: NET's)",
    )


def add_pixel_flags(parser: Parser) -> None:
    """What the bytes of a picture become before the net; what is not given is as the data layer has it."""
    parser.add_argument(
        "--data",
        metavar="NET",
        help="the prototxt with the net's data layers, where NET has none: a train_val (default: NET)",
    )
    parser.add_argument(
        "--mean",
        type=_mean,
        metavar="X,Y,Z|FILE",
        help="mean to subtract, in the net's channel order (default: as the data layer says)",
    )
    parser.add_argument(
        "--std",
        type=_numbers,
        metavar="X,Y,Z",
        help="standard deviation to divide by (default: as the data layer says)",
    )
    parser.add_argument(
        "--scale", type=float, metavar="X", help="factor after the mean (default: as the data layer says)"
    )
    parser.add_argument(
        "--channel-order",
        choices=("rgb", "bgr"),
        help="the net's channel order (default: as the data layer says, else rgb)",
    )


def pixels_of(args: Namespace) -> Pixels:
    from sdcaffe.converters.onnx_pixels import Pixels

    return Pixels(args.mean, args.std, args.scale, args.channel_order)


def run(args: Namespace) -> None:
    if args.calibration is not None and not args.int8:
        raise UsageError("--calibration goes with --int8. See sdcaffe export --help")
    if args.batch is not None and not args.static:
        raise UsageError("--batch goes with --static: other files take any batch. See sdcaffe export --help")
    from sdcaffe import layers
    from sdcaffe.converters.onnx_export import export
    from sdcaffe.converters.onnx_open import Options

    layers.discover(args.plugin)
    options = Options(
        opset=args.opset,
        fold=not args.no_fold,
        preprocess=args.preprocess,
        pixels=pixels_of(args),
        classes=args.classes,
        shapes=dict(args.shape),
        level=args.level,
        stages=tuple(name for name in args.stage.split(",") if name),
        ignore_unknown=args.ignore_unknown,
        begins=tuple(args.begin),
        ends=tuple(args.end),
        static=args.static,
        batch=args.batch,
        calibration=args.calibration,
        smaller="fp16" if args.fp16 else "int8" if args.int8 else None,
        data=args.data,
        batches=args.iterations,
    )
    done = export(args.model, args.weights, args.output, options)
    print(f"inputs   {', '.join(done.inputs) or 'none'}")
    print(f"outputs  {', '.join(done.outputs)}")
    if done.fixed:
        print(f"batch    fixed: {done.fixed}")
    if done.normalisation is not None:
        presumed = " presumed; --channel-order says otherwise" if done.presumed else ""
        print(f"pixels   {_described(done.normalisation)}{presumed}")
    elif done.missing:
        print(f"pixels   not recorded: {done.missing}; the mean has to be subtracted before, or give it by --mean")
    if done.dropped:
        print(f"left out {', '.join(done.dropped)}")
    print(f"nodes    {done.nodes}; {len(done.folded)} BatchNorm and Scale layers folded into weights")
    shapes = ", ".join("x".join(map(str, shape)) or "no input" for shape in done.agreement.shapes)
    print(f"checked  ONNX Runtime and this net differ by at most {done.agreement.difference:.1e} (relative; {shapes})")
    if done.agreement.infinite:
        names = ", ".join(f'"{name}"' for name in done.agreement.infinite)
        print(f"         the net itself gives some numbers in {names} that are not finite, and so does the model")
    if done.smaller is not None:
        _print_cost(options.smaller or "", done.smaller)
    print(f"Wrote {args.output}: {done.size} bytes, opset {args.opset}")


def _print_cost(kind: str, cost: Smaller) -> None:
    was, now = cost.before, cost.after
    words = [f"outputs move by at most {cost.moved:.2g} of the largest"]
    if was.accuracy is not None and now.accuracy is not None:
        words.insert(0, f"accuracy {was.accuracy:.4f} -> {now.accuracy:.4f} on {cost.images} images")
    words.append(f"{was.size} -> {now.size} bytes")
    words.append(f"{was.latency * 1e3:.2f} -> {now.latency * 1e3:.2f} ms a pass")
    print(f"{kind:8} {', '.join(words)}")
    if cost.kept:
        why = "half precision does not hold their numbers" if kind == "fp16" else "ONNX Runtime has no 8 bits for them"
        print(f"float32  stays in {', '.join(cost.kept)}: {why}")


def _described(normalisation: Normalisation) -> str:
    mean, scale = (" ".join(f"{x:g}" for x in values) for values in (normalisation.mean, normalisation.scale))
    where = "inside, from RGB bytes" if normalisation.in_graph else "to be done before"
    return f"(pixel - mean) * scale {where}; mean {mean}, scale {scale}, {normalisation.order}"


def shape_of(text: str) -> tuple[str, tuple[int, ...]]:
    """An argument BLOB=N,C,H,W."""
    name, equals, sizes = text.rpartition("=")
    if not equals or not all(size.isdecimal() and 0 < int(size) < 1 << 31 for size in sizes.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r} is no BLOB=N,C,H,W")
    return name, tuple(int(size) for size in sizes.split(","))


def _numbers(text: str) -> list[float]:
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers") from None


def _mean(text: str) -> str | list[float]:
    return text if text.endswith((".binaryproto", ".npy")) else _numbers(text)
