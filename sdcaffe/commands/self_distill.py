"""Rewrite a baseline net into its self-distilled form.

In training the images are distorted twice, in two branches that learn from each other; the test phase stays as it
is, and so do the names of the layers, so that weights go either way.
"""

from __future__ import annotations

from argparse import Namespace

from sdcaffe import flags
from sdcaffe.flags import Parser, UsageError

EXAMPLE = "sdcaffe self-distill prototxt/quickstart/train_val_baseline.prototxt -o net.prototxt --temperature 2"


def add_flags(parser: Parser) -> None:
    parser.add_argument("input", metavar="TRAIN_VAL", help="the baseline's prototxt, of any age")
    parser.add_argument(
        "-o", "--output", metavar="FILE", required=True, help='the prototxt to write; "-" is standard output'
    )
    parser.add_argument(
        "--temperature", type=float, default=3.0, metavar="T", help="softens the predictions (default 3)"
    )
    parser.add_argument(
        "--lambda", type=float, default=1.0, dest="kl_weight", metavar="X", help="the weight of KLLoss (default 1)"
    )
    parser.add_argument(
        "--mu", type=float, default=0.0005, dest="mmd_weight", metavar="X", help="that of MMDLoss (default 0.0005)"
    )
    parser.add_argument("--logits", metavar="BLOB", help="the class scores (default: what the one softmax loss reads)")
    parser.add_argument(
        "--feature", metavar="BLOB", help="the global feature (default: what the layer that makes the logits reads)"
    )
    flags.add_plugin_flags(parser)


def run(args: Namespace) -> None:
    if args.feature is not None and not args.mmd_weight:
        raise UsageError("--feature is for MMDLoss, which --mu 0 leaves out: give one of them")
    flags.check_outputs([args.output], [args.input])
    from sdcaffe import layers, proto
    from sdcaffe.errors import NetError
    from sdcaffe.paper.rewrite import Settings, self_distilled
    from sdcaffe.proto.printing import net_text

    layers.discover(args.plugin)
    baseline, positions = proto.read_net_located(args.input, ignore_unknown=args.ignore_unknown)
    settings = Settings(args.temperature, args.kl_weight, args.mmd_weight, args.logits, args.feature)
    try:
        done = self_distilled(baseline, settings)
    except NetError as error:
        positions.locate(error)
        error.where = error.where or args.input
        raise
    head = [f"The self-distilled form of {args.input}, written by `sdcaffe self-distill`."]
    flags.write_output(args.output, net_text(done.net, head))
    words = [
        f'images: "{done.images}", distorted twice in training',
        f'logits: "{done.logits}", from the loss "{done.loss}"',
        f'feature: "{done.feature}"' if done.feature else "feature: none",
    ]
    if args.output != "-":
        words.append(f"Wrote {args.output}: name it in a solver as its net")
    print("\n".join(words), file=flags.beside(args.output))
