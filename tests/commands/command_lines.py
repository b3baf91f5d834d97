"""What tests of commands share: the recorded files, and log lines without what changes from run to run."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = ROOT / "tests" / "goldens" / "files"

# Lines whose place hangs on how Caffe is built or on its threads, and one that only sdcaffe writes.
_ELSEWHERE = (
    "db_lmdb.cpp:35]",
    "data_layer.cpp:73]",
    "blocking_queue.cpp:49]",
    "layer_factory.hpp:77] Creating layer loss",
    "net.cpp:746]",
)


def copy_files(folder: Path) -> Path:
    """A copy of the recorded files: opening a LevelDB writes to it."""
    return Path(shutil.copytree(FILES, folder / "files"))


def messages(log: str) -> list[str]:
    """The lines of a log without glog's prefix."""
    text = re.sub(r"(?m)^[IWEF](?:\d{4})?\d{4} [\d:.]+ +\d+ ", "", log)
    return [line for line in text.splitlines() if not line.startswith(_ELSEWHERE)]
