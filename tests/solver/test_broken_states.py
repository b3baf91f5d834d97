"""A state whose own text is damaged or foreign is refused before anything of the solver changes, and passed over."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from sdcaffe import Solver, proto
from sdcaffe.errors import SnapshotError
from sdcaffe.log import parse_log
from sdcaffe.run import run

NET = """
layer { name: "made" type: "DummyData" top: "in" top: "label"
  dummy_data_param { shape { dim: 2 dim: 4 } shape { dim: 2 }
    data_filler { type: "uniform" max: 1 } data_filler { type: "constant" value: 1 } } }
layer { name: "d" type: "Data" top: "image" data_param { source: "synthetic:test" batch_size: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "in" top: "fc"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
layer { name: "quiet" type: "Silence" bottom: "image" }
"""
SOLVER = """net: "net.prototxt" base_lr: 0.05 lr_policy: "fixed" momentum: 0.9 max_iter: 4 snapshot: 2 display: 1
snapshot_prefix: "run" random_seed: 2 average_loss: 2 snapshot_format: """


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the snapshots of iterations 2 and 4 in both formats, and their log."""
    folder = tmp_path_factory.mktemp("trained")
    before = os.getcwd()
    os.chdir(folder)
    try:
        (folder / "net.prototxt").write_text(NET)
        for form in ("HDF5", "BINARYPROTO"):
            (folder / f"{form}.prototxt").write_text(SOLVER + form)
            run(f"{form}.prototxt")
    finally:
        os.chdir(before)
    return folder


def a_list(depth: int) -> str:
    return "[" * depth + "]" * depth


def changed(**values: Any) -> Any:
    return lambda content: json.dumps({**content, **values})


def without(name: str) -> Any:
    return lambda content: json.dumps({key: value for key, value in content.items() if key != name})


def generator(state: bytes) -> Any:
    return changed(generators=[{"cpu": base64.b64encode(state).decode()}])


def data(*numbers: Any) -> Any:
    return changed(nets=[{"data": {"d": list(numbers)}, "buffers": {}}])


def buffer(*pair: Any) -> Any:
    return changed(nets=[{"data": {}, "buffers": {"fc": list(pair)}}])


VALUES: list[Any] = [None, True, 7, -1.5, "text", [], {}, [None], [[]], [7], {"cpu": None}, ["x"], [{}], [{"data": []}]]
TEXTS: dict[str, Any] = {
    **{f"{name} is {json.dumps(value)}": changed(**{name: value})
       for name in ("type", "generators", "nets", "losses") for value in VALUES
       if (name, value) not in [("nets", []), ("losses", []), ("losses", [7]), ("type", "text")]},
    **{f"no {name}": without(name) for name in ("type", "generators", "nets", "losses")},
    **{f"{name} is {json.dumps(value)}": changed(**{name: value})
       for name in ("model", "numbers") for value in (None, "text", [1], {}, 1.5)},
    "nothing but blanks": lambda content: "  ",
    "no JSON": lambda content: "{",
    "two texts": lambda content: json.dumps(content) * 2,
    "a list": lambda content: "[1]",
    "null": lambda content: "null",
    "a number of 10,000 digits": lambda content: "1" * 10_000,
    "nested 5,000 deep": lambda content: a_list(5_000),
    "nested 200,000 deep": lambda content: a_list(200_000),
    "nested inside": lambda content: json.dumps(content).replace('"losses": [', '"losses": [' + a_list(5_000) + ","),
    "an infinite loss": changed(losses=[float("inf")]),
    "a loss that is none": changed(losses=[float("nan")]),
    "a loss beyond a float": lambda content: json.dumps({**content, "losses": [0.5]}).replace("[0.5]", "[1e999]"),
    "no bytes": lambda content: b"\xff\xfe\x00",
    "another alphabet": changed(generators=[{"cpu": "*" * 100}]),
    "a generator of no bytes": generator(b""),
    "a short generator": generator(bytes(5000)),
    "a long generator": generator(bytes(5057)),
    "a generator of zeros": generator(bytes(5056)),
    "a generator of ones": generator(b"\xff" * 5056),
    "a negative cursor": data(-1, 2, 2),
    "an endless cursor": data(10**40, 2, 2),
    "an endless seed": data(1, 10**40, 2),
    "a batch of nothing": data(1, 2, 0),
    "a cursor that is a text": data("1", 2, 2),
    "a cursor that is a fraction": data(1.5, 2, 2),
    "a data layer of two numbers": data(1, 2),
    "a buffer without values": buffer([2]),
    "a buffer of another length": buffer([2], base64.b64encode(bytes(12)).decode()),
    "a buffer of odd bytes": buffer([1], base64.b64encode(bytes(5)).decode()),
    "a buffer of endless shape": buffer([10**30], base64.b64encode(bytes(4)).decode()),
    "a buffer of negative shape": buffer([-1, -1], base64.b64encode(bytes(4)).decode()),
    "a buffer that is no number": buffer([1], base64.b64encode(np.float32("nan").tobytes()).decode()),
}  # fmt: skip


def with_text(trained: Path, folder: Path, form: str, text: bytes) -> Path:
    """The state of iteration 4, with another text of its own, in a copy of the folder."""
    for file in trained.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    path = folder / f"run_iter_4.solverstate{'.h5' if form == 'HDF5' else ''}"
    state = proto.read_state(path)
    state.sdcaffe_state = text
    proto.write_state(path, state)
    return path


def content_of(trained: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(proto.read_state(trained / "run_iter_4.solverstate.h5").sdcaffe_state)
    del content["check"]
    return content


def remembered(solver: Solver) -> list[bytes]:
    """Everything of a solver that a snapshot could change."""
    tensors = [torch.get_rng_state(), *solver.net.parameters(), *solver.update.history, *solver.losses]
    cursors = [getattr(layer, "cursor", 0) for layer in solver.net.data_layers]
    return [tensor.detach().numpy().tobytes() for tensor in tensors] + [str((solver.iter, cursors)).encode()]


@pytest.mark.parametrize("flaw", TEXTS)
def test_a_text_that_is_none(flaw: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = TEXTS[flaw](content_of(trained))
    path = with_text(trained, tmp_path, "HDF5", text if isinstance(text, bytes) else text.encode())
    solver = Solver("HDF5.prototxt")
    solver.step(1)
    before = remembered(solver)
    with pytest.raises(
        SnapshotError, match=r"run_iter_4\.solverstate\.h5: (its sdcaffe_state is|is damaged)"
    ) as caught:
        solver.restore(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert remembered(solver) == before


def test_a_text_without_its_checksum_is_taken(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As earlier versions wrote it."""
    monkeypatch.chdir(tmp_path)
    content = content_of(trained)
    path = with_text(trained, tmp_path, "HDF5", json.dumps(content).encode())
    solver = Solver("HDF5.prototxt")
    solver.restore(path)
    assert solver.iter == 4


@pytest.mark.parametrize("form", ["HDF5", "BINARYPROTO"])
@pytest.mark.parametrize("place", [0.0, 0.001, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.999])
@pytest.mark.parametrize("letter", [b"*", b"A", b"0", b'"', b"\xff"])
def test_any_other_letter(
    form: str, place: float, letter: bytes, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that leaves a valid text: another random number would be drawn."""
    monkeypatch.chdir(tmp_path)
    text = proto.read_state(trained / "run_iter_4.solverstate").sdcaffe_state
    at = int(place * len(text))
    while text[at : at + 1] == letter:
        at += 1
    path = with_text(trained, tmp_path, form, text[:at] + letter + text[at + 1 :])
    with pytest.raises(SnapshotError, match="sdcaffe_state"):
        Solver(f"{form}.prototxt").restore(path)


@pytest.mark.parametrize("name", ["history/0", "history/1", "iter", "current_step"])
def test_a_number_of_an_hdf5_state(name: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = proto.read_state(trained / "run_iter_4.solverstate.h5").sdcaffe_state
    path = with_text(trained, tmp_path, "HDF5", text)
    with h5py.File(path, "r+") as file:
        values = file[name][()]
        values.flat[-1] += 1
        file[name][...] = values
    with pytest.raises(SnapshotError, match="is damaged: its checksum does not fit its numbers"):
        Solver("HDF5.prototxt").restore(path)


@pytest.mark.parametrize("form", ["HDF5", "BINARYPROTO"])
def test_auto_goes_on_from_the_one_before(
    form: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And ends with the numbers of a run that nothing happened to."""
    monkeypatch.chdir(tmp_path)
    suffix = ".h5" if form == "HDF5" else ""
    path = with_text(trained, tmp_path, form, b"[" * 5_000)
    for other in set(tmp_path.glob("run_iter_*")):
        if other.name.endswith(".h5") != (form == "HDF5"):
            other.unlink()
    run(f"{form}.prototxt", snapshot="auto")
    assert f"Passing over a broken snapshot: {path.name}: its sdcaffe_state is broken" in capsys.readouterr().err
    here, there = (vars(proto.read_state(f / f"run_iter_4.solverstate{suffix}")) for f in (tmp_path, trained))
    for a, b in zip(here.pop("history"), there.pop("history"), strict=True):
        assert a.tobytes() == b.tobytes()
    assert here == there  # with the checksum of the weights
    assert parse_log("run.log").resumes == [2]
