"""An error in a prototxt shows the line it is about, with a caret below the place."""

from __future__ import annotations

import copy
import pickle
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sdcaffe
from sdcaffe import proto
from sdcaffe.cli import main
from sdcaffe.errors import PrototxtError, SdcaffeError, SolverError
from sdcaffe.proto.excerpt import excerpt
from sdcaffe.proto.tokens import Source


def error(text: str) -> list[str]:
    """The lines of what reading `text` raises."""
    with pytest.raises(PrototxtError) as caught:
        proto.parse(text, proto.NetParameter(), "x.prototxt")
    return str(caught.value).split("\n")


# ---------------------------------------------------------------- a line and a caret


def test_an_unknown_field():
    assert error('name: "n"\nlayer {\n  name: "a"\n  convolution_parm { }  # why\n}') == [
        'x.prototxt:4:3: message "LayerParameter" has no field "convolution_parm". Did you mean "convolution_param"?',
        "    convolution_parm { }  # why",
        "    ^",
    ]


def test_a_wrong_value():
    assert error("layer { eltwise_param { operation: MAXX } }") == [
        'x.prototxt:1:36: field "operation" takes PROD, SUM or MAX, not "MAXX". Did you mean "MAX"?',
        "    layer { eltwise_param { operation: MAXX } }",
        "                                       ^",
    ]


def test_the_end_of_a_file_is_shown_behind_its_last_word():
    first, line, caret = error('name: "n"\nlayer {\n  type: "ReLU"\n\n')
    assert first.startswith('x.prototxt:5:1: the file ends inside message "LayerParameter"')
    assert (line, caret) == ('    type: "ReLU"', "                ^")


def test_tabs_and_windows_ends_of_lines():
    assert error("layer {\r\n\ttype:\t3\r\n}")[1:] == ["    type:    3", "             ^"]


def test_wide_letters_take_two_columns_and_accents_none():
    assert error('name: "中文" zzz: 1')[1:] == ['    name: "中文" zzz: 1', "                 ^"]
    assert error('name: "e\u0301" zzz: 1')[1:] == ['    name: "e\u0301" zzz: 1', "              ^"]


@pytest.mark.parametrize(
    ("character", "shown"),
    [("\x1b", "\\x1b"), ("\x00", "\\x00"), ("\u00a0", "\\xa0"), ("\u202e", "\\u202e"), ("\udcff", "\\xff")],
)
def test_what_cannot_be_printed_is_its_number(character, shown):
    assert error(f"name: {character} 3")[1:] == [f"    name: {shown} 3", "          ^"]


def test_a_byte_order_mark_is_not_part_of_the_line():
    assert error("\ufeffzzz: 1")[1:] == ["    zzz: 1", "    ^"]


def test_a_long_line_is_cut_around_the_place():
    text = 'name: "' + "a" * 300 + '" zzz: "' + "b" * 300 + '"'
    first, line, caret = error(text)
    assert first.startswith("x.prototxt:1:310: message")
    assert line == "    ..." + "a" * 48 + '" zzz: "' + "b" * 41 + "..."
    assert line[caret.index("^") :].startswith("zzz")
    assert error("zzz: " + "9" * 1_000_000)[1:] == ["    zzz: " + "9" * 95 + "...", "    ^"]


def test_a_blank_text_has_no_line_to_show():
    assert [excerpt("", 0), excerpt(" \n\t\n", 3), excerpt("\ufeff\n", 2)] == ["", "", ""]
    assert str(SdcaffeError("empty", Source("\n", "x").where(1))) == "x:2:1: empty"


