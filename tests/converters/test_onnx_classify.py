from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_nets import GOLDENS, ROOT, TINY, write_net
from PIL import Image

from sdcaffe.cli import main
from sdcaffe.converters.onnx_classify import best, open_onnx
from sdcaffe.converters.onnx_classify_net import open_net
from sdcaffe.converters.onnx_export import export
from sdcaffe.converters.onnx_metadata import ModelError
from sdcaffe.converters.onnx_open import Options
from sdcaffe.converters.onnx_pixels import Pixels
from sdcaffe.errors import DataError

IMAGES = sorted((GOLDENS / "files" / "images").glob("*"))[:4]
PIXELS = Pixels(mean=[104, 117, 123], scale=0.02, order="bgr")
NAMES = "cat\ndog\nfish\nbird\ncow\n"


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with net.prototxt, net.caffemodel, names.txt, and as ONNX plain.onnx and bytes.onnx."""
    folder = tmp_path_factory.mktemp("net")
    model, weights = write_net(TINY, folder)
    (folder / "names.txt").write_text(NAMES)
    for name, inside in (("plain", False), ("bytes", True)):
        options = Options(preprocess=inside, pixels=PIXELS, classes=str(folder / "names.txt"))
        export(model, weights, str(folder / f"{name}.onnx"), options)
    return folder


def test_every_way_gives_the_same_probabilities_for_pictures(net: Path) -> None:
    options = Options(pixels=PIXELS, classes=str(net / "names.txt"))
    ways = [
        open_onnx(str(net / "plain.onnx")),
        open_onnx(str(net / "bytes.onnx")),
        open_net(str(net / "net.prototxt"), str(net / "net.caffemodel"), options),
    ]
    for image in IMAGES:
        first, *others = [way.probabilities(str(image)) for way in ways]
        assert first.sum() == pytest.approx(1, abs=1e-5)
        for other in others:
            assert np.abs(first - other).max() < 1e-5
    assert [way.metadata.classes for way in ways] == [["cat", "dog", "fish", "bird", "cow"]] * 3


@pytest.mark.parametrize("inside", [False, True])
def test_a_file_of_a_fixed_batch_classifies_a_picture(inside: bool, net: Path, tmp_path: Path) -> None:
    options = Options(preprocess=inside, pixels=PIXELS, static=True, batch=3)
    export(str(net / "net.prototxt"), str(net / "net.caffemodel"), str(tmp_path / "three.onnx"), options)
    for image in IMAGES:
        expected, got = (
            open_onnx(str(path)).probabilities(str(image)) for path in (net / "plain.onnx", tmp_path / "three.onnx")
        )
        np.testing.assert_allclose(got, expected, atol=1e-6)


def test_a_batch_that_is_too_large_for_a_picture_is_told(tmp_path: Path) -> None:
    path = write_model(tmp_path / "net.onnx", "GlobalAveragePool", [1 << 40, 3, 1, 1], side=8, batch=1 << 40)
    with pytest.raises(ModelError, match="takes 1099511627776 pictures of 8x8 at once"):
        open_onnx(path)


@pytest.mark.parametrize("outputs", [10, 9])
def test_names_of_classes_come_with_the_data_where_there_are_as_many(outputs: int, tmp_path: Path) -> None:
    names = ["plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    (tmp_path / "batches.meta.txt").write_text("\n".join(names) + "\n\n")
    model, weights = write_net(
        f"""layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: [1, 3, 32, 32] }} }} }}
        layer {{
          name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
          inner_product_param {{ num_output: {outputs} }}
        }}
        layer {{ name: "prob" type: "Softmax" bottom: "ip" top: "prob" }}""",
        tmp_path,
    )
    (tmp_path / "data.prototxt").write_text(
        'layer { name: "data" type: "Data" top: "data" top: "label" '
        f'data_param {{ source: "cifar10:test:{tmp_path}" }} }}'
    )
    export(model, weights, str(tmp_path / "net.onnx"), Options(data=str(tmp_path / "data.prototxt")))
    assert open_onnx(str(tmp_path / "net.onnx")).metadata.classes == (names if outputs == 10 else [])


def test_best_are_in_falling_order_and_nameless_classes_have_numbers() -> None:
    found = best(np.array([0.1, 0.4, 0.1, 0.3, 0.1], np.float32), ["a", "b", "c"], 4)
    assert [name for name, _ in found] == ["b", "3", "a", "c"]


def test_the_command_needs_no_torch_for_an_onnx_file(net: Path) -> None:
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from sdcaffe.cli import main\n"
        f"sys.exit(main(['classify', {str(net / 'plain.onnx')!r}, {str(IMAGES[0])!r}, '--top', '2']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert IMAGES[0].name in lines[0]
    assert lines[1].split(" - ")[1].strip('"') in NAMES.split()


def test_commands_export_and_classify(net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(net / "net.prototxt"), str(net / "net.caffemodel")]
    target = str(tmp_path / "net.onnx")
    flags = ["--mean", "104,117,123", "--scale", "0.02", "--channel-order", "bgr", "--classes", str(net / "names.txt")]
    assert main(["export", *files, "-o", target, "--preprocess", "--opset", "20", *flags]) == 0
    out = capsys.readouterr().out
    assert "inputs   data (batch x height x width x 3, uint8)" in out
    assert "checked  ONNX Runtime and this net differ by at most" in out
    assert main(["classify", target, *map(str, IMAGES)]) == 0
    by_file = capsys.readouterr().out
    assert by_file.count("Prediction for") == 4
    assert main(["classify", *files, *map(str, IMAGES), *flags]) == 0
    assert capsys.readouterr().out == by_file
    assert main(["classify", target]) == 2
    assert main(["classify", target, str(IMAGES[0]), "--scale", "2"]) == 1
    assert "takes bytes and normalises them itself" in capsys.readouterr().err
    assert main(["classify", target, str(IMAGES[0]), "--data", files[0]]) == 2
    assert main(["classify", *files, str(IMAGES[0])]) == 1
    assert "nothing says how a picture becomes the input" in capsys.readouterr().err
    for shape in ("data", "data=1,3,0,8", f"data=1,3,{10**20},8"):
        assert main(["export", *files, "-o", target, "--shape", shape]) == 2


def test_files_that_are_no_model_end_in_one_error(net: Path, tmp_path: Path) -> None:
    data = (net / "plain.onnx").read_bytes()
    bad = {"cut": data[: len(data) // 2], "empty": b"", "text": b"hello there", "noise": bytes(range(256)) * 9}
    bad["pickle"] = b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x02os."
    for name, content in bad.items():
        (tmp_path / f"{name}.onnx").write_bytes(content)
        with pytest.raises(ModelError):
            open_onnx(str(tmp_path / f"{name}.onnx"))
    (tmp_path / "zero.onnx").symlink_to("/dev/zero")
    with pytest.raises(ModelError, match="is a device"):
        open_onnx(str(tmp_path / "zero.onnx"))
    with pytest.raises(ModelError, match="is a device"):
        open_onnx(str(net / "plain.onnx"), "/dev/zero")
    with pytest.raises(ModelError, match="No such file"):
        open_onnx(str(tmp_path / "none.onnx"))
    with pytest.raises(DataError):
        open_onnx(str(net / "plain.onnx")).probabilities(str(tmp_path / "text.onnx"))


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "link/secret"])
def test_weights_outside_the_models_folder_are_refused(location: str, net: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(bytes(4 * 5 * 4))
    (folder / "link").symlink_to(tmp_path)
    model = onnx.load(net / "plain.onnx")
    (weight,) = [t for t in model.graph.initializer if list(t.dims) == [5, 4]]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="outside its folder"):
        open_onnx(str(folder / "net.onnx"))


def test_a_tensor_that_claims_more_than_it_holds_is_refused(net: Path, tmp_path: Path) -> None:
    model = onnx.load(net / "plain.onnx")
    model.graph.initializer[0].dims[0] = 10**11
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="ONNX Runtime cannot run this model"):
        open_onnx(str(tmp_path / "net.onnx"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("classes", "[1"),
        ("normalisation", "[]"),
        ("scores", "3"),
        ("size", "{"),
        ("shapes", "[3]"),
        ("shapes", '{"data": 3}'),
        ("shapes", '{"data": ["a", 1e999]}'),
        ("size", "[3, 1e999, 8]"),
        ("classes", "[" * 100000),
    ],
)
def test_damaged_metadata_is_one_error(key: str, value: str, net: Path, tmp_path: Path) -> None:
    model = onnx.load(net / "plain.onnx")
    for entry in model.metadata_props:
        if entry.key == key:
            entry.value = value
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=f'net.onnx: its metadata is damaged: "{key}" is ') as caught:
        open_onnx(str(tmp_path / "net.onnx"))
    assert len(str(caught.value)) < 500
    assert "Error" not in str(caught.value)  # the file is spoken of, not what Python has for it


def write_model(
    path: Path, node: str, output: list[str | int] | None, side: object = "w", batch: object = "n", **metadata: str
) -> str:
    """A model of one operator that takes pictures (batch, 3, side, side), at a scale of 1."""
    data = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, side, side])
    kind = TensorProto.INT64 if node == "Size" else TensorProto.FLOAT
    outputs = [] if output is None else [helper.make_tensor_value_info("y", kind, output)]
    model = helper.make_model(
        helper.make_graph([helper.make_node(node, ["x"], ["y"])], "g", [data], outputs),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    known = {"normalisation": '{"mean": [0], "scale": [1], "order": "rgb", "in_graph": false}', "size": "[3, 4, 4]"}
    for key, value in {**known, **metadata}.items():
        model.metadata_props.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return str(path)


BELOW_0 = '{"mean": [300], "scale": [1], "order": "rgb", "in_graph": false}'


@pytest.mark.parametrize(
    ("node", "output", "side", "metadata", "reason"),
    [
        ("Size", [], 4, {}, r'output "y" has shape \(\): no scores of one picture'),
        ("Sqrt", ["n", 3, 4, 4], 4, {"normalisation": BELOW_0}, "scores that are not finite"),
        ("GlobalAveragePool", None, 4, {}, "gives 0 outputs"),
        ("GlobalAveragePool", ["n", 3, 1, 1], 10**6, {}, "takes a picture of 1000000 x 1000000 pixels; at most"),
        ("GlobalAveragePool", ["n", 3, 1, 1], "w", {"size": "[3, 1000000, 1000000]"}, "1000000 x 1000000 pixels"),
    ],
)
def test_models_that_do_not_score_pictures_are_one_error(
    node: str,
    output: list[str | int] | None,
    side: object,
    metadata: dict[str, str],
    reason: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write_model(tmp_path / "net.onnx", node, output, side, **metadata)
    assert main(["classify", path, str(IMAGES[0])]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith(f"sdcaffe: error: {path}: ")
    assert re.search(reason, error)


def test_a_net_of_four_channels_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = """name: "four"
        layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 dim: 2 dim: 2 } } }
        layer { name: "sum" type: "Pooling" bottom: "data" top: "sum" pooling_param { global_pooling: true } }"""
    assert main(["classify", *write_net(text, tmp_path), str(IMAGES[0]), "--scale", "1"]) == 1
    assert "takes images of [4, 2, 2] (channels, height, width); 1 or 3 channels" in capsys.readouterr().err


def test_of_many_pictures_one_may_be_broken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_model(tmp_path / "net.onnx", "GlobalAveragePool", ["n", 3, 1, 1])
    broken = tmp_path / "broken.png"
    broken.write_bytes(IMAGES[1].read_bytes()[:-30])
    gone = tmp_path / "gone.png"
    assert main(["classify", path, str(IMAGES[0]), str(broken), str(gone), str(IMAGES[1])]) == 1
    out, error = capsys.readouterr()
    assert [line.split()[3] for line in out.splitlines() if "Prediction" in line] == [str(IMAGES[0]), str(IMAGES[1])]
    first, second = error.splitlines()
    assert first.startswith(f"sdcaffe: error: {broken}: cannot decode the image")
    assert second == f"sdcaffe: error: {gone}: cannot read the image: No such file or directory"


def test_a_folder_is_classified_as_csv(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "pictures, mine"
    (folder / "below").mkdir(parents=True)
    colours = {"a.png": (250, 0, 0), "below/b.jpg": (0, 0, 250), "broken.png": None, "notes.txt": None}
    for name, colour in colours.items():
        if colour is None:
            (folder / name).write_text("no picture")
        else:
            Image.fromarray(np.full((6, 6, 3), colour, np.uint8)).save(folder / name)
    path = write_model(tmp_path / "net.onnx", "GlobalAveragePool", ["n", 3, 1, 1], classes='["red, deep", "green"]')
    assert main(["classify", path, str(folder), str(folder / "a.png"), "--top", "2"]) == 1
    out, error = capsys.readouterr()
    head, *rows = csv.reader(out.splitlines())
    assert head == ["file", "class_1", "probability_1", "class_2", "probability_2"]
    files = [str(folder / name) for name in ("a.png", "below/b.jpg", "a.png")]
    assert [row[:3] for row in rows] == [
        [f, c, "1.0000"] for f, c in zip(files, ["red, deep", "2", "red, deep"], strict=True)
    ]
    assert all(row[4] == "0.0000" for row in rows)
    assert error.startswith(f"sdcaffe: error: {folder / 'broken.png'}: cannot decode the image")
    (tmp_path / "empty").mkdir()
    assert main(["classify", path, str(tmp_path / "empty")]) == 1
    assert "empty: holds no pictures (.png, .jpg" in capsys.readouterr().err


def test_whose_channel_order_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """That of a data layer stays where its mean is given anew; without one it is presumed, and said to be."""
    text = (
        TINY.partition("layer {")[0]
        + """
        layer { name: "data" type: "ImageData" top: "data" top: "label"
          image_data_param { source: "gone.txt" batch_size: 2 new_height: 8 new_width: 8 }
          transform_param { mean_file: "gone.binaryproto" scale: 0.5 } }
        """
        + TINY.split("\n", 3)[3]
    )
    deploy, weights = write_net(TINY, tmp_path)
    trained = tmp_path / "train_val.prototxt"
    trained.write_text(text)
    mean = ["-o", str(tmp_path / "net.onnx"), "--mean", "1,2,3"]
    assert main(["export", str(trained), weights, *mean, "--shape", "data=1,3,8,8"]) == 0
    assert main(["export", deploy, weights, *mean, "--data", str(trained)]) == 0
    assert main(["export", deploy, weights, *mean]) == 0
    assert main(["export", deploy, weights, *mean, "--channel-order", "bgr"]) == 0
    pixels = [line for line in capsys.readouterr().out.splitlines() if line.startswith("pixels")]
    assert [line.partition("; mean 1 2 3, ")[2] for line in pixels] == [
        "scale 0.5, bgr",
        "scale 0.5, bgr",
        "scale 1, rgb presumed; --channel-order says otherwise",
        "scale 1, bgr",
    ]


def test_names_of_classes_cannot_steer_a_terminal(tmp_path: Path) -> None:
    names = json.dumps(["\x1b[31mcat\n", "chien d'été", "犬"])
    path = write_model(tmp_path / "net.onnx", "GlobalAveragePool", ["n", 3, 1, 1], classes=names)
    classifier = open_onnx(path)
    found = best(classifier.probabilities(str(IMAGES[0])), classifier.metadata.classes)
    assert {name for name, _ in found} == {"[31mcat", "chien d'été", "犬"}


def test_a_model_of_another_maker_is_told_how_it_takes_pixels(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("red\ngreen\nblue\n")
    pixels = np.full((4, 4, 3), (200, 10, 20), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "red.png")
    data = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 2, 2])
    mean = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3, 1, 1])
    graph = helper.make_graph([helper.make_node("GlobalAveragePool", ["x"], ["y"])], "g", [data], [mean])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match='nothing says how a picture becomes the input "x"'):
        open_onnx(str(tmp_path / "net.onnx"))
    classifier = open_onnx(str(tmp_path / "net.onnx"), str(tmp_path / "names.txt"), Pixels(scale=1.0))
    found = best(classifier.probabilities(str(tmp_path / "red.png")), classifier.metadata.classes, 1)
    assert found == [("red", pytest.approx(1))]
    assert json.dumps(classifier.metadata.sources) == "{}"
