"""Files of messages: what is read, what is refused and how, and that writing is all or nothing."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from sdcaffe import proto
from sdcaffe.errors import PrototxtError, SdcaffeError

FILES = Path(__file__).parents[1] / "goldens" / "files"


def refusal(call, *args):
    with pytest.raises(SdcaffeError) as caught:
        call(*args)
    assert "\n" not in caught.value.summary
    return caught.value.summary


def test_net_and_where_its_layers_are():
    path = FILES / "net.prototxt"
    net, places = proto.read_net_located(path)
    assert [layer.name for layer in net.layer] == ["data", "data", "conv1", "relu1", "ip", "accuracy", "loss"]
    assert places.find("conv1") == f"{path}:4:1"
    assert proto.read_net(path) == net
    solver, places = proto.read_solver_located(FILES / "solver.prototxt")
    assert solver.momentum == proto.read_solver(FILES / "solver.prototxt").momentum
    assert places.field("momentum") == f"{FILES / 'solver.prototxt'}:9:1"


def test_mistakes_have_the_files_name(tmp_path):
    path = tmp_path / "bad.prototxt"
    path.write_text("name: 'a'\nlayr { }\n")
    assert refusal(proto.read_net, path) == (
        f'{path}:2:1: message "NetParameter" has no field "layr". Did you mean "layer"?'
    )
    assert proto.read_net(path, ignore_unknown=True).name == "a"
    path.write_text("bse_lr: 1")
    assert 'Did you mean "base_lr"?' in refusal(proto.read_solver, path)


def test_a_net_and_a_solver_in_each_others_place(tmp_path):
    net, solver = FILES / "net.prototxt", FILES / "solver.prototxt"
    assert refusal(proto.read_solver, net) == (
        f"{net}: is a net, but a solver is wanted: give the file that names this one as its net"
    )
    assert refusal(proto.read_net, solver) == (
        f"{solver}: is a solver, but a net is wanted: give the file that this one names as its net"
    )
    neither = tmp_path / "neither.prototxt"
    neither.write_text("net: 'a'\nlayer { }\n")
    assert refusal(proto.read_solver, neither).startswith(f"{neither}:2:1: ")


def test_missing_files_and_directories(tmp_path):
    assert refusal(proto.read_net, tmp_path / "no.prototxt") == f"{tmp_path}/no.prototxt: No such file or directory"
    assert refusal(proto.read_net, tmp_path) == f"{tmp_path}: Is a directory"
    assert "No such file" in refusal(proto.read_binary, tmp_path / "no", proto.Datum)


@pytest.mark.parametrize(
    "name", ["tiny_iter_15.caffemodel", "tiny_iter_15.solverstate", "tiny_h5_iter_15.caffemodel.h5", "mean.npy"]
)
def test_a_binary_file_given_as_text(name):
    assert "is a binary file, but a prototxt is wanted" in refusal(proto.read_net, FILES / name)
    assert "is a binary file" in refusal(proto.read_solver, FILES / name)


def test_a_binary_message_without_zeros_given_as_text(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"\x0a\x04name\x1a\x05input\x1a\x02in")
    assert "is a binary file" in refusal(proto.read_net, path)


@pytest.mark.parametrize("text", ["name: 'a'", "# note\nname: 'a'", "\n layer {", "layers <"])
def test_a_text_file_given_as_binary(tmp_path, text):
    path = tmp_path / "x.caffemodel"
    path.write_text(text)
    assert (
        refusal(proto.read_binary, path, proto.NetParameter) == f"{path}: is text, but a binary NetParameter is wanted"
    )


def test_bytes_that_are_not_utf8(tmp_path):
    path = tmp_path / "latin.prototxt"
    path.write_bytes(b"# caf\xe9\nname: 'ok' # \xff\xfe")
    assert proto.read_net(path).name == "ok"
    path.write_bytes(b"name: 'caf\xe9'")
    assert refusal(proto.read_net, path) == (f"{path}:1:7: byte 0xe9 in a string is not UTF-8; save the file as UTF-8")
    path.write_bytes(b"name: 'caf\\n\xe9'")
    assert "not UTF-8" in refusal(proto.read_net, path)
    path.write_bytes(b"n\xe9: 3")
    assert refusal(proto.read_net, path).startswith(f"{path}:1:2: byte 0xe9 is not UTF-8")
    path.write_text("name: 'a'", encoding="utf-16")
    assert refusal(proto.read_net, path) == f"{path}: is UTF-16 text; save the file as UTF-8"


def test_text_round_trip(tmp_path):
    net = proto.read_net(FILES / "net.prototxt")
    proto.write_text(tmp_path / "n.prototxt", net)
    assert (tmp_path / "n.prototxt").read_text() == proto.format(net)
    assert proto.read_net(tmp_path / "n.prototxt") == net


def test_binary_round_trip_keeps_caffes_bytes_and_puts_the_seal_before_them(tmp_path):
    source = FILES / "tiny_iter_15.caffemodel"
    net = proto.read_binary(source, proto.NetParameter)
    path = tmp_path / "a.caffemodel"
    proto.write_binary(path, net)
    assert path.read_bytes()[17:] == source.read_bytes()
    again = proto.read_binary(path, proto.NetParameter)
    assert again == net
    proto.write_binary(path, again)
    assert path.read_bytes()[17:] == source.read_bytes()
    # To a reader that knows nothing of the seal it is one more field of the message.
    plain = proto.NetParameter.FromString(path.read_bytes())
    assert plain.sdcaffe_seal.size == path.stat().st_size
    proto.write_binary(path, plain)
    assert path.read_bytes()[17:] == source.read_bytes()


def test_messages_without_a_place_for_the_seal_are_written_as_they_are(tmp_path):
    datum = proto.Datum(channels=1, height=1, width=2, data=b"ab", label=3)
    proto.write_binary(tmp_path / "d", datum)
    assert (tmp_path / "d").read_bytes() == datum.SerializeToString()
    assert proto.read_binary(tmp_path / "d", proto.Datum) == datum


def test_a_message_that_lacks_a_required_field_is_not_written(tmp_path):
    net = proto.NetParameter()
    net.layer.add().clip_param.min = 1
    assert "required fields are missing: layer[0].clip_param.max" in refusal(proto.write_binary, tmp_path / "n", net)
    assert not os.listdir(tmp_path)


def test_damaged_binary_files(tmp_path):
    path = tmp_path / "n.caffemodel"
    path.write_bytes(b"")
    assert refusal(proto.read_binary, path, proto.NetParameter) == f"{path}: is empty"
    path.write_bytes(b"\x0a\x7fshort")
    assert "field 1 at byte 0 goes on after the end of the file (7 bytes)" in refusal(
        proto.read_binary, path, proto.NetParameter
    )
    path.write_bytes(b"\x07\x00")
    assert "none of protobuf's" in refusal(proto.read_binary, path, proto.NetParameter)
    path.write_bytes(b"\xa2\x06\x02\x0a\x7f")  # a layer whose inside is cut
    assert "some of its bytes are damaged" in refusal(proto.read_binary, path, proto.NetParameter)


def test_an_old_file_stays_whole_when_writing_fails(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"old")

    class Halt(BaseException):
        pass

    def write_half():
        with proto.atomic_write(path) as file:
            file.write(b"new, but only half")
            file.flush()
            raise Halt

    with pytest.raises(Halt):
        write_half()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]
    with proto.atomic_write(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["x"]


def test_written_files_have_usual_rights_and_links_stay_links(tmp_path):
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    with proto.atomic_write(tmp_path / "x") as file:
        file.write(b"1")
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
    (tmp_path / "link").symlink_to("x")
    with proto.atomic_write(tmp_path / "link") as file:
        file.write(b"2")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "x").read_bytes() == b"2"


def test_writing_where_nothing_can_be_written(tmp_path):
    assert "cannot be written: No such file or directory" in refusal(
        proto.write_text, tmp_path / "no" / "x", proto.NetParameter()
    )
    assert "cannot be written: Is a directory" in refusal(proto.write_text, tmp_path, proto.NetParameter())
    assert not os.listdir(tmp_path)


def test_writing_to_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    proto.write_text(tmp_path / "pipe", proto.NetParameter(name="a"))
    assert os.read(reader, 100) == b'name: "a"\n'
    os.close(reader)


def test_errors_are_of_the_prototxt_kind(tmp_path):
    with pytest.raises(PrototxtError):
        proto.read_binary(FILES / "net.prototxt", proto.NetParameter)
