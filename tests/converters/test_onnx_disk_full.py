"""A disk that is full while export and onnx-to-caffe write: one error, and what was there stays."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from onnx_nets import ROOT, TINY, write_net

from sdcaffe.converters.onnx_export import export

LIMIT = 4 << 10  # smaller than any of the files
SCRIPT = """
import resource, signal, sys
from sdcaffe.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(main(sys.argv[2:]))
"""


def limited(limit: int, *arguments: str) -> tuple[int, str]:
    """The exit code and errors of a command whose files cannot grow beyond `limit` bytes."""
    command = [sys.executable, "-c", SCRIPT, str(limit), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.slow
def test_what_was_there_stays(tmp_path: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY or pytest.skip("files are limited")
    wide = TINY.replace("num_output: 5 ", "num_output: 500 ")
    model, weights = write_net(wide, tmp_path)
    export(model, weights, str(tmp_path / "net.onnx"))
    out = tmp_path / "out"
    out.mkdir()
    names = ("new.onnx", "new.prototxt", "new.caffemodel")
    for name in names:
        (out / name).write_text("old")
    files = [str(out / name) for name in names]
    for arguments in (
        ["export", model, weights, "-o", files[0]],
        ["convert", "onnx-to-caffe", str(tmp_path / "net.onnx"), *files[1:]],
    ):
        code, error = limited(LIMIT, *arguments)
        assert code == 1, error
        assert error.count("\n") == 1
        assert "cannot be written: File too large" in error
    assert sorted(path.name for path in out.iterdir()) == sorted(names)
    assert [(out / name).read_text() for name in names] == ["old"] * 3
