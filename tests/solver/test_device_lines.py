"""The lines of a log that say what it was computed on, as BVLC Caffe's logs have them."""

from __future__ import annotations

import pytest
import torch

from sdcaffe.solver.devices import say_devices


@pytest.mark.parametrize(
    ("devices", "lines"),
    [
        (["cpu"], ["Use CPU."]),
        (["cuda"], ["Using GPUs 0", "GPU 0: Tesla K40m"]),
        (["cuda:1", "cuda:3"], ["Using GPUs 1, 3", "GPU 1: Tesla K40m", "GPU 3: Tesla K40m"]),
    ],
)
def test_a_log_names_its_devices(devices, lines, caplog, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "Tesla K40m")
    with caplog.at_level("INFO", "sdcaffe"):
        say_devices(devices)
    assert caplog.messages == lines
