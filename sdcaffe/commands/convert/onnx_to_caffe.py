"""Write an ONNX file as a prototxt and a .caffemodel, checked against ONNX Runtime.

Takes what `sdcaffe export` writes, and other exporters' models of operators that Caffe has layers for. Layers are
called as the model's nodes, or as PyTorch's modules. A batch that the model leaves free becomes 1.
"""

from __future__ import annotations

from argparse import Namespace

from sdcaffe import flags
from sdcaffe.commands.export import shape_of
from sdcaffe.flags import Parser

EXAMPLE = "sdcaffe convert onnx-to-caffe net.onnx net.prototxt net.caffemodel"


def add_flags(parser: Parser) -> None:
    parser.add_argument("input", metavar="NET.onnx", help="the ONNX file")
    parser.add_argument("prototxt", metavar="OUT.prototxt", help="the net to write; - is standard output")
    parser.add_argument("weights", metavar="OUT.caffemodel", help="its weights; HDF5 where the name ends in .h5")
    parser.add_argument(
        "--shape",
        type=shape_of,
        action="append",
        default=[],
        metavar="INPUT=N,C,H,W",
        help="the shape of an input that the model leaves free (default: as the model says)",
    )


def run(args: Namespace) -> None:
    from sdcaffe.converters.onnx_import import onnx_to_caffe
    from sdcaffe.run.progress import bar

    flags.check_outputs([args.prototxt, args.weights], [args.input])
    with (
        flags.whole_output(args.prototxt) as prototxt,
        flags.whole_output(args.weights, "net.caffemodel") as weights,
        bar("read, checked and written") as tick,
    ):
        done = onnx_to_caffe(args.input, prototxt, weights, dict(args.shape), tick=tick)
    words = flags.beside(args.prototxt, args.weights)
    shapes = ", ".join("x".join(map(str, shape)) for shape in done.agreement.shapes)
    difference = f"{done.agreement.difference:.1e} (relative; {shapes})"
    print(f"checked  ONNX Runtime and this net differ by at most {difference}", file=words)
    print(f"Wrote {args.prototxt} and {args.weights}: {done.layers} layers, {done.numbers} numbers", file=words)
