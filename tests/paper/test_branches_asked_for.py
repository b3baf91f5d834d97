"""Self-distillation of nets whose own layers distort little or nothing: flags, labels of positions, clashing sizes."""

from __future__ import annotations

import h5py
import lmdb
import numpy as np
import pytest
from PIL import Image
from recipe_nets import parsed
from rewriting import kept

import sdcaffe
from sdcaffe import Net, proto
from sdcaffe.cli import main
from sdcaffe.errors import GraphError

SOURCES = {
    "ImageData": """
layer { name: "source" type: "ImageData" top: "data" top: "label" include { phase: TRAIN }
  transform_param { %s } image_data_param { source: "list.txt" batch_size: 4 } }
layer { name: "source" type: "ImageData" top: "data" top: "label" include { phase: TEST }
  image_data_param { source: "list.txt" batch_size: 4 } }""",
    "HDF5Data": """
layer { name: "source" type: "HDF5Data" top: "data" top: "label" hdf5_data_param { source: "h5.txt" batch_size: 4 } }
# %s
""",
    "MemoryData": """
layer { name: "source" type: "MemoryData" top: "data" top: "label"
  transform_param { %s } memory_data_param { batch_size: 4 channels: 3 height: 22 width: 20 } }""",
    "DummyData": """
layer { name: "source" type: "DummyData" top: "data" top: "label" dummy_data_param {
  shape { dim: 4 dim: 3 dim: 22 dim: 20 } shape { dim: 4 } } }
# %s
""",
    "Data": """
layer { name: "source" type: "Data" top: "data" top: "label" transform_param { %s }
  data_param { source: "nowhere" batch_size: 4 backend: LMDB } }""",
}
CONV = """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 6 kernel_size: 3 stride: 2 weight_filler { type: "msra" } } }"""
POOL = """
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { pool: AVE global_pooling: true } }"""
FC = """
layer { name: "scores" type: "InnerProduct" bottom: "%s" top: "scores"
  inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "scores" bottom: "label" top: "loss" }"""
NET = CONV + POOL + FC % "pool"
DISTORT = 'layer { name: "phi" type: "Distort" bottom: "image" top: "data" distort_param { %s } }\n'


@pytest.fixture(autouse=True)
def pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(3)
    for i in range(8):
        Image.fromarray(random.integers(0, 256, (22, 20, 3)).astype(np.uint8)).save(f"{i}.png")
    (tmp_path / "list.txt").write_text("".join(f"{i}.png {i % 4}\n" for i in range(8)))
    with h5py.File("d.h5", "w") as file:
        file["data"] = random.random((8, 3, 22, 20), np.float32)
        file["label"] = np.arange(8, dtype=np.float32) % 4
        file["pixels"] = np.zeros((8, 22, 20), np.float32)
    (tmp_path / "h5.txt").write_text("d.h5\n")
    return tmp_path


def distorts(net) -> list:
    return [layer for layer in net.layer if layer.type == "Distort"]


@pytest.mark.parametrize("source", SOURCES)
def test_flags_distort_the_images_of_any_data_layer(source):
    text = SOURCES[source] % "" + NET
    net = sdcaffe.self_distill(parsed(text), pad=2, crop=20, mirror=True)
    (made,) = distorts(net)
    param = made.distort_param
    assert (param.pad, param.crop_size, param.mirror) == (2, 20, True)
    assert len(made.top) == 2
    assert kept(net, proto.TEST) == kept(parsed(text), proto.TEST)
    if source == "Data":
        return  # its images are nowhere
    built = Net(net, proto.TRAIN)
    (joined,) = (layer.top[0] for layer in net.layer if layer.type == "Concat")
    assert built.blob_shapes[joined] == (8, 3, 20, 20)
    built.close()


