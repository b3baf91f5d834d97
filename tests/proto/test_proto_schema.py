"""The schema against Caffe's own table of fields, and fields declared by plugins."""

from __future__ import annotations

import enum
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

from sdcaffe import proto
from sdcaffe.errors import PrototxtError
from sdcaffe.proto import grammar, schema

Kind = descriptor_pb2.FieldDescriptorProto
OURS = {
    "NetParameter.sdcaffe_seal",
    "SolverState.sdcaffe_state",
    "SolverState.sdcaffe_seal",
    "SolverParameter.precision",
    "SolverParameter.sync_batch_norm",
    "SolverParameter.eval_type",
    "SolverParameter.test_metrics",
    "SolverParameter.warmup_iter",
    "SolverParameter.warmup_start",
    "SolverParameter.ema_decay",
    "LossParameter.label_smoothing",
    "DataParameter.shuffle",
    "DataParameter.seed",
}


def caffe_table() -> dict[str, list[str]]:
    """`caffe_fields.txt`: fields of a message, or values of an enum, by the message's or the enum's name."""
    text = Path(__file__).with_name("caffe_fields.txt").read_text().split("\n", 1)[1].replace("\n  ", " ")
    return {name: rest.split("; ") for name, rest in (line.split(": ") for line in text.splitlines())}


def as_in_table(field: Any) -> str:
    kind = field.type_name.rpartition(".")[2] or Kind.Type.Name(field.type).removeprefix("TYPE_").lower()
    mark = {Kind.LABEL_OPTIONAL: "", Kind.LABEL_REQUIRED: "!", Kind.LABEL_REPEATED: "*"}[field.label]
    if field.options.packed:
        mark = "+"
    default = ""
    if field.HasField("default_value"):
        default = f"={float(field.default_value):g}" if kind == "float" else f"={field.default_value}"
    return f"{mark}{field.name} {field.number} {kind}{default}"


def described(name: str) -> descriptor_pb2.DescriptorProto:
    file = descriptor_pb2.FileDescriptorProto.FromString(schema.message(name).DESCRIPTOR.file.serialized_pb)
    return next(message for message in file.message_type if message.name == name)


@pytest.fixture
def clean_schema(monkeypatch):
    """Caffe's own: what a test declares is gone after it, and so is here what others load."""
    monkeypatch.setattr(schema, "_declared", {})
    monkeypatch.setattr(schema, "_values", {})
    monkeypatch.setattr(schema, "_pools", {})


@pytest.mark.parametrize("name", [name for name in caffe_table() if "." not in name and name != "Phase"])
def test_message_has_caffes_fields(clean_schema, name):
    fields = [as_in_table(f) for f in described(name).field if f"{name}.{f.name}" not in OURS]
    assert fields == caffe_table()[name]


@pytest.mark.parametrize("name", [name for name in caffe_table() if "." in name or name == "Phase"])
def test_enum_has_caffes_values(clean_schema, name):
    values = schema.pool().FindEnumTypeByName(f"caffe.{name}").values
    assert [f"{v.name} {v.number}" for v in values] == caffe_table()[name]


def test_own_fields_have_numbers_that_caffe_reads_past():
    for name in OURS:
        message, _, field = name.partition(".")
        assert schema.message(message).DESCRIPTOR.fields_by_name[field].number >= 1000
    assert proto.DataParameter().shuffle is False
    assert proto.DataParameter().seed == 0


def test_messages_and_constants_by_name():
    assert (proto.TRAIN, proto.TEST) == (0, 1)
    assert proto.PoolingParameter.AVE == 1
    assert proto.caffe.TEST == proto.TEST
    assert proto.Phase.Name(proto.TEST) == "TEST"
    assert proto.LayerParameter(name="a").lrn_param.beta == 0.75
    with pytest.raises(AttributeError, match='no message or enum "Layer"'):
        _ = proto.Layer
    with pytest.raises(AttributeError, match="MIN"):
        _ = proto.PoolingParameter.MIN


def test_another_caffe_schema_beside_ours():
    file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe")
    file.message_type.add(name="NetParameter")
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
    assert proto.NetParameter(name="x").name == "x"


def test_neither_torch_nor_numpy_is_needed_to_read_text():
    code = "import sys; from sdcaffe import proto; proto.NetParameter(); proto.read_net; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "numpy", "h5py"} & set(loaded)


