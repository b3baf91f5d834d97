"""Score a network: the mean of each of its outputs over some batches, and what its predictions are worth."""

from __future__ import annotations

from argparse import Namespace

from sdcaffe import flags
from sdcaffe.flags import Parser, UsageError
from sdcaffe.log import glog, setup

EXAMPLE = (
    "sdcaffe test -model prototxt/quickstart/train_val_baseline.prototxt "
    "-weights runs/quickstart/baseline_iter_400.caffemodel -iterations 20"
)


def add_flags(parser: Parser) -> None:
    flags.add_model_flags(parser)
    parser.add_argument(
        "--weights",
        metavar="A,B",
        help="the .caffemodel or .caffemodel.h5 files to score (default: none)",
    )
    parser.add_argument("--phase", choices=("TRAIN", "TEST"), default="TEST", help="the net's phase (default TEST)")
    parser.add_argument(
        "--precision",
        choices=("fp32", "tf32", "bf16"),
        default="fp32",
        help="what convolutions and products compute in (default fp32)",
    )
    parser.add_argument(
        "--metrics",
        action="store_true",
        help="say more of the predictions: error, top-5 error, negative log-likelihood (NLL), expected calibration "
        "error over 15 bins, and the NLL of each half of the images after the one temperature that is best for the "
        "other half",
    )
    parser.add_argument(
        "--csv",
        metavar="FILE",
        help='write the error of each class, with its name where the data has one; "-" is standard output; says the '
        "metrics too (default: none)",
    )
    parser.add_argument(
        "--confusion",
        metavar="FILE",
        help="write which classes are taken for which: .csv, or a picture, .png, .svg or .pdf; says the metrics too "
        "(default: none)",
    )
    flags.add_engine_flag(parser)
    flags.add_state_flags(parser)
    flags.add_device_flags(parser)
    flags.add_plugin_flags(parser)


def run(args: Namespace) -> None:
    model = flags.model_of(args, "test")
    if not args.weights:
        raise UsageError("name the weights to score with --weights. See sdcaffe test --help")
    flags.check_outputs((args.csv, args.confusion), (model,))
    device = flags.single_device_of(args)

    from sdcaffe import layers, proto
    from sdcaffe.net.precision import allow_tf32
    from sdcaffe.tools.confusion import CONFUSION_ENDINGS, class_errors, confusion, ending_of
    from sdcaffe.tools.score import score

    if args.confusion and ending_of(args.confusion) not in CONFUSION_ENDINGS:
        raise UsageError(f"--confusion {args.confusion}: its name must end in one of .{', .'.join(CONFUSION_ENDINGS)}")
    layers.discover(args.plugin)
    with setup():
        if device == "cpu":
            glog("caffe.cpp:275", "Use CPU.")
        else:
            import torch

            glog("caffe.cpp:266", f"Use GPU with device ID {device.removeprefix('cuda:')}")
            glog("caffe.cpp:270", f"GPU device name: {torch.cuda.get_device_name(device)}")
        net = flags.net_of(args, model, device)
        try:
            net.load_weights(args.weights)
            net.precision = args.precision
            if device != "cpu":
                allow_tf32(args.precision)
            metrics = bool(args.metrics or args.csv or args.confusion)
            judged = score(net, args.iterations, metrics=metrics, engine=args.engine).judged
        finally:
            net.close()
    if judged is not None:
        counts = judged.confusion()
        names = next((layer.class_names for layer in net.data_layers if layer.class_names), ())
        if args.csv:
            flags.write_output(args.csv, class_errors(counts, names))
        if args.confusion:
            with proto.atomic_write(args.confusion) as file:
                file.write(confusion(counts, ending_of(args.confusion), names))
