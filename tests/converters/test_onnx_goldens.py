"""What BVLC Caffe computed, layer by layer, computed again by ONNX Runtime from exported files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx_nets import arrays, recorded_layer, recordings, write_recorded

from sdcaffe.converters.onnx_export import export
from sdcaffe.converters.onnx_runtime import open_session

RECURRENT = ["lstm", "lstm_static", "rnn"]
PLAIN = [name for name in recordings() if name not in RECURRENT]
GROUPS = 5  # an export has a cost of its own: many recordings go into one net
ALONE = [
    "argmax",
    "batch_reindex",
    "crop",
    "deconv_group",
    "elu_inplace",
    "embed",
    "filter",
    "lrn_within",
    "mvn_across",
    "parameter",
    "pool_ave_ceil_pad",
    "pool_max_mask",
    "reshape",
    "slice_batch",
    "spp",
    *RECURRENT,
]


def check(names: list[str], folder: Path) -> list[str]:
    """Export a net of recordings and compare; returns its inputs as described."""
    done = export(*write_recorded(names, folder), str(folder / "net.onnx"))
    session = open_session(str(folder / "net.onnx"), "net.onnx")
    given = {}
    for name in names:
        given.update(zip(recorded_layer(name).bottom, arrays(name, "bottom"), strict=True))
    wanted = [value.name for value in session.get_outputs()]
    got = dict(zip(wanted, session.run(None, {v.name: given[v.name] for v in session.get_inputs()}), strict=True))
    for name in names:
        for blob, expected in zip(recorded_layer(name).top, arrays(name, "top"), strict=True):
            values = got[f"{blob}_out" if blob in given else blob]
            assert values.shape == expected.shape, name
            scale = float(np.abs(expected).max(initial=0)) or 1.0
            assert np.abs(values - expected).max(initial=0) <= 1e-4 * scale, name
    return done.inputs


@pytest.mark.parametrize("group", range(GROUPS))
def test_every_recorded_layer_gives_caffes_numbers_in_onnx_runtime(group: int, tmp_path: Path) -> None:
    check(PLAIN[group::GROUPS], tmp_path)


@pytest.mark.parametrize("name", ALONE)
def test_a_layer_alone_takes_batches_of_any_size(name: str, tmp_path: Path) -> None:
    inputs = check([name], tmp_path)
    assert all("batch" in text for text in inputs)
    assert name not in ("crop", "deconv_group", "pool_ave_ceil_pad", "lrn_within") or "height" in inputs[0]


def test_most_recordings_are_of_layers_that_are_deployed() -> None:
    assert len(recordings()) >= 90
