"""Write blobs of a network, computed from its data, to databases of Datums."""

from __future__ import annotations

import logging
from argparse import Namespace

from sdcaffe import flags
from sdcaffe.flags import Parser, UsageError
from sdcaffe.log import glog, setup

EXAMPLE = (
    "sdcaffe extract-features runs/quickstart/baseline_iter_400.caffemodel "
    "prototxt/quickstart/train_val_baseline.prototxt pool features_lmdb 3 lmdb"
)


def add_flags(parser: Parser) -> None:
    parser.add_argument("weights", metavar="WEIGHTS", help="a .caffemodel")
    parser.add_argument("model", metavar="NET", help="a prototxt with a data layer; it runs in the TEST phase")
    parser.add_argument("blobs", metavar="BLOB1[,BLOB2]", help="the blobs to write")
    parser.add_argument("databases", metavar="DB1[,DB2]", help="the database of each; none may be there yet")
    parser.add_argument("batches", type=flags.positive, metavar="NUM_BATCHES", help="batches to run")
    parser.add_argument("backend", choices=("lmdb", "leveldb"), metavar="lmdb|leveldb", help="the databases' kind")
    parser.add_argument("mode", nargs="?", choices=("CPU", "GPU"), metavar="CPU|GPU", help="where (default CPU)")
    parser.add_argument("device_id", nargs="?", metavar="DEVICE_ID", help="which GPU (default 0)")
    flags.add_engine_flag(parser)
    flags.add_device_flags(parser)
    flags.add_plugin_flags(parser)


def run(args: Namespace) -> None:
    if args.mode:
        if args.device or args.gpu:
            raise UsageError("CPU or GPU behind the arguments says where to compute; leave out --device and --gpu")
        args.device, args.gpu = (None, args.device_id or "0") if args.mode == "GPU" else ("cpu", None)
    device = flags.single_device_of(args)

    from sdcaffe import layers, proto
    from sdcaffe.converters.features import extract
    from sdcaffe.tools.loading import open_net

    layers.discover(args.plugin)
    with setup():
        if device == "cpu":
            glog("extract_features.cpp:75", "Using CPU", logging.ERROR)
        else:
            glog("extract_features.cpp:64", "Using GPU", logging.ERROR)
            glog("extract_features.cpp:70", f"Using Device_id={device.removeprefix('cuda:')}", logging.ERROR)
        net = open_net(args.model, proto.TEST, stages=(), device=device, ignore_unknown=args.ignore_unknown)
        try:
            net.load_weights([args.weights])
            blobs, databases = args.blobs.split(","), args.databases.split(",")
            extract(net, blobs, databases, args.batches, args.backend, args.engine)
        finally:
            net.close()
