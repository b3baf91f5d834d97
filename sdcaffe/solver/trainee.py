"""A net in training, in one process or in several: there gradients are averaged while backward still runs."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sdcaffe.collectives import rank_and_world, sharing_statistics_of_all
from sdcaffe.net import Net
from sdcaffe.net.net import Batch, Pass


class Trainee:
    """A net whose `compute` averages gradients over all processes, while backward is still under way.

    Its parameters start as the root's. `accumulating` is the context for passes whose gradients are to be
    summed up on this process alone, before the pass that shares them (iter_size). With `shares_statistics`,
    batch statistics are those of all processes' batches.
    """

    def __init__(self, net: Net, *, shares_statistics: bool = False) -> None:
        self._net = net
        self._shared: DistributedDataParallel | None = None
        self._statistics = sharing_statistics_of_all if shares_statistics else nullcontext
        if rank_and_world()[1] > 1 and any(parameter.requires_grad for parameter in net.parameters()):
            self._shared = DistributedDataParallel(
                _Compute(net),
                gradient_as_bucket_view=True,
                find_unused_parameters=not net.all_trained(),
            )

    def __call__(self, batch: Batch) -> Pass:
        """`net.compute(batch)`; of its blobs, which no gradient comes back through, the values alone."""
        with self._statistics():
            if self._shared is None:
                return self._net.compute(batch)
            result: Pass = self._shared(batch)
            return result

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of `loss` to the parameters'; where none is wanted, do nothing."""
        if loss.requires_grad:
            with self._statistics():  # for layers that compute their forward once more
                loss.backward()

    def close(self) -> None:
        """Let go of the process group."""
        self._shared = None

    def accumulating(self) -> AbstractContextManager[None]:
        return nullcontext() if self._shared is None else self._shared.no_sync()


class _Compute(nn.Module):
    """`compute` under the name that DistributedDataParallel calls; without the net's buffers, which are each one's."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self._net = (net,)  # in a tuple it is no module of this one
        self.of_net = nn.ParameterList(net.parameters())

    def forward(self, batch: Batch) -> Pass:
        result = self._net[0].compute(batch)
        # DistributedDataParallel waits for a gradient of whatever stands under an output, and only the loss gives one
        return result._replace(blobs={name: blob.detach() for name, blob in result.blobs.items()})
