"""AnnotatedData against the fork's own batches: exactly where chance has no part, by distribution where it has."""

from __future__ import annotations

from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest
import torch
from fork_layers import net_param
from scipy import stats

import sdcaffe
from sdcaffe import proto
from sdcaffe.errors import DataError, LayerError
from sdcaffe.layers.base import class_of

FOLDER = Path(__file__).parent / "recordings" / "ssd" / "annotated"
NAMES = sorted(path.stem for path in FOLDER.glob("*.npz"))
CPU = torch.device("cpu")
UNLIKELY = 1e-4  # of hundreds of comparisons of what is alike; the draws are always the same ones


def made(text, phase="TRAIN"):
    """The first layer of a net, set up."""
    param = net_param(text).layer[0]
    layer = class_of(param)(param, getattr(proto, phase))
    layer.shapes = layer.setup([])
    return layer


def recorded(name, monkeypatch):
    """The arrays of a recording and the layer that should give them."""
    monkeypatch.chdir(FOLDER)
    with np.load(FOLDER / f"{name}.npz") as file:
        arrays = {key: file[key] for key in file.files}
    return arrays, made(str(arrays["prototxt"]), "TRAIN" if name.startswith("train") else "TEST")


@pytest.mark.parametrize("name", [n for n in NAMES if "data_0" in np.load(FOLDER / f"{n}.npz").files])
def test_batches_are_the_forks_to_the_last_bit(name, monkeypatch):
    arrays, layer = recorded(name, monkeypatch)
    for batch in range(2):
        tops = layer.next_batch(CPU)
        wanted = [arrays[key] for key in (f"data_{batch}", f"label_{batch}") if key in arrays]
        assert len(tops) == len(wanted)
        for have, want in zip(tops, wanted, strict=True):
            assert have.shape == want.shape
            assert np.array_equal(have.numpy(), want)
    layer.close()


@pytest.mark.parametrize("name", [n for n in NAMES if "labels" in np.load(FOLDER / f"{n}.npz").files])
def test_what_chance_does_has_the_forks_distribution(name, monkeypatch):
    arrays, layer = recorded(name, monkeypatch)
    layer.seed = 0
    items = int(arrays["n_items"])
    labels, means, deviations = [], [], []
    while len(means) < items:
        images, rows = (top.numpy() for top in layer.next_batch(CPU))
        rows = rows.reshape(-1, 8)[rows.reshape(-1, 8)[:, 0] >= 0].copy()
        rows[:, 0] += len(means)
        labels.append(rows)
        means.extend(images.mean((2, 3)))
        deviations.extend(images.std((2, 3)))
    layer.close()
    ours, fork = np.concatenate(labels), arrays["labels"]
    picture = np.arange(items) % 7
    for channel in range(3):
        alike(np.array(means)[:, channel], arrays["pixel_mean"][:, channel], digits=2)
    for column in (3, 4, 5, 6):
        alike(ours[:, column], fork[:, column])
    for number in range(7):  # each of the seven pictures apart
        for have, want in ((means, arrays["pixel_mean"]), (deviations, arrays["pixel_std"])):
            for channel in range(3):
                alike(np.array(have)[picture == number, channel], want[picture == number, channel], digits=2)
        counts = [np.bincount(rows[:, 0].astype(int), minlength=items)[picture == number] for rows in (ours, fork)]
        alike(*counts)
        own = [rows[rows[:, 0].astype(int) % 7 == number] for rows in (ours, fork)]
        assert len(own[0]) > 0 or len(own[1]) == 0
        if len(own[1]):
            for column in (3, 4, 5, 6):
                alike(own[0][:, column], own[1][:, column])
            alike(*[(rows[:, 5] - rows[:, 3]) * (rows[:, 6] - rows[:, 4]) for rows in own])
    assert set(map(tuple, ours[:, [1, 2, 7]])) == set(map(tuple, fork[:, [1, 2, 7]]))


def alike(have, want, digits=4):
    """Two samples of one distribution, as far as Kolmogorov and Smirnov can tell."""
    have, want = (np.round(np.asarray(values, np.float64), digits) for values in (have, want))
    if np.ptp(np.concatenate([have, want])) > 10 * 10**-digits:
        assert stats.ks_2samp(have, want, method="asymp").pvalue > UNLIKELY


