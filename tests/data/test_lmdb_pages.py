"""LMDB files with wrong numbers in their pages, on which liblmdb ends the process: here each is read or refused."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
from pathlib import Path

import lmdb
import pytest

from sdcaffe import proto
from sdcaffe.data.database import DatumSource
from sdcaffe.data.lmdb_pages import check_pages
from sdcaffe.errors import DataError

ROOT = Path(__file__).parents[2]
CAFFES = ROOT / "tests" / "goldens" / "files" / "lmdb_raw" / "data.mdb"
PAGE = 4096
RECORDS = 600


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A tree of two levels; some of its values lie in the leaves, some on pages of their own."""
    path = tmp_path_factory.mktemp("lmdb")
    with lmdb.open(str(path), map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
        for i in range(RECORDS):
            side = 40 if i % 9 == 0 else 2
            value = proto.Datum(channels=3, height=side, width=side, data=bytes(3 * side * side), label=i % 5)
            transaction.put(b"%08d" % i, value.SerializeToString())
    return (path / "data.mdb").read_bytes()


def write(data: bytes, path: Path) -> str:
    path.mkdir(exist_ok=True)
    (path / "data.mdb").write_bytes(data)
    return str(path)


def in_tree(data: bytes) -> list[int]:
    """The branches and leaves."""
    kinds = {i: struct.unpack_from("<H", data, i * PAGE + 10)[0] for i in range(2, len(data) // PAGE)}
    return [i for i, kind in kinds.items() if kind in (1, 2) and struct.unpack_from("<Q", data, i * PAGE)[0] == i]


def changed(data: bytes, generator: random.Random) -> bytes:
    """`data` with a few wrong bytes in a meta page, in a page's header or first nodes, or anywhere in the tree."""
    result, tree = bytearray(data), in_tree(data)
    for _ in range(generator.choice((1, 1, 2, 4))):
        kind = generator.randrange(3)
        at = generator.randrange(2) * PAGE + generator.randrange(152)
        if kind:
            at = generator.choice(tree) * PAGE + generator.randrange(60 if kind == 1 else PAGE)
        result[at] = generator.choice((0, 1, 255, result[at] ^ 1 << generator.randrange(8), generator.randrange(256)))
    return bytes(result)


READ = """
import sys
from sdcaffe.data.database import DatumSource
from sdcaffe.errors import DataError
for path in sys.argv[1:]:
    try:
        source = DatumSource(path, "LMDB")
        for i in range(len(source)):
            source._store.get(source._keys[i])
        source.close()
        print("read")
    except DataError as error:
        print("refused")
"""


def test_no_damage_ends_the_process(whole: bytes, tmp_path: Path) -> None:
    """The first file alone ends one that does not check: a leaf in the middle calls itself a branch."""
    generator, leaf = random.Random(0), bytearray(whole)
    middle = [i for i in in_tree(whole) if whole[i * PAGE + 10] == 2][-2]
    leaf[middle * PAGE + 10] = 1
    paths = [write(bytes(leaf), tmp_path / "leaf")]
    paths += [write(changed(whole, generator), tmp_path / str(i)) for i in range(120)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", READ, *paths], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split()
    assert len(lines) == 121
    assert set(lines) == {"read", "refused"}


@pytest.mark.parametrize("path", [None, CAFFES, CAFFES.parents[1] / "lmdb_enc" / "data.mdb"])
def test_whole_files_pass(path: Path | None, whole: bytes, tmp_path: Path) -> None:
    check_pages(str(path or Path(write(whole, tmp_path / "db")) / "data.mdb"), "db")


def test_a_file_cut_at_any_page_is_refused(whole: bytes, tmp_path: Path) -> None:
    for length in [*range(0, len(whole), PAGE), 1, 100, PAGE + 1, len(whole) - 1]:
        with pytest.raises(DataError, match=r"db: the LMDB is damaged.*(cut short|less than one page)"):
            DatumSource(write(whole[:length], tmp_path / "db"), "LMDB")


ROOT_PAGE, LEVELS, LAST, ENTRIES = 128, 94, 136, 120  # where the first meta page has them


@pytest.mark.parametrize(
    ("offset", "number", "message"),
    [
        (40, 0, "pages of 0 bytes"),  # liblmdb divides by it
        (16, 7, "page . is no meta page"),
        (LAST, 2**63, "cut short"),
        (ROOT_PAGE, 10**9, "leads to a page that is none"),
        (LEVELS, 1, "is not the page of keys"),
        (LEVELS, 33, "its tree has 33 levels"),
        (ENTRIES, RECORDS + 1, f"claims {RECORDS + 1} records and has {RECORDS}"),
    ],
)
def test_what_a_meta_page_claims(offset: int, number: int, message: str, whole: bytes, tmp_path: Path) -> None:
    data = bytearray(whole)
    width = {40: "<I", 16: "<I", LEVELS: "<H"}.get(offset, "<Q")
    for page in range(2):
        struct.pack_into(width, data, page * PAGE + offset, number)
    with pytest.raises(DataError, match=message):
        DatumSource(write(bytes(data), tmp_path / "db"), "LMDB")


def test_a_tree_that_leads_back_to_itself(whole: bytes, tmp_path: Path) -> None:
    data = bytearray(whole)
    branch = next(i for i in in_tree(whole) if data[i * PAGE + 10] == 1) * PAGE
    first, second = struct.unpack_from("<HH", data, branch + 16)
    data[branch + second : branch + second + 4] = data[branch + first : branch + first + 4]
    with pytest.raises(DataError, match="twice to one"):
        DatumSource(write(bytes(data), tmp_path / "db"), "LMDB")


def test_of_a_large_database_the_tree_alone_is_read(whole: bytes, tmp_path: Path) -> None:
    """Values are not looked at: pages of zeros in their place pass."""
    data = bytearray(whole)
    kept = {0, 1, *in_tree(whole)}
    for page in range(len(data) // PAGE):
        if page not in kept:
            data[page * PAGE : (page + 1) * PAGE] = bytes(PAGE)
    path = write(bytes(data), tmp_path / "db")
    check_pages(f"{path}/data.mdb", path)
