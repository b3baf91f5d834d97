"""convert-annoset: VOC's XML, COCO's JSON and plain text to a database that AnnotatedData reads."""

from __future__ import annotations

import json

import cv2
import lmdb
import numpy as np
import pytest

import sdcaffe
from sdcaffe import proto
from sdcaffe.cli import main
from sdcaffe.errors import DataError
from sdcaffe.forks.ssd.label_map import read_label_map
from sdcaffe.proto.tokens import Source

sdcaffe.discover()

VOC = """<annotation>
  <size><width>40</width><height>20</height><depth>3</depth></size>
  <object><name>dog</name><difficult>1</difficult>
    <bndbox><xmin>4</xmin><ymin>5</ymin><xmax>20</xmax><ymax>15</ymax></bndbox></object>
  <object><name>cat</name><bndbox><xmin>0</xmin><ymin>0</ymin><xmax>40</xmax><ymax>20</ymax></bndbox></object>
  <object><name>dog</name>
    <bndbox><xmin>10</xmin><ymin>1</ymin><xmax>44</xmax><ymax>2</ymax></bndbox></object>
</annotation>
"""
COCO = {
    "image": {"height": 20, "width": 40},
    "annotation": [
        {"category_id": 18, "bbox": [4, 5, 16, 10], "iscrowd": 1},
        {"category_id": 17, "bbox": [0, 0, 40, 20.0]},
        {"category_id": 18, "bbox": [10, 1, 34, 1], "iscrowd": 0},
    ],
}
DOGS = [(0, (0.1, 0.25, 0.5, 0.75), True), (1, (0.25, 0.05, 1.1, 0.1), False)]
CATS = [(0, (0, 0, 1, 1), False)]
NAMES = [("dog", 1), ("18", 1), ("cat", 2), ("17", 2)]
MAP = "\n".join(f'item {{ name: "{name}" label: {label} }}' for name, label in NAMES)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = np.random.RandomState(0).randint(0, 256, (20, 40, 3)).astype(np.uint8)
    cv2.imwrite("a.png", image)
    (tmp_path / "map.prototxt").write_text(MAP)
    (tmp_path / "a.xml").write_text(VOC)
    (tmp_path / "a.json").write_text(json.dumps(COCO))
    (tmp_path / "a.txt").write_text("1 4 5 20 15\n2 0 0 40 20\n\n1 10 1 44 2\n")
    return tmp_path


def convert(kind, *flags, lines=None):
    with open("list", "w") as file:
        file.write(lines or f"a.png a.{kind}\n")
    flags = [f"--label_type={kind}", "--label_map_file=map.prototxt", *flags]
    return main(["convert-annoset", "--anno_type=detection", *flags, "./", "list", "db"])


def records(path="db"):
    with lmdb.open(path, readonly=True, lock=False) as env, env.begin() as transaction:
        return {key.decode(): proto.AnnotatedDatum.FromString(value) for key, value in transaction.cursor()}


def boxes(group):
    return [(a.instance_id, sides_of(a.bbox), a.bbox.difficult) for a in group.annotation]


def sides_of(box):
    return tuple(round(side, 6) for side in (box.xmin, box.ymin, box.xmax, box.ymax))


@pytest.mark.parametrize("kind", ["xml", "json", "txt"])
def test_boxes_of_every_kind_of_file(kind, folder, capsys):
    assert convert(kind) == 0
    ((key, record),) = records().items()
    assert key == "00000000_a.png"
    assert record.HasField("type")
    assert [group.group_label for group in record.annotation_group] == [1, 2]
    hard = kind != "txt"  # text has no word for it
    dogs = [(i, box, difficult and hard) for i, box, difficult in DOGS]
    assert boxes(record.annotation_group[0]) == dogs
    assert boxes(record.annotation_group[1]) == CATS
    datum = record.datum
    assert (datum.channels, datum.height, datum.width, datum.label, datum.encoded) == (3, 20, 40, -1, False)
    assert datum.data == cv2.imread("a.png").transpose(2, 0, 1).tobytes()
    assert "3 boxes, stored as they are: 1 reach out of their picture, 0 have no area." in capsys.readouterr().err


def test_what_it_makes_annotated_data_reads(folder):
    assert convert("xml", "--encoded") == 0
    text = (
        'layer { name: "d" type: "AnnotatedData" top: "data" top: "label" data_param { source: "db" batch_size: 2 '
        "backend: LMDB } transform_param { resize_param { height: 10 width: 10 } } }"
    )
    param = proto.NetParameter()
    proto.text.parse(text, param, "net")
    net = sdcaffe.Net(param, sdcaffe.TEST)
    batch = net.compute(net.load(), keep=("data", "label")).blobs
    net.close()
    assert batch["data"].shape == (2, 3, 10, 10)
    assert batch["label"].shape == (1, 1, 6, 8)
    assert batch["label"][0, 0, :3, [1, 2, 5, 7]].tolist() == [[1, 0, 0.5, 1], [1, 1, 1, 0], [2, 0, 1, 0]]


