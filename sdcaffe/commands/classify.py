"""Name what is on pictures, with an ONNX file or with a prototxt and its weights.

An ONNX file that `sdcaffe export` wrote brings its normalisation and class names along; it needs no torch. Of a folder
all pictures are named, those of folders below it too, as CSV: a line a picture, the most probable class first.
"""

from __future__ import annotations

import csv
import os
import sys
from argparse import Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING

from sdcaffe import flags, terminal
from sdcaffe.commands.export import add_pixel_flags, pixels_of
from sdcaffe.errors import DataError, one_line
from sdcaffe.flags import Parser, UsageError

if TYPE_CHECKING:
    from sdcaffe.converters.onnx_classify import Classifier

Named = list[tuple[str, float]]  # classes and their probabilities, in falling order

EXAMPLE = (
    "sdcaffe classify prototxt/quickstart/deploy.prototxt runs/quickstart/baseline_iter_400.caffemodel "
    "picture.png --data prototxt/quickstart/train_val_baseline.prototxt"
)


def add_flags(parser: Parser) -> None:
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="NET.onnx, or NET.prototxt WEIGHTS; then pictures, or folders of them",
    )
    parser.add_argument("--top", type=flags.positive, default=5, metavar="N", help="classes to name (default 5)")
    parser.add_argument(
        "--classes", metavar="FILE", help="class names, one a line (default: those in the file, else numbers)"
    )
    add_pixel_flags(parser)
    flags.add_engine_flag(parser)
    flags.add_state_flags(parser)
    flags.add_plugin_flags(parser)


def run(args: Namespace) -> int:
    is_onnx = args.files[0].endswith(".onnx")
    named = args.files[1 if is_onnx else 2 :]
    if not named:
        what = "a picture" if is_onnx else "the weights of the net and a picture"
        raise UsageError(f"name {what} behind {args.files[0]}. See sdcaffe classify --help")
    pictures = [path for name in named for path in _pictures(name)]
    classifier = _open_onnx(args) if is_onnx else _open_net(args, len(pictures))
    show = _lines(args.top) if any(map(os.path.isdir, named)) else _paragraph
    broken = 0
    for path in pictures:
        if terminal.unheard():
            break
        try:
            found = _best(classifier, path, args.top)
        except DataError as error:  # the others are classified all the same
            sys.stdout.flush()
            print(f"sdcaffe: error: {one_line(error)}", file=sys.stderr)
            broken += 1
            continue
        show(path, found)
    return 1 if broken else 0


def _pictures(name: str) -> list[str]:
    from sdcaffe.data.decode import pictures_below

    return pictures_below(name) if os.path.isdir(name) else [name]


def _best(classifier: Classifier, path: str, count: int) -> Named:
    from sdcaffe.converters.onnx_classify import best

    return best(classifier.probabilities(path), classifier.metadata.classes, count)


def _paragraph(path: str, found: Named) -> None:
    print(f"---------- Prediction for {path} ----------")
    for name, probability in found:
        print(f'{probability:.4f} - "{name}"')


def _lines(most: int) -> Callable[[str, Named], None]:
    """Writes CSV: its head now, with `most` classes, and then a line for each picture."""
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(["file", *(f"{what}_{i + 1}" for i in range(most) for what in ("class", "probability"))])

    def show(path: str, found: Named) -> None:
        cells = [text for name, probability in found for text in (name, f"{probability:.4f}")]
        rows.writerow([path, *cells, *[""] * (2 * (most - len(found)))])

    return show


def _open_onnx(args: Namespace) -> Classifier:
    from sdcaffe.converters.onnx_classify import open_onnx

    if args.data is not None:
        raise UsageError("--data goes with a prototxt; an ONNX file is given it by sdcaffe export")
    return open_onnx(args.files[0], args.classes, pixels_of(args))


def _open_net(args: Namespace, pictures: int) -> Classifier:
    from sdcaffe import layers
    from sdcaffe.converters.onnx_classify_net import open_net
    from sdcaffe.converters.onnx_open import Options

    layers.discover(args.plugin)
    options = Options(
        pixels=pixels_of(args),
        data=args.data,
        classes=args.classes,
        level=args.level,
        stages=tuple(name for name in args.stage.split(",") if name),
        ignore_unknown=args.ignore_unknown,
    )
    return open_net(args.files[0], args.files[1], options, engine=args.engine, pictures=pictures)
