from __future__ import annotations

import logging
import os
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from sdcaffe import layers
from sdcaffe.errors import SdcaffeError
from sdcaffe.layers import registry
from sdcaffe.layers.base import registered

LAYER = """
from sdcaffe import Layer, register

@register("{type}")
class Mine(Layer):
    pass
"""


@pytest.fixture(autouse=True)
def _no_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    """The types of a test are forgotten after it."""
    layers.load_builtin()
    monkeypatch.setattr(registry, "_registry", dict(registry._registry))


def test_built_in_layers_are_found_by_lying_there() -> None:
    layers.load_builtin()
    assert {"Convolution", "ReLU", "MMDLoss", "KLLoss", "Distort"} <= set(registered())


def test_a_plugin_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(LAYER.format(type="DiscoverFile"))
    layers.discover([str(file)])
    assert registered()["DiscoverFile"].__module__.startswith("sdcaffe_plugin_mine_")


def test_a_plugin_named_twice_is_loaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "counted.py"
    file.write_text("from sdcaffe import layers\nlayers.counted += 1\n")
    monkeypatch.setattr(layers, "counted", 0, raising=False)
    monkeypatch.chdir(tmp_path)
    first, second = layers.load_plugin(str(file)), layers.load_plugin("./counted.py")
    assert first is second
    assert vars(layers)["counted"] == 1


def test_two_plugin_files_of_one_name(tmp_path: Path) -> None:
    for folder, type_name in (("a", "DiscoverA"), ("b", "DiscoverB")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "layer.py").write_text(LAYER.format(type=type_name))
        layers.load_plugin(str(tmp_path / folder / "layer.py"))
    assert {"DiscoverA", "DiscoverB"} <= set(registered())


def test_a_plugin_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "discover_module.py").write_text(LAYER.format(type="DiscoverModule"))
    monkeypatch.syspath_prepend(str(tmp_path))
    layers.load_plugin("discover_module")
    assert "DiscoverModule" in registered()


def test_an_entry_point_of_an_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "discover_package.py").write_text(LAYER.format(type="DiscoverEntry"))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(layers, "_loaded", {"builtin"})
    points = [EntryPoint("mine", "discover_package", "sdcaffe.layers")]
    monkeypatch.setattr(layers, "entry_points", lambda group: points if group == "sdcaffe.layers" else [])
    layers.discover()
    assert "DiscoverEntry" in registered()


def test_a_broken_entry_point_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "discover_broken.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(layers, "_loaded", {"builtin"})
    monkeypatch.setattr(layers, "entry_points", lambda group: [EntryPoint("bad", "discover_broken", group)])
    with caplog.at_level(logging.WARNING, "sdcaffe"):
        layers.discover()
    assert 'layers "bad" (discover_broken) cannot be imported: ZeroDivisionError' in caplog.text


@pytest.mark.parametrize(
    ("source", "line", "message"),
    [
        ("x = 1\nx / 0\n", 2, "ZeroDivisionError: division by zero"),
        ("x = 1\n\nx = (\n", 3, "SyntaxError: '(' was never closed"),
        ("import no_such_module\n", 1, "ModuleNotFoundError: No module named 'no_such_module'"),
        ("import sys\nsys.exit(3)\n", 2, "SystemExit: 3"),
        ("\nimport json\njson.loads('{')\n", 3, "JSONDecodeError: "),
        (LAYER.format(type="ReLU"), 4, 'layer type "ReLU" is already registered by sdcaffe.layers.relu'),
    ],
)
def test_a_plugin_file_that_fails(tmp_path: Path, source: str, line: int, message: str) -> None:
    file = tmp_path / "bad.py"
    file.write_text(source)
    with pytest.raises(SdcaffeError) as error:
        layers.load_plugin(str(file))
    assert str(error.value).startswith(f"{file}:{line}: {message}")
    with pytest.raises(SdcaffeError):  # and again: half a module is not taken for a whole one
        layers.load_plugin(str(file))


def test_a_plugin_module_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "discover_bad.py"
    file.write_text("\n1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(SdcaffeError, match=r"discover_bad\.py:2: ZeroDivisionError"):
        layers.load_plugin("discover_bad")


def test_a_plugin_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SdcaffeError, match=r"none\.py: no such plugin file"):
        layers.load_plugin("none.py")
    with pytest.raises(SdcaffeError, match=r'no module named "none\.at_all"'):
        layers.load_plugin("none.at_all")
    Path("my_layer.py").write_text("")
    with pytest.raises(SdcaffeError, match=r"write --plugin my_layer\.py"):
        layers.load_plugin("my_layer")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "..a", "a..b", "a.", "a/b", "no\nsuch", "x" * 200, "\udcff", "/dev/zero"]
)
def test_a_name_of_no_plugin(name: str) -> None:
    with pytest.raises(SdcaffeError):
        layers.load_plugin(name)


def test_a_plugin_whose_name_is_not_utf8(tmp_path: Path) -> None:
    file = tmp_path / os.fsdecode(b"x\xff.py")
    try:
        file.write_text("x = 1\n")
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    assert layers.load_plugin(str(file)).x == 1
