"""SSD's layers as PyTorch source: against the fork's recordings, alone and in whole detectors."""

from __future__ import annotations

from pathlib import Path

import golden
import numpy as np
import pytest
import torch
from written import open_module

from sdcaffe.cli import main

RECORDINGS = Path(__file__).parent / "recordings" / "ssd"
LAYERS = RECORDINGS / "layers"
NAMES = [name for name in golden.names(LAYERS) if name.startswith(("det_", "prior_", "normalize_", "permute_"))]


class Parts(dict):
    """Takes what a layer's source needs beside it."""

    def part(self, part):
        self[part.__name__] = part
        return part.__name__


@pytest.mark.parametrize("name", NAMES)
def test_the_source_of_a_layer_computes_what_the_fork_did(name):
    recording = golden.read(name, LAYERS)
    bottoms = [torch.from_numpy(values) for _, values in sorted(recording.all("bottom").items())]
    layer = golden.build(recording.text("prototxt"), [tuple(b.shape) for b in bottoms], recording.text("phase"))
    scope = Parts(torch=torch)
    source = layer.to_source(scope, *(tuple(b.shape) for b in bottoms))
    names = {str(i): f"bottoms[{i}]" for i in range(len(bottoms))}
    if source.module is not None:
        scope["module"] = eval(source.module, dict(scope))
        for parameter, values in zip(scope["module"].parameters(), recording.all("param").values(), strict=True):
            parameter.data = torch.from_numpy(values)
    text = source.text.format(*names.values(), self="module")
    with torch.no_grad():
        top = eval(text, {**scope, "bottoms": bottoms})
    golden.close(top, recording.all("top")[0])


RUNS = sorted(path.parent for path in RECORDINGS.glob("training/*/deploy.npz"))


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_a_whole_detector_is_a_module(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights = str(run / "final.caffemodel")
    assert main(["convert", "module", str(run / "deploy.prototxt"), "net.py", "--weights", weights]) == 0
    net = open_module(tmp_path / "net.py")
    recorded = np.load(run / "deploy.npz")
    scripted = torch.jit.script(net)
    for one in (net, scripted):
        with torch.no_grad():
            found = one(torch.from_numpy(recorded["data"])).numpy()
        assert found.shape == recorded["detection_out"].shape
        assert np.allclose(found, recorded["detection_out"], rtol=1e-4, atol=1e-5)
