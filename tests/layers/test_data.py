"""Data: Caffe's batches exactly, an order that follows from seed and cursor, and what it logs and refuses."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from pathlib import Path

import data_layers
import lmdb
import numpy as np
import pytest
import torch

from sdcaffe import Net, proto
from sdcaffe.data import feed as feed_module
from sdcaffe.errors import DataError, LayerError, SdcaffeError

MEANS = "mean_value: 104 mean_value: 117 mean_value: 123"


def data(source, batch=8, transform="", extra="backend: LMDB", tops=("data", "label"), phase="TRAIN"):
    named = " ".join(f'top: "{top}"' for top in tops)
    return data_layers.make(
        f'type: "Data" {named} transform_param {{ {transform} }} '
        f'data_param {{ source: "{source}" batch_size: {batch} {extra} }}',
        phase,
    )


def write(path, *shapes):
    with lmdb.open(str(path), map_size=1 << 22) as environment, environment.begin(write=True) as transaction:
        for i, (c, h, w) in enumerate(shapes):
            datum = proto.Datum(channels=c, height=h, width=w, data=bytes([i]) * (c * h * w), label=i)
            transaction.put(f"{i:08d}".encode(), datum.SerializeToString())
    return path


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("name", "backend"), [("lmdb_raw", "LMDB"), ("lmdb_enc", "LMDB"), ("leveldb_raw", "LEVELDB")])
def test_batches_are_those_a_data_layer_of_caffe_gave(name, backend, streamed, tmp_path, monkeypatch):
    if streamed:
        monkeypatch.setattr(feed_module, "RESIDENT_BYTES", 0)
        monkeypatch.setattr(feed_module, "RESIDENT_ENCODED_BYTES", 0)
    source = data_layers.recorded(name, tmp_path)
    layer = data(source, 8, f"crop_size: 32 {MEANS}", f"backend: {backend}", phase="TEST")
    assert layer.top_shapes == [(8, 3, 32, 32), (8,)]
    images, labels = data_layers.batches(layer, 3)
    layer.close()
    with np.load(data_layers.FILES / "test_batches.npz") as expected:
        assert images.dtype == expected["data"].dtype
        assert np.array_equal(images, expected["data"])
        assert np.array_equal(labels, expected["label"])


def test_the_recorded_nets_train_phase_reads_with_its_mean_file(tmp_path, monkeypatch):
    """Each crop and mirror of goldens/files/net.prototxt is one of the 9 x 9 x 2 there can be, exactly."""
    for name in ("lmdb_raw", "mean.binaryproto", "mean.npy"):
        (tmp_path / name).symlink_to(data_layers.FILES / name)
    monkeypatch.chdir(tmp_path)
    data_layers.recorded("lmdb_raw", tmp_path / "copy")
    source = tmp_path / "copy" / "lmdb_raw"
    raw = data(source, 24)
    pixels, _ = data_layers.batches(raw, 1)
    raw.close()
    transform = 'crop_size: 32 mirror: true mean_file: "mean.binaryproto" scale: 0.0078125'
    layer = data(source, 24, transform)
    images, _ = data_layers.batches(layer, 1)
    layer.close()
    whole = (pixels - np.load("mean.npy")[0].astype(np.float32)) * np.float32(0.0078125)
    seen = set()
    for image, given in zip(whole, images, strict=True):
        crops = {(y, x): image[:, y : y + 32, x : x + 32] for y in range(9) for x in range(9)}
        found = {(*at, m) for at, crop in crops.items() for m in (1, -1) if np.array_equal(crop[:, :, ::m], given)}
        assert len(found) == 1
        seen |= found
    assert len(seen) > 12


def test_one_top_gives_images_alone(tmp_path):
    layer = data(data_layers.recorded("lmdb_raw", tmp_path), 5, tops=("data",))
    assert layer.top_shapes == [(5, 3, 40, 40)]
    assert len(layer.next_batch(data_layers.CPU)) == 1
    layer.close()


def test_a_layer_may_be_set_up_again(tmp_path):
    layer = data(data_layers.recorded("lmdb_raw", tmp_path))
    assert layer.setup([]) == [(8, 3, 40, 40), (8,)]
    layer.close()


@pytest.mark.parametrize("streamed", [False, True])
def test_a_run_resumes_from_its_cursor(streamed, tmp_path, monkeypatch):
    if streamed:
        monkeypatch.setattr(feed_module, "RESIDENT_BYTES", 0)
    source = data_layers.recorded("lmdb_raw", tmp_path)
    body, extra = "crop_size: 20 mirror: true", "backend: LMDB shuffle: true seed: 9"
    straight = data(source, 7, body, extra)
    expected = data_layers.batches(straight, 9)
    assert straight.cursor == 9
    straight.close()
    resumed = data(source, 7, body, extra)
    resumed.next_batch(data_layers.CPU)
    resumed.cursor = 5
    found = data_layers.batches(resumed, 4)
    resumed.close()
    for whole, tail in zip(expected, found, strict=True):
        assert np.array_equal(whole[35:], tail)


def test_shuffled_epochs_hold_every_image_once_and_follow_the_seed(tmp_path):
    source = write(tmp_path / "db", *[(1, 1, 1)] * 24)

    def epochs(extra):
        layer = data(source, 8, extra=f"backend: LMDB {extra}")
        labels = data_layers.batches(layer, 6)[1].reshape(2, 24)
        layer.close()
        return [row.tolist() for row in labels]

    first, second = epochs("shuffle: true seed: 4")
    assert sorted(first) == sorted(second) == list(range(24))
    assert first != second
    assert epochs("shuffle: true seed: 4") == [first, second]
    assert epochs("shuffle: true seed: 5") != [first, second]
    assert epochs("") == [list(range(24))] * 2


def test_without_a_seed_the_order_follows_torchs(tmp_path):
    source = write(tmp_path / "db", *[(1, 1, 1)] * 24)

    def order(seed):
        torch.manual_seed(seed)
        layer = data(source, 24, extra="backend: LMDB shuffle: true")
        labels = data_layers.batches(layer, 1)[1].tolist()
        layer.close()
        return labels

    with torch.random.fork_rng(devices=[]):
        assert order(1) == order(1)
        assert order(1) != order(2)


def test_the_seed_can_be_set_to_that_of_another_run(tmp_path):
    source = write(tmp_path / "db", *[(1, 1, 1)] * 24)
    first = data(source, 24, extra="backend: LMDB shuffle: true seed: 1")
    expected = data_layers.batches(first, 2)[1].tolist()
    second = data(source, 24, extra="backend: LMDB shuffle: true seed: 2")
    second.seed = first.seed
    assert data_layers.batches(second, 2)[1].tolist() == expected
    first.close()
    second.close()


def test_rand_skip_drops_some_images_at_the_start(tmp_path):
    source = write(tmp_path / "db", *[(1, 1, 1)] * 9)
    starts = set()
    for seed in range(40):
        layer = data(source, 3, extra=f"backend: LMDB rand_skip: 5 seed: {seed}")
        labels = data_layers.batches(layer, 1)[1]
        layer.close()
        starts.add(int(labels[0]))
        assert labels.tolist() == [(labels[0] + i) % 9 for i in range(3)]
    assert starts == {0, 1, 2, 3, 4}


def test_batches_of_one_image_may_have_any_size(tmp_path):
    layer = data(write(tmp_path / "db", (3, 4, 5), (3, 6, 2)), 1)
    assert [tuple(layer.next_batch(data_layers.CPU)[0].shape) for _ in range(2)] == [(1, 3, 4, 5), (1, 3, 6, 2)]
    layer.close()


def test_images_of_other_sizes_are_named_with_both_sizes(tmp_path):
    layer = data(write(tmp_path / "db", (3, 4, 5), (3, 4, 6)), 2)
    with pytest.raises(DataError, match=r"record 1 \(key '00000001'\) is 3 x 4 x 6 but record 0 .* is 3 x 4 x 5"):
        layer.next_batch(data_layers.CPU)
    layer.close()


def test_the_embedded_set_is_a_source():
    layer = data("synthetic:train", 10, extra="")
    images, labels = layer.next_batch(data_layers.CPU)
    assert images.shape == (10, 3, 32, 32)
    assert labels.tolist() == list(range(10))
    layer.close()


def test_what_caffe_logs(tmp_path, caplog):
    caplog.set_level(logging.INFO, "sdcaffe")
    source = data_layers.recorded("lmdb_raw", tmp_path)
    mean = data_layers.FILES / "mean.binaryproto"
    layer = data(source, 12, f'crop_size: 32 mean_file: "{mean}"')
    data_layers.batches(layer, 4)
    layer.close()
    assert [(record.tag, record.message) for record in caplog.records] == [
        ("db_lmdb.cpp:35", f"Opened lmdb {source}"),
        ("data_transformer.cpp:25", f"Loading mean file from: {mean}"),
        ("data_layer.cpp:45", "output data size: 12,3,32,32"),
        ("data_layer.cpp:73", "Restarting data prefetching from start."),
        ("data_layer.cpp:73", "Restarting data prefetching from start."),
    ]


def test_force_color_of_images_that_are_not_encoded_is_a_warning(tmp_path, caplog):
    layer = data(data_layers.recorded("lmdb_raw", tmp_path), transform="force_color: true")
    layer.close()
    assert "force_color and force_gray only for encoded datum" in caplog.text


def test_force_gray_decodes_encoded_images_to_one_channel(tmp_path):
    layer = data(data_layers.recorded("lmdb_enc", tmp_path), transform="force_gray: true")
    assert layer.top_shapes[0] == (8, 1, 40, 40)
    gray, _ = layer.next_batch(data_layers.CPU)
    layer.close()
    layer = data(data_layers.recorded("lmdb_enc", tmp_path))
    blue, green, red = layer.next_batch(data_layers.CPU)[0].double().unbind(1)
    layer.close()
    assert (gray[:, 0] - (0.114 * blue + 0.587 * green + 0.299 * red)).abs().max() < 1.01  # truncated


@pytest.mark.parametrize(
    ("text", "message", "field"),
    [
        ("batch_size: 0", "batch_size is 0; it must be 1 or more", "batch_size"),
        ("batch_size: 2 prefetch: 0", "prefetch is 0; it must be 1 or more", "prefetch"),
        ("batch_size: 2", "data_param has no source", "data_param"),
    ],
)
def test_parameters_without_meaning(text, message, field):
    with pytest.raises(LayerError, match=message) as caught:
        data_layers.make(f'type: "Data" top: "data" data_param {{ {text} }}')
    assert caught.value.field == field


def test_skipping_more_than_there_is(tmp_path):
    source = write(tmp_path / "db", (1, 1, 1))
    with pytest.raises(LayerError, match=r"rand_skip skips [0-9]+ of only 1 images"):
        data(source, 1, extra="backend: LMDB rand_skip: 1000 seed: 1")


def test_a_missing_mean_file_lets_go_of_the_database(tmp_path):
    source = data_layers.recorded("leveldb_raw", tmp_path)
    with pytest.raises(SdcaffeError, match=r"none\.binaryproto"):
        data(source, transform='mean_file: "none.binaryproto"', extra="")
    layer = data(source, extra="")
    layer.close()


def test_close_stops_the_threads_and_reading_is_over(tmp_path, monkeypatch):
    monkeypatch.setattr(feed_module, "RESIDENT_BYTES", 0)
    layer = data(data_layers.recorded("lmdb_raw", tmp_path))
    layer.next_batch(data_layers.CPU)
    assert any(thread.name.startswith("prefetch") for thread in threading.enumerate())
    layer.close()
    layer.close()
    assert not any(thread.name.startswith("prefetch") for thread in threading.enumerate())
    with pytest.raises(LayerError, match=r'layer "data" .Data.: reads data only between setup and close'):
        layer.next_batch(data_layers.CPU)


def test_a_train_and_a_test_net_share_one_database(tmp_path, monkeypatch):
    """The recorded net names one LMDB in both phases."""
    for name in ("mean.binaryproto", "net.prototxt"):
        (tmp_path / name).symlink_to(data_layers.FILES / name)
    data_layers.recorded("lmdb_raw", tmp_path)
    monkeypatch.chdir(tmp_path)
    nets = [Net("net.prototxt", phase) for phase in (proto.TRAIN, proto.TEST)]
    for net in nets:
        assert net.forward()["loss"].isfinite()
    for net in nets:
        net.close()


def test_a_program_may_end_while_batches_are_read_ahead(tmp_path):
    source = data_layers.recorded("lmdb_raw", tmp_path)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import data_layers, test_data\n"
        "test_data.feed_module.RESIDENT_BYTES = 0\n"
        "print(test_data.data(sys.argv[2]).next_batch(data_layers.CPU)[1].sum())"
    )
    command = [sys.executable, "-W", "error", "-c", program, str(Path(__file__).parent), str(source)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "tensor(7.)\n", "")
