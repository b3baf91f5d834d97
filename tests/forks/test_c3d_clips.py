"""C3D's VideoData, 1.0's and 1.1's, against OpenCV and numpy doing what its source says, and by where draws fall."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from c3d_file import blob
from fork_layers import net_param

import sdcaffe
from sdcaffe import proto
from sdcaffe.errors import DataError, LayerError

HEIGHT, WIDTH, FRAMES = 9, 12, 8


@pytest.fixture
def frames(tmp_path, monkeypatch):
    """Two folders of frames and a video of the first: what OpenCV reads of them, (frames, 3, h, w) blue, green, red."""
    monkeypatch.chdir(tmp_path)
    random = np.random.RandomState(0)
    writer = cv2.VideoWriter("one.avi", cv2.VideoWriter_fourcc(*"MJPG"), 10, (WIDTH, HEIGHT))
    read = {}
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        for i in range(FRAMES + 1):
            image = cv2.resize(random.randint(0, 256, (3, 4, 3)).astype(np.uint8), (WIDTH, HEIGHT))
            cv2.imwrite(f"{folder}/{i:06d}.jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 100])
            if folder == "one" and i < FRAMES:
                writer.write(image)
        read[folder] = np.stack([cv2.imread(f"{folder}/{i:06d}.jpg") for i in range(FRAMES + 1)])
    writer.release()
    video, kept = cv2.VideoCapture("one.avi"), []
    while (found := video.read())[0]:
        kept.append(found[1])
    read["one.avi"] = np.stack(kept)
    assert len(kept) == FRAMES
    return {name: array.transpose(0, 3, 1, 2) for name, array in read.items()}


def net_of(lines, fields, transform="", phase="TEST", old=False):
    with open("clips.txt", "w") as file:
        file.write("".join(f"{line}\n" for line in lines))
    own = f'source: "clips.txt" batch_size: 2 new_length: 3 {fields}'
    if old:
        text = (
            f'layers {{ name: "data" type: VIDEO_DATA top: "data" top: "label" image_data_param {{ {own} {transform} '
        )
        text += "} }"
    else:
        text = f'layer {{ name: "data" type: "VideoData" top: "data" top: "label" image_data_param {{ {own} }} '
        text += f"transform_param {{ {transform} }} }}"
    with open("net.prototxt", "w") as file:
        file.write(text)
    return sdcaffe.Net(proto.read_net("net.prototxt"), phase=getattr(proto, phase))


def batches(net, count=1):
    found = []
    for _ in range(count):
        blobs = net.forward()
        found.append((blobs["data"].numpy().copy(), blobs["label"].numpy().copy()))
    net.close()
    return found


@pytest.mark.parametrize("old", [False, True])
def test_folders_of_frames(frames, old):
    net = net_of(["one 1 4", "two 0 2"], "use_image: true sampling_rate: 2", "scale: 0.5", old=old)
    ((data, label),) = batches(net)
    assert label.shape == (2, 1, 1, 1, 1)
    assert label.ravel().tolist() == [4, 2]
    want = np.stack([frames["one"][1:6:2], frames["two"][0:5:2]]).transpose(0, 2, 1, 3, 4)
    assert np.array_equal(data, want * np.float32(0.5))


def test_frames_of_a_video(frames):
    net = net_of(["one.avi 2 1", "one.avi 5 0"], "sampling_rate: 1")
    ((data, _),) = batches(net)
    want = np.stack([frames["one.avi"][2:5], frames["one.avi"][5:8]]).transpose(0, 2, 1, 3, 4)
    assert np.abs(data - want).max() <= 3  # two decoders turn colours round in their own ways


def test_frames_are_resized_and_cropped_in_the_middle_less_a_mean_of_five_axes(frames):
    mean = np.random.RandomState(1).rand(1, 3, 3, 10, 14).astype(np.float32) * 100
    with open("mean.binaryproto", "wb") as file:
        file.write(blob(mean))
    transform = 'mean_file: "mean.binaryproto" crop_size: 5'
    net = net_of(["one 0 0", "two 3 1"], "use_image: true new_height: 10 new_width: 14 shuffle: false", transform)
    ((data, _),) = batches(net)
    for item, (folder, first) in zip(data, (("one", 0), ("two", 3)), strict=True):
        for i in range(3):
            sized = cv2.resize(frames[folder][first + i].transpose(1, 2, 0), (14, 10)).transpose(2, 0, 1)
            assert np.allclose(item[:, i], (sized - mean[0, :, i])[:, 2:7, 4:9], atol=1e-4)


def windows(frames, folder, crop, length=3, rate=1):
    """Every window that a clip of a folder may be, by its bytes: its first frame, its corner, whether mirrored."""
    found = {}
    for first in range(FRAMES + 2 - length * rate):
        clip = frames[folder][first : first + length * rate : rate].transpose(1, 0, 2, 3)
        for top in range(HEIGHT - crop + 1):
            for left in range(WIDTH - crop + 1):
                cut = clip[:, :, top : top + crop, left : left + crop]
                found[cut.tobytes()] = first, top, left, False
                found[cut[..., ::-1].tobytes()] = first, top, left, True
    return found


def test_windows_and_first_frames_are_drawn_in_training(frames):
    crop = 6
    known = windows(frames, "one", crop)
    net = net_of(
        [f"one {FRAMES} 0"], "use_image: true use_temporal_jitter: true", f"crop_size: {crop} mirror: true", "TRAIN"
    )
    seen = [known[item.astype(np.uint8).tobytes()] for data, _ in batches(net, 150) for item in data]
    firsts, tops, lefts, mirrored = (set(column) for column in zip(*seen, strict=True))
    assert firsts == set(range(1, FRAMES - 3 + 2))
    assert tops == set(range(HEIGHT - crop))  # the last place is never drawn, as there
    assert lefts == set(range(WIDTH - crop))
    assert mirrored == {False, True}


def test_a_test_begins_at_frame_0_and_mirrors_nothing(frames):
    net = net_of([f"one {FRAMES} 0"], "use_image: true use_temporal_jitter: true", "crop_size: 4 mirror: true")
    ((data, _),) = batches(net)
    assert np.array_equal(data[1], frames["one"][:3].transpose(1, 0, 2, 3)[:, :, 2:6, 4:8])


def test_first_frames_of_a_video_are_drawn_in_tests_too(frames):
    net = net_of(["one.avi 7"], "use_temporal_jitter: true")
    found = batches(net, 30)
    assert found[0][1].ravel().tolist() == [7, 7]
    want = frames["one.avi"].astype(float)
    firsts = {int(np.abs(want - item[:, 0]).mean((1, 2, 3)).argmin()) for data, _ in found for item in data}
    assert firsts == set(range(FRAMES - 3 + 1))


# ---------------------------------------------------------------- 1.1


def later(lines, fields, transform="", phase="TEST"):
    with open("clips.txt", "w") as file:
        file.write("".join(f"{line}\n" for line in lines))
    text = 'layer { name: "data" type: "VideoData" top: "data" top: "label" video_data_param { source: "clips.txt" '
    text += f"batch_size: 2 new_length: 3 {fields} }} transform_param {{ {transform} }} }}"
    with open("net.prototxt", "w") as file:
        file.write(text)
    return sdcaffe.Net(proto.read_net("net.prototxt"), phase=getattr(proto, phase))


def test_1_1_has_a_root_folder_and_means_of_channels(frames):
    means = "mean_value: 10 mean_value: 20 mean_value: 30"
    net = later(["ne 1 4", "ne 0 2"], 'use_image: true sampling_rate: 2 root_folder: "o"', f"{means} scale: 0.5")
    ((data, label),) = batches(net)
    assert label.tolist() == [4, 2]
    want = np.stack([frames["one"][1:6:2], frames["one"][0:5:2]]).transpose(0, 2, 1, 3, 4)
    assert np.allclose(data, (want - np.array([10, 20, 30]).reshape(3, 1, 1, 1)) / 2)


def test_1_1_has_several_labels(frames):
    net = later(["one 0 3,1", "two 0 0"], "use_image: true use_multiple_label: true num_of_labels: 4")
    assert batches(net)[0][1].tolist() == [[0, 1, 0, 1], [1, 0, 0, 0]]
    net = later(["one 0 4"], "use_image: true use_multiple_label: true num_of_labels: 4")
    with pytest.raises(DataError, match="label 4"):
        batches(net)


def test_1_1_draws_windows_at_the_last_place_and_rates(frames):
    crop = 6
    known = windows(frames, "one", crop) | windows(frames, "one", crop, rate=2)
    net = later(["one 1 0"], "use_image: true use_sampling_rate_jitter: true max_sampling_rate: 2",
                f"crop_size: {crop} mirror: true", "TRAIN")  # fmt: skip
    items = [item.astype(np.uint8) for data, _ in batches(net, 150) for item in data]
    seen = [known[item.tobytes()] for item in items]
    firsts, tops, lefts, mirrored = (set(column) for column in zip(*seen, strict=True))
    assert firsts == {1}
    assert tops == set(range(HEIGHT - crop + 1))
    assert lefts == set(range(WIDTH - crop + 1))
    assert mirrored == {False, True}
    slow = windows(frames, "one", crop, rate=2)
    assert 0 < sum(item.tobytes() in slow for item in items) < len(items)


def test_1_1_mirrors_in_tests_and_without_a_crop(frames):
    found = batches(later(["one 0 0"], "use_image: true", "mirror: true"), 20)
    plain = frames["one"][:3].transpose(1, 0, 2, 3)
    kinds = {
        np.array_equal(item, plain) or -np.array_equal(item, plain[..., ::-1]) for data, _ in found for item in data
    }
    assert kinds == {True, -1}


@pytest.mark.parametrize(
    ("fields", "transform", "word"),
    [
        ("use_image: true use_multiple_label: true", "", "needs num_of_labels"),
        ("use_image: true max_sampling_rate: 0", "", "max_sampling_rate is 0"),
        ("use_image: true", "mean_value: 1 mean_value: 2", "2 mean_value for 3 channels"),
        ("use_image: true", "force_gray: true", "no force_gray"),
    ],
)
def test_what_cannot_be_in_1_1_is_named(frames, fields, transform, word):
    with pytest.raises(LayerError, match=word):
        later(["one 0 0"], fields, transform)


# ---------------------------------------------------------------- files and errors


def test_a_net_of_c3d_1_is_written_back_in_the_form_of_today(frames):
    net_of(["one 0 4"], "use_image: true", "scale: 0.5 crop_size: 4", old=True).close()
    net = proto.read_net("net.prototxt")
    again = net_param(proto.format(net))
    assert again == net
    (layer,) = again.layer
    assert (layer.type, layer.transform_param.crop_size, layer.image_data_param.new_length) == ("VideoData", 4, 3)


def test_show_data_is_read_past_and_named(frames, caplog):
    net_of(["one 0 4"], "use_image: true show_data: 1").close()
    assert "show_data" in caplog.text


@pytest.mark.parametrize(
    ("lines", "fields", "transform", "kind", "word"),
    [
        (["one 0"], "use_image: true", "", DataError, "3 a clip"),
        (["one 0 x"], "use_image: true", "", DataError, "no whole numbers"),
        (["one 7 0"], "use_image: true", "", DataError, "000009.jpg"),
        (["one.avi 6 0"], "", "", DataError, "has 8 frames, and not from frame 6 on 3"),
        (["one 2 0"], "use_image: true use_temporal_jitter: true", "", DataError, None),
        (["one 0 0"], "use_image: true", "crop_size: 9", DataError, "no larger than crop_size 9"),
        (["one 0 0"], "use_image: true", "mirror: true", LayerError, "mirror needs a crop_size"),
        (["one 0 0"], "use_image: true new_height: 4", "", LayerError, "both or neither"),
        (["one 0 0"], "use_image: true sampling_rate: 0", "", LayerError, "sampling_rate is 0"),
        (["one 0 0"], "use_image: true root_folder: 'x'", "", LayerError, "no root_folder"),
        (["one 0 0"], "use_image: true", "force_color: true", LayerError, "no force_color"),
    ],
)
def test_what_cannot_be_is_named(frames, lines, fields, transform, kind, word):
    if word is None:
        with pytest.raises(kind, match="has 2 frames"):
            net_of(lines, fields, transform, "TRAIN")
    else:
        with pytest.raises(kind, match=word):
            net_of(lines, fields, transform)


def test_batches_are_a_function_of_their_number_and_the_seed(frames):
    torch.manual_seed(4)
    net = net_of(
        ["one 0 0", "two 1 1", "one 2 2"], "use_image: true shuffle: true", "crop_size: 4 mirror: true", "TRAIN"
    )
    layer = net.layers["data"]
    first = [layer.next_batch(torch.device("cpu"))[0] for _ in range(4)]
    layer.cursor = 2
    assert torch.equal(layer.next_batch(torch.device("cpu"))[0], first[2])
    net.close()
