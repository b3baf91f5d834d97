"""Rewrite a baseline net into its self-distilled form.

In training the images are distorted twice, in two branches that learn from each other; the test phase stays as it
is, and so do the names of the layers, so that weights go either way.
"""

from __future__ import annotations

import math
from argparse import Namespace
from typing import TYPE_CHECKING

from sdcaffe import flags
from sdcaffe.flags import Parser, UsageError

if TYPE_CHECKING:
    from sdcaffe.paper.rewrite import Rewritten

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
    parser.add_argument(
        "--pad",
        type=int,
        metavar="N",
        help="a border of N pixels in training (default: its Distort's)",
    )
    parser.add_argument(
        "--crop",
        type=int,
        metavar="N",
        help="windows of NxN pixels in training (default: what the net's own layers crop, else the picture's size)",
    )
    parser.add_argument("--mirror", action="store_true", help="mirror each window with probability 1/2 in training")
    flags.add_plugin_flags(parser)


def run(args: Namespace) -> None:
    if args.feature is not None and not args.mmd_weight:
        raise UsageError("--feature is for MMDLoss, which --mu 0 leaves out: give one of them")
    flags.check_outputs([args.output], [args.input])
    from sdcaffe import layers, proto
    from sdcaffe.errors import NetError
    from sdcaffe.paper.distortion import Distortion
    from sdcaffe.paper.rewrite import Settings
    from sdcaffe.paper.sizes import checked
    from sdcaffe.proto.printing import net_text

    layers.discover(args.plugin)
    baseline, positions = proto.read_net_located(args.input, ignore_unknown=args.ignore_unknown)
    try:
        settings = Settings(
            args.temperature,
            args.kl_weight,
            args.mmd_weight,
            args.logits,
            args.feature,
            distortion=Distortion(args.pad, args.crop, args.mirror),
        )
        done = checked(baseline, settings)
    except NetError as error:
        positions.locate(error)
        error.where = error.where or args.input
        raise
    head = [f"The self-distilled form of {args.input}, written by `sdcaffe self-distill`."]
    flags.write_output(args.output, net_text(done.net, head))
    words = [
        f'images: "{done.images}", distorted twice in training: {done.distortion}',
        f'logits: "{done.logits}", from the loss "{done.loss}"',
        f'feature: "{done.feature}"{_size(done)}' if done.feature else "feature: none",
    ]
    if done.auxiliary:
        listed = ", ".join(f'"{name}"' for name in done.auxiliary)
        words.append(f"auxiliary losses, once for each branch, without KL and MMD of their own: {listed}")
    if done.logits in done.shapes:
        views = done.shapes[done.logits][0]
        words.append(f"cost: a step passes {views} images as one batch, two views of each of {views // 2}")
    if args.output != "-":
        words.append(f"Wrote {args.output}: name it in a solver as its net")
    print("\n".join(words), file=flags.beside(args.output))


def _size(done: Rewritten) -> str:
    shape = done.shapes.get(done.feature or "", ())
    guess = " as far as can be told without the data" * done.guessed
    return f", {math.prod(shape[1:])} values an image{guess}" if shape else ""
