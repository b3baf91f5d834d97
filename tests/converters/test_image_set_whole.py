"""Databases of images are whole or absent, go on where they were interrupted, and have the same bytes on any cores."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from databases import lmdb_records
from PIL import Image

from sdcaffe import proto
from sdcaffe.cli import main
from sdcaffe.converters import image_set
from sdcaffe.converters.database import new_database
from sdcaffe.converters.image_set import Options, convert, convert_folder
from sdcaffe.errors import DataError

ROOT = Path(__file__).parents[2]
COUNT = 53


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    for i in range(COUNT):
        path = folder / f"class{i % 3}" / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40 + i % 5, 50), (i, 2 * i, 255 - i)).save(path)
    lines = [f"{path.relative_to(folder)} {path.parent.name[-1]}\n" for path in sorted(folder.glob("*/*.png"))]
    (folder / "list.txt").write_text("".join(lines))
    return folder


@pytest.fixture(autouse=True)
def small_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_set, "BATCH", 10)


def make(images: Path, name: str, **options: object) -> bytes:
    target = images.parent / name
    cores = options.pop("cores", 1)
    convert(str(images), str(images / "list.txt"), str(target), options=Options(**options), cores=cores)  # type: ignore[arg-type]
    return (target / "data.mdb").read_bytes()


def in_a_process(images: Path, name: str, before: str, limit: str = "") -> subprocess.CompletedProcess[str]:
    """`make` with transactions of 10, with `before` run before it."""
    code = f"""
import os, resource, signal, sys
from sdcaffe.converters import database, image_set
image_set.BATCH = 10
{before}
{limit}
from sdcaffe.cli import main
images, database = {str(images)!r}, {str(images.parent / name)!r}
sys.exit(main(["convert", "images", images, database, "--list", images + "/list.txt", "--shuffle"]))
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    "options", [{}, {"encode_type": "jpg", "shuffle": True}, {"resize_height": 9, "resize_width": 9}]
)
def test_any_number_of_cores_writes_the_same_bytes(images: Path, options: dict[str, object]) -> None:
    assert make(images, "one", cores=1, **options) == make(images, "four", cores=4, **options)


DIE = "os.kill(os.getpid(), signal.SIGKILL)"