def test_a_message_of_a_fork_is_found_when_it_is_first_named():
    code = (
        "import sys; from sdcaffe import proto; assert 'torch' not in sys.modules\n"
        "print(proto.AnnotatedDatum().DESCRIPTOR.fields_by_name['datum'].message_type.name, hasattr(proto, 'NoSuch'))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.split() == ["Datum", "False"]


class Mode(enum.IntEnum):
    FAST = 0
    EXACT = 3


class Param:
    """What a plugin writes."""

    gamma: float = 0.5
    count: int = 1
    on: bool = True
    title: str = 'a "b"'
    mode: Mode = Mode.EXACT
    steps: list[int]
    modes: list[Mode]
    weight_filler: schema.Message("FillerParameter")
    shapes: list[schema.Message("BlobShape")]
    bias_filler: Any = schema.Message("FillerParameter")
    untouched: float
    _private: int = 0


def test_declared_field_reads_like_a_built_in_one(clean_schema):
    schema.declare("focal_loss_param", 4001, Param)
    layer = proto.LayerParameter()
    param = layer.focal_loss_param
    assert (param.gamma, param.count, param.on, param.title, param.mode) == (0.5, 1, True, 'a "b"', 3)
    assert not param.HasField("untouched")
    text = """focal_loss_param { gamma: 2 mode: FAST steps: [1, 5000000000] modes: EXACT
        weight_filler { type: "xavier" } shapes { dim: 3 } bias_filler { value: 1 } }"""
    proto.parse(text, layer, "x")
    assert layer.focal_loss_param.steps == [1, 5000000000]
    assert layer.focal_loss_param.weight_filler.type == "xavier"
    again = proto.LayerParameter.FromString(layer.SerializeToString())
    assert proto.format(again) == proto.format(layer)
    assert [f.number for f in described("FocalLossParameter").field] == list(range(1, 12))
    with pytest.raises(PrototxtError, match=r'no field "gama". Did you mean "gamma"\?'):
        proto.parse("focal_loss_param { gama: 2 }", layer, "x")


def test_message_of_an_older_schema_is_brought_to_the_current_one(clean_schema):
    class Shade:
        depth: int = 0

    old = proto.NetParameter(name="n")
    old.layer.add(name="a").relu_param.negative_slope = 0.5
    same = schema.copied(old)
    assert same == old
    assert same is not old
    schema.declare("shade_param", 4002, Shade)
    new = schema.copied(old)
    assert new is not old
    new.layer[0].shade_param.depth = 3
    assert (new.name, new.layer[0].relu_param.negative_slope) == ("n", 0.5)
    # Bytes of a layer that an older schema did not know are not lost on the way.
    assert schema.copied(type(old).FromString(new.SerializeToString())).layer[0].shade_param.depth == 3


def test_declaring_twice_the_same_is_fine_and_a_clash_names_both(clean_schema):
    class Other:
        gamma: float = 0.25

    schema.declare("focal_loss_param", 4001, Param)
    pool = schema.pool()
    schema.declare("focal_loss_param", 4001, Param)
    assert schema.pool() is pool
    with pytest.raises(PrototxtError) as caught:
        schema.declare("other_param", 4001, Other)
    assert f"{Other.__module__}.{Other.__qualname__}" in caught.value.message
    assert f"{__name__}.Param" in caught.value.message
    assert caught.value.where is not None
    assert Path(caught.value.where.rsplit(":", 1)[0]).name == "test_proto_schema.py"
    with pytest.raises(PrototxtError, match=r'declares the field "focal_loss_param", which .*Param has already'):
        schema.declare("focal_loss_param", 4003, Other)
    with pytest.raises(PrototxtError, match='"pooling_param", which BVLC Caffe has already'):
        schema.declare("pooling_param", 4003, Other)


@pytest.mark.parametrize("number", [148, 0, -3, 19500, 2**29])
def test_numbers_that_no_plugin_can_have(clean_schema, number):
    with pytest.raises(PrototxtError, match="number"):
        schema.declare("number_param", number, Param)


class Nothing:
    value: complex = 1j


class WrongDefault:
    value: int = 1.5


class ListDefault:
    value: list[int] = [3]


class NoSuchMessage:
    value: schema.Message("NoSuchParameter")


class TwoEnumsOneName:
    class A(enum.IntEnum):
        SAME = 0

    class B(enum.IntEnum):
        SAME = 0

    a: A = A.SAME
    b: B = B.SAME


class Words(enum.Enum):
    A = "a"


class Wide(enum.IntEnum):
    A = 2**31


class WideEnum:
    value: Wide = Wide.A


class WordEnum:
    value: Words = Words.A


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (Nothing, "is annotated"),
        (WrongDefault, "cannot have the default 1.5"),
        (ListDefault, r"cannot have the default \[3\]"),
        (NoSuchMessage, "NoSuchParameter"),
        (TwoEnumsOneName, 'two of its enums have the value "SAME"'),
        (WordEnum, "is annotated"),
        (WideEnum, "is annotated"),
    ],
)
def test_what_cannot_be_a_field(clean_schema, params, message):
    with pytest.raises(PrototxtError, match=message):
        schema.declare("wrong_param", 4004, params)
    assert not proto.LayerParameter.DESCRIPTOR.fields_by_name.get("wrong_param")


def test_a_message_name_that_is_taken(clean_schema):
    with pytest.raises(PrototxtError, match='there is a message "PoolingParameter" already'):
        schema.declare("Pooling_param", 4004, Param)


def test_an_annotation_that_cannot_be_looked_up(clean_schema):
    class Hidden(enum.IntEnum):
        A = 0

    class Late:
        value: Hidden = Hidden.A

    with pytest.raises(PrototxtError, match="top level of the module or inside the class"):
        schema.declare("late_param", 4005, Late)


@pytest.mark.parametrize(
    "source",
    ["message A { optional int32 a = 1 [lazy = true]; }", "oneof x", "message A {", "message A { map<a> b = 1; }"],
)
def test_grammar_refuses_what_it_does_not_know(source):
    with pytest.raises(SyntaxError, match=r"x\.proto:1"):
        grammar.read(source, "x.proto")


def test_a_message_is_pickled_by_its_place_in_proto():
    """protobuf names the module that first met the class, so runs at once could not be sent to their processes."""
    assert proto.NetParameter.__module__ == "sdcaffe.proto"
    assert pickle.loads(pickle.dumps(proto.NetParameter(name="mine"))).name == "mine"
