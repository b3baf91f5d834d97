"""Reading prototxt: protobuf's whole text syntax, the places, and one clear line for each mistake."""

from __future__ import annotations

import logging
import resource

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from sdcaffe import proto
from sdcaffe.errors import PrototxtError
from sdcaffe.proto import schema


@pytest.fixture(scope="module", autouse=True)
def _bare_schema():
    """Without what plugins declare that other tests load."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "_declared", {})
        patch.setattr(schema, "_pools", {})
        yield


def parsed(text, name="NetParameter", **options):
    message = getattr(proto, name)()
    proto.parse(text, message, "x.prototxt", **options)
    return message


def error(text, name="NetParameter", **options):
    with pytest.raises(PrototxtError) as caught:
        parsed(text, name, **options)
    return str(caught.value)


# Google's own parser of the text form says what each of these means.
SYNTAX = [
    "",
    "  # nothing but a comment",
    "name: 'a'",
    'name: "a" # b\n"c" \'d\'',
    "name: 'it\\'s' ; force_backward: true , debug_info: false",
    'name: "\\a\\b\\f\\n\\r\\t\\v\\\\\\\'\\""',
    'name: "\\101\\x42\\7 \\u00e9\\U0001F600"',
    'name: "\u00e9\u4e2d"',
    'name: "#{}[]:,;<>"',
    "layer { name: 'a' } layer < name: 'b' >",
    "layer: { name: 'a' } layer: < name: 'b' >",
    "layer [ { name: 'a' }, < name: 'b' > ]",
    "layer { loss_weight: [0, 0., 0.5, 0e1, -0] }",
    "layer [] layer: []",
    "layer: [ { name: 'a' } ]",
    "layer { }",
    "layer{relu_param{}}",
    "layer { pooling_param { pool: AVE } }",
    "layer { pooling_param { pool: 1 } }",
    "input_dim: 1 input_dim: 0x1F input_dim: 010 input_dim: -3 input_dim: 0",
    "input_dim: [1, 2, 3]  input_dim: []",
    "input: ['a', 'b' 'c']",
    "layer { loss_weight: [1, 1., .5, 1e3, 1E-3, 1.f, -1.5e+2, inf, -inf, Infinity, nan] }",
    "layer { propagate_down: [true, True, t, 1, false, False, f, 0] }",
    "layer { convolution_param { kernel_size: 3 kernel_size: 5 num_output: 4294967295 } }",
    "state { stage: 'a', level: -2147483648; }",
    "layer\n{\nname\n:\n'a'\n}",
    "layer { blobs { data: 1 data: 2 double_data: 1e-300 shape { dim: -9223372036854775808 } } }",
    "name: 'a'\r\nforce_backward: true\r\n",
    "layers { type: CONVOLUTION blob_share_mode: [STRICT, PERMISSIVE] layer { name: 'old' } }",
    "layer { clip_param { min: -1 max: 1 } }",
]


@pytest.mark.parametrize("text", SYNTAX)
def test_syntax_means_what_protobuf_says(text):
    wanted = text_format.Parse(text, proto.NetParameter())
    assert parsed(text).SerializeToString(deterministic=True) == wanted.SerializeToString(deterministic=True)


def test_bytes_fields_and_byte_order_mark():
    assert parsed('\ufeffdata: "\\377\\x00a"', "Datum").data == b"\xff\x00a"


def test_what_the_language_has_and_googles_python_parser_lacks():
    assert list(parsed("input_dim: - 4 input_dim: -\n# why\n5").input_dim) == [-4, -5]
    assert parsed('name: "\\?"').name == "?"
    assert list(parsed("layer { loss_weight: [2f, 2F, 1e2f] }").layer[0].loss_weight) == [2, 2, 100]
    assert list(parsed("layer { loss_weight: - inf loss_weight: -INF }").layer[0].loss_weight) == [float("-inf")] * 2


def test_parsing_replaces_what_was_there():
    net = proto.NetParameter(name="old", input=["a"])
    proto.parse("name: 'new'", net, "x")
    assert (net.name, list(net.input)) == ("new", [])


MISTAKES = [
    (
        'layer {\n  name: "a"\n    convolution_parm { }\n}',
        'x.prototxt:3:5: message "LayerParameter" has no field "convolution_parm". Did you mean "convolution_param"?',
    ),
    (
        "layer { eltwise_param { operation: MAXX } }",
        'x.prototxt:1:36: field "operation" takes PROD, SUM or MAX, not "MAXX". Did you mean "MAX"?',
    ),
    ("layer { pooling_param { pool: 'MAX' } }", "Write MAX without quotes"),
    ("layer { eltwise_param { operation: 7 } }", 'takes PROD, SUM or MAX, not "7"'),
    ("layer { eltwise_param { operation: -1 } }", 'takes PROD, SUM or MAX, not "-1"'),
    ("layers { type: 'Convolution' }", 'Did you mean "CONVOLUTION"?'),
    ("layer { type: CONVOLUTION }", 'x.prototxt:1:15: field "type" takes a string in quotes, not "CONVOLUTION"'),
    ("layer { num_output: 3 }", 'has no field "num_output". It is a field of "convolution_param" and 3 others'),
    ("layer { beta: 3 }", 'It is a field of "lrn_param" and 1 others'),
    ("layer { negative_slope: 3 }", 'It is a field of "relu_param": write relu_param { negative_slope: ... }'),
    ("layer { roi_pooling_param { } }", "not one of BVLC Caffe's"),
    ("layer { roi_pooling_param { } }", "--ignore-unknown reads on without it"),
    ("layer { roi_pooling_param { } }", "docs/own-layer.md shows how a plugin adds it"),
    ("layer { relu_param { zzz: 1 } }", "--ignore-unknown reads on without it"),
    ("name: 3", 'x.prototxt:1:7: field "name" takes a string in quotes, not "3"'),
    ("name: a", 'write "a"'),
    ("input_dim: 1.5", 'field "input_dim" takes a whole number from -2147483648 to 2147483647, not "1.5"'),
    ("input_dim: 'a'", "not the string 'a'"),
    ("input_dim: 2147483648", "to 2147483647, not 2147483648"),
    ("input_dim: -2147483649", "from -2147483648 to 2147483647, not -2147483649"),
    ("input_dim: 08", 'not "08"'),
    ("input_dim: 3x", 'not "3x"'),
    ("input_dim: " + "9" * 5000, "x.prototxt:1:12: field"),
    ("input_dim: -", 'not "-"'),
    ("layer { convolution_param { num_output: -1 } }", "takes a whole number from 0 to 4294967295, not -1"),
    ("layer { convolution_param { num_output: 4294967296 } }", "not 4294967296"),
    ("layer { convolution_param { num_output: [1, 2] } }", 'field "num_output" does not repeat'),
    ("layer { loss_weight: x }", 'field "loss_weight" takes a decimal number, not "x"'),
    ("layer { loss_weight: 1e }", 'not "1e"'),
    ("layer { loss_weight: 010 }", 'not "010"'),
    ("layer { loss_weight: 01.5 }", 'not "01.5"'),
    ("layer { loss_weight: 1.2.3 }", 'not "1.2.3"'),
    ("layer: [:{ }]", 'write "layer { ... }", not ":"'),
    ("layer { relu_param:: { } }", 'write "relu_param { ... }", not ":"'),
    ("force_backward: yes", 'field "force_backward" takes true or false, not "yes"'),
    ("force_backward: 2", 'takes true or false, not "2"'),
    ("name: 'a\n'", "x.prototxt:1:7: a string begins here and has no end on its line"),
    ('name: "a', "x.prototxt:1:7: a string begins here and has no end on its line"),
    ("name: '\\q'", "\\q is no escape sequence"),
    ("name: '\\400'", "more than a byte"),
    ("name: '\\ud800'", "no character"),
    ("name: '\\xff'", 'the string of field "name" is not UTF-8'),
    ("layer {\n  name: 'a'\n", 'x.prototxt:3:1: the file ends inside message "LayerParameter": the "{" at x.proto'),
    ("layer { name: 'a' } }", 'x.prototxt:1:21: "}" closes nothing here'),
    ("layer { name: 'a' >", '">" cannot close the "{" at x.prototxt:1:7; write "}"'),
    ("layer < name: 'a' }", '"}" cannot close the "<" at x.prototxt:1:7; write ">"'),
    ("layer { name: 'a'\n name: 'b' }", 'x.prototxt:2:2: field "name" of message "LayerParameter" is given twice'),
    ("layer { relu_param { } relu_param { } }", 'field "relu_param" of message "LayerParameter" is given twice'),
    ("layer { clip_param { max: 1 } }", 'x.prototxt:1:20: message "ClipParameter" lacks its required field "min"'),
    ("layer 'a'", 'field "layer" is a message: write "layer { ... }"'),
    ("name 'a'", 'expected ":" after "name"'),
    ("input_dim: [1 2]", 'expected "," or "]" in a list, not "2"'),
    ("input_dim: [1,]", 'not "]"'),
    ("input_dim: [1", "not the end of the file"),
    (": 3", 'expected a field of message "NetParameter", not ":"'),
    ("'}'", "expected a field of message \"NetParameter\", not the string '}'"),
    ("layer { '}' }", "expected a field"),
    ("name: 'a' ;; ", 'not ";"'),
    ("[caffe.x]: 3", "extensions and Any are not part of Caffe's format"),
    ("name: 'a' @", 'x.prototxt:1:11: the character "@" has no meaning here'),
    ("name: \x01", "\\x01"),
    ("@" + " " * 2000 + "@", "x.prototxt:1:1"),
    (" " * 2000 + "@", "x.prototxt:1:2001"),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES)
def test_a_mistake_is_one_clear_line(text, message):
    found, *excerpt = error(text).split("\n")
    assert message in found
    assert found.startswith("x.prototxt:")
    assert len(excerpt) == 2
    assert excerpt[1].strip() == "^"


def test_unknown_fields_are_read_past_on_request(caplog):
    text = """name: "n"
    layer { name: "a" fork_param { x: 1 y [ {}, < z: "}" "]" > ] } speed: -3 speed: [1, 2] word: A
            relu_param { slop: 1.5 } }
    layer: { name: "b" fork_param { } other < > ; relu_param { negative_slope: 1 } }"""
    with caplog.at_level(logging.WARNING, logger="sdcaffe"):
        net = parsed(text, ignore_unknown=True)
    wanted = 'name: "n" layer { name: "a" relu_param { } } layer { name: "b" relu_param { negative_slope: 1 } }'
    assert net == text_format.Parse(wanted, proto.NetParameter())
    told = [record.getMessage() for record in caplog.records]
    assert told[0] == 'x.prototxt:2:23: ignored (2 times): message "LayerParameter" has no field "fork_param"'
    assert 'x.prototxt:3:26: ignored: message "ReLUParameter" has no field "slop"' in told
    assert len(told) == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fork { a: 1", "has no end"),
        ("fork { a: ] }", "cannot close"),
        ("fork: ", "has no end"),
        ("fork }", 'expected ":" or "{"'),
        ("fork: ; name: 'a'", "has no end"),
    ],
)
def test_unknown_fields_must_still_be_protobuf(text, message):
    assert message in error(text, ignore_unknown=True)


def test_places_of_layers_and_fields():
    text = """name: "n"
