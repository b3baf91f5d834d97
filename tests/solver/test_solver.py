"""The solver's settings: policies against their formulas, nets and their states, the order of events."""

from __future__ import annotations

import math

import pytest

import sdcaffe
from sdcaffe import proto
from sdcaffe.errors import SdcaffeError, SolverError
from sdcaffe.log import parse_log
from sdcaffe.solver.rates import learning_rate, policy_of

NET = """
name: "line"
layer { name: "x" type: "DummyData" top: "x" dummy_data_param { shape { dim: 4 dim: 1 } data_filler { value: 2 } } }
layer { name: "y" type: "DummyData" top: "y" dummy_data_param { shape { dim: 4 dim: 1 } data_filler { value: 3 } } }
layer { name: "fc" type: "InnerProduct" bottom: "x" top: "fc" inner_product_param { num_output: 1 bias_term: false } }
layer { name: "loss" type: "EuclideanLoss" bottom: "fc" bottom: "y" top: "loss" }
"""


def solver_param(text, net=NET):
    param = proto.SolverParameter()
    policy = "" if "lr_policy" in text else "lr_policy: 'fixed'"
    proto.text.parse(f"base_lr: 0.5 solver_mode: CPU {policy} {text}", param, "solver.prototxt")
    proto.text.parse(net, param.net_param, "net.prototxt")
    return param


def policy(text):
    param = proto.SolverParameter()
    proto.text.parse(f"base_lr: 0.5 {text}", param, "solver.prototxt")
    return param


@pytest.mark.parametrize(
    ("text", "formula"),
    [
        ("lr_policy: 'fixed'", lambda i: 0.5),
        ("lr_policy: 'step' gamma: 0.5 stepsize: 3", lambda i: 0.5 * 0.5 ** math.floor(i / 3)),
        ("lr_policy: 'exp' gamma: 0.75", lambda i: 0.5 * 0.75**i),
        ("lr_policy: 'inv' gamma: 0.25 power: 2", lambda i: 0.5 / (1 + 0.25 * i) ** 2),
        ("lr_policy: 'multistep' gamma: 0.5 stepvalue: 2 stepvalue: 5", lambda i: 0.5 * 0.5 ** ((i >= 2) + (i >= 5))),
        # one drop an iteration: of two at one value the second is an iteration late
        ("lr_policy: 'multistep' gamma: 0.5 stepvalue: 4 stepvalue: 4", lambda i: 0.5 * 0.5 ** ((i >= 4) + (i >= 5))),
        ("lr_policy: 'poly' power: 2 max_iter: 8", lambda i: 0.5 * (1 - i / 8) ** 2 if i < 8 else 0),
        ("lr_policy: 'sigmoid' gamma: 0.25 stepsize: 4", lambda i: 0.5 / (1 + math.exp(-0.25 * (i - 4)))),
    ],
)
def test_learning_rate_policies(text, formula):
    param, steps = policy(text), 0
    for i in range(10):
        assert learning_rate(param, i, steps) == pytest.approx(formula(i), rel=1e-12, abs=1e-15)
        steps = policy_of(param).steps(i, steps)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("type: 'Sgd'", "unknown solver type"),
        ("type: 'AdaGrad' momentum: 0.9", "takes no momentum"),
        ("type: 'RMSProp' rms_decay: 1.5", "rms_decay"),
        ("average_loss: 0", "average_loss"),
        ("iter_size: 0", "iter_size"),
        ("net: 'x.prototxt'", "net and net_param"),
        ("test_iter: 3", "test_interval above 0"),
        ("test_iter: 3 test_interval: 1 test_state { } test_state { }", "2 test_state for 1 test nets"),
    ],
)
def test_settings_without_meaning_are_refused(text, says):
    with pytest.raises(SolverError, match=says):
        sdcaffe.Solver(merged(text))


