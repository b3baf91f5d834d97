"""Turn a training log into tables: LOG.train and LOG.test, the CSV files that Caffe's parse_log.py writes."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from sdcaffe.flags import Parser

EXAMPLE = "sdcaffe parse-log runs/quickstart/baseline.log runs --verbose"


def add_flags(parser: Parser) -> None:
    parser.add_argument("log", metavar="LOG", help="a log of sdcaffe train or of Caffe")
    parser.add_argument("folder", metavar="OUT_DIR", help="where to write; made where it is missing")
    parser.add_argument("--delimiter", default=",", metavar="C", help=r"what parts columns (default ,); \t is a tab")
    parser.add_argument("--verbose", action="store_true", help="say what was written")


def run(args: Namespace) -> None:
    from sdcaffe.log import csv_log, parse_log
    from sdcaffe.writing import make_folders

    parsed = parse_log(Path(args.log))
    make_folders(args.folder)
    for path, written in csv_log.write(parsed, args.log, args.folder, args.delimiter.replace(r"\t", "\t")):
        if args.verbose:
            print(f"Wrote {path}" if written else f"Not writing {path}; no lines to write")
