"""Opens a net as Caffe's tools do, and brings it batches; what is then measured stands in other modules."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from sdcaffe import proto
from sdcaffe.graph import net_state
from sdcaffe.net import Net
from sdcaffe.net.net import Batch

NO_STAGE = ("",)  # Caffe's flags always give a stage: an empty one where none is named


def open_net(
    model: str | Path,
    phase: int,
    *,
    level: int = 0,
    stages: Iterable[str] = NO_STAGE,
    device: str = "cpu",
    ignore_unknown: bool = False,
) -> Net:
    """The net of a prototxt in the state that the flags of Caffe's tools give it. Raises what Net raises."""
    param, positions = proto.read_net_located(model, ignore_unknown=ignore_unknown)
    param.state.MergeFrom(net_state(phase, level, list(stages)))
    return Net(param, phase, device=device, positions=positions)


def choose_engine(net: Net, engine: str | None, passes: int, keep: Iterable[str] = ()) -> None:
    """Let a net that nobody else writes to run in `engine`; without one in what is sooner done with so many passes.

    Besides outputs `keep` will be asked for. A net of the TRAIN phase or on a GPU runs in torch.
    """
    if engine != "torch" and net.phase == proto.TEST and net.device.type == "cpu":
        net.use_engine("onnxruntime", keep=keep, passes=passes if engine is None else None, watched=False)


def next_batch(net: Net) -> Batch:
    """The next batch of the data layers; input blobs hold zeros, as Caffe's do until somebody fills them."""
    shapes = net.blob_shapes
    return {**net.load(), **net.feed({name: torch.zeros(shapes[name]) for name in net.inputs})}