def test_each_window_is_one_of_the_padded_picture_prepared_as_the_data_layer_did():
    text = SOURCES["ImageData"] % "mean_value: 120 scale: 0.01" + NET
    net = Net(sdcaffe.self_distill(parsed(text), pad=2, mirror=True), proto.TRAIN)
    blobs = net.compute(net.load(), ("data_a", "data_b")).blobs
    a, b = blobs["data_a"].numpy(), blobs["data_b"].numpy()
    net.close()
    for i in range(4):
        raw = np.asarray(Image.open(f"{i}.png"))[:, :, ::-1].astype(np.float64)
        padded = (np.pad(raw, ((2, 2), (2, 2), (0, 0))) - 120) * 0.01
        windows = [padded[y : y + 22, x : x + 20] for y in range(5) for x in range(5)]
        windows += [window[:, ::-1] for window in windows]
        for branch in (a, b):
            seen = branch[i].transpose(1, 2, 0)
            assert min(np.abs(seen - window).max() for window in windows) < 1e-5
    assert np.abs(a - b).max() > 0.1


@pytest.mark.parametrize(
    ("own", "asked", "expected"),
    [
        ("mirror: true crop_size: 18", {"pad": 2, "crop": 20, "mirror": True}, (2, 20, True)),
        ("mirror: true crop_size: 18", {"mirror": True}, (0, 18, True)),
        ("mirror: true crop_size: 18", {"pad": 3}, (3, 18, True)),
        ("crop_size: 18", {}, (0, 18, False)),
    ],
)
def test_what_the_data_layer_did_is_done_once_and_flags_take_its_place(own, asked, expected):
    for source in ("ImageData", "MemoryData"):
        net = sdcaffe.self_distill(parsed(SOURCES[source] % own + NET), **asked)
        (made,) = distorts(net)
        param = made.distort_param
        assert (param.pad, param.crop_size, param.mirror) == expected
        raw = next(layer for layer in net.layer if layer.top[0] == made.bottom[0])
        assert not raw.transform_param.crop_size
        assert not raw.transform_param.mirror


@pytest.mark.parametrize(
    ("own", "distort", "expected"),
    [
        ("mirror: true", "pad: 2 crop_size: 18 mirror: true", (2, 18, True)),
        ("mirror: true", "pad: 2", (2, 0, True)),
        ("crop_size: 18", "mirror: true", (0, 18, True)),
        ("crop_size: 18 mirror: true mean_value: 3", "std_value: 2", (0, 18, True)),
    ],
)
def test_a_data_layer_before_distort_hands_it_what_it_does(own, distort, expected):
    text = (SOURCES["ImageData"] % own).replace('"data"', '"image"') + DISTORT % distort + NET
    net = sdcaffe.self_distill(parsed(text))
    made = next(layer for layer in distorts(net) if len(layer.top) == 2)
    param = made.distort_param
    assert (param.pad, param.crop_size, param.mirror) == expected
    raw = net.layer[0].transform_param
    assert (raw.crop_size, raw.mirror, list(raw.mean_value)) == (0, False, [3] if "mean" in own else [])


AFTER_CROP = (SOURCES["ImageData"] % "crop_size: 18").replace('"data"', '"image"')
BETWEEN = 'layer { name: "half" type: "Power" bottom: "image" top: "halved" power_param { scale: 0.5 } }\n'
DENSE = """
layer { name: "scores" type: "Convolution" bottom: "conv" top: "scores"
  convolution_param { num_output: 4 kernel_size: 1 weight_filler { type: "msra" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "scores" bottom: "label" top: "loss" }"""