layer { name: "data" type: "Data"
  data_param { batch_size: 8 } }
layer { type: "Convolution" name: "conv"
  convolution_param {
    weight_filler { type: "xavier" }
    num_output: 8 } }
layer { name: "data" include { phase: TEST } }
"""
    net = proto.NetParameter()
    places = proto.parse(text, net, "dir/n.prototxt")
    assert places.find("conv") == "dir/n.prototxt:4:1"
    assert places.find("conv", "type") == "dir/n.prototxt:4:9"
    assert places.find("conv", "num_output") == "dir/n.prototxt:7:5"
    assert places.find("conv", "weight_filler.type") == "dir/n.prototxt:6:21"
    assert places.find("conv", "convolution_param.weight_filler.type") == "dir/n.prototxt:6:21"
    assert places.find("conv", "data_param.num_output") == "dir/n.prototxt:4:1"
    assert places.find("conv", "absent") == "dir/n.prototxt:4:1"
    assert places.find("data") == "dir/n.prototxt:2:1"
    assert places.find("data", "phase") == "dir/n.prototxt:8:32"
    assert places.find("nothing") is None
    assert places.find("nothing", "type") is None
    assert places.field("name") == "dir/n.prototxt:1:1"
    assert places.field("batch_size") == "dir/n.prototxt:3:16"
    assert places.field("absent") is None


def test_places_in_old_nets_and_inside_solvers():
    places = proto.parse("input: 'a'\nlayers { layer { name: 'c' type: 'conv' } }", proto.NetParameter(), "x")
    assert places.find("c", "type") == "x:2:28"
    assert places.find("input", "shape") == "x:1:1"
    places = proto.parse("base_lr: 1\nnet_param { layer { name: 'c' top: 'c' } }", proto.SolverParameter(), "x")
    assert places.find("c", "top") == "x:2:31"
    assert places.field("base_lr") == "x:1:1"


def test_twice_as_many_lines_take_twice_the_work(lines_run):
    layer = proto.LayerParameter(name="conv", type="Convolution", bottom=["data"], top=["conv"])
    layer.param.add(lr_mult=1, decay_mult=1)
    layer.convolution_param.weight_filler.type = "xavier"
    texts = (text_format.MessageToString(proto.NetParameter(layer=[layer] * n)) for n in (200, 400))
    once, twice = (lines_run(lambda text=text: parsed(text)) for text in texts)
    assert twice < 2.1 * once


WORDS = ["layer", "name", "input_dim", "relu_param", "fork", "0x", "1e5", "true", "inf", "'a'", "1"]
PIECES = st.sampled_from(WORDS) | st.sampled_from('{}<>[]:;,-."\\#\n\udcff\u00e9')


@given(st.lists(PIECES, max_size=20), st.booleans())
def test_any_text_is_a_message_or_one_located_error(pieces, ignore_unknown):
    net = proto.NetParameter()
    try:
        proto.parse(" ".join(pieces), net, "x.prototxt", ignore_unknown=ignore_unknown)
    except PrototxtError as problem:
        where = problem.where
    else:
        where = "x.prototxt:1:1"
    assert where is not None
    assert where.startswith("x.prototxt:")


@pytest.mark.parametrize("letters", ["a" * 3_000_000, "\\n" * 1_000_000, "\\x61" * 1_000_000, "é" * 3_000_000])
def test_a_long_text_takes_little_memory(letters):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    net = proto.NetParameter()
    proto.parse(f'name: "{letters}"', net, "x")
    assert len(net.name) >= 1_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024
