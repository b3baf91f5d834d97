"""Write trained weights in another format: .caffemodel, .caffemodel.h5, .pt or .safetensors.

Numbers are kept bit for bit, and layers their names: a tensor is LAYER.weight, LAYER.bias and the like. The weights of
another program's net are matched with a prototxt's layers by order: `--net NET --by-order` reads them, `--like FILE`
writes them under the names of that file.
"""

from __future__ import annotations

from argparse import Namespace

from sdcaffe import flags
from sdcaffe.flags import Parser

EXAMPLE = "sdcaffe convert weights runs/quickstart/baseline_iter_400.caffemodel weights.pt"


def add_flags(parser: Parser) -> None:
    parser.add_argument("input", metavar="INPUT", help="a .pt, .pth, .safetensors, .caffemodel or .caffemodel.h5")
    parser.add_argument(
        "output",
        metavar="OUTPUT",
        help="the file to write; its name says which of these it is. - is standard output, as a .caffemodel",
    )
    parser.add_argument(
        "--net",
        metavar="NET",
        help="the prototxt whose layers these are; all of them must be there (default: none)",
    )
    parser.add_argument(
        "--by-order", action="store_true", help="INPUT is another program's: match it with NET by order and shape"
    )
    parser.add_argument(
        "--like",
        metavar="FILE",
        help="another program's .pt or .safetensors: write under its names (default: none)",
    )
    parser.add_argument(
        "--reverse-channels", action="store_true", help="turn RGB weights into BGR ones, or BGR into RGB"
    )
    flags.add_plugin_flags(parser)


def run(args: Namespace) -> None:
    from sdcaffe import layers, proto
    from sdcaffe.converters.weights import convert
    from sdcaffe.net import Net
    from sdcaffe.run.progress import bar

    layers.discover(args.plugin)
    net = None
    if args.net:
        param, positions = proto.read_net_located(args.net, ignore_unknown=args.ignore_unknown)
        net = Net(param, proto.TEST, positions=positions)
    with flags.whole_output(args.output, "net.caffemodel") as path, bar("read and written") as tick:
        done = convert(
            args.input,
            path,
            net=net,
            by_order=args.by_order,
            like=args.like,
            reverse_channels=args.reverse_channels,
            tick=tick,
        )
    words = flags.beside(args.output)
    if done.left_out:
        print(f"left out {', '.join(done.left_out)}: the net does not have them", file=words)
    print(f"Wrote {args.output}: {done.layers} layers with blobs", file=words)
