from __future__ import annotations

import io
import os
import pickle
import resource
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import safetensors.torch
import torch
from onnx_nets import ROOT, TINY, write_net, write_weights
from torch import nn

from sdcaffe import proto
from sdcaffe.cli import main
from sdcaffe.converters.weights import convert
from sdcaffe.errors import WeightsError
from sdcaffe.net import Net

QUICKSTART = ROOT / "prototxt" / "quickstart" / "deploy.prototxt"
ODD = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 } } }
layer { name: "../../etc/ip" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 4 } }
layer { name: "a.b\\n\\"c" type: "PReLU" bottom: "y" top: "y" prelu_param { channel_shared: true } }
layer { name: "bias" type: "Bias" bottom: "y" top: "y" bias_param { filler { type: "gaussian" } } }
layer { name: "first" type: "InnerProduct" bottom: "y" top: "z" param { name: "w" }
  inner_product_param { num_output: 4 bias_term: false weight_filler { type: "xavier" } } }
layer { name: "second" type: "InnerProduct" bottom: "z" top: "u" param { name: "w" }
  inner_product_param { num_output: 4 bias_term: false } }
"""


def blobs(path: object) -> dict[str, list[np.ndarray]]:
    return {entry.name: entry.blobs for entry in proto.read_weights(str(path)) if entry.blobs}


def same(first: object, second: object) -> bool:
    """Whether two weight files hold the same layers, shapes and bits, in any order of layers."""
    a, b = blobs(first), blobs(second)
    return a.keys() == b.keys() and all(
        [(x.shape, x.dtype, x.tobytes()) for x in a[name]] == [(y.shape, y.dtype, y.tobytes()) for y in b[name]]
        for name in a
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the quickstart's net, with statistics as training leaves them."""
    return Path(write_weights(QUICKSTART, tmp_path_factory.mktemp("weights") / "net.caffemodel"))


# ---------------------------------------------------------------- there and back


@pytest.mark.parametrize("form", ["a.pt", "a.pth", "a.safetensors", "a.caffemodel.h5"])
def test_each_format_gives_the_same_bits_back(trained: Path, form: str, tmp_path: Path) -> None:
    assert convert(trained, tmp_path / form).layers == 22
    convert(tmp_path / form, tmp_path / "back.caffemodel")
    assert same(trained, tmp_path / "back.caffemodel")


def test_odd_names_and_shared_blobs_come_back(tmp_path: Path) -> None:
    model, weights = write_net(ODD, tmp_path)
    net = Net(model)
    for form in ("a.pt", "a.safetensors", "a.caffemodel.h5"):
        convert(weights, tmp_path / form, net=net)
        convert(tmp_path / form, tmp_path / "back.caffemodel", net=net)
        assert same(weights, tmp_path / "back.caffemodel")
    keys = set(torch.load(tmp_path / "a.pt", weights_only=True))
    assert {"../../etc/ip.weight", "../../etc/ip.bias", 'a.b\n"c.weight', "bias.bias", "second.weight"} <= keys
    assert sorted(os.listdir(tmp_path)) == sorted(
        ["a.pt", "a.safetensors", "a.caffemodel.h5", "back.caffemodel", "net.caffemodel", "net.prototxt"]
    )


def test_tensors_are_those_of_torchs_own_modules(tmp_path: Path) -> None:
    model, weights = write_net(TINY, tmp_path)
    convert(weights, tmp_path / "tiny.pt")
    module = nn.ModuleDict(
        {
            "conv": nn.Conv2d(3, 6, 3, padding=1, groups=3),
            "bn": nn.BatchNorm2d(6, affine=False),
            "scale": nn.BatchNorm2d(6, track_running_stats=False),
            "up": nn.ConvTranspose2d(6, 4, 2, stride=2, groups=2),
            "up_bn": nn.BatchNorm2d(4, affine=False),
            "fc": nn.Linear(4, 5),
            "fc_scale": nn.BatchNorm1d(5, track_running_stats=False),
        }
    ).eval()
    module.load_state_dict(torch.load(tmp_path / "tiny.pt", weights_only=True))
    x = torch.randn(2, 3, 8, 8)
    net = Net(model, weights=weights)
    with torch.no_grad():
        expected = net.forward({"data": x}, keep=["fc"])["fc"]
        scale = module["scale"]
        y = module["bn"](module["conv"](x)) * scale.weight[:, None, None] + scale.bias[:, None, None]
        y = module["up_bn"](module["up"](y.relu())).mean((2, 3))
        torch.testing.assert_close(module["fc"](y), expected, rtol=1e-5, atol=1e-6)


def test_a_batch_norms_sums_are_divided_in_float64(tmp_path: Path) -> None:
    sums, weight = np.float32([1.1, -7.3, 1e-42]), np.float32([999.9814])
    net = proto.NetParameter()
    net.layer.add(name="bn", type="BatchNorm")
    proto.write_weights(tmp_path / "a.caffemodel", net, {"bn": [sums, sums * 2, weight]})
    convert(tmp_path / "a.caffemodel", tmp_path / "a.pt")
    state = torch.load(tmp_path / "a.pt", weights_only=True)
    assert state["bn.running_mean"].tolist() == (sums.astype(np.float64) / np.float64(weight[0])).tolist()
    assert state["bn.num_batches_tracked"].dtype == torch.float32
    convert(tmp_path / "a.pt", tmp_path / "b.caffemodel")
    assert same(tmp_path / "a.caffemodel", tmp_path / "b.caffemodel")


def test_statistics_that_torch_tracked_count_once(tmp_path: Path) -> None:
    module = nn.Sequential()
    module.add_module("bn", nn.BatchNorm1d(4, affine=False))
    module(torch.randn(8, 4))
    torch.save(module.state_dict(), tmp_path / "a.pt")
    convert(tmp_path / "a.pt", tmp_path / "a.caffemodel")
    mean, variance, weight = blobs(tmp_path / "a.caffemodel")["bn"]
    assert weight.tolist() == [1]
    assert mean.tolist() == module.bn.running_mean.tolist()
    assert variance.tolist() == module.bn.running_var.tolist()


def test_half_precision_becomes_single(tmp_path: Path) -> None:
    values = torch.tensor([[1.5, -2.25]])
    torch.save({"ip.weight": values.bfloat16(), "ip.bias": values[0].half()}, tmp_path / "a.pt")
    convert(tmp_path / "a.pt", tmp_path / "a.caffemodel")
    weight, bias = blobs(tmp_path / "a.caffemodel")["ip"]
    assert weight.dtype == bias.dtype == np.float32
    assert (weight.tolist(), bias.tolist()) == ([[1.5, -2.25]], [1.5, -2.25])


def test_blobs_of_before_blob_shapes_lose_their_ones(tmp_path: Path) -> None:
    net = proto.NetParameter()
    net.layer.add(name="ip", type="InnerProduct")
    arrays = {"ip": [np.ones((1, 1, 1, 4), np.float32), np.ones((1, 1, 1, 1), np.float32)]}
    proto.write_weights(tmp_path / "a.caffemodel", net, arrays)
    convert(tmp_path / "a.caffemodel", tmp_path / "a.pt")
    shapes = {key: tuple(t.shape) for key, t in torch.load(tmp_path / "a.pt", weights_only=True).items()}
    assert shapes == {"ip.weight": (1, 4), "ip.bias": (1,)}


def test_a_recordings_old_files_convert(tmp_path: Path) -> None:
    """A .caffemodel that BVLC Caffe wrote."""
    source = next((ROOT / "tests" / "goldens" / "files").glob("*.caffemodel"))
    convert(source, tmp_path / "a.safetensors")
    convert(tmp_path / "a.safetensors", tmp_path / "back.caffemodel")
    assert same(source, tmp_path / "back.caffemodel")


def test_with_a_net_layers_have_types_and_its_order(trained: Path, tmp_path: Path) -> None:
    net = Net(QUICKSTART)
    convert(trained, tmp_path / "a.h5")
    convert(tmp_path / "a.h5", tmp_path / "a.caffemodel", net=net)
    entries = [entry for entry in proto.read_weights(tmp_path / "a.caffemodel") if entry.blobs]
    assert [(e.name, e.type) for e in entries] == [(name, net.layers[name].type) for name in net.params]
    convert(tmp_path / "a.h5", tmp_path / "a.pt", net=net)
    convert(trained, tmp_path / "b.pt")
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()


def test_what_the_net_lacks_is_left_out_and_told(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    text = QUICKSTART.read_text().partition("# head")[0]
    (tmp_path / "trunk.prototxt").write_text(text)
    arguments = ["convert", "weights", str(trained), str(tmp_path / "a.pt"), "--net", str(tmp_path / "trunk.prototxt")]
    assert main(arguments) == 0
    assert capsys.readouterr().out.splitlines()[0] == "left out fc: the net does not have them"
    assert "fc.weight" not in torch.load(tmp_path / "a.pt", weights_only=True)


# ---------------------------------------------------------------- what cannot be


def nested() -> torch.Tensor:
    with warnings.catch_warnings(action="ignore"):
        return torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"weight": torch.ones(1)}, '"weight" is not the name of a layer and one of'),
        ({"conv.kernel": torch.ones(1)}, '"conv.kernel" is not the name of a layer'),
        ({"conv.weight": torch.ones(1, dtype=torch.int64)}, '"conv.weight" holds int64, not real numbers'),
        ({"conv.weight": torch.ones(2, 2).to_sparse()}, "sparse, quantised, complex or empty"),
        ({"conv.weight": torch.ones(1, dtype=torch.complex64)}, "sparse, quantised, complex or empty"),
        (
            {"conv.weight": nested()},
            "nested, sparse, quantised, complex or empty",
        ),
        ({"conv.weight": [1.0, 2.0]}, "a list, among its tensors"),
        ({"bn.weight": torch.ones(2), "bn.running_mean": torch.ones(2)}, "--by-order takes all from one module"),
        ({"bn.running_mean": torch.ones(2), "bn.running_var": torch.ones(3)}, r"have shapes \(2,\) and \(3,\)"),
        ({"x.blob_1": torch.ones(2)}, "numbered from 0 without a gap"),
        (
            {"a.weight": torch.zeros(2, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)},
            "float4_e2m1fn_x2, which is not",
        ),
        ({}, "not the tensors of a state_dict"),
        ([torch.ones(1)], "holds a list, not the tensors"),
        ({"big.weight": torch.ones(1).expand(10**12)}, "claims 4000000000000 bytes of numbers, but is"),
    ],
)
def test_a_state_dict_that_is_no_weights(state: object, message: str, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=message) as error:
        convert(tmp_path / "a.pt", tmp_path / "a.caffemodel")
    assert str(error.value).startswith(str(tmp_path / "a.pt"))
    assert os.listdir(tmp_path) == ["a.pt"]


