"""sdcaffe detect: boxes in pixels of the picture, as the fork's own detections say."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import sdcaffe
from sdcaffe.cli import main

RUN = Path(__file__).parent / "recordings" / "ssd" / "training" / "ssd_tiny"


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """The recorded inputs as pictures: they are sixteenths around 0, so nothing is lost in bytes."""
    monkeypatch.chdir(tmp_path)
    data = np.load(RUN / "deploy.npz")["data"]
    for i, image in enumerate(data):
        pixels = np.rint(image * 64 + 64)
        assert np.array_equal(pixels / 64 - 1, image)
        cv2.imwrite(f"p{i}.png", pixels.astype(np.uint8).transpose(1, 2, 0))
    return [f"p{i}.png" for i in range(len(data))]


def detect(*arguments):
    flags = ["--weights", str(RUN / "final.caffemodel"), "-o", "out", "--mean", "64", "--scale", str(1 / 64)]
    return main(["detect", str(RUN / "deploy.prototxt"), *flags, *arguments])


def check_found(pictures):
    """That the files in `out` are what the fork found on the pictures, labels named by the label map of the tests."""
    recorded = np.load(RUN / "deploy.npz")["detection_out"][0, 0]
    for i, name in enumerate(pictures):
        found = json.loads(Path("out", f"p{i}.json").read_text())
        assert (found["image"], found["width"], found["height"]) == (name, 24, 24)
        want = recorded[(recorded[:, 0] == i) & (recorded[:, 2] >= 0.02)]
        want = want[np.argsort(-want[:, 2], kind="stable")]
        have = [[d["score"], d["xmin"], d["ymin"], d["xmax"], d["ymax"]] for d in found["detections"]]
        boxes = want[:, 3:7].clip(0, 1) * 24
        assert np.allclose(have, np.column_stack([want[:, 2], boxes]), rtol=1e-3, atol=1e-3)
        assert [d["label"] for d in found["detections"]] == want[:, 1].tolist()
        assert {d["name"] for d in found["detections"] if d["label"] == 1} <= {"red thing"}
        assert cv2.imread(f"out/p{i}.png").shape == (504, 504, 3)


def test_detections_are_the_forks(pictures, tmp_path):
    (tmp_path / "map").write_text('item { name: "n1" label: 1 display_name: "red thing" }')
    assert detect(*pictures, "--threshold", "0.02", "--label-map-file", "map") == 0
    check_found(pictures)


@pytest.mark.parametrize("inside", [False, True], ids=["normalised before", "from bytes"])
def test_an_onnx_file_finds_the_same(inside, pictures, tmp_path, capsys):
    (tmp_path / "map").write_text('item { name: "n1" label: 1 display_name: "red thing" }')
    export = ["export", str(RUN / "deploy.prototxt"), str(RUN / "final.caffemodel"), "-o", "net.onnx"]
    said = ["--mean", "64", "--scale", str(1 / 64), "--channel-order", "bgr"]
    assert main([*export, *said, *(["--preprocess"] if inside else [])]) == 0
    names = ["--threshold", "0.02", "--label-map-file", "map", "-o", "out"]
    assert main(["detect", "net.onnx", *pictures, *names]) == 0
    check_found(pictures)
    if inside:
        assert main(["detect", "net.onnx", *pictures, *names, "--mean", "64"]) == 2
        assert "takes bytes and normalises them itself" in capsys.readouterr().err


def test_weights_go_with_a_prototxt_and_with_nothing_else(pictures, capsys):
    assert main(["detect", str(RUN / "deploy.prototxt"), "p0.png", "-o", "out"]) == 2
    assert "--weights FILE is wanted with a prototxt" in capsys.readouterr().err
    assert main(["detect", "net.onnx", "p0.png", "-o", "out", "--weights", "w.caffemodel"]) == 2
    assert "an ONNX file has its weights" in capsys.readouterr().err


def test_an_onnx_file_that_is_no_detector(pictures, tmp_path, capsys):
    (tmp_path / "net").write_text(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } } '
        'layer { name: "y" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 2 } }'
    )
    sdcaffe.Net("net", sdcaffe.TEST).save("net.caffemodel")
    assert main(["export", "net", "net.caffemodel", "-o", "net.onnx"]) == 0
    assert main(["detect", "net.onnx", "p0.png", "-o", "out"]) == 1
    assert "net.onnx: is no detector" in capsys.readouterr().err


def test_a_mean_that_does_not_fit(pictures, capsys):
    assert detect("p0.png", "--mean", "1,2") == 1
    assert "a mean of 2 x 1 x 1 numbers for an input of 3 channels" in capsys.readouterr().err


def test_boxes_are_drawn_where_they_are(pictures):
    assert detect(pictures[0], "--threshold", "0.02") == 0
    best = json.loads(Path("out/p0.json").read_text())["detections"][0]
    before, after = cv2.imread(pictures[0]).astype(int), cv2.imread("out/p0.png").astype(int)
    changed = np.abs(after - before.repeat(21, 0).repeat(21, 1)).sum(2) > 0  # 24 pixels become 504
    left, top, right, bottom = (round(21 * best[side]) for side in ("xmin", "ymin", "xmax", "ymax"))
    column, row = (left + right) // 2, (top + bottom) // 2
    for y, x in ((bottom - 1, column), (row, left + 1), (row, right - 1)):
        assert changed[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3].any()


def test_a_broken_picture_is_told_and_the_others_are_done(pictures, tmp_path, capsys):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    assert detect("bad.png", pictures[0]) == 1
    assert "bad.png: cannot decode the image" in capsys.readouterr().err
    assert Path("out/p0.json").exists()
    assert not Path("out/bad.json").exists()


def test_two_pictures_of_one_name(pictures, capsys):
    Path("more").mkdir()
    Path("more/p0.png").write_bytes(Path("p0.png").read_bytes())
    assert detect("p0.png", "more/p0.png") == 1
    assert 'two pictures would be written as "p0.png"' in capsys.readouterr().err


def test_a_net_that_is_no_detector(pictures, tmp_path, capsys):
    (tmp_path / "net").write_text('layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 } } }')
    assert main(["detect", "net", "p0.png", "--weights", str(RUN / "final.caffemodel"), "-o", "out"]) == 1
    assert "is no detector" in capsys.readouterr().err