def write(path, *records):
    """An LMDB of these messages."""
    with lmdb.open(str(path), map_size=1 << 20) as env, env.begin(write=True) as transaction:
        for i, record in enumerate(records):
            transaction.put(b"%08d" % i, record.SerializeToString())
    return path


def annotated(image, *boxes, encoded=True, **facts):
    """An AnnotatedDatum of an image (H, W, 3), with boxes (label, xmin, ymin, xmax, ymax)."""
    record = proto.AnnotatedDatum(type="BBOX", **facts)
    height, width, channels = image.shape
    record.datum.channels, record.datum.height, record.datum.width = channels, height, width
    record.datum.encoded, record.datum.label = encoded, 0
    record.datum.data = cv2.imencode(".png", image)[1].tobytes() if encoded else image.transpose(2, 0, 1).tobytes()
    for label, *box in boxes:
        group = record.annotation_group.add(group_label=label)
        group.annotation.add().bbox.MergeFrom(proto.NormalizedBBox(**dict(zip(NAMES_OF_SIDES, box, strict=True))))
    return record


NAMES_OF_SIDES = ("xmin", "ymin", "xmax", "ymax")


def data(path, transform="", more="", batch=1, kind="AnnotatedData", label=True):
    top = 'top: "data"' + ' top: "label"' * label
    return (
        f'layer {{ name: "d" type: "{kind}" {top} transform_param {{ {transform} }} '
        f'data_param {{ source: "{path}" batch_size: {batch} backend: LMDB }} {more} }}'
    )


def test_a_resized_box_keeps_its_place_whatever_the_size(tmp_path):
    """A white square on black stays inside its box when the picture is fitted and padded, or made larger."""
    image = np.zeros((20, 40, 3), np.uint8)
    image[5:15, 10:30] = 255
    path = write(tmp_path / "db", annotated(image, (1, 0.25, 0.25, 0.75, 0.75)))
    for mode, height, width in (
        ("WARP", 30, 30), ("FIT_LARGE_SIZE_AND_PAD", 40, 40), ("FIT_LARGE_SIZE_AND_PAD", 20, 80),
        ("FIT_SMALL_SIZE", 40, 40),
    ):  # fmt: skip
        layer = made(data(path, f"resize_param {{ resize_mode: {mode} height: {height} width: {width} }}"))
        images, rows = (top.numpy() for top in layer.next_batch(CPU))
        layer.close()
        assert images.shape[2:] == ((40, 80) if mode == "FIT_SMALL_SIZE" else (height, width))
        left, top, right, bottom = rows[0, 0, 0, 3:7] * np.tile(images.shape[:1:-1], 2)
        assert images[0, :, round(top) : round(bottom), round(left) : round(right)].mean() > 240
        assert images[0].sum() / 255 / 3 == pytest.approx((bottom - top) * (right - left), rel=0.02)


def test_emit_constraints_leave_out_boxes_that_a_crop_sees_too_little_of(tmp_path):
    boxes = [(1, 0.0, 0.0, 0.4, 0.4), (2, 0.3, 0.3, 0.7, 0.7), (3, 0.0, 0.4, 0.5, 0.6)]
    path = write(tmp_path / "db", annotated(np.zeros((20, 20, 3), np.uint8), *boxes, encoded=False))

    def left(emit):
        layer = made(data(path, f"crop_size: 10 {emit}"), "TEST")
        rows = layer.next_batch(CPU)[1].numpy()[0, 0]
        layer.close()
        return rows[:, 1].tolist(), rows[:, 3:7]

    labels, sides = left("")
    assert labels == [1, 2, 3]  # of the first a corner is seen, of the third a half
    assert np.allclose(sides, [[0, 0, 0.3, 0.3], [0.1, 0.1, 0.9, 0.9], [0, 0.3, 0.5, 0.7]], atol=1e-6)
    assert left("emit_constraint { emit_type: CENTER }")[0] == [2, 3]
    assert left("emit_constraint { emit_type: MIN_OVERLAP emit_overlap: 0.4 }")[0] == [2, 3]
    assert left("emit_constraint { emit_type: MIN_OVERLAP emit_overlap: 0.6 }")[0] == [2]


