"""Nothing in a file is a command to the terminal, and streams that are closed, full or narrow stop no work."""

from __future__ import annotations

import io
import logging
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sdcaffe import terminal
from sdcaffe.cli import main
from sdcaffe.errors import DataError, SdcaffeError, nearest, one_line, told
from sdcaffe.log import GlogFormatter

CONTROL = [chr(n) for n in (*range(0x20), 0x7F, *range(0x80, 0xA0)) if chr(n) not in "\n\t"]
REACHES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
TITLE = "\x1b]2;title\x07"  # what names a terminal's window
NET = """
name: "%s"
layer { name: "in" type: "Input" top: "%s" input_param { shape { dim: 1 } } }
"""


@pytest.mark.parametrize("character", CONTROL, ids=[f"{ord(c):02x}" for c in CONTROL])
def test_every_control_character_is_shown(character: str) -> None:
    error = DataError(f"a{character}b", f"{character}.prototxt")
    record = logging.LogRecord("sdcaffe", logging.INFO, "x.py", 1, f"Solving {character}", None, None)
    stream = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        with terminal.guarded():
            print(character, flush=True)
    number = f"\\x{ord(character):02x}"
    assert stream.getvalue() == f"{number}\n"
    for text in (str(error), error.summary, one_line(error), told(error), GlogFormatter().format(record)):
        assert text is not None
        assert number in text
        assert not REACHES.search(text)


def test_line_breaks_tabs_and_letters_stay() -> None:
    assert terminal.shown("a\tb\nréseau 网 \\x1b") == "a\tb\nréseau 网 \\x1b"


