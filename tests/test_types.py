"""Types: the stub of Caffe's messages is current, the public face passes mypy --strict, and a slip is found."""

from __future__ import annotations

import ast
import inspect
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sdcaffe
from sdcaffe import proto
from sdcaffe.layers.base import makers, registered
from sdcaffe.plugins import origin

ROOT = Path(__file__).parents[1]
GUESTS = "import sdcaffe.forks, sdcaffe.paper.layers"

# What a script of a user's own may do with the public face, every type as it is known.
FACE = """
from collections.abc import Iterable
from typing import Annotated, assert_type

import torch

import sdcaffe
from sdcaffe import Layer, Net, Policy, Solver, proto, register, register_policy
from sdcaffe.layers.convolution import Convolution
from sdcaffe.log import parse_log
from sdcaffe.run import run


class HalfParameter:
    factor: float = 0.5
    counts: list[int]
    filler: proto.FillerParameter


@register("Half", field="half_param", number=5001)
class Half(Layer):
    Param = HalfParameter
    param: HalfParameter

    def setup(self, bottom_shapes: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
        assert_type(self.param.factor, float)
        return bottom_shapes

    def forward(self, bottom: torch.Tensor) -> torch.Tensor:
        return bottom * self.param.factor


@register("Third", field="third_param", number=5002)
class Third(Layer):
    class Param:
        factor: float = 0.3

    param: Param

    def forward(self, bottom: torch.Tensor) -> torch.Tensor:
        assert_type(self.param.factor, float)
        return bottom


@register_policy("halving")
class Halving(Policy):
    class Fields:
        period: Annotated[int, 5003] = 10

    def rate(self, iteration: int, steps: int) -> float:
        assert_type(self.param, proto.SolverParameter)
        period = proto.extension(self.param, Halving.Fields).period
        assert_type(period, int)
        return self.param.base_lr * 0.5 ** (iteration // period)


def factors(net: proto.NetParameter) -> Iterable[float]:
    for layer in net.layer:
        assert_type(layer, proto.LayerParameter)
        half = proto.extension(layer, HalfParameter)
        assert_type(half, HalfParameter)
        yield half.factor


param = sdcaffe.read_net("net.prototxt")
assert_type(param, proto.NetParameter)
assert_type(param.layer[0].convolution_param.kernel_size[0], int)
assert_type(param.layer[0].pooling_param.pool == proto.PoolingParameter.AVE, bool)
assert_type(param.layer[0].distort_param.crop_size, int)
assert_type(param.layer[0].permute_param.order[0], int)
param.layer.add(name="ip", type="InnerProduct").inner_product_param.num_output = 10
proto.write_text("out.prototxt", proto.copied(param))
assert_type(proto.read_binary("mean.binaryproto", proto.BlobProto), proto.BlobProto)

net = Net(param, sdcaffe.TEST, weights=["a.caffemodel"])
assert_type(net.forward({"data": torch.zeros(1, 3, 8, 8)})["prob"], torch.Tensor)
assert_type(net.layers["ip"].layer_param, proto.LayerParameter)

settings = sdcaffe.read_solver("solver.prototxt")
assert_type(settings, proto.SolverParameter)
settings.max_iter += 10
with_settings = Solver(settings, device="cpu")
assert_type(with_settings.param, proto.SolverParameter)
assert_type(with_settings.net, Net)
assert_type(parse_log("train.log").solver(), proto.SolverParameter)
run(settings, devices=["cpu"])
"""

SLIPS = {
    "param.layer[0].pooling_parm": '"LayerParameter" has no attribute "pooling_parm"; maybe "pooling_param"',
    "param.layers_": '"NetParameter" has no attribute "layers_"',
    "proto.NetParametr()": 'Module has no attribute "NetParametr"; maybe "NetParameter"',
    "proto.PoolingParameter.AVG": '"type[PoolingParameter]" has no attribute "AVG"',
    "proto.LayerParameter(nmae='x')": 'Unexpected keyword argument "nmae" for "LayerParameter"',
    "settings.base_lr = 'high'": "Incompatible types in assignment",
    "proto.extension(param.layer[0], HalfParameter).facter": '"HalfParameter" has no attribute "facter"',
    "proto.extension(settings, Halving.Fields).perod": '"Fields" has no attribute "perod"',
    "run(param)": 'Argument 1 to "run" has incompatible type "NetParameter"',
    "sdcaffe.read_nett": 'Module has no attribute "read_nett"; maybe "read_net"?',
    "Convolution(param.layer[0], sdcaffe.TEST).param.kernel": '"ConvolutionParameter" has no attribute "kernel"',
    "Net(settings)": 'Argument 1 to "Net" has incompatible type "SolverParameter"',
}