def test_pictures_are_made_smaller_in_proportion_and_labels_are_labels(folder):
    with open("list", "w") as file:
        file.write("a.png 7\n")
    assert main(["convert-annoset", "--max_dim=10", "--encode_type=png", "./", "list", "db"]) == 0
    (record,) = records().values()
    assert (record.datum.height, record.datum.width, record.datum.label) == (5, 10, 7)
    assert not record.HasField("type")
    assert cv2.imdecode(np.frombuffer(record.datum.data, np.uint8), 1).shape == (5, 10, 3)


def test_a_picture_without_an_annotation_file_has_no_boxes(folder):
    assert convert("xml", lines="a.png none.xml\n") == 0
    (record,) = records().values()
    assert len(record.annotation_group) == 0


def change(name, old, new):
    with open(name) as file:
        text = file.read()
    assert old in text
    with open(name, "w") as file:
        file.write(text.replace(old, new, 1))


BOMB = '<?xml version="1.0"?>\n<!DOCTYPE a [\n<!ENTITY e "eeee">]>\n<annotation>&e;</annotation>'
BAD = [
    ("xml", "a.xml", "</annotation>", "", r"a.xml:9: is not well-formed XML: no element found"),
    ("xml", "a.xml", "<name>cat", "<name>cow", 'a.xml:5: the label map has no name "cow"'),
    ("xml", "a.xml", "<xmin>4<", "<xmin>four<", 'a.xml:4: xmin is "four", not a whole number'),
    ("xml", "a.xml", "<ymax>15</ymax>", "", "a.xml:4: a bndbox has no ymax"),
    ("xml", "a.xml", "<width>40<", "<width>0<", "a.xml: says that its picture has 0 x 20 pixels"),
    ("xml", "a.xml", VOC, BOMB, "a.xml:3: XML that declares entities is not read"),
    ("xml", "a.xml", VOC, "<x>" * 40, "a.xml:1: elements inside one another more than 32 deep"),
    ("json", "a.json", "}}", "}", "a.json:1: is not JSON"),
    (
        "json",
        "a.json",
        '"category_id": 17',
        '"category_id": 99',
        'a.json, annotation 1: the label map has no name "99"',
    ),
    ("json", "a.json", "[4, 5, 16, 10]", "[4, 5, 16]", "a.json, annotation 0: has no bbox of four numbers"),
    ("txt", "a.txt", "2 0 0 40", "2 0 0 nan", 'a.txt:2: "2 0 0 nan 20" is not a label and four numbers'),
    ("xml", "map.prototxt", "label: 1 }", "}", "map.prototxt:1:1: an item needs a name and a label"),
    ("xml", "map.prototxt", MAP, "item [ { name: 'a' label: 8 }, { name: 'b' } ]", "map.prototxt:1:1: an item needs"),
    ("xml", "list", "a.png", "b.png", "b.png: cannot read the image: No such file"),
]


@pytest.mark.parametrize(("kind", "name", "old", "new", "message"), BAD)
def test_bad_input_is_one_line_and_leaves_nothing(kind, name, old, new, message, folder, capsys):
    lines = None
    if name == "list":
        lines = "b.png a.xml\n"
    elif name == "a.json" and old == "}}":
        change(name, "]", "")
    else:
        change(name, old, new)
    assert convert(kind, lines=lines) == 1
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("sdcaffe: error")]
    assert len(error) == 1
    assert message in error[0]
    assert not (folder / "db").exists()


def test_names_that_stand_twice_are_refused_on_request(folder, capsys):
    change("map.prototxt", 'name: "18"', 'name: "dog"')
    assert convert("xml", "--check_label") == 1
    assert "map.prototxt:2:1: the name 'dog' has been given to an item already" in capsys.readouterr().err
    assert convert("xml") == 0


def test_a_place_is_looked_for_where_it_is_told(tmp_path, monkeypatch):
    """And not for each item: of a map of many that takes minutes."""
    told = []
    where = Source.where
    monkeypatch.setattr(Source, "where", lambda source, offset: told.append(offset) or where(source, offset))
    path = tmp_path / "map.prototxt"
    path.write_text("".join(f'item {{ name: "{i}" label: {i} }}\n' for i in range(300)))
    assert read_label_map(str(path)).by_label()[299] == "299"
    assert told == []
    path.write_text(path.read_text() + 'item { name: "a" label: 7 }')
    with pytest.raises(DataError, match=r"map\.prototxt:301:1: the label 7 has been given"):
        read_label_map(str(path)).by_label()