def test_a_batch_without_boxes_has_one_row_of_minus_1(tmp_path):
    path = write(tmp_path / "db", annotated(np.zeros((4, 4, 3), np.uint8)))
    layer = made(data(path, batch=2))
    assert layer.shapes == [(2, 3, 4, 4), (1, 1, 1, 8)]
    assert layer.next_batch(CPU)[1].tolist() == [[[[-1.0] * 8]]]
    layer.close()


def test_records_without_annotations_give_labels(tmp_path):
    record = annotated(np.zeros((4, 4, 3), np.uint8))
    record.ClearField("type")
    record.datum.label = 7
    layer = made(data(write(tmp_path / "db", record), batch=3))
    assert layer.shapes == [(3, 3, 4, 4), (3,)]
    assert layer.next_batch(CPU)[1].tolist() == [7, 7, 7]
    layer.close()


def test_batches_are_a_function_of_the_seed_alone(tmp_path):
    image = np.random.RandomState(0).randint(0, 256, (30, 40, 3)).astype(np.uint8)
    path = write(tmp_path / "db", *[annotated(image, (1, 0.2, 0.2, 0.8, 0.8)) for _ in range(3)])
    transform = (
        "mirror: true resize_param { height: 9 width: 9 } distort_param { brightness_prob: 1 brightness_delta: 30 }"
    )
    layers = [made(data(path, transform, batch=2)) for _ in range(2)]
    layers[1].seed = layers[0].seed
    first = [layers[0].next_batch(CPU) for _ in range(4)]
    layers[1].cursor = 3
    for have, want in zip(layers[1].next_batch(CPU), first[3], strict=True):
        assert torch.equal(have, want)
    layers[1].seed += 1
    layers[1].cursor = 3
    assert not torch.equal(layers[1].next_batch(CPU)[0], first[3][0])
    for layer in layers:
        layer.close()


