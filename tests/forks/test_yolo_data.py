"""MobileNet-YOLO's AnnotatedData: labels of 300 rows as its losses take them, and pictures cut at random."""

from __future__ import annotations

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

CPU = torch.device("cpu")


def database(folder, *pictures):
    """An LMDB of pictures (image, boxes); a box is label, xmin, ymin, xmax, ymax, difficult."""
    path = folder / "db"
    with lmdb.open(str(path), map_size=1 << 22) as env, env.begin(write=True) as transaction:
        for i, (image, boxes) in enumerate(pictures):
            record = proto.AnnotatedDatum(type="BBOX")
            record.datum.channels, record.datum.height, record.datum.width = 3, *image.shape[:2]
            record.datum.encoded, record.datum.data = True, cv2.imencode(".png", image)[1].tobytes()
            for label, left, above, right, below, difficult in boxes:
                box = record.annotation_group.add(group_label=label).annotation.add().bbox
                box.xmin, box.ymin, box.xmax, box.ymax, box.difficult = left, above, right, below, difficult
            transaction.put(b"%08d" % i, record.SerializeToString())
    return path


def made(path, fields, transform="", batch=2, phase="TRAIN"):
    text = (
        f'layer {{ name: "d" type: "AnnotatedData" top: "data" top: "label" transform_param {{ {transform} }} '
        f'data_param {{ source: "{path}" batch_size: {batch} backend: LMDB }} annotated_data_param {{ {fields} }} }}'
    )
    param = net_param(text).layer[0]
    layer = class_of(param)(param, getattr(proto, phase))
    layer.shapes = layer.setup([])
    return layer


GREY = np.full((40, 40, 3), 90, np.uint8)
TWO = [(GREY, [(3, 0.1, 0.2, 0.5, 0.4, False), (1, 0.25, 0.5, 0.75, 1, True)]), (GREY, [])]


@pytest.mark.parametrize("difficult", ["true", "false"])
def test_labels(difficult, tmp_path):
    path = database(tmp_path, *TWO)
    layer = made(path, f"yolo_data_type: 1 yolo_data_jitter: 0 train_diffcult: {difficult}")
    images, label = layer.next_batch(CPU)
    layer.close()
    want = np.zeros((2, 1, 300, 5))
    want[0, 0, 0] = [2, 0.3, 0.3, 0.4, 0.2]
    if difficult == "true":
        want[0, 0, 1] = [0, 0.5, 0.75, 0.5, 0.5]
    assert layer.shapes == [(2, 3, 40, 40), (2, 1, 300, 5)]
    assert np.allclose(label, want, atol=1e-6)
    assert np.array_equal(images, np.full((2, 3, 40, 40), 90))


def test_a_loss_takes_them(tmp_path):
    path = database(tmp_path, *TWO)
    text = f"""
    layer {{ name: "d" type: "AnnotatedData" top: "data" top: "label" data_param {{ source: "{path}" batch_size: 2
      backend: LMDB }} annotated_data_param {{ yolo_data_type: 1 }} transform_param {{
      resize_param {{ height: 26 width: 26 resize_mode: WARP }} }} }}
    layer {{ name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param {{ num_output: 40 kernel_size: 2
      stride: 2 weight_filler {{ type: "gaussian" std: 0.001 }} }} }}
    layer {{ name: "l" type: "RegionLoss" bottom: "c" bottom: "label" top: "l" region_loss_param {{ num_class: 3
      {" ".join(f"biases: {n}" for n in range(1, 11))} }} }}"""
    net = sdcaffe.Net(net_param(text), phase=sdcaffe.TRAIN)
    found = net.compute(net.load())
    found.loss.backward()
    net.close()
    assert found.loss > 0
    assert all(blob.grad.abs().sum() > 0 for blob in net.layers["c"].blobs)


def windows(tmp_path, fields, count=1500, transform="", phase="TRAIN"):
    """What is seen of a picture: left, top, width and height as fractions, by the boxes' new places.

    A box that is the middle tenth stays whole in every window, so its new place tells the window.
    """
    path = database(tmp_path, (GREY, [(1, 0.45, 0.45, 0.55, 0.55, False)]))
    layer = made(path, f"yolo_data_type: 1 {fields}", transform, batch=count, phase=phase)
    layer.seed = 7
    label = layer.next_batch(CPU)[1][:, 0, 0].double().numpy()
    layer.close()
    width, height = 0.1 / label[:, 3], 0.1 / label[:, 4]
    return np.stack([0.5 - label[:, 1] * width, 0.5 - label[:, 2] * height, width, height], 1)


