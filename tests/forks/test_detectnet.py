"""DetectNetTransformation: pictures against OpenCV, grids against boxes painted on a raster, chance by distribution."""

from __future__ import annotations

import cv2
import lmdb
import numpy as np
import pytest
import torch
from fork_layers import make, run
from scipy import stats

from sdcaffe import proto
from sdcaffe.cli import main
from sdcaffe.errors import LayerError

OFF = " ".join(f"{name}_prob: 0" for name in ("crop", "scale", "flip", "rotation", "hue_rotation", "desaturation"))
CLASSES = "object_class { src: 1 dst: 1 } object_class { src: 4 dst: 0 }"
UNLIKELY = 1e-4  # the draws are always the same ones


def labels(*pictures):
    """DIGITS' labels of pictures, each a list of (x, y, width, height, class)."""
    rows = 1 + max(map(len, pictures)) + 1
    found = np.full((len(pictures), 1, rows, 16), 7.0)
    for i, boxes in enumerate(pictures):
        found[i, 0, 0, :2] = len(boxes), 16
        for k, (x, y, width, height, kind) in enumerate(boxes):
            found[i, 0, k + 1, :6] = x, y, width, height, 0, kind
    return found


def made(pictures, label, ground="", augmentation=OFF, more="", phase="TRAIN"):
    height, width = pictures.shape[2:]
    size = "" if "image_size" in ground else f"image_size_x: {width} image_size_y: {height}"
    body = f"detectnet_groundtruth_param {{ {size} {ground} }} detectnet_augmentation_param {{ {augmentation} }} {more}"
    return make("DetectNetTransformation", body, [pictures.shape, label.shape], tops=2, phase=phase)


def drawn(monkeypatch, **draws):
    """The next pictures take these draws; those that are not named change nothing."""
    names = ["hue", "by_hue", "fade", "by_fade", "flip", "scale", "by_scale", "turn", "by_turn", "crop", "x", "y"]
    row = [draws.get(name, 0.999) for name in names]
    monkeypatch.setattr(torch, "rand", lambda count, _, **kind: torch.tensor([row] * count, **kind))


def picture(*shape, seed=0):
    """Pixels of 0 to 255 with grey, black and one channel at its most among them."""
    pixels = np.random.RandomState(seed).randint(0, 256, (1, 3, *shape)).astype(np.float32)
    pixels[0, :, 0, 0], pixels[0, :, 0, 1], pixels[0, :, 1, 0] = 0, 90, (255, 0, 0)
    return pixels


# ---------------------------------------------------------------- pictures, as OpenCV makes them


def by_opencv(pixels, seen, hue=0.0, fade=1.0, flip=False, scaled=None, turn=0.0, offset=(0, 0), mean=0.0):
    """(1, 3, h, w) through cv2, in the fork's order; the fork's OpenCV leaves a pixel 0 where a neighbour lacks."""
    image = pixels[0].transpose(1, 2, 0) / np.float32(255)
    if hue or fade != 1:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
        image[..., 0] = (image[..., 0] + hue) % 360  # below 0, what cv2 does hangs on how many pixels there are
        image[..., 1] *= fade
        image = cv2.cvtColor(image, cv2.COLOR_HSV2BGR)
    image = image - np.float32(mean) / np.float32(255)
    if flip:
        image = cv2.flip(image, 1)
    if scaled:
        image = cv2.resize(image, scaled[::-1], interpolation=cv2.INTER_CUBIC)
    if turn:
        image = turned_by_opencv(image, turn)
    height, width = image.shape[:2]
    top = np.zeros((3, *seen), np.float32)
    for y, x in np.ndindex(*seen):
        if 0 <= y + offset[0] < height and 0 <= x + offset[1] < width:
            top[:, y, x] = image[y + offset[0], x + offset[1]]
    return top * 255


