from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from databases import FILES, leveldb_records, lmdb_records

from sdcaffe import proto
from sdcaffe.cli import main
from sdcaffe.converters.features import extract
from sdcaffe.net import Net

WEIGHTS = str(FILES / "tiny_iter_30.caffemodel")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    net = (FILES / "net.prototxt").read_text().replace('"lmdb_raw"', f'"{FILES / "lmdb_raw"}"')
    (tmp_path / "net.prototxt").write_text(net.replace('"mean.binaryproto"', f'"{FILES / "mean.binaryproto"}"'))
    return tmp_path


def by_hand() -> tuple[np.ndarray, np.ndarray]:
    """conv1 (n, 8, 14, 14) after its ReLU and ip (n, 3) of every image, in float64 from the stored files."""
    blobs = {
        layer.name: [np.asarray(blob, np.float64) for blob in layer.blobs] for layer in proto.read_weights(WEIGHTS)
    }
    datums = [proto.Datum.FromString(value) for _, value in lmdb_records(FILES / "lmdb_raw")]
    images = np.stack([np.frombuffer(d.data, np.uint8).reshape(3, 40, 40) for d in datums]).astype(np.float64)
    images = images[:, :, 4:36, 4:36] - np.array([104, 117, 123]).reshape(1, 3, 1, 1)
    windows = np.lib.stride_tricks.sliding_window_view(images, (5, 5), axis=(2, 3))[:, :, ::2, ::2]
    weight, bias = blobs["conv1"]
    conv = np.einsum("ncyxij,ocij->noyx", windows, weight) + bias.reshape(1, -1, 1, 1)
    conv = np.maximum(conv, 0)
    weight, bias = blobs["ip"]
    return conv, conv.reshape(len(conv), -1) @ weight.T + bias


def test_the_datums_hold_the_blobs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["extract_features", WEIGHTS, "net.prototxt", "conv1,ip", "a,b", "3", "lmdb", "CPU"]) == 0
    for name, expected in zip("ab", by_hand(), strict=True):
        records = lmdb_records(folder / name)
        assert [key for key, _ in records] == [b"%010d" % i for i in range(24)]
        for (_, value), item in zip(records, expected, strict=True):
            datum = proto.Datum.FromString(value)
            shape = (*item.shape, *(1,) * (3 - item.ndim))
            assert (datum.channels, datum.height, datum.width) == shape
            assert not datum.HasField("data")
            np.testing.assert_allclose(datum.float_data, item.ravel(), rtol=1e-4, atol=1e-3 * np.abs(expected).max())
    said = [line for line in capsys.readouterr().err.splitlines() if " extract_features.cpp:" in line]
    assert [line.partition("] ")[2] for line in said] == [
        "Using CPU",
        "Opening dataset a",
        "Opening dataset b",
        "Extracting Features",
        "Extracted features of 24 query images for feature blob conv1",
        "Extracted features of 24 query images for feature blob ip",
        "Successfully extracted the features!",
    ]
    assert said[3].startswith("E")


def test_a_leveldb_and_more_items_than_one_transaction_holds(folder: Path) -> None:
    net = proto.NetParameter()
    layer = net.layer.add(name="data", type="DummyData", top=["numbers"])
    layer.dummy_data_param.shape.add(dim=[700, 2, 3])
    layer.dummy_data_param.data_filler.add(value=0.5)
    assert extract(Net(net), ["numbers"], ["db"], 3, "leveldb") == [2100]
    records = leveldb_records(folder / "db", folder)
    assert [key for key, _ in records] == [b"%010d" % i for i in range(2100)]
    datum = proto.Datum.FromString(records[-1][1])
    assert (datum.channels, datum.height, datum.width, list(datum.float_data)) == (2, 3, 1, [0.5] * 6)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["ip,fc8", "a,b", "1", "lmdb"], 1, 'net "tiny" has no blob "fc8"; it has data, label'),
        (["ip", "a,b", "1", "lmdb"], 1, "1 blobs and 2 databases; name one for each"),
        (["loss", "a", "1", "lmdb"], 1, 'blob "loss" has 0 axes'),
        (["ip", "there", "1", "lmdb"], 1, "there: is there already"),
        (["ip", "a", "0", "lmdb"], 2, "'0' is not 1 or more"),
        (["ip", "a", "1", "hdf5"], 2, "invalid choice: 'hdf5'"),
        (["ip", "a", "1", "lmdb", "TPU"], 2, "invalid choice: 'TPU'"),
        (["ip", "a", "1", "lmdb", "GPU", "5"], 1, "there is no GPU 5 on this machine"),
        (["ip", "a", "1", "lmdb", "GPU", "--device", "cpu"], 2, "leave out --device and --gpu"),
    ],
)
def test_mistakes_leave_nothing_behind(
    arguments: list[str], code: int, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "there").mkdir()
    before = sorted(folder.iterdir())
    assert main(["extract-features", WEIGHTS, "net.prototxt", *arguments]) == code
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert sorted(folder.iterdir()) == before


def test_a_run_that_fails_in_the_middle_leaves_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = (folder / "net.prototxt").read_text().replace('name: "ip"', 'name: "ip2"')
    (folder / "net.prototxt").write_text(net.replace("num_output: 3", "num_output: 2"))
    assert main(["extract-features", WEIGHTS, "net.prototxt", "conv1", "a", "1", "lmdb"]) == 1
    assert "label 2 is out of range" in capsys.readouterr().err.splitlines()[-1]
    assert sorted(path.name for path in folder.iterdir()) == ["net.prototxt"]