# What Python and the Unicode table say of the columns of a line, whatever stands on it.
@given(st.text(st.characters(codec="utf-8"), max_size=200), st.data())
def test_the_caret_stands_below_its_character(text, data):
    offset = data.draw(st.integers(0, len(text)))
    shown = excerpt(text, offset)
    if not (text[:offset] + text[offset:].partition("\n")[0]).strip(" \t\r\n\ufeff"):
        return  # no word on its line, nor above
    line, _, caret = shown.partition("\n")
    assert "\n" not in caret
    assert caret.strip(" ") == "^"
    assert all(c.isprintable() for c in line)
    columns = 0
    under = ""
    for character in line:
        if columns >= len(caret) - 1 and not unicodedata.combining(character):
            under = character
            break
        columns += 0 if unicodedata.category(character) in ("Mn", "Me") else 1
        columns += unicodedata.east_asian_width(character) in "WF"
    wanted = text[offset : offset + 1]
    if wanted.isprintable() and wanted.strip() and unicodedata.category(wanted) not in ("Mn", "Me"):
        assert under == wanted


# ---------------------------------------------------------------- every located error


NET = """layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer {
  name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 group: 2 }
}
"""


def of_net(tmp_path, text: str) -> list[str]:
    (tmp_path / "net.prototxt").write_text(text)
    with pytest.raises(SdcaffeError) as caught:
        sdcaffe.Net(tmp_path / "net.prototxt")
    return str(caught.value).removeprefix(f"{tmp_path}/").split("\n")


def test_a_layers_error(tmp_path):
    first, line, caret = of_net(tmp_path, NET)
    assert first.startswith("net.prototxt:4:52: ")
    assert line == "    convolution_param { num_output: 4 kernel_size: 3 group: 2 }"
    assert line[caret.index("^") :].startswith("group: 2")


def test_a_graphs_error(tmp_path):
    first, line, caret = of_net(tmp_path, NET.replace('bottom: "data"', 'bottom: "date"'))
    assert first.startswith("net.prototxt:3:36: ")
    assert line == '    name: "conv" type: "Convolution" bottom: "date" top: "conv"'
    assert line[caret.index("^") :].startswith('bottom: "date"')


def test_an_unknown_types_error(tmp_path):
    first, line, caret = of_net(tmp_path, NET.replace('"Convolution"', '"Convolutoin"'))
    assert first.startswith('net.prototxt:3:16: unknown layer type "Convolutoin"')
    assert line[caret.index("^") :].startswith('type: "Convolutoin"')


def test_an_old_nets_error(tmp_path):
    text = 'layers { layer { name: "a" type: "conv" } }\nlayers { layer { name: "b" type: "convv" } }'
    first, line, caret = of_net(tmp_path, text)
    assert first.startswith('net.prototxt:2:28: unknown V0 layer type "convv"')
    assert line[caret.index("^") :].startswith('type: "convv"')


def test_a_solvers_error(tmp_path):
    (tmp_path / "solver.prototxt").write_text('net: "net.prototxt"\nbase_lr: 0.1  type: "SDG"\n')
    with pytest.raises(SolverError) as caught:
        sdcaffe.Solver(tmp_path / "solver.prototxt")
    assert str(caught.value).split("\n")[1:] == [
        '    base_lr: 0.1  type: "SDG"',
        "                  ^",
    ]


# ---------------------------------------------------------------- what carries it


def test_summary_and_where_are_one_line():
    with pytest.raises(PrototxtError) as caught:
        proto.parse("zzz: 1", proto.NetParameter(), "x")
    assert caught.value.summary == f"x:1:1: {caught.value.message}"
    assert caught.value.where == "x:1:1"
    for again in (copy.deepcopy(caught.value), pickle.loads(pickle.dumps(caught.value))):
        assert str(again) == str(caught.value)


def test_a_place_that_is_no_line_of_a_text_shows_none():
    assert str(SdcaffeError("broken", "x:1:1")) == "x:1:1: broken"


def test_the_command_line_prints_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text('layer {\n  nme: "a"\n}\n')
    assert main(["summary", "net.prototxt"]) == 1
    assert capsys.readouterr().err == (
        'sdcaffe: error: net.prototxt:2:3: message "LayerParameter" has no field "nme". Did you mean "name"?\n'
        '    nme: "a"\n'
        "    ^\n"
    )
