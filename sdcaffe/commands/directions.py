"""Measure how far trained nets rely on single directions: accuracy as random channels are clamped.

The measure of Morcos et al. (2018). Weights of one net are held against each other; those
that were trained in nets of one name, such as several seeds of one mechanism, are one line of the table and the plot.
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from sdcaffe import flags
from sdcaffe.flags import Parser, UsageError

EXAMPLE = (
    "sdcaffe directions prototxt/quickstart/train_val_baseline.prototxt "
    "--weights runs/quickstart/baseline_iter_400.caffemodel --iterations 2 --orders 2 -o reliance.png"
)


def add_flags(parser: Parser) -> None:
    flags.add_model_flags(parser)
    parser.add_argument(
        "--weights",
        action="extend",
        nargs="+",
        default=[],
        metavar="FILE",
        help="a .caffemodel; several are compared (default: none)",
    )
    parser.add_argument(
        "--at", choices=("ReLU", "BatchNorm"), default="ReLU", help="clamp the tops of these layers (default ReLU)"
    )
    parser.add_argument(
        "--layer",
        action="append",
        metavar="NAME",
        help="only of this layer; may be given several times (default: all)",
    )
    parser.add_argument(
        "--to", choices=("zero", "mean"), default="zero", help="clamp to 0 or to the unit's mean (default zero)"
    )
    parser.add_argument(
        "--points", type=flags.positive, default=10, metavar="N", help="steps to all units (default 10)"
    )
    parser.add_argument("--orders", type=flags.positive, default=5, metavar="N", help="random orders (default 5)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="draws the orders (default 0)")
    parser.add_argument("-o", "--output", metavar="FILE", help="a picture: .png, .svg or .pdf (default: none)")
    parser.add_argument("--csv", metavar="FILE", help='write every accuracy; "-" is standard output (default: none)')
    parser.add_argument("--json", metavar="FILE", help="the same as JSON (default: none)")
    flags.add_device_flags(parser)
    flags.add_plugin_flags(parser)


def run(args: Namespace) -> None:
    model = flags.model_of(args, "directions")
    if not args.weights:
        raise UsageError("name the weights with --weights. See sdcaffe directions --help")
    if args.seed < 0:
        raise UsageError(f"--seed is {args.seed}; it is 0 or more")
    flags.check_outputs((args.output, args.csv, args.json), (model, *args.weights))
    device = flags.single_device_of(args)

    from sdcaffe import layers, proto
    from sdcaffe.log.curves import short_names
    from sdcaffe.log.picture import ENDINGS
    from sdcaffe.paper import directions
    from sdcaffe.paper.directions.clamps import Clamps
    from sdcaffe.run.progress import bar

    ending = Path(args.output or "x.png").suffix.removeprefix(".")
    if ending not in ENDINGS:
        raise UsageError(f"--output {args.output}: its name must end in one of .{', .'.join(ENDINGS)}")
    layers.discover(args.plugin)
    param = proto.read_net(model, ignore_unknown=args.ignore_unknown)
    found = []
    clamps = Clamps(param, at=args.at, after=args.layer, device=device)
    try:
        for weights, file in zip(args.weights, short_names(args.weights), strict=True):
            name = file.removesuffix(".caffemodel")
            clamps.load_weights(weights)
            if args.to == "mean":
                clamps.use_means(args.iterations)
            with bar(f"{name}: points") as tick:
                found.append(
                    directions.measure(
                        clamps,
                        name,
                        batches=args.iterations,
                        points=args.points,
                        orders=args.orders,
                        seed=args.seed,
                        trained=proto.read_net_name(weights),
                        tick=tick,
                    )
                )
    finally:
        clamps.close()
    for path, form in ((args.csv, directions.to_csv), (args.json, directions.to_json)):
        if path:
            flags.write_output(path, form(found))
    if args.output:
        with proto.atomic_write(args.output) as picture:
            picture.write(directions.plot(found, ending))
    print("\n".join(directions.lines(found)), file=flags.beside(args.csv, args.json))
