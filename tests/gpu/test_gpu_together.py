"""Several runs at once on one GPU end as each does alone, and share the resident set. Skipped where there is no GPU."""

from __future__ import annotations

import pytest
import torch

import sdcaffe
from sdcaffe.run.together import Run, take_turns
from sdcaffe.solver.captured import WARM_UP

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
ITERATIONS = WARM_UP + 20


@pytest.fixture(autouse=True)
def deterministic(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def training(seed, ends):
    """A whole run, bit by bit; its parameters and history go to `ends[seed]`."""
    param = sdcaffe.read_solver("prototxt/quickstart/solver_self_distilled.prototxt")
    for field in ("test_iter", "test_interval", "display", "snapshot"):
        param.ClearField(field)
    param.snapshot_after_train, param.random_seed, param.max_iter = False, seed, ITERATIONS
    solver = sdcaffe.Solver(param, device="cuda")
    yield from solver.turns()
    ends[seed] = [*solver.net.parameters(), *solver.update.history]


def fail(run, error):
    raise error


def test_runs_at_once_end_as_each_does_alone():
    alone, together = {}, {}
    device = torch.device("cuda")
    for seed in (1, 2, 3):
        take_turns([Run(str(seed), training(seed, alone), device)], fail)
    take_turns([Run(str(seed), training(seed, together), device) for seed in (1, 2, 3)], fail)
    for seed in alone:
        for a, b in zip(alone[seed], together[seed], strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert not torch.equal(together[1][0], together[2][0])
