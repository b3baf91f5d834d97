"""Files of detections, as the fork writes them: for VOC, COCO and ILSVRC."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import sdcaffe
from sdcaffe import proto
from sdcaffe.errors import DataError
from sdcaffe.forks.ssd.label_map import read_label_map
from sdcaffe.forks.ssd.saved_output import SavedOutput

FOLDER = Path(__file__).parent / "recordings" / "ssd" / "eval"


def file_list(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


KINDS = ["VOC", "COCO", "ILSVRC"]


def recorded_net(kind, folder, monkeypatch):
    monkeypatch.chdir(FOLDER)
    net = sdcaffe.read_net(f"save_{kind}.prototxt")
    (detect,) = [layer.detection_output_param for layer in net.layer if layer.type == "DetectionOutput"]
    detect.save_output_param.output_directory = str(folder)
    return net, detect


@pytest.mark.parametrize("kind", KINDS)
def test_the_forks_detections_make_the_forks_files(kind, tmp_path, monkeypatch):
    _, detect = recorded_net(kind, tmp_path / "out", monkeypatch)
    saved = SavedOutput(detect.save_output_param, detect.num_classes, detect.background_label_id)
    with np.load("evaluate.npz") as recorded:
        for batch in range(3):
            assert file_list(tmp_path / "out") == {}
            saved.add(4, recorded[f"detection_out_{batch}"][0, 0])
    have, want = file_list(tmp_path / "out"), file_list(FOLDER / f"saved_{kind}")
    assert have.keys() == want.keys()
    for name in want:
        assert have[name].split("\n") == want[name].split("\n")


@pytest.mark.parametrize("kind", KINDS)
def test_a_test_phase_writes_the_forks_files(kind, tmp_path, monkeypatch):
    net, _ = recorded_net(kind, tmp_path / "new" / "out", monkeypatch)
    made = sdcaffe.Net(net, sdcaffe.TEST, "weights.caffemodel")
    for _ in range(3):
        made.compute(made.load())
    made.close()
    have, want = file_list(tmp_path / "new" / "out"), file_list(FOLDER / f"saved_{kind}")
    assert have.keys() == want.keys()
    for name in want:
        for mine, forks in zip(have[name].split(), want[name].split(), strict=True):
            number = re.fullmatch(r"(-?[0-9.]+),?", forks)
            assert mine == forks or float(mine.strip(",")) == pytest.approx(float(number[1]), rel=1e-5)


def saving(tmp_path, kind="ILSVRC", sizes="a 10 20\nb 30 40\n", items=(("x", 1),), **more):
    (tmp_path / "sizes.txt").write_text(sizes)
    (tmp_path / "map.prototxt").write_text("".join(f'item {{ name: "{n}" label: {label} }}\n' for n, label in items))
    param = proto.SaveOutputParameter(
        output_directory=str(tmp_path / "out"), output_format=kind, label_map_file=str(tmp_path / "map.prototxt"),
        name_size_file=str(tmp_path / "sizes.txt"), output_name_prefix="p", **more,
    )  # fmt: skip
    return SavedOutput(param, 2, 0)


def row(*sides):
    """One detection of the first image."""
    return np.array([[0, 1, 0.5, *sides]], np.float32)


ROW = row(0.1, 0.2, 0.35, 1.7)


def test_boxes_are_cut_to_their_image_and_counted_in_its_pixels(tmp_path):
    saving(tmp_path, num_test_image=1).add(1, ROW)
    assert (tmp_path / "out" / "p.txt").read_text() == "a 1 0.5 2 2 7 10\n"


def test_padding_and_fixed_sizes_are_taken_back(tmp_path):
    padded = {"resize_mode": "FIT_LARGE_SIZE_AND_PAD", "height": 20, "width": 20}
    saving(tmp_path, num_test_image=1, resize_param=padded).add(
        1, np.array([[0, 1, 0.5, 0, 0.25, 1, 0.75]], np.float32)
    )
    assert (tmp_path / "out" / "p.txt").read_text() == "a 1 0.5 0 0 20 10\n"
    small = {"resize_mode": "FIT_SMALL_SIZE", "height": 20, "width": 20, "height_scale": 100, "width_scale": 100}
    saving(tmp_path, num_test_image=1, resize_param=small).add(1, row(0, 0, 0.1, 0.09))
    assert (tmp_path / "out" / "p.txt").read_text() == "a 1 0.5 0 0 10 9\n"


def test_files_begin_again_behind_the_last_image(tmp_path):
    saved = saving(tmp_path)
    for score in (0.5, 0.25):
        found = ROW.copy()
        found[0, 2] = score
        saved.add(1, found)
        saved.add(1, np.array([[0, -1, -1, -1, -1, -1, -1]], np.float32))
        assert (tmp_path / "out" / "p.txt").read_text().split()[2] == f"{score:g}"


def test_names_that_are_numbers_are_numbers_in_coco(tmp_path):
    saving(tmp_path, "COCO", sizes="139 10 20\n", items=(("18", 1),)).add(1, ROW)
    text = (tmp_path / "out" / "p.json").read_text()
    assert '"image_id": 139,' in text
    assert '"category_id": 18,' in text


BAD = [
    ({"sizes": "a 10\n"}, r'sizes.txt:1: "a 10" is not a name, a height and a width'),
    ({"kind": "XML"}, 'output_format "XML" is none of VOC, COCO, ILSVRC'),
    ({"num_test_image": 3}, "num_test_image is 3, but the name_size_file names 2 images"),
    ({"items": (("x", 1), ("y", 1))}, r"map.prototxt:2:1: the label 1 has been given to an item already"),
]


@pytest.mark.parametrize(("settings", "message"), BAD)
def test_what_cannot_be_saved_is_one_line(settings, message, tmp_path):
    with pytest.raises(DataError, match=message):
        saving(tmp_path, **settings)
    assert not (tmp_path / "out").exists()


def test_a_label_that_the_map_lacks(tmp_path):
    with pytest.raises(DataError, match=r"map.prototxt: the label map has no label 1"):
        saving(tmp_path, items=(("x", 4),)).add(1, ROW)


def test_a_name_that_would_leave_the_folder(tmp_path):
    with pytest.raises(DataError, match="cannot be a file in it"):
        saving(tmp_path, "VOC", items=(("/../x", 1),), num_test_image=1).add(1, ROW)


def test_an_item_without_a_label(tmp_path):
    (tmp_path / "map").write_text('item { name: "a" label: 1 }\n\nitem { name: "b" }\n')
    with pytest.raises(DataError, match="map:3:1: an item needs a name and a label"):
        read_label_map(str(tmp_path / "map"))
