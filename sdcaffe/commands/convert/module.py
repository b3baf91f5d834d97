"""Write a net as the source of a PyTorch module, which needs no sdcaffe.

The module is run against the net before it is written. With `--weights` a .pt of the same name is written beside it,
for the module to load. From a train_val, data layers become inputs and losses go.
"""

from __future__ import annotations

from argparse import Namespace

from sdcaffe import flags
from sdcaffe.commands.export import add_cut_flags
from sdcaffe.flags import Parser, UsageError

EXAMPLE = "sdcaffe convert module prototxt/quickstart/deploy.prototxt net.py"


def add_flags(parser: Parser) -> None:
    parser.add_argument("input", metavar="NET", help="the net's prototxt; its TEST phase is written")
    parser.add_argument(
        "output", metavar="OUTPUT.py", help="the file to write; - is standard output, without --weights"
    )
    parser.add_argument(
        "--weights", metavar="FILE", help="a .caffemodel or .caffemodel.h5, to go to OUTPUT.pt (default: none)"
    )
    parser.add_argument(
        "--no-fold", action="store_true", help="with --weights: keep BatchNorm and Scale as modules of their own"
    )
    add_cut_flags(parser)
    flags.add_plugin_flags(parser)


def run(args: Namespace) -> None:
    if args.output == "-" and args.weights:
        raise UsageError("the weights go to a file beside the source: give that a name in the place of -")
    if args.output != "-" and not args.output.endswith(".py"):
        raise UsageError(f'"{args.output}" does not end in .py. See sdcaffe convert module --help')
    from sdcaffe import layers
    from sdcaffe.converters.module_source import convert
    from sdcaffe.run.progress import bar

    layers.discover(args.plugin)
    with flags.whole_output(args.output, "net.py") as path, bar("read, checked and written") as tick:
        done = convert(
            args.input,
            path,
            args.weights,
            shapes=dict(args.shape),
            begins=args.begin,
            ends=args.end,
            fold=not args.no_fold,
            ignore_unknown=args.ignore_unknown,
            tick=tick,
        )
    words = flags.beside(args.output)
    kind = ", float64; in float32 rounding changes which of nearly equal values a layer takes" if done.exact else ""
    print(f"checked  the module and the net differ by at most {done.difference:.1e} (relative{kind})", file=words)
    ends = f"{', '.join(done.inputs) or 'nothing'} to {', '.join(done.outputs)}"
    print(f"Wrote {args.output}: class {done.name}, {ends}", file=words)
    if args.weights:
        print(f"Wrote {args.output.removesuffix('.py')}.pt")
