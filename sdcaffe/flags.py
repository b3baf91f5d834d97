"""What commands share in reading their flags: Caffe's spelling, flags of several commands, the device."""

from __future__ import annotations

import argparse
import math
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TextIO

from sdcaffe.errors import SdcaffeError, UsageError, nearest

if TYPE_CHECKING:
    from sdcaffe.net import Net

_FLAG = re.compile(r"--?([A-Za-z][\w-]+)(=.*)?", re.DOTALL)


# Caffe's programs take these; here there is nothing for them to change.
_GLOG_SWITCHES = ("logtostderr", "alsologtostderr")
_GLOG_VALUES = ("--log-dir", "--minloglevel", "--stderrthreshold", "-v", "--v")


class Parser(argparse.ArgumentParser):
    """Takes flags as gflags does, `-solver x` and `--sighup_effect=stop` included; errors are UsageErrors.

    With `script` set, what follows the first argument that is no flag is another program's and stays as it is.
    """

    script = False

    def __init__(self, prog: str, description: str | None, epilog: str | None = None) -> None:
        super().__init__(
            prog,
            description=description,
            epilog=epilog,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Raises UsageError, with the nearest flag for one that is unknown."""
        args, rest = self.parse_known_args(_plain_spelling(arguments, self.script))
        if not rest:
            return args
        flag = rest[0].partition("=")[0]
        if not flag.startswith("-"):
            self.error(f'one argument too many: "{flag}"')
        near = nearest(flag, self._option_string_actions)
        self.error(f"unknown flag {flag}." + (f" Did you mean {near}?" if near else ""))

    def shown(self) -> list[argparse.Action]:
        """What help lists, but for help itself: flags and positional arguments, in their order."""
        return [a for a in self._actions if a.help != argparse.SUPPRESS and a.dest != "help"]

    def error(self, message: str) -> NoReturn:
        end = "" if message.endswith(("?", ".")) else "."
        raise UsageError(f"{message}{end} See {self.prog} --help")


def _plain_spelling(arguments: Sequence[str], script: bool) -> list[str]:
    """`-solver`, `--sighup_effect` and the like as `--solver`, `--sighup-effect`; values stay as they are."""
    plain: list[str] = []
    for index, argument in enumerate(arguments):
        if argument == "--" or (script and not argument.startswith("-")):
            return plain + list(arguments[index:])
        match = _FLAG.fullmatch(argument)
        plain.append(f"--{match[1].replace('_', '-')}{match[2] or ''}" if match else argument)
    return plain


def check_outputs(outputs: Iterable[str | None], inputs: Iterable[str]) -> None:
    """Before the work: no file to be written is one that is read, or another that is written; its folder is there.

    Raises UsageError. None stands for an output that is not asked for, "-" for standard output, which takes one.
    """
    taken = {Path(os.path.realpath(name)): "is read" for name in inputs}
    named = [name for name in outputs if name is not None]
    if named.count("-") > 1:
        raise UsageError('"-" is standard output, which takes one of them: give the others a file')
    for name in named:
        if name != "-":
            path = Path(os.path.realpath(name))
            if path in taken:
                raise UsageError(f"{name} would be overwritten, but it {taken[path]}: give the output another name")
            if path.is_dir() or not path.parent.is_dir():
                raise UsageError(f"{name} cannot be written: it is a folder, or its folder is not there")
            taken[path] = "is written already"


def write_output(name: str, content: str) -> None:
    """Write a file of text, whole or not at all, or to standard output where its name is "-"."""
    if name == "-":
        print(content, end="")
        return
    from sdcaffe.proto.files import atomic_write

    with atomic_write(name) as file:
        file.write(content.encode())


@contextmanager
def whole_output(name: str, form: str = "output") -> Iterator[str]:
    """The path at which to write the file `name`; where that is "-", what is there at the end goes to standard output.

    `form` is then the path's last part, whose ending says the format.
    """
    if name != "-":
        yield name
        return
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, form)
        yield path
        sys.stdout.flush()
        with open(path, "rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()


def folder(name: str) -> str:
    """An argument that names a folder or a database to make."""
    if name == "-":
        raise argparse.ArgumentTypeError("a folder is made, which standard output cannot be: give it a name")
    return name


def beside(*outputs: str | None) -> TextIO:
    """Where a command's own words go: standard output, unless one of the outputs is written there."""
    return sys.stderr if "-" in outputs else sys.stdout


def add_plugin_flags(parser: Parser) -> None:
    """For commands that read a prototxt."""
    add_plugin_flag(parser)
    parser.add_argument(
        "--ignore-unknown",
        action="store_true",
        help="skip fields that BVLC Caffe's prototxts do not have, such as those of its forks",
    )
    add_fork_flag(parser)


def add_plugin_flag(parser: Parser) -> None:
    parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="FILE|MODULE",
        help="a Python file or module that registers layers; may be given several times (default: none)",
    )


def add_fork_flag(parser: Parser) -> None:
    parser.add_argument(
        "--fork",
        metavar="NAME",
        help="whose files nets are read as, where forks of Caffe mean two things by one; sdcaffe layers --forks lists "
        "the names (default: as their other fields say)",
    )


def add_device_flags(parser: Parser) -> None:
    parser.add_argument(
        "--device",
        metavar="cpu|cuda|cuda:N",
        help="where to compute (default: the solver's solver_mode where there is a solver, else cpu)",
    )
    parser.add_argument(
        "--gpu", metavar="N|N,N|all", help="the same in Caffe's spelling; train takes several (default: none)"
    )
    for name in _GLOG_SWITCHES:
        add_switch(parser, name, argparse.SUPPRESS)
    for name in _GLOG_VALUES:
        parser.add_argument(name, help=argparse.SUPPRESS)


