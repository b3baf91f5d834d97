"""VideoData: frames as OpenCV, with which the fork reads them, has them; what is no video is one line."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import sdcaffe
from sdcaffe.errors import DataError, LayerError
from sdcaffe.proto import parse

pytest.importorskip("av")
CPU = torch.device("cpu")


@pytest.fixture
def video(tmp_path):
    """A file of seven frames of 32 by 24 pixels, each of smooth colours of its own, and what OpenCV reads of it."""
    path = str(tmp_path / "a.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"MJPG"), 10, (32, 24))
    y, x = np.mgrid[:24, :32]
    for k in range(7):
        writer.write(np.stack([x * 6 + k * 9, y * 8 + 20, 200 - x * 3 - k * 11], 2).astype(np.uint8))
    writer.release()
    reader, frames = cv2.VideoCapture(path), []
    while (frame := reader.read())[0]:
        frames.append(frame[1].transpose(2, 0, 1).astype(np.float32))
    assert len(frames) == 7
    return path, np.stack(frames)


def layer(body, transform=""):
    sdcaffe.discover()
    net = sdcaffe.proto.NetParameter()
    parse(
        f'layer {{ name: "v" type: "VideoData" top: "x" top: "y" data_param {{ batch_size: 3 }} '
        f"transform_param {{ {transform} }} video_data_param {{ {body} }} }}",
        net,
        "net.prototxt",
    )
    made = sdcaffe.layers.base.class_of(net.layer[0])(net.layer[0], sdcaffe.TEST)
    made.setup([])
    return made


def batches(made, count):
    found = [made.next_batch(CPU) for _ in range(count)]
    made.close()
    assert all((labels == 0).all() for _, labels in found)
    return torch.cat([images for images, _ in found]).numpy()


def close(ours, expected):
    """By at most a few steps of 255: two programs turn a JPEG's colours into numbers."""
    assert ours.shape == expected.shape
    assert np.abs(ours - expected).max() <= 3


def test_frames_come_in_order_and_begin_again(video):
    path, frames = video
    close(batches(layer(f'video_type: VIDEO video_file: "{path}"'), 3), frames[[0, 1, 2, 3, 4, 5, 6, 0, 1]])


def test_frames_are_skipped_before_each(video):
    path, frames = video
    close(batches(layer(f'video_type: VIDEO video_file: "{path}" skip_frames: 1'), 2), frames[[1, 3, 5, 1, 3, 5]])


def test_a_run_goes_on_at_its_place(video):
    path, frames = video
    made = layer(f'video_type: VIDEO video_file: "{path}"')
    made.cursor = 1
    close(batches(made, 1), frames[3:6])


def test_frames_are_transformed_as_datas_are(video):
    path, frames = video
    made = layer(f'video_type: VIDEO video_file: "{path}"', "crop_size: 10 mean_value: 100 scale: 0.5")
    ours = batches(made, 1)
    close(ours * 2 + 100, frames[:3, :, 7:17, 11:21])


def test_a_camera_is_refused():
    with pytest.raises(LayerError, match=r'layer "v" \(VideoData\): a camera is not read here'):
        layer("device_id: 0")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.avi", None, "is no file"),
        ("text.avi", b"no video", "cannot be read as a video"),
        ("http://127.0.0.1/a.avi", None, "is no file"),
        (
            "list.m3u8",
            b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/a.ts\n#EXT-X-ENDLIST\n",
            "cannot be read as a video|holds no",
        ),
    ],
)
def test_what_is_no_video_is_one_line(name, content, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        layer(f'video_type: VIDEO video_file: "{name}"')
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.mp4", "ffconcat version 1.0\nfile a.avi\n"),
        ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:9,\na.avi\n#EXT-X-ENDLIST\n"),
    ],
)
def test_a_file_that_leads_to_others_is_refused(name, content, video, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match="cannot be read as a video"):
        layer(f'video_type: VIDEO video_file: "{tmp_path / name}"')


def test_a_file_that_is_cut_short_is_told(video):
    path, _ = video
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[: len(data) * 85 // 100])
    with pytest.raises(DataError, match=r"a.avi: (ends before frame \d, though|frame \d cannot be decoded)"):
        batches(layer(f'video_type: VIDEO video_file: "{path}"'), 3)
