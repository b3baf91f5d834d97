"""Run a Python script in which `import caffe` is sdcaffe.

The script gets the arguments after its name. It is run as Python runs it; only what `caffe` means is set.
"""

from __future__ import annotations

import runpy
import sys
import traceback
from argparse import REMAINDER, Namespace
from pathlib import Path

from sdcaffe.errors import SdcaffeError
from sdcaffe.flags import Parser, add_fork_flag
from sdcaffe.terminal import raw

EXAMPLE = "sdcaffe pycaffe script.py prototxt/quickstart/deploy.prototxt"


def add_flags(parser: Parser) -> None:
    parser.script = True
    add_fork_flag(parser)
    parser.add_argument("file", metavar="SCRIPT", help="the Python script to run")
    parser.add_argument("arguments", nargs=REMAINDER, metavar="ARGS", help="what the script gets as its arguments")


def run(args: Namespace) -> int:
    script = Path(args.file)
    if not script.is_file():
        raise SdcaffeError("no such script", str(script))

    from sdcaffe import pycaffe
    from sdcaffe.pycaffe import logs

    pycaffe.install()
    logs.show()
    argv, path, streams = sys.argv, list(sys.path), (sys.stdout, sys.stderr)
    sys.stdout, sys.stderr = map(raw, streams)  # a script may colour what it says
    sys.argv = [args.file, *args.arguments]
    sys.path.insert(0, str(script.resolve().parent))
    try:
        runpy.run_path(args.file, run_name="__main__")
    except SdcaffeError as error:
        error.message += f" (called at {_place(error)})"
        raise
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        _show(error)
        return 1
    finally:
        sys.argv, sys.path[:] = argv, path
        sys.stdout, sys.stderr = streams
    return 0


def _place(error: SdcaffeError) -> str:
    """The last line of the script's own code, or of what it imports, that led to an error."""
    from sdcaffe.layers.caffe_layer import own_frames

    last = own_frames(error)[-1]
    return f"{last.filename}:{last.lineno}"


def _show(error: BaseException) -> None:
    """The traceback from the script on: not how it came to be run."""
    frame = error.__traceback__
    while frame is not None and _before_script(frame.tb_frame.f_code.co_filename):
        frame = frame.tb_next
    traceback.print_exception(type(error), error, frame)


def _before_script(file: str) -> bool:
    return file in (__file__, runpy.__file__) or file.startswith("<frozen runpy")