def add_engine_flag(parser: Parser) -> None:
    parser.add_argument(
        "--engine",
        choices=("torch", "onnxruntime"),
        help="what runs the net on a CPU in the TEST phase; layers that ONNX Runtime cannot run, or does not give "
        "torch's numbers for within 1e-5, stay in torch (default: ONNX Runtime where it is sooner done)",
    )


def add_state_flags(parser: Parser) -> None:
    parser.add_argument("--level", type=level, default=0, help="the level of the net's state (default 0)")
    parser.add_argument(
        "--stage", type=stages, default="", metavar="A,B", help="the stages of the net's state (default: none)"
    )


def add_model_flags(parser: Parser) -> None:
    """A net's prototxt, `--phase` left out, and how many batches: what test and time share."""
    parser.add_argument("file", nargs="?", metavar="NET", help="the net's prototxt")
    parser.add_argument("--model", metavar="NET", help="the same, in Caffe's spelling (default: none)")
    parser.add_argument("--iterations", type=positive, default=50, metavar="N", help="batches to run (default 50)")


def add_switch(parser: Parser, name: str, text: str) -> None:
    """A flag that is on or off, as gflags takes it: `--gray`, `--nogray`, `--gray=true`, `--gray=false`."""
    dest = name.replace("-", "_")
    parser.add_argument(f"--{name}", dest=dest, action="store_true", help=text)
    for value in ("true", "1", "false", "0"):
        action = "store_true" if value in ("true", "1") else "store_false"
        parser.add_argument(f"--{name}={value}", dest=dest, action=action, help=argparse.SUPPRESS)
    parser.add_argument(f"--no{name}", dest=dest, action="store_false", help=argparse.SUPPRESS)


def model_of(args: argparse.Namespace, command: str) -> str:
    """The one net that `add_model_flags` was given. Raises UsageError."""
    if bool(args.file) == bool(args.model):
        raise UsageError(f"name one net. See sdcaffe {command} --help")
    return str(args.file or args.model)


def net_of(args: argparse.Namespace, model: str, device: str) -> Net:
    """The net of a prototxt in the phase, level and stages of the flags. Raises what Net raises."""
    from sdcaffe import proto
    from sdcaffe.tools.loading import open_net

    phase = proto.TRAIN if args.phase == "TRAIN" else proto.TEST
    named = args.stage.split(",")
    return open_net(model, phase, level=args.level, stages=named, device=device, ignore_unknown=args.ignore_unknown)


def single_device_of(args: argparse.Namespace) -> str:
    """`device_of`, and the CPU where none is named."""
    return device_of(args) or "cpu"


def device_of(args: argparse.Namespace) -> str | None:
    """The torch device for what runs on one: the first of several GPUs, as in Caffe; None where none is named."""
    first = next(iter(devices_of(args)), None)
    return "cuda:0" if first == "cuda" else first


def positive(text: str) -> int:
    """An argument that is a whole number of 1 or more, of 32 bits as Caffe's are."""
    digits = text.lstrip("0")
    if not text.isdecimal() or not digits:
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 or more")
    if len(digits) > 10 or int(digits) >= 2**31:
        raise argparse.ArgumentTypeError(f"{digits[:40]!r} is more than 2147483647")
    return int(digits)


def finite(text: str) -> float:
    """An argument that is a number, neither nan nor beyond what a float of 32 bits can be."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) < 2.0**128:
        raise argparse.ArgumentTypeError(f"{text!r} is no finite number of 32 bits")
    return value


def level(text: str) -> int:
    """An argument that is the level of a net's state: a whole number of 32 bits."""
    if not re.fullmatch("-?[0-9]{1,10}", text) or not -(2**31) <= int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 32 bits")
    return int(text)


def stages(text: str) -> str:
    """An argument that is the stages of a net's state: text in UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"{text!r} is not UTF-8, as the stages of a net are") from None
    return text


def devices_of(args: argparse.Namespace) -> list[str]:
    """The torch devices that `--device` or `--gpu` names; none where neither is given. A process takes one.

    `--device cuda` is "cuda": whichever GPU is a process's own. Raises UsageError for what names no device and
    SdcaffeError for one this machine lacks.
    """
    if args.device and args.gpu:
        raise UsageError("--device and --gpu name the same thing: give one of them")
    if args.gpu:
        return [_gpu(index) for index in _gpu_indices(args.gpu)]
    if args.device in (None, "cpu"):
        return [args.device] if args.device else []
    match = re.fullmatch(r"cuda(?::(\d+))?", args.device)
    if not match:
        raise UsageError(f'--device "{args.device}" is none of cpu, cuda, cuda:N')
    device = _gpu(int(match[1] or 0))
    return [device if match[1] else "cuda"]


def _gpu_indices(text: str) -> list[int]:
    if text == "all":
        return list(range(_gpu_count())) or [0]
    parts = text.split(",")
    if not all(re.fullmatch("[0-9]{1,9}", part) for part in parts):
        raise UsageError(f'--gpu "{text}" is no number of a GPU, no list of numbers as 0,1, and not all')
    indices = [int(part) for part in parts]
    if len(set(indices)) < len(indices):
        raise UsageError(f'--gpu "{text}" names a GPU twice; each trains one process')
    return indices


def _gpu(index: int) -> str:
    count = _gpu_count()
    if index >= count:
        have = f"the last one is {count - 1}" if count else "torch finds none"
        raise SdcaffeError(f"there is no GPU {index} on this machine: {have}; --device cpu uses the processor")
    return f"cuda:{index}"


def _gpu_count() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0
