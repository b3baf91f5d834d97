"""lr_policy "plateau": the rate falls where the smoothed loss has not had a new minimum for so many iterations."""

from __future__ import annotations

from typing import Annotated

from sdcaffe import proto
from sdcaffe.errors import SolverError
from sdcaffe.log import glog, number
from sdcaffe.solver.rates import Policy, register_policy

_NEVER = 3.4028234663852886e38  # FLT_MAX, the minimum before the first loss


@register_policy("plateau")
class Plateau(Policy):
    """base_lr * gamma^steps: step k where plateau_winsize[k] iterations passed since the last event.

    An event is a new minimum of the smoothed loss (average_loss) or a step. As in weiliu89/caffe@4817bf8 the rate of an
    iteration knows its own loss already, and after the last plateau_winsize the rate stays.
    """

    follows_loss = True
    yields = True

    class Fields:
        plateau_winsize: Annotated[list[int], 43]

    @classmethod
    def check(cls, param: proto.SolverParameter) -> None:
        sizes = list(param.plateau_winsize)
        if any(size < 0 for size in sizes):
            raise SolverError(f"plateau_winsize is {min(sizes)}; it must be 0 or more", field="plateau_winsize")
        if param.gamma < 0:
            raise SolverError(f'lr_policy "plateau" needs a gamma of at least 0, not {param.gamma:g}', field="gamma")

    def observe(self, iteration: int, steps: int, loss: float, memory: dict[str, float]) -> int:
        if loss < memory.get("minimum_loss", _NEVER):
            memory["minimum_loss"], memory["iter_last_event"] = loss, iteration
        last = memory.get("iter_last_event", 0)
        sizes, display = self.param.plateau_winsize, self.param.display
        if steps < len(sizes) and iteration >= last + sizes[steps]:
            steps, last = steps + 1, iteration
            memory["iter_last_event"] = last
            glog("sgd_solver.cpp:77", f"Plateau Status: Iteration {iteration}, step = {steps}")
        if display and iteration % display == 0 and last > iteration - display:
            least = number(memory.get("minimum_loss", _NEVER))
            glog("sgd_solver.cpp:84", f"Plateau Status: Iteration {iteration}, current minimum_loss = {least}")
        return steps

    def rate(self, iteration: int, steps: int) -> float:
        return self.param.base_lr * self.param.gamma**steps
