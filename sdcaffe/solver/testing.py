"""One test of a net, bit by bit: its batches, shared out among the processes, go through the net to a measure."""

from __future__ import annotations

from collections.abc import Callable, Generator

import torch

from sdcaffe import collectives
from sdcaffe.log import started
from sdcaffe.net import Net
from sdcaffe.net.net import Pass
from sdcaffe.solver.lines import Scores
from sdcaffe.solver.measures import MEASURES, Measure


@torch.no_grad()
def test(
    net: Net, measure: Measure, batches: int, interrupted: Callable[[], bool]
) -> Generator[None, None, Scores | None]:
    """Test the net on its next `batches` batches; returns the scores, or None where `interrupted` says so.

    A test that is interrupted leaves the data where it began, and so does a snapshot that `interrupted` takes.
    """
    rank, world = collectives.rank_and_world()
    start = {layer: layer.cursor for layer in net.data_layers}
    for first in range(0, batches, world):
        for layer, cursor in start.items():
            layer.cursor = cursor
        if world == 1 and interrupted():
            return None
        for layer, cursor in start.items():
            layer.cursor = cursor + first + rank
        result = None
        if first + rank < batches:
            with collectives.apart():
                result = net.compute(net.load(), measure.keep)
        every = _of_all(result)
        with MEASURES.blamed(measure):
            for batch in every:
                measure.update(batch)
        started()
        yield
    for layer, cursor in start.items():
        layer.cursor = cursor + batches
    scores: Scores = []
    if rank == 0:
        with MEASURES.blamed(measure):
            scores = measure.scores()
            measure.log(scores)
    return list(collectives.from_root(scores))


def _of_all(result: Pass | None) -> list[Pass]:
    """On the root the batches of all processes, in order; nothing on the others."""
    if collectives.rank_and_world()[1] > 1 and result is not None:
        result = Pass(result.loss.cpu(), {name: blob.cpu() for name, blob in result.blobs.items()})
    return [batch for batch in collectives.at_root(result) if batch is not None]