@pytest.mark.parametrize(
    "before",
    [
        # between two transactions; in the middle of one; and after the map had to grow
        f"put = database._Lmdb.put\ndatabase._Lmdb.put = lambda self, r: {DIE} if self.count == 30 else put(self, r)",
        f"def die(self, r):\n  t = self._open().begin(write=True)\n  for x in r: t.put(*x)\n  {DIE}\n"
        "put = database._Lmdb.put\ndatabase._Lmdb.put = lambda self, r: (die if self.count == 20 else put)(self, r)",
        "database._FIRST_MAP = 1 << 15\nput = database._Lmdb.put\n"
        f"database._Lmdb.put = lambda self, r: {DIE} if self.count == 40 else put(self, r)",
    ],
    ids=["between", "within", "grown"],
)
def test_a_killed_run_is_gone_on_with_and_ends_with_the_same_bytes(
    images: Path, before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "_FIRST_MAP" in before:
        monkeypatch.setattr("sdcaffe.converters.database._FIRST_MAP", 1 << 15)
    assert in_a_process(images, "killed", before).returncode == -9
    assert not (images.parent / "killed").exists()
    assert (images.parent / "killed.partial").is_dir()
    read: list[str] = []
    image = image_set._image
    monkeypatch.setattr(image_set, "_image", lambda entry, options: read.append(entry.path) or image(entry, options))
    resumed = make(images, "killed", shuffle=True)
    assert len(read) <= COUNT - 20  # what was written is not read again
    assert resumed == make(images, "whole", shuffle=True)
    assert not (images.parent / "killed.partial").exists()


def test_what_another_job_left_is_not_gone_on_with(images: Path) -> None:
    kill = f"put = database._Lmdb.put; database._Lmdb.put = lambda self, r: {DIE} if self.count == 30 else put(self, r)"
    assert in_a_process(images, "db", kill).returncode == -9
    assert make(images, "db", resize_height=5, resize_width=5) == make(images, "x", resize_height=5, resize_width=5)


def test_ctrl_c_keeps_what_is_done(images: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    source, target = str(images / "list.txt"), str(images.parent / "db")
    with pytest.raises(KeyboardInterrupt):
        convert(str(images), source, target, tick=interrupt)
    seen: list[tuple[int, int]] = []
    convert(str(images), source, target, tick=lambda *at: seen.append(at))
    assert seen == [(30, COUNT), (40, COUNT), (50, COUNT), (COUNT, COUNT)]


def test_two_processes_do_not_make_one_database(tmp_path: Path) -> None:
    target = str(tmp_path / "db")
    busy = pytest.raises(DataError, match="is being made by another process")
    with new_database(target, "lmdb", "job"), busy, new_database(target, "lmdb", "job"):
        pass
    assert (tmp_path / "db").is_dir()


def test_a_full_disk_is_an_error_and_leaves_nothing(images: Path) -> None:
    """The limit on the size of a file stands for the disk's: LMDB meets it while it commits."""
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    done = in_a_process(images, "db", "", limit)
    assert done.returncode == 1
    assert "db: the database cannot be written: " in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in images.parent.iterdir()) == ["images"]


def test_a_full_disk_is_an_error_of_a_leveldb_too(tmp_path: Path) -> None:
    code = """import resource, signal
from sdcaffe.converters.database import new_database
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
with new_database("db", "leveldb") as writer:
    writer.put([(b"a", bytes(200_000))])"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].endswith("DataError: db: the database cannot be written: File too large")
    assert not list(tmp_path.iterdir())


OUT_OF_FILES = """
import os, resource, shutil, sys
from sdcaffe.converters.database import new_database
from sdcaffe.errors import DataError

def make(path):
    with new_database(path, sys.argv[1], "job") as writer:
        writer.put([(b"a", b"b")])

make("first")
held, limit = len(os.listdir("/proc/self/fd")) - 1, resource.getrlimit(resource.RLIMIT_NOFILE)
for more in range(12):
    resource.setrlimit(resource.RLIMIT_NOFILE, (held + more, limit[1]))
    try:
        make("db")
    except DataError as error:
        print(error)
    else:
        os.rename("db", "done")
    resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    shutil.rmtree("done", ignore_errors=True)
make("db")
print(sorted(os.listdir()))
"""


@pytest.mark.parametrize("backend", ["lmdb", "leveldb"])
def test_without_a_file_handle_it_is_one_line_and_the_next_clears_what_is_left(backend: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", OUT_OF_FILES, backend], cwd=tmp_path, capture_output=True, text=True)
    *errors, last = done.stdout.splitlines()
    assert len(errors) > 2
    for error in errors:
        assert error.startswith("db: the database cannot be written: "), error
        assert error.endswith("Too many open files"), error
        assert "IO error" not in error
    assert last == "['db', 'first']", done.stderr


def test_the_subfolders_of_a_folder_are_the_classes(images: Path) -> None:
    (images / ".hidden").mkdir()
    (images / "class0" / "notes.txt").write_text("no image")
    (images / "class1" / "deeper").mkdir()
    Image.new("RGB", (3, 3)).save(images / "class1" / "deeper" / "a.JPG", "JPEG")
    assert convert_folder(str(images), str(images.parent / "db")) == COUNT + 1
    found = [
        (key.decode()[9:], proto.Datum.FromString(value).label) for key, value in lmdb_records(images.parent / "db")
    ]
    paths = [str(path.relative_to(images)) for path in images.glob("*/*.png")] + ["class1/deeper/a.JPG"]
    assert sorted(found) == sorted((path, int(path[5])) for path in paths)
    assert [label for _, label in found] == sorted(label for _, label in found)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a.png +-5\n", "list.txt:1: "),
        (b"a.png " + b"9" * 5000 + b"\n", "list.txt:1: "),
        (b"a\0b.png 1\n", "list.txt:1: there is no image"),
        (b"\xff\xfe\x1b[31m.png 1\n", "list.txt:1: there is no image"),
        (b"\x89PNG" * 100_000, "list.txt:1: "),
        (b"/dev/zero 1\n", "list.txt:1: there is no image"),
        (b"class0 1\n", "list.txt:1: there is no image"),
    ],
)
def test_lists_that_are_none(content: bytes, message: str, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (images / "list.txt").write_bytes(content)
    arguments = ["convert", "images", str(images), str(images.parent / "db"), "--list", str(images / "list.txt")]
    assert main(arguments) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert message in error
    assert len(error) < 700
    assert error.isprintable()
    assert sorted(path.name for path in images.parent.iterdir()) == ["images"]


@pytest.mark.parametrize("name", ["gone", "images/list.txt", "empty"])
def test_folders_without_images(name: str, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (images.parent / "empty" / "class").mkdir(parents=True)
    assert main(["convert", "images", str(images.parent / name), str(images.parent / "db")]) == 1
    assert str(images.parent / name) in capsys.readouterr().err.splitlines()[-1]
    assert not (images.parent / "db").exists()


def test_a_pipe_in_the_place_of_an_image_is_not_waited_for(images: Path) -> None:
    os.mkfifo(images / "class1" / "pipe.png")
    with pytest.raises(DataError, match=r"class1/pipe\.png: is called as an image and is no file"):
        convert_folder(str(images), str(images.parent / "db"))
    assert [path.name for path in images.parent.iterdir()] == ["images"]


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_what_happens_to_lie_where_a_database_is_made_is_left_alone(kind: str, images: Path) -> None:
    partial, precious = images.parent / "db.partial", images.parent / "precious"
    precious.mkdir()
    (precious / "file").write_text("precious")
    if kind == "folder":
        precious.rename(partial)
    elif kind == "link":
        partial.symlink_to(precious)
    else:
        partial.write_text("precious")
    with pytest.raises(DataError, match=r"db\.partial: is in the way: .* Remove it"):
        make(images, "db")
    kept = partial if kind == "file" else partial / "file"
    assert kept.read_text() == "precious"
    assert not (images.parent / "db").exists()


def test_a_folder_without_a_name_is_not_the_whole_disk(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no name"):
        convert_folder("", str(tmp_path / "db"))
    assert not (tmp_path / "db").exists()
