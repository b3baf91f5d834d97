"""`sdcaffe self-distill` on files: what it says, writes and refuses."""

from __future__ import annotations

import pytest
from recipe_nets import parsed
from rewriting import DATA, LOSS, PIXELS, TRUNK, by_name, kept, rewritten, run

from sdcaffe import proto
from sdcaffe.cli import main

OLD = """name: "CaffeNet"
layers { name: "data" type: DATA top: "data" top: "label" data_param { source: "train" backend: LMDB batch_size: 4
    crop_size: 28 mirror: true mean_file: "mean.binaryproto" } include: { phase: TRAIN } }
layers { name: "data" type: DATA top: "data" top: "label" data_param { source: "test" backend: LMDB batch_size: 4
    crop_size: 28 mirror: false mean_file: "mean.binaryproto" } include: { phase: TEST } }
layers { name: "conv1" type: CONVOLUTION bottom: "data" top: "conv1" blobs_lr: 1 blobs_lr: 2
  convolution_param { num_output: 4 kernel_size: 5 weight_filler { type: "gaussian" std: 0.01 } } }
layers { name: "relu1" type: RELU bottom: "conv1" top: "conv1" }
layers { name: "fc7" type: INNER_PRODUCT bottom: "conv1" top: "fc7" inner_product_param { num_output: 6 } }
layers { name: "drop7" type: DROPOUT bottom: "fc7" top: "fc7" dropout_param { dropout_ratio: 0.5 } }
layers { name: "fc8" type: INNER_PRODUCT bottom: "fc7" top: "fc8" inner_product_param { num_output: 5 } }
layers { name: "accuracy" type: ACCURACY bottom: "fc8" bottom: "label" top: "accuracy" include: { phase: TEST } }
layers { name: "loss" type: SOFTMAX_LOSS bottom: "fc8" bottom: "label" }
"""


def test_an_old_net_becomes_a_current_one(tmp_path, capsys):
    (tmp_path / "old.prototxt").write_text(OLD)
    assert main(["self-distill", str(tmp_path / "old.prototxt"), "-o", str(tmp_path / "new.prototxt")]) == 0
    said = capsys.readouterr().out
    assert 'logits: "fc8"' in said
    assert 'feature: "fc7"' in said
    net = proto.read_net(tmp_path / "new.prototxt")
    assert net.name == "CaffeNet self-distilled"
    layers = by_name(net)
    assert layers["data"].transform_param.mean_file == "mean.binaryproto"
    assert not layers["data"].transform_param.crop_size
    assert not layers["data"].transform_param.mirror
    assert (layers["distort"].distort_param.crop_size, layers["distort"].distort_param.mirror) == (28, True)
    assert kept(net, proto.TEST) == kept(proto.read_net(tmp_path / "old.prototxt"), proto.TEST)
    _, result = run(net)
    result.loss.backward()
    assert main(["self-distill", str(tmp_path / "old.prototxt"), "-o", "-"]) == 0
    printed = capsys.readouterr()
    assert parsed(printed.out) == net
    assert 'logits: "fc8"' in printed.err


def test_a_refusal_names_the_line_and_writes_nothing(tmp_path, capsys):
    source, target = tmp_path / "net.prototxt", tmp_path / "sd.prototxt"
    source.write_text('name: "x"\n' + PIXELS.replace('"pixels"', '"data"') + TRUNK + LOSS)
    assert main(["self-distill", str(source), "-o", str(target)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"sdcaffe: error: {source}:3:")
    _, line, caret = error.splitlines()
    assert line[caret.index("^") :].startswith('layer { name: "data"')
    assert not target.exists()
    source.write_text(DATA + TRUNK)
    assert main(["self-distill", str(source), "-o", str(target)]) == 1
    assert f"{source}: the training phase has no SoftmaxWithLoss" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "-o"),
        (["-o", "x", "--mu", "0", "--feature", "ip1"], "--mu 0 leaves out"),
        (["-o", "NET"], "give the output another name"),
    ],
)
def test_flags_that_make_no_command_end_with_2(tmp_path, capsys, flags, words):
    (tmp_path / "net.prototxt").write_text(DATA + TRUNK + LOSS)
    net = str(tmp_path / "net.prototxt")
    assert main(["self-distill", net, *(net if flag == "NET" else flag for flag in flags)]) == 2
    assert words in capsys.readouterr().err
    assert proto.read_net(net) == parsed(DATA + TRUNK + LOSS)


def test_the_command_takes_the_paper_s_symbols(tmp_path):
    source, target = tmp_path / "net.prototxt", tmp_path / "sd.prototxt"
    source.write_text(DATA + TRUNK + LOSS)
    symbols = ["--temperature", "2", "--lambda", "0.5", "--mu", "0.001", "--logits", "ip2", "--feature", "conv1"]
    assert main(["self-distill", str(source), "-o", str(target), *symbols]) == 0
    expected = rewritten(
        DATA + TRUNK + LOSS, temperature=2, kl_weight=0.5, mmd_weight=0.001, logits="ip2", feature="conv1"
    )
    assert proto.read_net(target) == expected