SAME_FILE = SOURCES["HDF5Data"].replace('top: "label"', 'top: "pixels"') % ""
TWO_BASES = SOURCES["Data"].replace('top: "label"', "") % "" + (
    'layer { name: "labels" type: "Data" top: "label" data_param { source: "other" batch_size: 4 backend: LMDB } }\n'
)
SLICED = """
layer { name: "source" type: "HDF5Data" top: "both" hdf5_data_param { source: "nowhere.txt" batch_size: 4 } }
layer { name: "cut" type: "Slice" bottom: "both" top: "data" top: "label" slice_param { slice_point: 2 } }"""
SEQUENCE = """
layer { name: "flat" type: "Reshape" bottom: "conv" top: "flat" reshape_param { shape { dim: 0 dim: 6 dim: -1 } } }
layer { name: "scores" type: "InnerProduct" bottom: "flat" top: "scores" inner_product_param { num_output: 4 axis: 2 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "scores" bottom: "pixels" top: "loss"
  softmax_param { axis: 2 } }"""
UP = """
layer { name: "up" type: "Deconvolution" bottom: "conv" top: "up" convolution_param { num_output: 4 kernel_size: 4
  stride: 2 } }
layer { name: "scores" type: "Crop" bottom: "up" bottom: "data" top: "scores" crop_param { axis: 2 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "scores" bottom: "pixels" top: "loss" }"""
FIXED = (
    """
layer { name: "flat" type: "Reshape" bottom: "conv" top: "flat" reshape_param { axis: 1 num_axes: 0 shape { dim: 1 } } }
layer { name: "turned" type: "Reshape" bottom: "flat" top: "turned" reshape_param { shape { dim: 4 dim: -1 } } }
"""
    + FC % "turned"
)
OF_THE_BATCH = (
    CONV
    + POOL
    + """
layer { name: "each" type: "Scale" bottom: "pool" top: "each" scale_param { axis: 0 } }"""
    + FC % "each"
)