# Where any object is meant: a name -> why. Besides, `NDArray[Any]` is an array of any type of number, and autograd
# gives a function's `forward` and `backward` a `ctx` that takes any attribute.
ANY = {
    "Node.attributes": "an attribute of an ONNX node has the type that its operator asks for",
    "Layer.param": "a layer's own message, which its class names by an annotation",
    "WidenedConvolution.forward": "sizes, lists of sizes and a switch, as ATen's convolution takes them",
    **dict.fromkeys(
        (
            "Recorder.constant",
            "Recorder.emit",
            "Recorder.__torch_dispatch__",
            "Region.beside",
            "OPERATORS",
            "operator",
            "refuse",
        ),
        "operators of torch and their arguments, of every type",
    ),
    "legend": "matplotlib's own keywords, passed on",
    "Board.update": "what the display that it passes on to takes",
    "SelfDistillation.forward": "what the model gives",
    "raw_blob": "a message of a schema that is made as it runs",
    "raw_message": "likewise",
    "message": "the class of a message whose name is given",
    "Map": "numbers or arrays, as scripts for pycaffe use them",
    "Function.__init__": "values of fields, as a script gives them",
    "NetSpec.tops": "what a script assigns: a Top, or what is refused later",
    "NetSpec.__setattr__": "likewise",
    "NetSpec.__getattr__": "likewise",
    "NetSpec.__setitem__": "likewise",
    "NetSpec.__getitem__": "likewise",
    "NetSpec.vals": "likewise",
    "NetSpec.update": "values of fields",
    "Layers.__getattr__": "a Top, several, or the Function, by the fields that it is called with",
}


def _without_arrays(annotation: ast.expr | None) -> str:
    return re.sub(r"NDArray\[Any\]", "", ast.unparse(annotation)) if annotation else ""


def _annotations(body: list[ast.stmt], owner: str = "") -> Iterator[tuple[str, str]]:
    """Each public name of a module or class with the annotations that stand for it."""
    for node in body:
        match node:
            case ast.FunctionDef(name=name, args=args) if not re.match("_(?!_)", name):
                taken = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
                for arg in taken:
                    if arg and arg.arg != "ctx":
                        yield owner + name, _without_arrays(arg.annotation)
                yield owner + name, _without_arrays(node.returns)
            case ast.ClassDef(name=name, body=inner) if not name.startswith("_"):
                yield from _annotations(inner, f"{name}.")
            case ast.AnnAssign(target=ast.Name(id=name)) if not name.startswith("_"):
                yield owner + name, _without_arrays(node.annotation)
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Subscript() | ast.BinOp()) if name[0] != "_":
                yield owner + name, _without_arrays(node.value)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where sdcaffe lies as an installed wheel has it: converters inside, marked as typed."""
    folder = tmp_path_factory.mktemp("site")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "sdcaffe", folder / "sdcaffe", ignore=ignored)
    shutil.copytree(ROOT / "converters", folder / "sdcaffe" / "converters", ignore=ignored)
    return folder


@pytest.fixture(scope="module")
def complaints(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    """What mypy --strict says of the script and, below it, of the slips: line -> complaint."""
    folder = tmp_path_factory.mktemp("script")
    (folder / "script.py").write_text(FACE + "\n".join(SLIPS) + "\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--no-error-summary", "script.py"]
    environment = os.environ | {"MYPYPATH": str(installed)}
    done = subprocess.run([*command, "--config-file="], cwd=folder, env=environment, capture_output=True, text=True)
    assert not done.stderr
    matches = [re.fullmatch(r"script\.py:(\d+): (?:error|note): (.*)", line) for line in done.stdout.splitlines()]
    assert all(matches), done.stdout
    return {int(match[1]): match[2] for match in reversed(matches) if match}


def test_the_stub_is_current() -> None:
    code = f"{GUESTS}; from sdcaffe.proto import stubs; print(stubs.text(), end='')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == (ROOT / "sdcaffe" / "proto" / "caffe.pyi").read_text(), "write it anew with make stubs"


def test_every_layer_says_of_which_message_its_fields_are() -> None:
    caffe = (ROOT / "sdcaffe" / "proto" / "caffe.proto").read_text()
    sdcaffe.discover()
    for cls in (cls for name in registered() for cls in makers(name) if cls.field is not None):
        if origin(cls).startswith("plugin"):
            continue  # of another test
        said = next(each["param"] for each in map(inspect.get_annotations, cls.__mro__) if "param" in each)
        assert said.startswith("proto."), cls
        own = getattr(proto.LayerParameter(), cls.field).DESCRIPTOR
        if said != f"proto.{own.name}":  # one that inherits: its message has all of Caffe's fields that the types name
            message = re.search(rf"message {said.removeprefix('proto.')} {{(.*?)\n}}", caffe, re.DOTALL)
            assert message, cls
            assert {*re.findall(r"(\w+) = \d+(?: \[|;)", message[1])} <= {*own.fields_by_name}, cls


def test_the_public_face_is_typed(complaints: dict[int, str]) -> None:
    assert {line: words for line, words in complaints.items() if line <= FACE.count("\n")} == {}


def test_slips_are_found(complaints: dict[int, str]) -> None:
    found = [complaints.get(FACE.count("\n") + i, "nothing") for i in range(1, len(SLIPS) + 1)]
    for (slip, complaint), words in zip(SLIPS.items(), found, strict=True):
        assert complaint in words, slip


def test_any_stands_where_any_object_is_meant() -> None:
    files = [*(ROOT / "sdcaffe").rglob("*.py"), *(ROOT / "converters").rglob("*.py")]
    found = {
        name: file
        for file in files
        for name, words in _annotations(ast.parse(file.read_text()).body)
        if re.search(r"\bAny\b", words)
    }
    assert {name: file for name, file in found.items() if name not in ANY} == {}
    assert set(ANY) <= set(found), "no longer so"