def merged(text):
    param, extra = solver_param(""), proto.SolverParameter()
    proto.text.parse(text, extra, "solver.prototxt")
    param.MergeFrom(extra)
    return param


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lr_policy: ''", 'unknown lr_policy ""'),
        ("lr_policy: 'setp'", "unknown lr_policy"),
        ("lr_policy: 'step'", "stepsize above 0"),
        ("lr_policy: 'sigmoid'", "stepsize above 0"),
        ("lr_policy: 'exp' gamma: -1", "gamma of at least 0"),
        ("lr_policy: 'poly'", "max_iter above 0"),
        ("regularization_type: 'L3' weight_decay: 0.1", "regularization_type"),
    ],
)
@pytest.mark.parametrize("kind", ["SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"])
def test_what_only_an_update_needs_is_missed_by_the_first_one(kind, text, says, tmp_path):
    """In BVLC Caffe such a solver is made, computes, saves and solves no iterations; the first update fails."""
    solver = sdcaffe.Solver(merged(f"type: '{kind}' snapshot_prefix: '{tmp_path}/s' {text}"))
    solver.step(0)
    solver.solve()
    solver.restore(solver.snapshot())
    assert solver.net.forward(keep=["loss"])["loss"].item() == 4.5  # (0 - 3)^2 / 2
    with pytest.raises(SolverError, match=says):
        solver.step(1)
    assert solver.iter == 0


def test_without_weight_decay_nobody_asks_how(tmp_path):
    solver = sdcaffe.Solver(merged("regularization_type: 'none'"))
    solver.step(1)
    assert solver.net.params["fc"][0].item() == 3.0  # 0 + 0.5 * 2 * 3, as without the field


def test_a_solver_without_a_net_says_how_to_name_one():
    with pytest.raises(SolverError, match="net, net_param, train_net, train_net_param; it has none"):
        sdcaffe.Solver(policy("lr_policy: 'fixed'"))


def test_sgd_steps_by_hand():
    """loss = mean over 4 of (2 w - 3)^2 / 2, so dw = 2 (2 w - 3): 0 -> 0.1 * 6 -> ..."""
    solver = sdcaffe.Solver(solver_param("max_iter: 10 momentum: 0.5 type: 'SGD'"))
    weight, velocity = 0.0, 0.0
    for _ in range(5):
        velocity = 0.5 * 2 * (2 * weight - 3) + 0.5 * velocity
        weight -= velocity
        solver.step(1)
        assert solver.net.params["fc"][0].item() == pytest.approx(weight, rel=1e-5)


def test_nets_by_every_form_and_their_states(tmp_path):
    """The generic net serves as many tests as test_iter has left; test_state picks layers by stage."""
    net = NET + 'layer { name: "extra" type: "Silence" bottom: "fc2" include { phase: TEST stage: "more" } }'
    net = net.replace(
        'layer { name: "loss"',
        'layer { name: "copy" type: "Power" bottom: "fc" top: "fc2" include { phase: TEST stage: "more" } }\n'
        'layer { name: "loss"',
    )
    path = tmp_path / "net.prototxt"
    path.write_text(net)
    param = solver_param(
        "max_iter: 2 test_interval: 2 test_iter: 1 test_iter: 1 test_iter: 1 "
        "test_state { } test_state { } test_state { stage: 'more' }"
    )
    param.ClearField("net_param")
    param.net = str(path)
    proto.text.parse(NET.replace("line", "other"), param.test_net_param.add(), "other")
    solver = sdcaffe.Solver(param)
    assert [net.name for net in solver.test_nets] == ["other", "line", "line"]
    assert ["copy" in net.layers for net in solver.test_nets] == [False, False, True]
    assert all(net.params["fc"][0] is solver.net.params["fc"][0] for net in solver.test_nets)


def test_a_missing_net_file_is_one_error(tmp_path):
    param = solver_param("")
    param.ClearField("net_param")
    param.net = str(tmp_path / "nowhere.prototxt")
    with pytest.raises(SdcaffeError, match=r"nowhere\.prototxt"):
        sdcaffe.Solver(param)


