"""Time every layer of a network, forward and backward, on random weights."""

from __future__ import annotations

from argparse import Namespace

from sdcaffe import flags
from sdcaffe.flags import Parser
from sdcaffe.log import glog, setup

EXAMPLE = "sdcaffe time -model prototxt/quickstart/train_val_baseline.prototxt -iterations 10"


def add_flags(parser: Parser) -> None:
    flags.add_model_flags(parser)
    parser.add_argument("--phase", choices=("TRAIN", "TEST"), default="TRAIN", help="the net's phase (default TRAIN)")
    flags.add_state_flags(parser)
    flags.add_device_flags(parser)
    flags.add_plugin_flags(parser)


def run(args: Namespace) -> None:
    model = flags.model_of(args, "time")
    device = flags.single_device_of(args)

    from sdcaffe import layers
    from sdcaffe.tools.timing import measure

    layers.discover(args.plugin)
    with setup():
        if device == "cpu":
            glog("caffe.cpp:343", "Use CPU.")
        else:
            glog("caffe.cpp:339", f"Use GPU with device ID {device.removeprefix('cuda:')}")
        net = flags.net_of(args, model, device)
        try:
            measure(net, args.iterations)
        finally:
            net.close()
