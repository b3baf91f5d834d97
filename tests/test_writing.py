"""What killed writers left goes with the next one of the same file, and nothing else does."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sdcaffe import proto, writing
from sdcaffe.cli import main
from sdcaffe.converters.folder import new_folder
from sdcaffe.errors import DataError
from sdcaffe.run.lock import Held, holding
from sdcaffe.solver import snapshot

TARGETS = ["run_iter_10.caffemodel", "run_iter_10.solverstate", "run_iter_7.caffemodel.h5", "run_iter_7.solverstate.h5"]
OTHERS = ["run2_iter_10.caffemodel", "run_iter_x.caffemodel", "run_iter_10.caffemodel.old", "arun_iter_10.caffemodel"]
STRANGE = ["run_iter_10.caffemodel.tmp", "run_iter_10.caffemodel.0123abc.tmp", "run_iter_10.caffemodel.0123ABCD.tmp"]


def left(target: str) -> str:
    return f"{target}.0123abcd.tmp"


@contextmanager
def held(path: Path) -> Iterator[None]:
    """As another process that still lives would hold it."""
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_a_run_clears_what_is_its_own(tmp_path: Path) -> None:
    for name in [*map(left, TARGETS), *map(left, OTHERS), *STRANGE, *TARGETS]:
        (tmp_path / name).write_bytes(b"part")
    snapshot.clear(str(tmp_path / "run"))
    assert {path.name for path in tmp_path.iterdir()} == {*map(left, OTHERS), *STRANGE, *TARGETS}


@pytest.mark.parametrize("prefix", ["a.b", "[run]", "run*", "r+(x)", "réseau"])
def test_a_prefix_is_no_pattern(prefix: str, tmp_path: Path) -> None:
    own, other = left(f"{prefix}_iter_1.caffemodel"), left("axb_iter_1.caffemodel")
    (tmp_path / own).touch()
    (tmp_path / other).touch()
    snapshot.clear(str(tmp_path / prefix))
    assert os.listdir(tmp_path) == [other]


def test_what_is_being_written_stays(tmp_path: Path) -> None:
    path = tmp_path / left(TARGETS[0])
    path.write_bytes(b"half")
    with held(path):
        snapshot.clear(str(tmp_path / "run"))
        with proto.atomic_write(tmp_path / TARGETS[0]) as file:
            file.write(b"whole")
            assert len(list(tmp_path.glob("*.tmp"))) == 2
        assert path.read_bytes() == b"half"
    snapshot.clear(str(tmp_path / "run"))
    assert os.listdir(tmp_path) == [TARGETS[0]]


@pytest.mark.parametrize("target", ["w.pt", "net.onnx", "o.svg", "mean.npy", "a.csv", "net.prototxt"])
def test_the_next_writer_of_a_file_clears_what_is_left(target: str, tmp_path: Path) -> None:
    for name in (left(target), left(f"x{target}"), f"{target}.deadbeef.tmp"):
        (tmp_path / name).write_bytes(b"part")
    with proto.atomic_write(tmp_path / target) as file:
        file.write(b"whole")
    assert {path.name for path in tmp_path.iterdir()} == {target, left(f"x{target}")}


def test_a_link_and_a_folder_of_such_a_name(tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(b"kept")
    (tmp_path / left("w.pt")).symlink_to(tmp_path / "kept")
    (tmp_path / left("db")).mkdir()
    (tmp_path / left("db") / "data.mdb").write_bytes(b"part")
    with proto.atomic_write(tmp_path / "w.pt") as file:
        file.write(b"whole")
    with new_folder(str(tmp_path / "db"), "database") as folder:
        Path(folder, "data.mdb").write_bytes(b"whole")
    assert {path.name for path in tmp_path.iterdir()} == {"kept", left("w.pt"), "w.pt", "db"}
    assert (tmp_path / "kept").read_bytes() == b"kept"


KILLED = """
import os, signal, sys
from sdcaffe.writing import atomic_write
with atomic_write(sys.argv[1]) as file:
    file.write(b"part")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "w.pt"])
    assert done.returncode == -signal.SIGKILL
    (name,) = os.listdir(tmp_path)
    assert name.startswith("w.pt.")
    assert (tmp_path / name).read_bytes() == b"part"
    writing.clear(str(tmp_path), "w.pt".__eq__)
    assert not os.listdir(tmp_path)


