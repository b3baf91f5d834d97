"""`sdcaffe pycaffe SCRIPT ARGS` and what `import caffe` then means."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from sdcaffe import pycaffe as caffe
from sdcaffe.cli import main
from sdcaffe.errors import SdcaffeError
from sdcaffe.pycaffe import mode
from sdcaffe.pycaffe.proto import caffe_pb2

ROOT = str(Path(__file__).parents[2])


@pytest.fixture
def run(warm, tmp_path):
    """Runs a script in `tmp_path` with `sdcaffe pycaffe`, and the test's own environment."""

    def started(script, *arguments, **environment):
        (tmp_path / "script.py").write_text(script)
        command = [warm.python, "-m", "sdcaffe", "pycaffe", "script.py", *arguments]
        environment = {**os.environ, **environment}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)

    return started


NET = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 } } }'


def test_a_script_gets_its_arguments_its_folder_and_caffe(tmp_path, run):
    (tmp_path / "beside.py").write_text("WORD = 'found'\n")
    script = """
import sys, caffe, caffe.io, caffe.draw, beside
from caffe.proto import caffe_pb2
from caffe.pycaffe import Net, SGDSolver
from caffe._caffe import Layer
from caffe import layers as L, params as P
assert caffe.Net is Net and caffe.io.caffe_pb2 is caffe_pb2 and P.Pooling.MAX == 0
assert caffe.pycaffe.Net is caffe._caffe.Net is Net
print(__name__, sys.argv, beside.WORD, caffe.__version__)
"""
    done = run(script, "-gpu_id", "0", "--help", "--", "x")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "__main__ ['script.py', '-gpu_id', '0', '--help', '--', 'x'] found 1.0.0\n"


def test_what_a_script_raises_is_its_own_traceback_and_exit_codes_are_its_own(run):
    done = run("def f():\n    raise ValueError('wrong')\n\nf()\n")
    assert done.returncode == 1
    assert done.stderr.split("\n")[:3] == [
        "Traceback (most recent call last):",
        '  File "script.py", line 4, in <module>',
        "    f()",
    ]
    assert done.stderr.endswith("ValueError: wrong\n")
    assert run("import sys; sys.exit(3)").returncode == 3


def test_a_mistake_in_a_net_is_one_line(run):
    done = run("import caffe; caffe.Net('no.prototxt', caffe.TEST)")
    assert done.returncode == 1
    assert done.stderr.startswith("sdcaffe: error: no.prototxt: ")
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith(" (called at script.py:1)\n")


def test_a_mistake_names_the_line_of_the_scripts_own_code(tmp_path, run):
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "beside.py").write_text("def run(net):\n    return net.forward(end='no')\n")
    script = "import caffe, beside\nnet = caffe.Net('net.prototxt', caffe.TEST)\n\nbeside.run(net)\n"
    done = run(script, GLOG_minloglevel="2")
    assert done.stderr == (
        f'sdcaffe: error: net "" has no layer "no"; it has data (called at {tmp_path / "beside.py"}:2)\n'
    )


def test_caffes_lines_go_to_standard_error_as_glog_would_show_them(tmp_path, run):
    (tmp_path / "net.prototxt").write_text(NET)
    script = "import os{}; import caffe; caffe.Net('net.prototxt', caffe.TEST); caffe.log('mine')"
    done = run(script.format(""), GLOG_minloglevel="")
    assert "layer_factory.hpp:77] Creating layer data" in done.stderr
    assert "mine" in done.stderr
    assert run(script.format("; os.environ['GLOG_minloglevel'] = '2'")).stderr == ""
    assert run("import caffe; caffe.init_log(1)\n" + script.format("")).stderr == ""


def test_the_package_itself_stands_for_caffe(tmp_path):
    """In a new program: no net was made before that has found the layers of plugins."""
    script = """
import sdcaffe.pycaffe as caffe
from sdcaffe.pycaffe import layers as L
net = caffe.proto.caffe_pb2.NetParameter()
data, label = L.DummyData(dummy_data_param=dict(shape=[dict(dim=[2, 3]), dict(dim=2)]), ntop=2)
net.layer.extend(caffe.to_proto(L.SoftmaxWithLoss(data, label)).layer)
print([layer.type for layer in net.layer], 'Distort' in caffe.layer_type_list())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout == "['DummyData', 'SoftmaxWithLoss'] True\n", done.stderr


def test_a_missing_script_is_named(capsys):
    assert main(["pycaffe", "no_such.py"]) == 1
    assert capsys.readouterr().err == "sdcaffe: error: no_such.py: no such script\n"
    assert main(["pycaffe"]) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_computes_where_its_parent_did(run):
    script = """
