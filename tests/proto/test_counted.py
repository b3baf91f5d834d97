"""Files of very many tiny messages are refused before protobuf or Python makes anything of them."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from sdcaffe import discover, proto, reading
from sdcaffe.cli import main
from sdcaffe.converters.onnx_metadata import ModelError, read_model
from sdcaffe.errors import PrototxtError
from sdcaffe.proto import counted, tokens


def model_of(nodes: int) -> bytes:
    model = onnx.ModelProto()
    for _ in range(nodes):
        model.graph.node.add()
    return model.SerializeToString()


def test_an_onnx_file_of_too_many_messages_is_refused_before_they_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counted, "_MOST_FIELDS", 200_000)
    file = tmp_path / "many.onnx"
    file.write_bytes(model_of(250_000))
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match=r"many\.onnx: has more than 200000 fields"):
            read_model(file)
        assert tracemalloc.get_traced_memory()[1] < 4 * file.stat().st_size
    finally:
        tracemalloc.stop()


def test_messages_are_counted_wherever_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a graph of an attribute of a node, which is a graph's: in a message of its own kind."""
    model = onnx.ModelProto()
    inner = model.graph.node.add(op_type="If").attribute.add(name="then_branch").g
    for _ in range(50_000):
        inner.node.add()
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    assert len(read_model(tmp_path / "m.onnx").graph.node) == 1
    monkeypatch.setattr(counted, "_MOST_FIELDS", 40_000)
    with pytest.raises(ModelError, match="more than 40000 fields"):
        read_model(tmp_path / "m.onnx")


def test_packed_weights_are_few_fields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counted, "_MOST_FIELDS", 100)
    model = onnx.ModelProto()
    model.graph.node.add(op_type="Relu")
    model.graph.initializer.add(name="w", data_type=1, dims=[100_000], float_data=[1] * 100_000)
    model.graph.initializer.add(name="v", data_type=1, dims=[100_000], raw_data=b"\x3a\x00" * 200_000)
    (tmp_path / "w.onnx").write_bytes(model.SerializeToString())
    assert len(read_model(tmp_path / "w.onnx").graph.initializer) == 2


@pytest.mark.parametrize("free", [100 << 20, 1 << 40])
def test_what_fits_the_free_memory_is_read(free: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "free_memory", lambda: free)
    (tmp_path / "m.onnx").write_bytes(model_of(300_000))
    if free > 1 << 30:
        assert len(read_model(tmp_path / "m.onnx").graph.node) == 300_000
    else:
        with pytest.raises(ModelError, match=f"bytes of memory, more than the {free} that are free"):
            read_model(tmp_path / "m.onnx")


@pytest.mark.parametrize("cut", [1, 2, 3, 70_001])
def test_a_damaged_message_is_left_to_protobuf(cut: int, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(model_of(100_000)[:-cut])
    with pytest.raises(ModelError, match="cut short"):
        read_model(tmp_path / "m.onnx")


def test_a_binary_message_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counted, "_MOST_FIELDS", 100_000)
    vector = proto.NetParameter()
    for _ in range(100_001):
        vector.layer.add()
    proto.write_binary(tmp_path / "net.bin", vector)
    with pytest.raises(PrototxtError, match=r"net\.bin: has more than 100000 fields"):
        proto.read_binary(tmp_path / "net.bin", proto.NetParameter)


def test_numbers_of_a_record_are_not_counted_one_by_one(lines_run: Callable[[Callable[[], object]], int]) -> None:
    """A Datum's floats are not packed: to walk over them would take far longer than to read them."""
    discover()  # for AnnotatedDatum, which is SSD's
    alone = proto.Datum(float_data=[1.0] * 50_000)
    within = proto.AnnotatedDatum(datum=alone)
    for record in (alone, within):
        data = record.SerializeToString()
        assert lines_run(lambda: counted.check(data, type(record), "db", PrototxtError)) < 1000  # noqa: B023


@pytest.mark.parametrize("unit", ["layer{}", 'input:""', "input_shape{dim:1}", "}"])
def test_a_prototxt_of_too_many_words_is_refused(
    unit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tokens, "_MOST", 200_000)
    file = tmp_path / "net.prototxt"
    file.write_text(unit * 300_000)
    assert main(["summary", str(file)]) == 1
    assert capsys.readouterr().err == (
        f"sdcaffe: error: {file}: has more than 200000 words and signs; no net or solver needs so many\n"
    )


def test_a_prototxt_that_does_not_fit_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.prototxt").write_text('input:""' * 100_000)
    monkeypatch.setattr(reading, "free_memory", lambda: 50 << 20)
    with pytest.raises(PrototxtError, match="bytes of memory, more than the 52428800 that are free"):
        proto.read_net(tmp_path / "net.prototxt")
