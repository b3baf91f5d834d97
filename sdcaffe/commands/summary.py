"""Show the layers of a network with their shapes, parameters, multiply-adds and memory, and the totals.

The images of sets that are known by name are not fetched; with --shape no data are opened. Of a .caffemodel alone it
shows the layers that have weights, and the shapes of these.
"""

from __future__ import annotations

from argparse import Namespace

from sdcaffe import flags
from sdcaffe.commands.export import shape_of
from sdcaffe.flags import Parser, UsageError

EXAMPLE = "sdcaffe summary prototxt/cifar100/resnet32/deploy.prototxt"
_WEIGHTS = (".caffemodel", ".h5")


def add_flags(parser: Parser) -> None:
    parser.add_argument("net", metavar="NET", help="the net's prototxt, an ONNX file or a .caffemodel")
    parser.add_argument("--phase", choices=("TRAIN", "TEST"), default="TEST", help="the net's phase (default TEST)")
    parser.add_argument(
        "--shape",
        type=shape_of,
        action="append",
        default=[],
        metavar="BLOB=N,C,H,W",
        help="the shape of what a data layer or an input brings; no data are opened for it (default: as the data are)",
    )
    flags.add_state_flags(parser)
    flags.add_plugin_flags(parser)


def run(args: Namespace) -> None:
    from sdcaffe import layers, proto
    from sdcaffe.tools.costs import costs, lines
    from sdcaffe.tools.summary import costs_of_prototxt, lines_of_weights

    layers.discover(args.plugin)
    shapes = dict(args.shape)
    if args.net.endswith(_WEIGHTS):
        if shapes:
            raise UsageError("a weight file has no inputs to give a shape: leave --shape out, or name the net")
        print("\n".join(lines_of_weights(args.net)))
    elif args.net.endswith(".onnx"):
        from sdcaffe.converters.onnx_import import net_of

        print("\n".join(lines(costs(net_of(args.net, shapes)))))
    else:
        phase = proto.TRAIN if args.phase == "TRAIN" else proto.TEST
        found = costs_of_prototxt(
            args.net,
            phase,
            level=args.level,
            stages=[stage for stage in args.stage.split(",") if stage],
            shapes=shapes,
            ignore_unknown=args.ignore_unknown,
        )
        print("\n".join(lines(found)))