import os, sys, caffe, numpy as np, torch
open('net.prototxt', 'w').write('''
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 64 dim: 3 dim: 64 dim: 64 } } }
layer { name: "sig" type: "Sigmoid" bottom: "data" top: "sig" }''')
torch.set_num_threads(2)
net = caffe.Net('net.prototxt', caffe.TEST)
net.forward()
child = os.fork()
if child == 0:
    net.forward()
    os._exit(7 if net.blobs['sig'].data.mean() == 0.5 else 1)
print(os.WEXITSTATUS(os.waitpid(child, 0)[1]))
"""
    done = run(script, GLOG_minloglevel="2")
    assert done.stdout == "7\n", done.stderr


# ---------------------------------------------------------------- what the package offers


def test_every_name_of_the_interface_is_there():
    for name in caffe.__all__:
        assert getattr(caffe, name) is not None
    types = caffe.layer_type_list()
    assert types == sorted(types)
    assert {"Convolution", "Python", "LSTM", "MemoryData"} <= set(types)
    assert (caffe.TRAIN, caffe.TEST, caffe.has_nccl()) == (0, 1, False)


def test_caffe_pb2_has_caffes_messages_and_enums():
    assert (caffe_pb2.TRAIN, caffe_pb2.TEST, caffe_pb2.Phase.Value("TEST")) == (0, 1, 1)
    assert caffe_pb2.Phase.Name(0) == "TRAIN"
    assert caffe_pb2.PoolingParameter.AVE == caffe_pb2.PoolingParameter.PoolMethod.Value("AVE") == 1
    assert caffe_pb2.V1LayerParameter.CONVOLUTION == 4
    assert caffe_pb2.DESCRIPTOR.package == "caffe"
    assert {"NetParameter", "Phase", "TRAIN", "Datum"} <= set(dir(caffe_pb2))
    assert isinstance(caffe_pb2.NetParameter(), caffe_pb2.NetParameter)
    with pytest.raises(AttributeError, match='no message or enum "NoSuch"'):
        _ = caffe_pb2.NoSuch


def test_googles_text_format_reads_and_writes_its_messages():
    from google.protobuf import text_format

    net = caffe_pb2.NetParameter()
    text_format.Merge('name: "n" ' + NET, net)
    assert net.layer[0].input_param.shape[0].dim == [1]
    assert text_format.MessageToString(net).startswith('name: "n"\nlayer {')


def test_a_timer_gives_milliseconds():
    timer = caffe.Timer()
    assert timer.ms == 0
    timer.start()
    time.sleep(0.03)
    first = timer.ms  # which stops it
    assert 30 <= first < 10000
    assert timer.ms == first
    timer.start()
    timer.stop()
    assert timer.ms < first


# ---------------------------------------------------------------- modes


@pytest.fixture
def settings(monkeypatch):
    monkeypatch.setattr(mode, "_state", mode._State())


def test_without_a_gpu_its_mode_computes_on_the_cpu_and_says_so_once(settings, monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(logging.getLogger("sdcaffe"), "propagate", True)
    caffe.set_mode_gpu()
    with caplog.at_level(logging.WARNING, "sdcaffe"):
        assert [mode.device().type for _ in range(2)] == ["cpu", "cpu"]
    assert [record.message for record in caplog.records] == [
        "set_mode_gpu: this PyTorch sees no CUDA device; computing on the CPU"
    ]


def test_the_device_is_the_one_chosen(settings, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert mode.device() == torch.device("cpu")
    caffe.set_mode_gpu()
    caffe.set_device(1)
    assert mode.device() == torch.device("cuda", 1)
    with pytest.raises(SdcaffeError, match="there is no GPU 2: the last one is 1"):
        caffe.set_device(2)
    caffe.set_mode_cpu()
    assert mode.device() == torch.device("cpu")


def test_counts_of_solvers_are_kept_for_scripts(settings):
    assert (caffe.solver_count(), caffe.solver_rank()) == (1, 0)
    caffe.set_solver_count(4)
    caffe.set_solver_rank(3)
    caffe.set_multiprocess(True)
    assert (caffe.solver_count(), caffe.solver_rank()) == (4, 3)


def test_one_seed_draws_the_same_weights(tmp_path):
    (tmp_path / "net.prototxt").write_text(
        NET.replace("dim: 1", "dim: 1 dim: 2") + ' layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" '
        'inner_product_param { num_output: 5 weight_filler { type: "gaussian" } } }'
    )
    drawn = []
    for seed in (1, 1, 2):
        caffe.set_random_seed(seed)
        drawn.append(caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST).params["ip"][0].data.tolist())
    assert drawn[0] == drawn[1] != drawn[2]
