"""Printing messages: what Caffe's own logs and tools printed, and what protobuf reads back."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from sdcaffe import proto
from sdcaffe.proto import layout

FILES = Path(__file__).parents[1] / "goldens" / "files"
LOGS = sorted(FILES.glob("*.log"))


def printed(log: Path, title: str) -> list[str]:
    """Every message that a log of Caffe printed after a line with `title`."""
    pattern = rf"{title} from parameters: \n(.*?)(?=^[IWEF]\d{{4,8}} )"
    return re.findall(pattern, log.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.stem)
@pytest.mark.parametrize(
    ("title", "name"), [("Initializing solver", "SolverParameter"), ("Initializing net", "NetParameter")]
)
def test_messages_of_caffes_logs(log, title, name):
    texts = printed(log, title)
    if name == "NetParameter":
        assert texts
    for text in texts:
        message = getattr(proto, name)()
        proto.parse(text, message, log.name)
        assert proto.format(message) == text


def test_solver_file_as_caffe_logged_it():
    solver = proto.read_solver(FILES / "solver.prototxt")
    solver.train_state.level = 0
    solver.train_state.stage.append("")
    assert proto.format(solver) == printed(FILES / "caffe_train.log", "Initializing solver")[0]


@pytest.mark.parametrize("path", sorted(FILES.glob("*_upgraded.prototxt")), ids=lambda path: path.stem)
def test_files_of_caffes_upgrade_tools(path):
    name = "SolverParameter" if "solver" in path.name else "NetParameter"
    assert proto.format(proto.files.read_text(path, getattr(proto, name))[0]) == path.read_text()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"),
        (1, "1"),
        (0, "0"),
        (-0.0, "-0"),
        (0.0078125, "0.0078125"),
        (1e-5, "1e-05"),
        (1 / 3, "0.333333343"),
        (123456, "123456"),
        (1234567, "1234567"),
        (12345678, "12345678"),
        (1e20, "1e+20"),
        (3.4028235e38, "3.40282347e+38"),
        (1e-45, "1.4013e-45"),
        (float("inf"), "inf"),
        (float("-inf"), "-inf"),
        (float("nan"), "nan"),
    ],
)
def test_floats_have_six_or_nine_digits(value, text):
    message = proto.LayerParameter(loss_weight=[value])
    assert proto.format(message) == f"loss_weight: {text}\n"


def test_doubles_have_fifteen_or_seventeen_digits():
    blob = proto.BlobProto(double_data=[0.1, 1 / 3])
    assert proto.format(blob) == "double_data: 0.1\ndouble_data: 0.33333333333333331\n"


@given(st.integers(0, 2**32 - 1))
def test_every_float_reads_back(bits):
    value = struct.unpack("<f", struct.pack("<I", bits))[0]
    assert np.float32(layout.number(value)).tobytes() == np.float32(value).tobytes() or value != value


@given(st.text())
def test_strings_read_back(text):
    message = proto.NetParameter(name=text)
    shown = proto.format(message)
    assert shown.isascii()
    assert shown.count("\n") == 1
    assert text_format.Parse(shown, proto.NetParameter()) == message
    again = proto.NetParameter()
    proto.parse(shown, again, "x")
    assert again == message


@given(st.binary())
def test_bytes_read_back(data):
    shown = proto.format(proto.Datum(data=data))
    assert text_format.Parse(shown, proto.Datum()).data == data


def test_strings_are_escaped_as_in_c():
    shown = proto.format(proto.NetParameter(name="\"'\\\n\r\t\x01\u00e9"))
    assert shown == 'name: "\\"\\\'\\\\\\n\\r\\t\\001\\303\\251"\n'


def test_empty_messages_unset_enums_and_bools():
    layer = proto.LayerParameter(propagate_down=[True, False], phase=proto.TEST)
    layer.relu_param.SetInParent()
    assert proto.format(layer) == "phase: TEST\npropagate_down: true\npropagate_down: false\nrelu_param {\n}\n"


MESSAGES = st.builds(
    dict,
    name=st.text(max_size=5),
    bottom=st.lists(st.text(max_size=3), max_size=3),
    loss_weight=st.lists(st.floats(width=32, allow_nan=False), max_size=3),
    propagate_down=st.lists(st.booleans(), max_size=2),
    phase=st.sampled_from([0, 1]),
    convolution_param=st.fixed_dictionaries(
        {"kernel_size": st.lists(st.integers(0, 2**32 - 1), max_size=2), "axis": st.integers(-(2**31), 2**31 - 1)}
    ),
    include=st.lists(st.fixed_dictionaries({"stage": st.lists(st.text(max_size=3), max_size=2)}), max_size=2),
)


@given(st.lists(MESSAGES, max_size=3))
def test_whole_messages_agree_with_protobuf_both_ways(layers):
    net = proto.NetParameter(layer=[proto.LayerParameter(**layer) for layer in layers])
    assert text_format.Parse(proto.format(net), proto.NetParameter()) == net
    for text in (proto.format(net), text_format.MessageToString(net, as_one_line=True)):
        again = proto.NetParameter()
        proto.parse(text, again, "x")
        assert again == net