@pytest.mark.parametrize(
    "arguments",
    [
        [TITLE],
        ["convert", TITLE],
        ["summary", "name.prototxt", f"--{TITLE}"],
        ["summary", f"no{TITLE}.prototxt"],
        ["summary", "blob.prototxt"],
        ["summary", "name.prototxt"],
        ["summary", "type.prototxt"],
        ["summary", "field.prototxt"],
        ["layers", TITLE],
        ["train", "solver.prototxt", f"--precision={TITLE}"],
        ["train", "solver.prototxt", "--plugin", f"{TITLE}.py"],
        ["test", "name.prototxt", "--weights", f"{TITLE}.caffemodel"],
        ["convert", "weights", f"{TITLE}.caffemodel", "o.pt"],
        ["convert", "onnx-to-caffe", f"{TITLE}.onnx", "o.prototxt", "o.caffemodel"],
        ["parse-log", f"{TITLE}.log", "."],
        ["plot", f"{TITLE}.log", "-o", "o.svg"],
        ["classify", "name.prototxt", f"{TITLE}.caffemodel", "x.png"],
        ["zoo", TITLE, "."],
    ],
)
def test_no_command_lets_a_control_character_through(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    escaped = r"\033]2;title\007"
    Path("name.prototxt").write_text(NET % (escaped, escaped))
    Path("blob.prototxt").write_text(NET % ("n", "in") + f'layer {{ type: "ReLU" bottom: "{escaped}" top: "b" }}')
    Path("type.prototxt").write_text(
        NET % ("n", "in") + f'layer {{ name: "{escaped}" type: "{escaped}" bottom: "in" }}'
    )
    Path("field.prototxt").write_text(NET % ("n", "in") + f"layer {{ {TITLE}: 1 }}")
    Path("solver.prototxt").write_text('net: "name.prototxt" base_lr: 1 lr_policy: "fixed" max_iter: 1')
    main(arguments)
    captured = capsys.readouterr()
    text = captured.out + captured.err
    assert "title" in text
    assert not REACHES.search(text)


class _Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_full_standard_output_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", _Full())
    assert main(["layers"]) == 1
    assert capsys.readouterr().err == "sdcaffe: error: No space left on device\n"


@pytest.mark.parametrize("stream", [None, _Full()], ids=["closed", "full"])
def test_a_standard_error_that_takes_nothing_stops_no_work(
    stream: io.StringIO | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    assert main(["layers", "ReLU"]) == 0
    assert "ReLU" in capsys.readouterr().out
    assert main(["layers", "NoSuchLayer"]) == 1
    assert main(["trian"]) == 2


def test_a_closed_standard_output_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["layers"]) == 0
    assert sys.stdout is None


@pytest.mark.parametrize("closing", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", "2>/dev/full"])
def test_training_goes_on_without_its_streams(closing: str, tmp_path: Path) -> None:
    """What is written next does not get the descriptor of a closed stream, on which others still print."""
    (tmp_path / "net.prototxt").write_text(
        'layer { name: "x" type: "DummyData" top: "x" dummy_data_param { shape { dim: 2 dim: 3 } } }\n'
        'layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 2 } }\n'
        'layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "y" top: "loss" }\n'
    )
    (tmp_path / "s.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 2 display: 1 snapshot_prefix: "run"'
    )
    command = f'"{sys.executable}" -m sdcaffe train s.prototxt {closing}'
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = {"net.prototxt", "s.prototxt", "run.log", "run_iter_2.caffemodel", "run_iter_2.solverstate"}
    assert set(os.listdir(tmp_path)) == names
    assert "Optimization Done." in (tmp_path / "run.log").read_text()


def tiny_run(folder: Path) -> None:
    (folder / "net.prototxt").write_text(
        'layer { name: "x" type: "DummyData" top: "x" dummy_data_param { shape { dim: 2 dim: 3 } } }\n'
        'layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 2 } }\n'
        'layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "y" top: "loss" }\n'
    )
    (folder / "s.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 200 display: 1 snapshot_prefix: "run"'
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("reader", ["true", "head -1"])
def test_training_goes_on_when_its_reader_has_gone(reader: str, unbuffered: str, tmp_path: Path) -> None:
    tiny_run(tmp_path)
    command = f'"{sys.executable}" -m sdcaffe train s.prototxt 2>&1 | {reader}; exit ${{PIPESTATUS[0]}}'
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert {"run_iter_200.caffemodel", "run_iter_200.solverstate"} <= set(os.listdir(tmp_path))
    assert "Optimization Done." in (tmp_path / "run.log").read_text()


def test_a_failure_is_a_failure_when_its_reader_has_gone(tmp_path: Path) -> None:
    command = f'"{sys.executable}" -m sdcaffe train none.prototxt 2>&1 | true; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_a_broken_pipe_that_is_not_a_stream_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: list[str]) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("sdcaffe.cli._run", fail)
    assert main(["layers"]) == 1
    assert capsys.readouterr().err == "sdcaffe: error: Broken pipe\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", "cp437"])
def test_what_an_encoding_lacks_is_shown(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    held = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(held, encoding=encoding))
    with terminal.guarded():
        print("é网\udcff", flush=True)
    for character, number in zip("é网", ("\\xe9", "\\u7f51"), strict=True):
        try:
            want = character.encode(encoding)
        except UnicodeEncodeError:
            want = number.encode()
        assert want in held.getvalue()
    assert held.getvalue().endswith(b"\\xff\n")


@pytest.mark.parametrize("length", [900, 10_000_000])
def test_a_word_without_an_end_is_told_in_part(length: int) -> None:
    word = "a" * length
    told = str(SdcaffeError(f'unknown layer type "{word}". There are Data', "net.prototxt:1:2"))
    assert told.startswith('net.prototxt:1:2: unknown layer type "aaaa')
    assert told.endswith(". There are Data")
    assert len(told) < 300 or (length == 900 and f'"{word}"' in told)


def test_a_message_of_a_million_words_is_told_in_part() -> None:
    told = str(SdcaffeError("begins " + "word " * 1_000_000 + "ends"))
    assert told.startswith("begins word")
    assert told.endswith("word ends")
    assert len(told) < 21_000


def test_no_word_is_like_one_of_megabytes() -> None:
    before = time.process_time()
    assert nearest("Convolutio" * 1_000_000, ["Convolution"]) is None
    assert time.process_time() - before < 1
    assert nearest("Convolutio", ["Convolution"]) == "Convolution"


def test_an_error_keeps_what_it_was_given() -> None:
    error = SdcaffeError("\x1b", "place")
    assert (error.message, str(error)) == ("\x1b", "place: \\x1b")


def test_a_reader_that_has_gone_is_passed_over_without_a_word() -> None:
    command = [sys.executable, "-m", "sdcaffe", "layers", "Convolution"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.close()
    _, error = child.communicate(timeout=120)
    assert (child.returncode, error) == (0, b"")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("can't start new thread"), "no thread can be started"),
        (ImportError("libx.so.1: cannot open shared object file: Too many open files"), "a library cannot be loaded"),
        (OSError("libtorch.so: failed to map segment from shared object"), "a library cannot be loaded"),
        (OSError(24, "Too many open files", "/dev/null"), "/dev/null: Too many open files"),
    ],
)
def test_what_a_machine_lacks_is_told(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: list[str]) -> int:
        raise error

    monkeypatch.setattr("sdcaffe.cli._run", fail)
    assert main(["layers"]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"sdcaffe: error: {said}")
    assert told.count("\n") == 1


@pytest.mark.parametrize("error", [RuntimeError("a fault"), ImportError("cannot import name 'x' from 'sdcaffe'")])
def test_a_fault_of_the_program_is_shown_as_one(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(arguments: list[str]) -> int:
        raise error

    monkeypatch.setattr("sdcaffe.cli._run", fail)
    with pytest.raises(type(error)):
        main(["layers"])


def test_no_handle_is_taken_for_open_streams(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*args: object, **more: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("builtins.open", refused)
    with terminal.guarded():
        print("x")
    assert capsys.readouterr().out == "x\n"


def test_a_folder_that_has_gone_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = Path(__file__).parent / "goldens" / "files" / "caffe_train.log"
    place = tmp_path / "gone"
    place.mkdir()
    monkeypatch.chdir(place)
    assert one_line(FileNotFoundError(2, "No such file or directory")) == "No such file or directory"
    place.rmdir()
    assert one_line(FileNotFoundError(2, "No such file or directory")) == "the folder that this runs in is gone"
    assert main(["parse-log", str(log), "o"]) == 1
    assert capsys.readouterr().err == "sdcaffe: error: o: No such file or directory\n"
