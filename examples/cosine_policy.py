r"""A learning-rate policy of one's own: half a cosine down to 0, after a linear warm-up (Loshchilov and Hutter, 2017).

    sed 's/lr_policy.*/lr_policy: "warm_cosine" warm_iterations: 20/' \
        prototxt/quickstart/solver_baseline.prototxt > cosine.prototxt
    sdcaffe train cosine.prototxt --plugin examples/cosine_policy.py
"""

from math import cos, pi
from typing import Annotated

from sdcaffe import Policy, register_policy


@register_policy("warm_cosine")
class WarmCosine(Policy):
    class Fields:  # of the SolverParameter; numbers from 1000 up that no other plugin in use has
        warm_iterations: Annotated[int, 2010] = 0

    def rate(self, iteration, steps):
        warm, last = self.param.warm_iterations, self.param.max_iter
        if iteration < warm:
            return self.param.base_lr * (iteration + 1) / warm
        return self.param.base_lr * (1 + cos(pi * (iteration - warm) / (last - warm))) / 2
