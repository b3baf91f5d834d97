"""The table that exports share against the one that torch's exporter makes itself."""

from __future__ import annotations

import pytest

from sdcaffe.converters import onnx_table

registration = pytest.importorskip("torch.onnx._internal.exporter._registration")


@pytest.fixture(scope="module")
def own():
    return registration.ONNXRegistry.from_torchlib(opset_version=18)


def test_the_kept_table_says_of_each_operator_what_torchs_own_does(own):
    with onnx_table.kept_table():
        kept = registration.ONNXRegistry.from_torchlib(opset_version=18)
    assert kept.opset_version == own.opset_version
    assert len(own.functions) > 300
    assert described(kept) == described(own)


def test_an_operator_added_in_one_export_is_not_there_in_the_next(own):
    with onnx_table.kept_table():
        first = registration.ONNXRegistry.from_torchlib(opset_version=18)
        target = next(iter(first.functions))
        first.functions[target].clear()
        first.functions["mine"] = []
        again = registration.ONNXRegistry.from_torchlib(opset_version=18)
    assert described(again) == described(own)


def test_torch_has_its_own_way_back_afterwards(own):
    before = vars(registration.ONNXRegistry)["from_torchlib"]
    with onnx_table.kept_table():
        assert vars(registration.ONNXRegistry)["from_torchlib"] is not before
    assert vars(registration.ONNXRegistry)["from_torchlib"] is before


def described(table):
    return {
        target: [(d.onnx_function, d.fx_target, str(d.signature), d.is_complex, d.opset_introduced) for d in found]
        for target, found in table.functions.items()
    }
