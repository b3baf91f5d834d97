"""Builds nets of recipes without their images: inputs stand where the data layers were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sdcaffe import Net, layers, proto

layers.load_builtin()

ROOT = Path(__file__).parents[2]
_NO_RECIPES = {"quickstart_ssd", "quickstart_segmentation"}

# The files of prototxt/ that recipes write: path from the top of the repository, text. That they are current is tested.
FILES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in sorted((ROOT / "prototxt").rglob("*.prototxt"))
    if path.parts[len(ROOT.parts) + 1] not in _NO_RECIPES
}


def parsed(text: str) -> Any:
    net = proto.NetParameter()
    proto.text.parse(text, net, "test.prototxt")
    return net


def without_data(net: Any, phase: int, batch: int = 2, size: int = 32) -> Any:
    """A copy of the NetParameter whose data layers of this phase are inputs of the same tops; the others are gone."""
    result = proto.NetParameter(name=net.name)
    for layer in net.layer:
        if layer.type != "Data":
            result.layer.add().CopyFrom(layer)
        elif not layer.include or layer.include[0].phase == phase:
            inputs = result.layer.add(name=layer.name, type="Input", top=layer.top)
            inputs.input_param.shape.add(dim=[batch, 3, size, size])
            inputs.input_param.shape.add(dim=[batch])
    return result


def built(text: str, phase: int, batch: int = 2, size: int = 32, stages: tuple[str, ...] = ()) -> Net:
    return Net(without_data(parsed(text), phase, batch, size), phase, stages=stages)