class Hostile:
    def __reduce__(self) -> object:
        return os.system, ("touch executed",)


def _zip_bomb() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", b"\0" * 10**7)
    return packed.getvalue()


CLAIM = b"\x80\xd0\xdb\xc3\xf4\x02"  # 10^11 as protobuf writes it

BROKEN = {
    "pickle.pt": pickle.dumps({"conv.weight": Hostile()}),
    "old_pickle.pth": pickle.dumps(Hostile(), protocol=2),
    "empty.pt": b"",
    "text.pt": b"layer { name: 'x' }",
    "bomb.pt": _zip_bomb(),
    "zip.pt": b"PK\x03\x04 not a zip",
    "empty.safetensors": b"",
    "claims.safetensors": (10**11).to_bytes(8, "little") + b"{}",
    "beyond.safetensors": (86).to_bytes(8, "little")
    + b'{"conv.weight":{"dtype":"F32","shape":[25000000000],"data_offsets":[0,100000000000]}}   '[:86],
    "text.safetensors": b"layer { name: 'x' }",
    "torch.caffemodel": b"PK\x03\x04" + b"\0" * 100,
    # layer { name: "x" blobs { data: 100 GB } }
    "claims.caffemodel": b"\xa2\x06\x80\xd0\xdb\xc3\xf4\x02"
    + b"\x0a\x01x\x3a\x80\xd0\xdb\xc3\xf4\x02\x2a\x80\xd0\xdb\xc3\xf4\x02",
}