REFUSED = {
    "nothing is invented": (SOURCES["ImageData"] % "" + NET, {}, "--pad N, --crop N and --mirror"),
    "nor for numbers that are made": (SOURCES["DummyData"] % "" + NET, {}, "--pad N, --crop N and --mirror"),
    "a Distort layer that does nothing": (
        (SOURCES["DummyData"] % "").replace('"data"', '"image"') + DISTORT % "mean_value: 3" + NET,
        {},
        "changes nothing.*--mirror",
    ),
    "a negative border": (SOURCES["ImageData"] % "" + NET, {"pad": -1}, "--pad must be"),
    "a border of a billion": (SOURCES["Data"] % "" + NET, {"pad": 10**9}, "--pad must be"),
    "a border as large as the picture": (SOURCES["ImageData"] % "" + NET, {"pad": 20}, "--pad 20 leaves"),
    "a window of nothing": (SOURCES["ImageData"] % "" + NET, {"crop": 0}, "--crop must be"),
    "a window that does not fit": (SOURCES["ImageData"] % "" + NET, {"crop": 23, "pad": 1}, "--crop 23 does not fit"),
    "weights of another size in the test": (
        SOURCES["ImageData"] % "" + CONV + FC % "conv",
        {"crop": 20},
        r'"scores" would have weights of shape \(4, 486\) in training and of \(4, 540\)',
    ),
    "a crop before another window": (AFTER_CROP + DISTORT % "pad: 2" + NET, {}, '"source" .*take crop_size out'),
    "a crop that others see": (
        AFTER_CROP + BETWEEN + (DISTORT % "mirror: true").replace('"image"', '"halved"') + NET,
        {},
        "take crop out of its transform_param",
    ),
    "labels of pixels, made": (
        (SOURCES["DummyData"] % "").replace("shape { dim: 4 }", "shape { dim: 4 dim: 10 dim: 9 }") + CONV + DENSE,
        {"mirror": True},
        "90 positions an image",
    ),
    "labels of pixels, in the images' file": (
        SAME_FILE + CONV + UP,
        {"pad": 1, "mmd_weight": 0},
        "440 positions an image",
    ),
    "labels of pixels, in another database": (TWO_BASES + CONV + DENSE, {"crop": 16}, "positions an image"),
    "labels cut from the images": (SLICED + CONV + DENSE, {"mirror": True}, "positions an image"),
    "labels of a sequence": (SAME_FILE + CONV + SEQUENCE, {"mirror": True, "mmd_weight": 0}, "6 positions an image"),
    "a batch written down": (SOURCES["ImageData"] % "" + CONV + FIXED, {"mirror": True}, "works across the images"),
    "weights of the batch's size": (SOURCES["ImageData"] % "" + OF_THE_BATCH, {"mirror": True}, "batch|weights"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_flags_do_not_make_right_is_refused(case):
    text, asked, words = REFUSED[case]
    with pytest.raises(GraphError, match=words):
        sdcaffe.self_distill(parsed(text), **asked)


def test_scores_of_one_position_by_a_convolution_are_an_image_s():
    pooled = CONV + POOL + DENSE.replace('bottom: "conv"', 'bottom: "pool"')
    for source in ("ImageData", "HDF5Data", "DummyData"):
        assert distorts(sdcaffe.self_distill(parsed(SOURCES[source] % "" + pooled), crop=16))
    whole = DENSE.replace("kernel_size: 1", "kernel_h: 10 kernel_w: 9")
    assert distorts(sdcaffe.self_distill(parsed(SOURCES["HDF5Data"] % "" + CONV + whole), mirror=True))
    assert distorts(
        sdcaffe.self_distill(
            parsed(SOURCES["Data"] % "crop_size: 21" + CONV + whole.replace("kernel_w: 9", "kernel_w: 10"))
        )
    )


def test_a_database_tells_the_size_of_its_images(tmp_path):
    datum = proto.Datum(channels=3, height=22, width=20, data=bytes(3 * 22 * 20), label=1)
    with lmdb.open(str(tmp_path / "base"), map_size=1 << 20) as base, base.begin(write=True) as transaction:
        for i in range(4):
            transaction.put(b"%08d" % i, datum.SerializeToString())
    text = (SOURCES["Data"] % "").replace("nowhere", "base") + NET
    with pytest.raises(GraphError, match="--crop 23 does not fit pictures of 22x20"):
        sdcaffe.self_distill(parsed(text), crop=23)


@pytest.mark.parametrize(
    ("source", "flags"), [("ImageData", ["--mirror"]), ("HDF5Data", ["--pad", "2", "--crop", "20"])]
)
def test_what_the_command_writes_trains(tmp_path, capsys, source, flags):
    (tmp_path / "net.prototxt").write_text(SOURCES[source] % "scale: 0.01" + NET)
    assert main(["self-distill", "net.prototxt", "-o", "two.prototxt", *flags]) == 0
    said = capsys.readouterr().out
    assert "distorted twice in training" in said
    assert 'feature: "pool", 6 values an image' in said
    assert "a step passes 8 images as one batch, two views of each of 4" in said
    (tmp_path / "s.prototxt").write_text(
        'net: "two.prototxt" base_lr: 0.01 lr_policy: "fixed" max_iter: 2 display: 1 test_iter: 1 test_interval: 2\n'
        'snapshot_prefix: "run" solver_mode: CPU'
    )
    assert main(["train", "s.prototxt"]) == 0
    log = (tmp_path / "run.log").read_text()
    assert all(f": {name} = " in log for name in ("loss_a", "loss_b", "kl", "mmd"))


PLACES = """
layer { name: "scores" type: "Convolution" bottom: "conv" top: "scores"
  convolution_param { num_output: 4 kernel_size: 1 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "scores" bottom: "label" top: "loss" }"""


@pytest.mark.parametrize(
    "source",
    [
        'type: "DenseImageData" dense_image_data_param { source: "nowhere" batch_size: 2 }',
        'type: "DenseImageData" dense_image_data_param { source: "nowhere" batch_size: 2 mirror: true crop_width: 9 }',
        'type: "ImageSegData" transform_param { mirror: true crop_size: 9 } image_data_param { source: "nowhere" }',
    ],
)
@pytest.mark.parametrize("flags", [{}, {"crop": 20}, {"mirror": True}])
def test_pictures_of_labels_are_refused_before_flags_are_asked_for(source, flags):
    layer = f'layer {{ name: "source" top: "data" top: "label" {source} }}\n'
    misfit = CONV.replace("kernel_size: 3", "kernel_size: 999")  # as SegNet's decoder, whose sizes no guess meets
    for net in (CONV + PLACES, misfit + PLACES):
        with pytest.raises(GraphError, match=r"labels of pixels that \"source\" .* cannot be self-distilled"):
            sdcaffe.self_distill(parsed(layer + net), **flags)


def test_labels_that_may_stand_for_pixels_are_refused_where_no_guess_of_the_pictures_fits():
    source = SOURCES["HDF5Data"].replace("h5.txt", "nowhere") % ""
    misfit = CONV.replace("kernel_size: 3", "kernel_size: 999")
    with pytest.raises(GraphError, match=r'"loss" .* cannot be told without the data, for "scores" keeps places apart'):
        sdcaffe.self_distill(parsed(source + misfit + PLACES), mirror=True)
    assert distorts(sdcaffe.self_distill(parsed(source + misfit + FC % "conv"), mirror=True))
    assert distorts(sdcaffe.self_distill(parsed(SOURCES["Data"] % "" + misfit + PLACES), mirror=True))


def test_an_oblong_crop_goes_where_a_window_is_asked_for():
    source = SOURCES["Data"] % "crop_h: 12 crop_w: 16 mirror: true"
    with pytest.raises(GraphError, match=r"crop_h and crop_w.*--crop N"):
        sdcaffe.self_distill(parsed(source + NET))
    made = sdcaffe.self_distill(parsed(source + NET), crop=14)
    (distort,) = (layer.distort_param for layer in made.layer if layer.type == "Distort")
    assert (distort.crop_size, distort.mirror) == (14, True)
    assert "crop_h" not in str(made.layer[0])


def test_a_border_behind_the_crop_cannot_go_to_distort():
    source = SOURCES["Data"] % "crop_size: 12 mirror: true pad: 2"
    for flags in ({}, {"crop": 14}):
        with pytest.raises(GraphError, match=r"puts a border, pad, round what it crops.*take pad out"):
            sdcaffe.self_distill(parsed(source + NET), **flags)


def test_windows_of_pictures_are_not_mirrored_twice():
    source = """layer { name: "source" type: "WindowData" top: "data" top: "label" transform_param { crop_size: 21 %s }
      window_data_param { source: "nowhere" batch_size: 4 } }\n"""
    for flags in ({}, {"mirror": True}):
        with pytest.raises(GraphError, match=r"\(WindowData\) mirrors the images itself.*take mirror out"):
            sdcaffe.self_distill(parsed(source % "mirror: true" + NET), **flags)
    made = sdcaffe.self_distill(parsed(source % "" + NET), mirror=True)
    assert (made.layer[0].transform_param.crop_size, made.layer[1].distort_param.mirror) == (21, True)


def test_auxiliary_losses_and_sizes_are_said_also_where_the_data_are_elsewhere(tmp_path, capsys):
    auxiliary = NET.replace('name: "loss"', 'name: "early" loss_weight: 0.3').replace('top: "loss"', 'top: "early"')
    (tmp_path / "net.prototxt").write_text(
        SOURCES["Data"] % "crop_size: 16" + auxiliary + FC.replace("scores", "last") % "pool"
    )
    assert main(["self-distill", "net.prototxt", "-o", "two.prototxt"]) == 0
    said = capsys.readouterr().out
    assert 'auxiliary losses, once for each branch, without KL and MMD of their own: "early"\n' in said
    assert 'logits: "last", from the loss "loss"\n' in said
    assert 'feature: "pool", 6 values an image as far as can be told without the data\n' in said
    assert "a step passes 8 images as one batch, two views of each of 4\n" in said