# ---------------------------------------------------------------- one run at a time


def test_a_prefix_is_one_runs(tmp_path: Path) -> None:
    prefix = str(tmp_path / "runs" / "tiny")
    with holding(prefix), holding(prefix):  # a process does not bar itself
        assert (tmp_path / "runs" / "tiny.lock").read_text() == f"{os.getpid()}\n"
    assert os.listdir(tmp_path / "runs") == []


def test_another_process_is_refused_and_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(
        'layer { name: "x" type: "DummyData" top: "x" dummy_data_param { shape { dim: 2 dim: 3 } } }\n'
        'layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 2 } }\n'
        'layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "y" top: "loss" }\n'
    )
    Path("s.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 2 snapshot_prefix: "run"'
    )
    Path("run.log").write_text("of the run that goes on")
    Path("run.lock").write_text("4321\n")
    with held(Path("run.lock")):
        assert main(["train", "s.prototxt"]) == 1
    error = capsys.readouterr().err
    assert 'another run trains with snapshot_prefix "run" (process 4321); wait for its end' in error
    assert Path("run.log").read_text() == "of the run that goes on"
    assert set(os.listdir()) == {"net.prototxt", "s.prototxt", "run.log", "run.lock"}
    assert main(["train", "s.prototxt"]) == 0  # what a dead process left bars nobody
    assert not Path("run.lock").exists()


def test_the_lock_goes_with_a_run_that_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), holding(str(tmp_path / "run")):
        _ = 1 / 0
    assert os.listdir(tmp_path) == []
    with (tmp_path / "run.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(Held), holding(str(tmp_path / "run")):
            pass


def test_folders_are_made_all_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").mkdir()
    for name in (f"there/a/b/{'c' * 300}/d", "a/b\0/c", "a/b/" + "c/" * 3000):
        with pytest.raises((OSError, ValueError)):
            writing.make_folders(f"{tmp_path}/{name}")
        assert sorted(tmp_path.rglob("*")) == [tmp_path / "there"]
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    for path, told in {"file": "file", "file/a/b": "file", f"{tmp_path}/file/": f"{tmp_path}/file/"}.items():
        with pytest.raises(NotADirectoryError if path.endswith("b") else FileExistsError) as caught:
            writing.make_folders(path)
        assert caught.value.filename == told  # as it was written
    writing.make_folders("relative/./folder//of/")
    assert (tmp_path / "relative" / "folder" / "of").is_dir()
    shutil.rmtree("relative")
    deep = f"{tmp_path}/" + "c/" * (2000 - len(str(tmp_path)) // 2)  # deeper than Python's functions go into themselves
    writing.make_folders(deep)
    assert Path(deep).is_dir()
    for _ in range(len(Path(deep).parts) - len(tmp_path.parts)):  # nor do those that remove
        os.rmdir(deep)
        deep = os.path.dirname(deep.rstrip("/"))
    writing.make_folders(tmp_path / "there" / "a" / "b")
    writing.make_folders(tmp_path / "there" / "a" / "b")
    assert (tmp_path / "there" / "a" / "b").is_dir()


def test_the_lock_of_a_run_whose_folder_has_gone(tmp_path: Path) -> None:
    with holding(str(tmp_path / "runs" / "tiny")):
        (tmp_path / "runs" / "tiny.lock").unlink()
        (tmp_path / "runs").rmdir()
    with holding(str(tmp_path / "tiny")):
        os.replace(tmp_path / "tiny.lock", tmp_path / "moved")
        (tmp_path / "tiny.lock").write_text("another run's")
    assert (tmp_path / "tiny.lock").read_text() == "another run's"


def test_a_lock_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: bytes, at: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with holding(str(tmp_path / "run")):
        assert os.listdir(tmp_path) == ["run.lock"]
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("failing", ["open", "pwrite"])
def test_a_folder_that_cannot_be_claimed_is_not_left(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = getattr(os, failing)

    def fail(where: int | str, *args: object, **more: object) -> object:
        if failing == "open" and not str(where).endswith("job"):
            return real(where, *args, **more)
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, failing, fail)
    with (
        pytest.raises(DataError, match="the database cannot be written"),
        new_folder(str(tmp_path / "db"), "database", "j"),
    ):
        pass
    assert os.listdir(tmp_path) == []