def test_a_mistake_in_a_net_file_has_its_line(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(NET.replace("InnerProduct", "InerProduct"))
    param = solver_param("")
    param.ClearField("net_param")
    param.net = str(path)
    with pytest.raises(SdcaffeError, match=r'net\.prototxt:5:\d+: unknown layer type "InerProduct".*InnerProduct'):
        sdcaffe.Solver(param)


def test_the_log_tells_a_run_in_caffes_order(tmp_path):
    from sdcaffe.log import setup

    param = solver_param(
        "max_iter: 6 display: 2 test_interval: 3 test_iter: 1 average_loss: 2 snapshot: 4 "
        "lr_policy: 'multistep' gamma: 0.1 stepvalue: 4"
    )
    param.snapshot_prefix = str(tmp_path / "line")
    with setup(tmp_path / "line.log"):
        sdcaffe.Solver(param).solve()
    messages = [line.split("] ", 1)[1] for line in (tmp_path / "line.log").read_text().splitlines() if "] " in line]
    events = [m.split(" (")[0].split(",")[0] for m in messages[messages.index("Solving line") :]]
    assert events == [
        "Solving line",
        "Learning Rate Policy: multistep",
        "Iteration 0",
        "    Test net output #0: loss = 4.5",
        "Iteration 0",
        "    Train net output #0: loss = 4.5",
        "Iteration 0",
        *["Iteration 2", events[8], "Iteration 2"],
        "Iteration 3",
        events[11],
        f"Snapshotting to binary proto file {tmp_path}/line_iter_4.caffemodel",
        f"Snapshotting solver state to binary proto file {tmp_path}/line_iter_4.solverstate",
        "Iteration 4",
        events[15],
        "MultiStep Status: Iteration 4",
        "Iteration 4",
        f"Snapshotting to binary proto file {tmp_path}/line_iter_6.caffemodel",
        f"Snapshotting solver state to binary proto file {tmp_path}/line_iter_6.solverstate",
        "Iteration 6",
        "Iteration 6",
        events[22],
        "Optimization Done.",
    ]
    run = parse_log(tmp_path / "line.log")
    assert [row.iteration for row in run.test] == [0, 3, 6]
    assert [row.iteration for row in run.train] == [0, 2, 4, 6]


def test_stop_and_snapshot_requests(tmp_path):
    param = solver_param("max_iter: 50")
    param.snapshot_prefix = str(tmp_path / "asked")
    asked = iter([None, "snapshot", None, "stop"])
    solver = sdcaffe.Solver(param, action=lambda: next(asked))
    solver.solve()
    assert solver.iter == 4
    assert sorted(path.name for path in tmp_path.glob("*.solverstate")) == [
        "asked_iter_2.solverstate",
        "asked_iter_4.solverstate",
    ]


def test_a_gpu_that_is_not_there():
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(SolverError, match="no CUDA device"):
        sdcaffe.Solver(solver_param(""), device="cuda")
    param = solver_param("")
    param.solver_mode = proto.SolverParameter.GPU
    assert sdcaffe.Solver(param).device.type == "cpu"


def test_weights_in_the_solver_file_and_those_given_instead(tmp_path):
    for name, value in (("a", 1.0), ("b", 2.0)):
        solver = sdcaffe.Solver(solver_param(""))
        solver.net.params["fc"][0].data.fill_(value)
        solver.net.save(tmp_path / f"{name}.caffemodel")
    param = solver_param(f'weights: "{tmp_path}/a.caffemodel"')
    assert sdcaffe.Solver(param).net.params["fc"][0].item() == 1
    assert sdcaffe.Solver(param, weights=tmp_path / "b.caffemodel").net.params["fc"][0].item() == 2


def test_snapshots_are_named_after_the_solver_file_where_it_does_not_say(tmp_path):
    path = tmp_path / "mine.prototxt"
    (tmp_path / "net.prototxt").write_text(NET)
    path.write_text(f'base_lr: 1 lr_policy: "fixed" solver_mode: CPU net: "{tmp_path}/net.prototxt"')
    assert sdcaffe.Solver(path).param.snapshot_prefix == str(tmp_path / "mine")


def test_a_blob_beyond_caffes_limit_is_refused_before_it_is_made():
    net = NET.replace("num_output: 1 bias_term", "num_output: 3000000000 bias_term")
    with pytest.raises(SdcaffeError):
        sdcaffe.Solver(solver_param("", net))
    net = NET.replace("num_output: 1 bias_term", "num_output: 2147483648 bias_term")
    with pytest.raises(SdcaffeError, match=r"2147483648 values; Caffe's limit"):
        sdcaffe.Solver(solver_param("", net))