@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
def test_windows(phase, tmp_path):
    """One in five is the whole picture, one is jittered by half; sides and places are uniform."""
    size = "resize_param { height: 8 width: 8 resize_mode: WARP }"
    seen = windows(tmp_path, "yolo_data_jitter: 0.4", transform=size, phase=phase)
    whole = np.abs(seen - [0, 0, 1, 1]).max(1) < 1e-5
    assert stats.binomtest(int(whole.sum()), len(seen), 0.2).pvalue > 1e-4
    left, top, width, height = seen[~whole].T
    assert min(left.min(), top.min()) > -1e-5
    assert max((left + width).max(), (top + height).max()) < 1 + 1e-5
    for side in (width, height):

        def share(v):  # a quarter of the windows from 0.8 to 1, the others from 0.6
            return 0.25 * np.clip((v - 0.8) / 0.2, 0, 1) + 0.75 * np.clip((v - 0.6) / 0.4, 0, 1)

        assert stats.kstest(side, share).pvalue > 1e-4
    for place, side in ((left, width), (top, height)):
        assert stats.kstest(place[side < 0.99] / (1 - side[side < 0.99]), "uniform").pvalue > 1e-4
    assert abs(np.corrcoef(width, height)[0, 1]) < 0.3  # they hang together by the kind of jitter alone


def test_a_padded_picture_keeps_its_aspect(tmp_path):
    size = "resize_param { height: 8 width: 8 resize_mode: FIT_LARGE_SIZE_AND_PAD }"
    path = database(tmp_path, (GREY, [(1, 0.45, 0.45, 0.55, 0.55, False)]))
    layer = made(path, "yolo_data_type: 1 yolo_data_jitter: 0.4", size, batch=200)
    layer.seed = 7
    label = layer.next_batch(CPU)[1][:, 0, 0].numpy()
    layer.close()
    assert np.ptp(label[:, 3]) > 0.02
    assert np.allclose(label[:, 3], label[:, 4], rtol=0.15)  # windows are cut at whole pixels


def test_without_a_field_of_its_own_nothing_is_cut(tmp_path):
    layer = made(database(tmp_path, *TWO), "")
    assert np.allclose(layer.next_batch(CPU)[1][0, 0, :, 3:7], [[0.1, 0.2, 0.5, 0.4], [0.25, 0.5, 0.75, 1]])
    layer.close()


def test_what_is_refused(tmp_path):
    path = database(tmp_path, (GREY, [(1, 0.1, 0.1, 0.2, 0.2, False)] * 301))
    with pytest.raises(LayerError, match="difficult_label_warmup"):
        made(path, "yolo_data_type: 1 difficult_label_warmup: true")
    with pytest.raises(LayerError, match="yolo_data_jitter"):
        made(path, "yolo_data_type: 1 yolo_data_jitter: 1")
    layer = made(path, "yolo_data_type: 1 yolo_data_jitter: 0", batch=1)
    with pytest.raises(DataError, match="has 301 boxes"):
        layer.next_batch(CPU)
    layer.close()


# ---------------------------------------------------------------- Tongcheng's random_order


def test_random_order(tmp_path):
    """The database's order first; then every epoch is a permutation, and another one each time."""
    with lmdb.open(str(tmp_path / "db"), map_size=1 << 20) as env, env.begin(write=True) as transaction:
        for i in range(12):
            record = proto.Datum(channels=1, height=1, width=1, data=bytes([i]), label=i)
            transaction.put(b"%08d" % i, record.SerializeToString())
    text = f'layer {{ name: "d" type: "Data" top: "x" top: "y" data_param {{ source: "{tmp_path / "db"}" backend: LMDB '
    for value in ("true", "false"):
        param = net_param(f"{text} batch_size: 4 random_order: {value} }} }}").layer[0]
        layer = class_of(param)(param, proto.TRAIN)
        layer.setup([])
        labels = np.concatenate([layer.next_batch(CPU)[1].numpy() for _ in range(15)]).reshape(5, 12)
        layer.close()
        assert labels[0].tolist() == list(range(12))
        assert np.array_equal(np.sort(labels, 1), np.tile(np.arange(12), (5, 1)))
        assert len({tuple(epoch) for epoch in labels}) == (5 if value == "true" else 1)