@pytest.mark.parametrize("name", list(BROKEN))
def test_a_broken_or_hostile_file_is_one_error_and_executes_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(BROKEN[name])
    for target in ("out.caffemodel", "out.pt"):
        assert main(["convert", "weights", name, target]) == 1
        error = capsys.readouterr().err
        assert error.startswith(f"sdcaffe: error: {name}: ")
        assert error.count("\n") == 1
    assert os.listdir() == [name]


@pytest.mark.parametrize("form", ["a.pt", "a.safetensors", "a.caffemodel", "a.caffemodel.h5"])
def test_a_file_cut_anywhere_is_refused(form: str, tmp_path: Path) -> None:
    _, weights = write_net(TINY, tmp_path)
    convert(weights, tmp_path / form)
    whole = (tmp_path / form).read_bytes()
    for size in {*range(0, len(whole), max(1, len(whole) // 40)), len(whole) - 1}:
        (tmp_path / form).write_bytes(whole[:size])
        with pytest.raises(WeightsError):
            convert(tmp_path / form, tmp_path / "out.caffemodel")
    assert not (tmp_path / "out.caffemodel").exists()


@pytest.mark.parametrize("form", ["a.pt", "a.safetensors"])
def test_a_file_with_changed_bytes_is_read_or_refused(form: str, tmp_path: Path) -> None:
    state = {f"layer{i}.weight": torch.randn(3, 4) for i in range(4)}
    if form == "a.pt":
        torch.save(state, tmp_path / form)
    else:
        safetensors.torch.save_file(state, tmp_path / form)
    whole, random = (tmp_path / form).read_bytes(), np.random.default_rng(1)
    for _ in range(100):
        data = bytearray(whole)
        for place in random.integers(0, min(len(data), 600), 2):
            data[place] = random.integers(256)
        (tmp_path / form).write_bytes(data)
        (tmp_path / "out.caffemodel").write_text("old")
        try:
            convert(tmp_path / form, tmp_path / "out.caffemodel")
        except WeightsError:
            assert (tmp_path / "out.caffemodel").read_text() == "old"
        else:
            assert proto.read_weights(tmp_path / "out.caffemodel")


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors", "a.caffemodel"])
@pytest.mark.parametrize("start", [b"", b"PK\x03\x04"])
def test_a_file_of_100_gb_of_nothing_is_not_read(name: str, start: bytes, tmp_path: Path) -> None:
    with open(tmp_path / name, "wb") as file:
        file.write(start)
        file.truncate(10**11)
    with pytest.raises(WeightsError, match=name):
        convert(tmp_path / name, tmp_path / "out.caffemodel")


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
def test_a_pipe_is_not_waited_for(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(WeightsError, match=f"{name}: is a pipe; a file is wanted"):
        convert(tmp_path / name, tmp_path / "out.caffemodel")


@pytest.mark.parametrize("name", ["none.pt", "none.safetensors", "none.caffemodel"])
def test_a_file_that_is_not_there(name: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=f"{name}: .*No such file"):
        convert(tmp_path / name, tmp_path / "out.caffemodel")


def test_a_link_out_of_an_hdf5_file_is_not_followed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["0"] = np.ones(3)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_group("data")["conv"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/")
    with pytest.raises(WeightsError, match="is a link"):
        convert(tmp_path / "a.h5", tmp_path / "a.caffemodel")


def test_types_that_hdf5_does_not_hold_come_from_the_net(trained: Path, tmp_path: Path) -> None:
    convert(trained, tmp_path / "a.h5")
    with pytest.raises(WeightsError, match='of which type layer "conv1" is: give its net with --net'):
        convert(tmp_path / "a.h5", tmp_path / "a.pt")


def test_layers_that_do_not_fit_the_net(trained: Path, tmp_path: Path) -> None:
    net = Net(QUICKSTART)
    torch.save({"conv1.weight": torch.ones(16, 3, 3, 3)}, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match='has no blobs of layer "conv1_bn", of which the net has 3'):
        convert(tmp_path / "a.pt", tmp_path / "a.caffemodel", net=net)
    torch.save({"conv1.weight": torch.ones(16, 3, 5, 5)}, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=r'blob 0 of layer "conv1" as 16 3 5 5 \(1200\), but the net has 16 3 3 3'):
        convert(tmp_path / "a.pt", tmp_path / "a.caffemodel", net=net)


# ---------------------------------------------------------------- writing


def test_without_safetensors_the_error_says_what_to_install(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(WeightsError, match="pip install safetensors"):
        convert(trained, tmp_path / "a.safetensors")


def _full_disk() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


@pytest.mark.parametrize("form", ["a.pt", "a.caffemodel.h5"])
def test_a_full_disk_leaves_the_old_file(trained: Path, form: str, tmp_path: Path) -> None:
    (tmp_path / form).write_text("the old one")
    done = subprocess.run(
        [sys.executable, "-m", "sdcaffe", "convert", "weights", str(trained), form],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        preexec_fn=_full_disk,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (1, f"sdcaffe: error: {form}: cannot be written: File too large\n")
    assert os.listdir(tmp_path) == [form]
    assert (tmp_path / form).read_text() == "the old one"


def test_a_target_in_a_folder_that_is_not_there(trained: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["convert", "weights", str(trained), "none/a.pt"]) == 1
    assert capsys.readouterr().err == "sdcaffe: error: none/a.pt: cannot be written: No such file or directory\n"
