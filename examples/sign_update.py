r"""An update rule of one's own: the sign of a running mean of the gradient (Lion, Chen et al., 2023).

    sed 's/^type:.*/type: "Lion"/; s/^base_lr:.*/base_lr: 0.001/' \
        prototxt/quickstart/solver_baseline.prototxt > lion.prototxt
    sdcaffe train lion.prototxt --plugin examples/sign_update.py
"""

import torch

from sdcaffe import UpdateRule, register_update


@register_update("Lion")
class Lion(UpdateRule):
    histories = 1  # one tensor of its shape for each parameter; snapshots keep it

    def step(self, params, grads, history, rate):
        (mean,) = history
        blended = torch._foreach_lerp(mean, grads, 0.1)
        torch._foreach_lerp_(mean, grads, 0.01)
        torch._foreach_sign_(blended)
        torch._foreach_mul_(blended, rate)
        torch._foreach_sub_(params, blended)
