"""The readers of forks' files, of LevelDB folders and of safetensors, for test_readers.py."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from fuzz_targets import FILES, Target, example_of_shapes

from sdcaffe.converters.onnx_graph import read_graph
from sdcaffe.converters.onnx_import import layers_of
from sdcaffe.converters.torch_files import read_tensors, write_tensors
from sdcaffe.data.database import DatumSource
from sdcaffe.forks.ssd.annotations import read_json, read_txt, read_xml
from sdcaffe.forks.ssd.label_map import read_label_map
from sdcaffe.forks.ssd.sizes import read_sizes

NAMES = {"cat": 1, "1": 1, "dog": 2}
XML = b"""<annotation><size><width>20</width><height>10</height></size>
<object><name>cat</name><difficult>1</difficult>
<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>8</ymax></bndbox></object></annotation>"""
JSON = (
    b'{"image": {"height": 10, "width": 20}, "annotation": [{"category_id": 1, "bbox": [1, 2, 3.5, 4], "iscrowd": 0}]}'
)
LABELS = b'item { name: "none" label: 0 display_name: "b" }\nitem { name: "cat" label: 1 }\n'


def targets(folder: Path) -> list[Target]:
    write_tensors(folder / "seed.safetensors", {"a.weight": torch.zeros(2, 3), "a.bias": torch.zeros(2)})
    leveldb = FILES / "leveldb_raw"

    def read_leveldb(path: Path) -> None:
        """What the library writes while it opens a folder goes with it."""
        where = folder / "leveldb"
        shutil.rmtree(where, ignore_errors=True)
        shutil.copytree(leveldb, where)
        shutil.copyfile(path, where / "000003.log")
        source = DatumSource(str(where), "LEVELDB")
        try:
            source.read(0)
        finally:
            source.close()

    return [
        Target("boxes.xml", [XML], lambda path: read_xml(str(path), (10, 20), NAMES)),
        Target("boxes.json", [JSON], lambda path: read_json(str(path), (10, 20), NAMES)),
        Target("boxes.txt", [b"1 1 2 9 8\n2 0 0 1.5 1e1\n"], lambda path: read_txt(str(path), (10, 20), NAMES)),
        Target("labelmap.prototxt", [LABELS], lambda path: read_label_map(str(path)).by_name(check=True)),
        Target("sizes.txt", [b"a 10 20\nb 30 40\n"], lambda path: read_sizes(str(path))),
        Target("w.safetensors", [(folder / "seed.safetensors").read_bytes()], read_tensors),
        Target("000003.log", [(leveldb / "000003.log").read_bytes()], read_leveldb),
        Target("shapes.onnx", [example_of_shapes()], lambda path: layers_of(read_graph(str(path)))),
    ]