def turned_by_opencv(image, turn):
    height, width = image.shape[:2]
    columns, rows = cv2.RotatedRect((width // 2, height // 2), (width, height), turn).boundingRect()[2:]
    matrix = matrix_by_opencv(height, width, turn)

    def warped(source):
        return cv2.warpAffine(source, matrix, (columns, rows), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)

    ones, inner = np.ones((2, height, width), np.float32)
    inner[-1] = inner[:, -1] = 0
    whole = (warped(ones) > 1 - 1e-6) & (warped(inner) > 0)
    return np.where(whole[..., None], warped(image), 0)


def matrix_by_opencv(height, width, turn):
    middle = np.float32([width / 2, height / 2])
    bounds = cv2.RotatedRect(tuple(middle), (width, height), turn).boundingRect()
    moved = cv2.RotatedRect(tuple(middle - np.float32(bounds[:2])), (width, height), turn).points()
    before = cv2.RotatedRect(tuple(middle), (width, height), 0).points()
    return cv2.getAffineTransform(before[:3].astype(np.float32), moved[:3].astype(np.float32)).astype(np.float32)


# What is drawn of pictures of 24 x 31 pixels, what that is by the fork's rules, worked out by hand, and the fields.
CASES = {
    "nothing": ({}, {}, ""),
    "the middle": ({}, {"offset": (4, 3)}, "", (16, 25)),
    "half a pixel goes away from 0": ({}, {"offset": (1, -1)}, "", (23, 32)),
    "hue": ({"hue": 0.2, "by_hue": 0.9}, {"hue": 80}, "hue_rotation_prob: 0.5 hue_rotation: 100"),
    "hue, the other way": ({"hue": 0, "by_hue": 0.1}, {"hue": -80}, "hue_rotation_prob: 0.5 hue_rotation: 100"),
    "hue, at most 180": ({"hue": 0, "by_hue": 0.999}, {"hue": 180}, "hue_rotation_prob: 0.5 hue_rotation: 400"),
    "saturation": ({"fade": 0, "by_fade": 0.25}, {"fade": 0.8}, "desaturation_prob: 0.5 desaturation_max: 0.8"),
    "saturation, too little to be seen": (
        {"fade": 0, "by_fade": 0.25},
        {},
        "desaturation_prob: 0.5 desaturation_max: 0.01",
    ),
    "mirrored": ({"flip": 0.4}, {"flip": True}, "flip_prob: 0.5"),
    "larger": (
        {"scale": 0, "by_scale": 0.75},
        {"scaled": (36, 47), "offset": (6, 8)},
        "scale_prob: 0.5 scale_min: 0.75 scale_max: 1.75",
    ),
    "smaller": (
        {"scale": 0, "by_scale": 0.5},
        {"scaled": (18, 23), "offset": (-3, -4)},
        "scale_prob: 0.5 scale_min: 0.5 scale_max: 1",
    ),
    "turned": ({"turn": 0, "by_turn": 0.9}, {"turn": 16}, "rotation_prob: 0.5 max_rotate_degree: 20"),
    "turned, the other way": ({"turn": 0, "by_turn": 0}, {"turn": -20}, "rotation_prob: 0.5 max_rotate_degree: 20"),
    "cut at random": (
        {"crop": 0, "x": 0.25, "y": 0.9},
        {"offset": (10, 1)},  # 0.9 * (24 - 16 + 6) - 3 = 9.6; 0.25 * (31 - 25 + 5) - 2 = 0.75
        "crop_prob: 0.5 shift_x: 5 shift_y: 6",
        (16, 25),
    ),
    "all": (
        {"hue": 0, "by_hue": 0.75, "fade": 0, "by_fade": 0.5, "flip": 0, "scale": 0, "by_scale": 0.5, "turn": 0}
        | {"by_turn": 0.25, "crop": 0, "x": 0.5, "y": 0.5},
        {"hue": 10, "fade": 0.75, "flip": True, "scaled": (18, 23), "turn": -5},
        "hue_rotation_prob: 1 hue_rotation: 20 desaturation_prob: 1 flip_prob: 1 scale_prob: 1 scale_min: 0.5 "
        "scale_max: 1 rotation_prob: 1 max_rotate_degree: 10 crop_prob: 1",
    ),
}


def case(name):
    draws, how, fields, *seen = CASES[name]
    seen = seen[0] if seen else (24, 31)
    how = dict(how)
    if how.get("turn") and "offset" not in how:
        sides = how.get("scaled", (24, 31))
        columns, rows = cv2.RotatedRect((sides[1] // 2, sides[0] // 2), sides[::-1], how["turn"]).boundingRect()[2:]
        how["offset"] = tuple(
            int(np.trunc((side - want) / 2 + np.copysign(0.5, side - want)))
            for side, want in zip((rows, columns), seen, strict=True)
        )
    given = {field.split(":")[0] for field in fields.split() if field.endswith(":")}
    unset = " ".join(f"{name}: 0" for name in OFF.replace(": 0", "").split() if name not in given)
    return draws, how, f"{fields} {unset}", seen


@pytest.mark.parametrize("mean", ["", "mean_value: 127", "mean_value: 100 mean_value: 110 mean_value: 120"])
@pytest.mark.parametrize("name", CASES)
def test_pictures_are_opencvs(name, mean, monkeypatch):
    draws, how, fields, seen = case(name)
    drawn(monkeypatch, **draws)
    pixels, label = picture(24, 31), labels([])
    more = f"transform_param {{ {mean} }}"
    layer = made(pixels, label, f"image_size_x: {seen[1]} image_size_y: {seen[0]}", fields, more)
    found, _ = layer(torch.tensor(pixels), torch.tensor(label))
    values = [float(word) for word in mean.split() if word[0].isdigit()] or [0.0]
    want = by_opencv(pixels, seen, mean=values, **how)
    assert np.abs(found[0].numpy() - want).max() < 2e-3  # of 255
    assert np.abs(want).max() > 50


@pytest.mark.parametrize("seen", [(24, 31), (48, 31), (10, 77)])
def test_a_test_resizes(seen):
    pixels, label = picture(24, 31), labels([])
    layer = made(pixels, label, f"image_size_x: {seen[1]} image_size_y: {seen[0]}", "flip_prob: 1", phase="TEST")
    found, _ = run(layer, pixels, label)
    assert np.abs(found[0] - by_opencv(pixels, seen, scaled=seen)).max() < 2e-3


def test_a_mean_image_is_resized_to_the_pictures(tmp_path):
    pixels, label, mean = picture(24, 31), labels([]), picture(9, 14, seed=1)
    blob = proto.BlobProto(data=mean.ravel().tolist())
    blob.shape.dim.extend(mean.shape)
    (tmp_path / "mean.binaryproto").write_bytes(blob.SerializeToString())
    more = f'transform_param {{ mean_file: "{tmp_path}/mean.binaryproto" mean_value: 3 }}'
    found, _ = run(made(pixels, label, more=more, phase="TEST"), pixels, label)
    wide = cv2.resize(mean[0].transpose(1, 2, 0), (31, 24), interpolation=cv2.INTER_CUBIC)
    assert np.abs(found[0] - (pixels[0] - wide.transpose(2, 0, 1))).max() < 2e-3


# ---------------------------------------------------------------- boxes


def by_raster(boxes, size, stride, inside, least=None, most=None):
    """The grid of boxes of whole pixels, each painted in quarters of pixels: part of it covers, all of it is told."""
    edge, fine = 64, 4
    y, x = np.mgrid[-edge : size[0] + edge : 1 / fine, -edge : size[1] + edge : 1 / fine] + 1 / fine / 2
    onscreen = (y > 0) & (y < size[0]) & (x > 0) & (x < size[1])
    grid = np.zeros((10, size[0] // stride, size[1] // stride))
    for left, top, width, height, kind in boxes:
        box = (x > left) & (x < left + width) & (y > top) & (y < top + height)
        if inside:
            box &= onscreen
        if kind not in (1, 4) or not box.any():
            continue
        ends = [v[box].min() - 1 / fine / 2 for v in (x, y)] + [v[box].max() + 1 / fine / 2 for v in (x, y)]
        sides = ends[2] - ends[0], ends[3] - ends[1]
        half = [side / 2 for side in sides]
        half = [min(max(h, least), s) for h, s in zip(half, sides, strict=True)] if least else half
        half = [min(h, most) for h in half] if most else half
        part = (abs(x - (ends[0] + ends[2]) / 2) < half[0] / 2) & (abs(y - (ends[1] + ends[3]) / 2) < half[1] / 2)
        for i, j in np.ndindex(grid.shape[1:]):
            cell = (y > i * stride) & (y < (i + 1) * stride) & (x > j * stride) & (x < (j + 1) * stride)
            if (cell & part).any():
                corners = np.array(ends) - [j * stride, i * stride, j * stride, i * stride]
                norm = (stride * fine) ** 2 / part.sum()
                grid[:, i, j] = [1, *corners, 1 / sides[0], 1 / sides[1], norm, kind == 4, kind == 1]
    return grid


BOXES = [
    (3, 5, 8, 6, 1),
    (10, 4, 20, 12, 4),
    (-6, 20, 14, 8, 1),
    (26, 24, 40, 40, 4),
    (12, 8, 4, 4, 2),
    (0, 0, 2, 2, 1),
    (-30, 3, 8, 8, 1),
    (18, 20, 2, 20, 1),
    (5, 5, 0, 5, 1),
]


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("limits", ["", "gridbox_type: GRIDBOX_MIN min_cvg_len: 6", "max_cvg_len: 4"])
def test_a_grid_is_a_rasters(limits, inside):
    pixels, label = picture(32, 40), labels(BOXES)
    words = f"{limits} {CLASSES} crop_bboxes: {str(inside).lower()} obj_norm: true stride: 8"
    _, found = run(made(pixels, label, words, phase="TEST"), pixels, label)
    number = int(limits.split()[-1]) if limits else 50
    want = by_raster(BOXES, (32, 40), 8, inside, **{"least" if "MIN" in limits else "most": number})
    assert np.allclose(found[0], want, rtol=1e-12)
    assert 0 < want[0].mean() < 1


def test_a_box_by_hand():
    """Its middle part is 4 x 3 pixels about (7, 8): from (5, 6.5) to (9, 9.5), in cells 1 and 2 of each side."""
    pixels, label = picture(16, 20), labels([(3, 5, 8, 6, 1)], [])
    pixels = np.concatenate([pixels, pixels])
    _, found = run(made(pixels, label, phase="TEST"), pixels, label)
    assert found.shape == (2, 9, 4, 5)
    want = np.zeros((4, 5))
    want[1:3, 1:3] = 1
    assert np.array_equal(found[0, 0], want)
    assert np.allclose(found[0, :, 1, 2], [1, -5, 1, 3, 7, 1 / 8, 1 / 6, 16 / 12, 1])
    assert not found[1].any()
    _, large = run(made(pixels, label, "scale_cvg: 0.75", phase="TEST"), pixels, label)
    assert np.allclose(large[0, 7][large[0, 0] > 0], 1)  # 16 / 27, and at least 1
    _, normed = run(made(pixels, label, "scale_cvg: 0.75 obj_norm: true", phase="TEST"), pixels, label)
    assert np.allclose(normed[0, 7][normed[0, 0] > 0], 16 / 27)


def test_sides_of_a_grid_are_rounded_half_to_even():
    pixels, label = picture(28, 20), labels([])
    assert made(pixels, label, "stride: 8", phase="TEST").top_shapes[1] == (1, 9, 4, 2)  # 3.5 and 2.5


@pytest.mark.parametrize("name", CASES)
def test_boxes_go_where_their_pictures_pixels_go(name, monkeypatch):
    draws, how, fields, seen = case(name)
    drawn(monkeypatch, **draws)
    pixels, label = picture(24, 31), labels([(10, 8, 11, 9, 1)])
    ground = f"image_size_x: {seen[1]} image_size_y: {seen[0]} crop_bboxes: false stride: 2"
    _, grid = made(pixels, label, ground, fields)(torch.tensor(pixels), torch.tensor(label))
    grid = grid[0].numpy()
    i, j = np.argwhere(grid[0] > 0)[0]
    found = [grid[1, i, j] + 2 * j, grid[2, i, j] + 2 * i, 1 / grid[5, i, j], 1 / grid[6, i, j]]
    x, y, width, height = 10.0, 8.0, 11.0, 9.0
    if how.get("flip"):
        x = 31 - 1 - (x + width)
    rows, columns = how.get("scaled", (24, 31))
    x, width, y, height = x * columns / 31, width * columns / 31, y * rows / 24, height * rows / 24
    if how.get("turn"):
        middle = matrix_by_opencv(rows, columns, how["turn"]).astype(np.float64) @ [x + width / 2, y + height / 2, 1]
        x, y = middle - [width / 2, height / 2]
    top, left = how.get("offset", (0, 0))
    assert np.allclose(found, [x - left, y - top, width, height], atol=1e-4)


# ---------------------------------------------------------------- chance


def many(augmentation, pixels, boxes, ground=""):
    """Tops of 2000 pictures that are all alike."""
    torch.manual_seed(3)
    pixels = np.repeat(pixels, 2000, 0)
    label = np.repeat(labels(boxes), 2000, 0)
    given = {word for word in augmentation.split() if word.endswith(":")}
    off = " ".join(f"{word} 0" for word in OFF.replace(" 0", "").split() if word not in given)
    layer = made(pixels, label, ground, f"{augmentation} {off}")
    found, grid = layer(torch.tensor(pixels), torch.tensor(label))
    return found.numpy(), grid.numpy()


def test_colours_turn_and_fade_by_chance():
    red = np.zeros((1, 3, 4, 4), np.float32)
    red[:, 2] = 255
    found, _ = many("hue_rotation_prob: 0.7 hue_rotation: 50 desaturation_prob: 0.4 desaturation_max: 0.6", red, [])
    blue, green, most = found[:, :, 0, 0].T.astype(np.float64)
    assert np.allclose(most, 255, atol=1e-3)
    least = np.minimum(blue, green)
    hue = 60 * (green - blue) / (255 - least)
    turned, faded = abs(hue) > 1e-3, least > 1e-3
    assert stats.binomtest(int(turned.sum()), 2000, 0.7).pvalue > UNLIKELY
    assert stats.kstest(hue[turned], stats.uniform(-50, 100).cdf).pvalue > UNLIKELY
    # less than 1/255 does not fade
    assert stats.binomtest(int(faded.sum()), 2000, 0.4 * (1 - 1 / 255 / 0.6)).pvalue > UNLIKELY
    assert stats.kstest(least[faded] / 255, stats.uniform(1 / 255, 0.6 - 1 / 255).cdf).pvalue > UNLIKELY
    table = [[np.sum(turned & faded), np.sum(turned & ~faded)], [np.sum(~turned & faded), np.sum(~turned & ~faded)]]
    assert stats.chi2_contingency(table).pvalue > UNLIKELY


def test_pictures_are_mirrored_and_cut_by_chance():
    pixels = np.zeros((1, 3, 10, 14), np.float32)
    pixels[0, 0], pixels[0, 1] = np.arange(1, 15), np.arange(1, 11)[:, None]
    found, _ = many("flip_prob: 0.3 crop_prob: 0.6 shift_x: 2", pixels, [], "image_size_x: 4 image_size_y: 4")
    mirrored = found[:, 0, 1, 1] > found[:, 0, 1, 2]
    assert stats.binomtest(int(mirrored.sum()), 2000, 0.3).pvalue > UNLIKELY
    straight = found[:, :, 1:3, 1:3].round()
    left = np.where(mirrored, 14 - straight[:, 0, 0, 0] - 1, straight[:, 0, 0, 0] - 2).astype(int)
    top = (straight[:, 1, 0, 0] - 2).astype(int)
    middle = (left == 5) & (top == 3)
    across, down = (
        np.array([1, *[2] * 11, 1]) / 24,
        np.array([1, *[2] * 5, 1]) / 12,
    )  # rounded: the ends are half as likely
    odds = 0.4 + 0.6 * across[6] * down[3]
    assert stats.binomtest(int(middle.sum()), 2000, odds).pvalue > UNLIKELY
    for places, first, chances in ((left, -1, across), (top, 0, down)):
        counts = np.bincount(places - first, minlength=len(chances)).astype(float)
        expected = 0.6 * chances
        expected[(5 if first else 3) - first] += 0.4
        assert stats.chisquare(counts, 2000 * expected).pvalue > UNLIKELY
    assert abs(stats.pearsonr(left[~middle], top[~middle]).statistic) < 0.12


def test_boxes_are_scaled_and_turned_by_chance():
    pixels = np.zeros((1, 3, 4, 400), np.float32)
    scale = "scale_prob: 0.5 scale_min: 0.5 scale_max: 1.5"
    ground = "image_size_x: 400 image_size_y: 4 crop_bboxes: false max_cvg_len: 900 stride: 4"
    _, grid = many(scale, pixels, [(0, 0, 400, 4, 1)], ground)
    factor = 1 / grid[:, 5, 0, 50] / 400
    scaled = abs(factor - 1) > 1e-4
    assert stats.binomtest(int(scaled.sum()), 2000, 0.5 * 399 / 400).pvalue > UNLIKELY
    assert stats.kstest(factor[scaled], stats.uniform(0.5, 1).cdf).pvalue > UNLIKELY
    pixels = np.zeros((1, 3, 40, 40), np.float32)
    boxes = [(6, 18, 4, 4, 1), (30, 18, 4, 4, 4)]
    ground = f"image_size_x: 60 image_size_y: 60 crop_bboxes: false stride: 4 {CLASSES}"
    _, grid = many("rotation_prob: 0.8 max_rotate_degree: 30", pixels, boxes, ground)
    middles = []
    for channel in (9, 8):
        item, i, j = np.nonzero(grid[:, channel])
        first = np.unique(item, return_index=True)[1]
        middles.append(np.stack([grid[item, 1 + k, i, j] + 4 * cell for k, cell in ((0, j), (1, i))], 1)[first])
    across, down = (middles[1] - middles[0]).T
    angle = np.degrees(np.arctan2(down, across))
    turned = abs(angle) > 1e-3
    assert stats.binomtest(int(turned.sum()), 2000, 0.8).pvalue > UNLIKELY
    assert stats.kstest(angle[turned], stats.uniform(-30, 60).cdf).pvalue > UNLIKELY


# ---------------------------------------------------------------- a net, and errors

NET = """
layer { name: "data" type: "Data" top: "data" data_param { source: "pictures" backend: LMDB batch_size: 3 } }
layer { name: "label" type: "Data" top: "label" data_param { source: "labels" backend: LMDB batch_size: 3 } }
layer { name: "vary" type: "DetectNetTransformation" bottom: "data" bottom: "label" top: "seen" top: "grid"
  detectnet_groundtruth_param { stride: 8 image_size_x: 32 image_size_y: 24 }
  detectnet_augmentation_param { rotation_prob: 0.5 max_rotate_degree: 5 shift_x: 4 }
  transform_param { mean_value: 127 } }
layer { name: "parts" type: "Slice" bottom: "grid" top: "there" top: "box" top: "rest"
  slice_param { axis: 1 slice_point: 1 slice_point: 5 } }
layer { name: "four" type: "Concat" bottom: "there" bottom: "there" bottom: "there" bottom: "there" top: "four" }
layer { name: "quiet" type: "Silence" bottom: "rest" }
layer { name: "conv" type: "Convolution" bottom: "seen" top: "conv" convolution_param { num_output: 4 kernel_size: 8
  stride: 8 weight_filler { type: "xavier" } } }
layer { name: "masked" type: "Eltwise" bottom: "conv" bottom: "four" top: "masked" eltwise_param { operation: PROD } }
layer { name: "loss" type: "L1Loss" bottom: "masked" bottom: "box" top: "loss" loss_weight: 2 }
"""


def test_a_net_trains_and_resumes_bit_for_bit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    random = np.random.RandomState(2)
    for name in ("pictures", "labels"):
        database = lmdb.open(name)
        with database.begin(write=True) as writing:
            for i in range(5):
                array = random.randint(0, 256, (3, 30, 36)).astype(np.uint8)
                datum = proto.Datum(channels=3, height=30, width=36, data=array.tobytes())
                if name == "labels":
                    row = labels([(4 + i, 5, 14, 12, 1)])
                    datum = proto.Datum(channels=1, height=3, width=16, float_data=row.ravel().tolist())
                writing.put(f"{i:08}".encode(), datum.SerializeToString())
        database.close()
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 1e-7 momentum: 0.9 lr_policy: "fixed" max_iter: 6 snapshot: 3 '
        'snapshot_prefix: "net" random_seed: 3 display: 1'
    )
    assert main(["train", "-solver", "solver.prototxt"]) == 0
    files = ["net_iter_6.caffemodel", "net_iter_6.solverstate"]
    whole = [(tmp_path / file).read_bytes() for file in files]
    first, last = ({e.name: e.blobs for e in proto.read_weights(f"net_iter_{i}.caffemodel")}["conv"] for i in (3, 6))
    assert not np.array_equal(first[0], last[0])
    assert np.isfinite(last[0]).all()
    assert main(["train", "-solver", "solver.prototxt", "-snapshot", "net_iter_3.solverstate"]) == 0
    assert [(tmp_path / file).read_bytes() for file in files] == whole


@pytest.mark.parametrize(
    ("ground", "augmentation", "more", "message"),
    [
        ("stride: 0", OFF, "", "stride must be at least 1"),
        ("stride: 99", OFF, "", "leaves no cell"),
        ("object_class { src: 1 }", OFF, "", "needs src and dst"),
        ("scale_cvg: nan", OFF, "", "scale_cvg must be a number, not nan"),
        ("", "max_rotate_degree: inf", "", "max_rotate_degree must be a number, not inf"),
        ("", "scale_prob: 1 scale_max: nan", "", "scale_max must be a number, not nan"),
        ("", "scale_min: 0.01", "", "scale_min 0.01 leaves no pixel"),
        ("", OFF, "transform_param { mean_value: 1 mean_value: 2 }", "2 mean_value"),
    ],
)
def test_settings_that_cannot_be(ground, augmentation, more, message):
    with pytest.raises(LayerError, match=message):
        made(picture(24, 31), labels([]), ground, augmentation, more)


def test_bottoms_that_cannot_be(tmp_path):
    gray = np.zeros((1, 1, 24, 31))
    with pytest.raises(LayerError, match="needs pictures"):
        made(gray, labels([]))
    with pytest.raises(LayerError, match="needs labels"):
        made(picture(24, 31), labels([], []))
    pixels = torch.tensor(picture(24, 31))
    for place, value, message in ((0, 3, "3 boxes, with room for 2"), (0, -1, "-1 boxes"), (1, 5, "16 numbers, not 5")):
        label = labels([(1, 1, 2, 2, 1)])
        label[0, 0, 0, place] = value
        with pytest.raises(LayerError, match=message):
            made(pixels, label)(pixels, torch.tensor(label))
    blob = proto.BlobProto(data=[0.0] * 6)
    blob.shape.dim.extend([1, 1, 2, 3])
    (tmp_path / "mean.binaryproto").write_bytes(blob.SerializeToString())
    with pytest.raises(LayerError, match="needs a mean image 1 x 3"):
        made(pixels, labels([]), more=f'transform_param {{ mean_file: "{tmp_path}/mean.binaryproto" }}')