def test_of_several_sizes_one_is_drawn_every_ten_batches(tmp_path):
    """MobileNet-YOLO's: a batch is of one size, the sizes are as likely as prob says, and boxes keep their places."""
    image = np.zeros((20, 40, 3), np.uint8)
    image[5:15, 10:30] = 255
    path = write(tmp_path / "db", *[annotated(image, (1, 0.25, 0.25, 0.75, 0.75)) for _ in range(2)])
    odds = {12: 0.2, 20: 0.5, 28: 0.3}
    sizes = " ".join(f"resize_param {{ prob: {prob} height: {n} width: {n} }}" for n, prob in odds.items())
    layer = made(data(path, sizes, batch=2))
    layer.seed = 5
    seen = []
    for k in range(0, 3000, 5):  # two batches of every ten
        layer.cursor = k
        images, rows = (top.numpy() for top in layer.next_batch(CPU))
        assert images.shape[0] == 2
        assert images.shape[2] == images.shape[3]
        n = images.shape[2]
        assert np.allclose(rows[0, 0, :, 3:7], [0.25, 0.25, 0.75, 0.75])
        assert images[0, 0, n // 2, n // 2] > 240
        seen.append(n)
    layer.cursor = 35
    assert layer.next_batch(CPU)[0].shape[2] == seen[7]
    layer.close()
    assert seen[::2] == seen[1::2]  # the sixth of ten is as the first
    for n, prob in odds.items():
        share = np.mean(np.array(seen[::2]) == n)
        assert abs(share - prob) < 4 * np.sqrt(prob * (1 - prob) / 300)


BAD = [
    (
        "resize_param { prob: 0.5 height: 5 width: 5 } resize_param { prob: 0.4 height: 6 width: 6 }",
        LayerError,
        "1 together, not 0.5, 0.4",
    ),
    (
        "resize_param { prob: 0.5 height: 5 width: 5 } resize_param { prob: 0.5 height: 6 }",
        LayerError,
        "resize_param needs a height and a width",
    ),
    ("resize_param { height: 5 }", LayerError, "resize_param needs a height and a width"),
    ("expand_param { max_expand_ratio: 1 }", LayerError, "max_expand_ratio must be above 1, not 1"),
    ("crop_h: 3", LayerError, "both crop_h and crop_w"),
    ("noise_param { convert_to_lab: true }", LayerError, "convert_to_lab is not done"),
    ("resize_param { height: 99999 width: 99999 }", LayerError, "99999 x 99999 pixels; at most"),
    ("expand_param { max_expand_ratio: inf }", LayerError, "max_expand_ratio must be above 1, not inf"),
    (
        "expand_param { max_expand_ratio: 1e9 }",
        DataError,
        "the expanded picture would be .* pixels; at most",
    ),
    (
        "resize_param { resize_mode: FIT_LARGE_SIZE_AND_PAD height: 9 width: 9 pad_value: 1 pad_value: 2 }",
        DataError,
        r"record 0 \(key .*\): 2 pad_value for 3 channels",
    ),
    (
        "distort_param { brightness_prob: 1 brightness_delta: -1 }",
        LayerError,
        "brightness_delta must be 0 or more, not -1",
    ),
    (
        "distort_param { contrast_prob: 1 contrast_lower: 2 contrast_upper: 1 }",
        LayerError,
        "contrast_lower 2 and contrast_upper 1",
    ),
    ("noise_param { saltpepper: true saltpepper_param { fraction: 0.1 } }", LayerError, "needs a value"),
    (
        "noise_param { saltpepper: true saltpepper_param { fraction: 0.1 value: 256 } }",
        LayerError,
        "from 0 to 255",
    ),
    (
        "noise_param { saltpepper: true saltpepper_param { fraction: 1 value: 1 value: 2 } }",
        DataError,
        "2 values of saltpepper_param for 3 channels",
    ),
    ("force_gray: true noise_param { jpeg: 50 }", DataError, "noise_param's jpeg gives them; set force_color"),
    ("force_gray: true noise_param { convert_to_hsv: true }", DataError, "as noise_param's convert_to_hsv needs"),
    ("crop_size: 99", DataError, r"record 0 \(key .*\): is 4 x 4 pixels, smaller than the crop of 99 x 99"),
    ("mean_value: 1 mean_value: 2", DataError, "2 mean_values for 3 channels"),
]


@pytest.mark.parametrize(("transform", "kind", "message"), BAD)
def test_settings_that_cannot_be(transform, kind, message, tmp_path):
    path = write(tmp_path / "db", annotated(np.zeros((4, 4, 3), np.uint8)))
    with pytest.raises(kind, match=message):
        made(data(path, transform)).next_batch(CPU)


def test_a_picture_that_is_too_oblong_for_its_padded_size_is_named(tmp_path):
    path = write(tmp_path / "db", annotated(np.zeros((2, 60, 3), np.uint8)))
    size = "resize_param { resize_mode: FIT_LARGE_SIZE_AND_PAD height: 9 width: 9 }"
    with pytest.raises(DataError, match=r"record 0 \(key .*\): a picture of 60 x 2 pixels vanishes"):
        made(data(path, size)).next_batch(CPU)


def test_a_change_that_never_happens_may_have_any_range(tmp_path):
    path = write(tmp_path / "db", annotated(np.zeros((4, 4, 3), np.uint8)))
    for body in ("distort_param { hue_delta: -3 }", "noise_param { saltpepper: true }"):
        layer = made(data(path, body))
        assert layer.next_batch(CPU)[0].shape == (1, 3, 4, 4)
        layer.close()


def test_samplers_that_cannot_be(tmp_path):
    path = write(tmp_path / "db", annotated(np.zeros((4, 4, 3), np.uint8)))
    for body in ("min_scale: 0.5 max_scale: 1.5", "min_scale: 0", "min_aspect_ratio: 2"):
        with pytest.raises(LayerError, match="of a sampler"):
            made(data(path, more=f"annotated_data_param {{ batch_sampler {{ sampler {{ {body} }} }} }}"))
    for trials in (100_001, 2**31 - 1, 2**32 - 1):
        with pytest.raises(LayerError, match=f"max_trials of a sampler is {trials}"):
            made(data(path, more=f"annotated_data_param {{ batch_sampler {{ max_trials: {trials} }} }}"))
    made(data(path, more="annotated_data_param { batch_sampler { max_trials: 100000 } }")).close()


def test_databases_of_the_other_kind_are_told_apart(tmp_path):
    plain = write(tmp_path / "plain", proto.Datum(channels=1, height=1, width=1, data=b"1", label=1))
    with pytest.raises(DataError, match=r"is no AnnotatedDatum; a database of plain Datums is read by .* Data"):
        made(data(plain))
    boxes = write(tmp_path / "boxes", annotated(np.zeros((4, 4, 3), np.uint8)))
    with pytest.raises(DataError, match="holds no image"):
        made(data(boxes, kind="Data"))


def test_a_picture_that_cannot_be_decoded_is_named(tmp_path):
    record = annotated(np.zeros((4, 4, 3), np.uint8))
    record.datum.data = record.datum.data[:20]
    with pytest.raises(DataError, match=r"db, record 0 \(key '00000000'\): cannot decode the image"):
        made(data(write(tmp_path / "db", record)))


def test_caffes_data_layer_resizes_encoded_pictures(tmp_path):
    images = [np.random.RandomState(i).randint(0, 256, (12 + i, 17, 3)).astype(np.uint8) for i in range(2)]
    records = [annotated(image).datum for image in images]
    path = write(tmp_path / "db", *records)
    transform = "resize_param { height: 8 width: 10 interp_mode: LINEAR } scale: 0.5 distort_param { }"
    layer = made(data(path, transform, batch=2, kind="Data"))
    found, labels = layer.next_batch(CPU)
    layer.close()
    want = [cv2.resize(image, (10, 8)).transpose(2, 0, 1) * 0.5 for image in images]
    assert np.array_equal(found.numpy(), np.stack(want))
    assert labels.tolist() == [0, 0]
    raw = write(tmp_path / "raw", annotated(images[0], encoded=False).datum)
    with pytest.raises(DataError, match="resize_param resizes encoded pictures only"):
        made(data(raw, transform, kind="Data")).next_batch(CPU)


def test_several_sizes_are_annotated_datas_alone(tmp_path):
    path = write(tmp_path / "db", annotated(np.zeros((4, 4, 3), np.uint8)).datum)
    sizes = "resize_param { prob: 0.5 height: 5 width: 5 } resize_param { prob: 0.5 height: 6 width: 6 }"
    with pytest.raises(LayerError, match="AnnotatedData's alone"):
        made(data(path, sizes, kind="Data"))


def test_image_data_takes_an_oblong_crop_and_noise(tmp_path):
    image = np.random.RandomState(0).randint(0, 256, (12, 17, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    (tmp_path / "list.txt").write_text("a.png 4")
    text = (
        'layer { name: "d" type: "ImageData" top: "x" top: "y" transform_param { crop_h: 6 crop_w: 9 '
        f'noise_param {{ inverse: true }} }} image_data_param {{ source: "{tmp_path}/list.txt" batch_size: 1 '
        f'root_folder: "{tmp_path}/" }} }}'
    )
    layer = made(text, "TEST")
    found, labels = layer.next_batch(CPU)
    layer.close()
    assert np.array_equal(found[0].numpy(), 255 - image[3:9, 4:13].transpose(2, 0, 1))
    assert labels.tolist() == [4]


def test_a_detector_trains_on_annotated_pictures_and_resumes(tmp_path, monkeypatch):
    monkeypatch.chdir(FOLDER)
    reads = data("lmdb_png", "mirror: true resize_param { height: 24 width: 24 }", batch=3)
    net = net_param((FOLDER.parent / "training" / "ssd_tiny" / "net.prototxt").read_text())
    del net.layer[:2]
    for layer in net.layer:
        if layer.type == "Convolution" and "mbox_conf" in layer.name:
            layer.convolution_param.num_output = 20  # the database has four classes, the recorded net three
        layer.multibox_loss_param.num_classes = 5 if layer.type == "MultiBoxLoss" else 0
        if layer.type != "MultiBoxLoss":
            layer.ClearField("multibox_loss_param")
    net.layer.insert(0, net_param(reads).layer[0])
    param = sdcaffe.read_solver(FOLDER.parent / "training" / "ssd_tiny" / "solver.prototxt")
    param.ClearField("net")
    param.net_param.CopyFrom(net)
    param.base_lr, param.random_seed, param.snapshot_prefix = 1e-4, 3, str(tmp_path / "snap")
    solver = sdcaffe.Solver(param, device="cpu")
    solver.step(3)
    state = solver.snapshot()
    solver.step(3)
    again = sdcaffe.Solver(param, device="cpu")
    again.restore(state)
    again.step(3)
    assert np.isfinite(solver.loss)
    for have, want in zip(again.net.parameters(), solver.net.parameters(), strict=True):
        assert torch.equal(have, want)
    for one in (solver, again):
        one.close()
