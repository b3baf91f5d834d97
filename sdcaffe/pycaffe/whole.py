"""A pass through all layers of a script's net in the test phase, several as one; its blobs are filled on the way.

Layer by layer costs a copy of each blob and some tenths of a millisecond a layer.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.errors import SdcaffeError
from sdcaffe.layers.base import Layer
from sdcaffe.layers.blob import Blob
from sdcaffe.net.plan import gradient_slots
from sdcaffe.plugins import is_plugin
from sdcaffe.pycaffe.runners import DataRunner, Runner, SplitRunner, TorchRunner, ViewRunner

if TYPE_CHECKING:
    from sdcaffe.pycaffe.stepwise import StepwiseNet

_TOLERANCE = 1e-5  # of the largest value of a blob, on the pass that is held against the layers one by one


class WholePass:
    """For one StepwiseNet. It is `off` where the net is not for it, and once a script runs parts of it or goes back.

    The first pass runs layer by layer. The second does too, and is compared: only layers that leave nothing behind but
    their tops, and come to the same blobs together, run as one from then on. Parameters are read where scripts write
    them, in each pass. `filled` says that the blobs are those of such a pass, of which no layer has a record.
    """

    def __init__(self, net: StepwiseNet) -> None:
        self._net = net
        self._tops = dict(self._last_slots())  # slot -> the blob that shows it after a pass
        self.off = net.phase != proto.TEST or not all(map(self._takes, range(len(net.runners))))
        self.off = self.off or bool(gradient_slots(net.assembled))
        self._losses = [runner for runner in net.runners if any(runner.loss_weights)]
        self._brings = any(isinstance(runner, DataRunner) for runner in net.runners)
        self.filled = self._proved = False
        # after the pass before: the shapes of all blobs, and the memory of all blobs and parameters
        self._shapes: list[Any] = []
        self._memory: list[Any] = []
        self._targets: dict[int, Tensor] = {}  # slot -> the memory of its blob

    def _last_slots(self) -> Iterator[tuple[int, Blob]]:
        last = {blob: slot for step, ids in self._steps() for slot, blob in zip(step.tops, ids, strict=True)}
        for (step, ids), runner in zip(self._steps(), self._net.runners, strict=True):
            if isinstance(runner, TorchRunner):
                yield from (
                    (slot, self._net.blobs[blob])
                    for slot, blob in zip(step.tops, ids, strict=True)
                    if last[blob] == slot
                )

    def _steps(self) -> Iterator[tuple[Any, list[int]]]:
        return zip(self._net.graph.steps, self._net.top_ids, strict=True)

    def _takes(self, place: int) -> bool:
        """Whether the layer at a place may be part of it.

        It comes with this package and writes no file; its tops have the shapes that its setup says; and in place it
        works on what a computing layer has made.
        """
        net, runner = self._net, self._net.runners[place]
        if type(runner) in (Runner, ViewRunner, SplitRunner) or isinstance(runner, DataRunner):
            return True
        kind = type(runner.layer)
        if type(runner) is not TorchRunner or is_plugin(kind) or kind.close is not Layer.close or kind.dynamic:
            return False
        made = {id(top) for before in net.runners[:place] if isinstance(before, TorchRunner) for top in before.tops}
        changed = [bottom for bottom, same in zip(runner.bottoms, runner.in_place, strict=True) if same]
        return all(id(blob) in made for blob in changed)

    def forget(self) -> None:
        """Told that layers run one by one, or have taken other shapes."""
        self._shapes = []

    def run(self) -> float:
        """The sum of the losses of one pass."""
        if self._is_as_before():
            return self._run() if self._proved else self._prove()
        self._net.check_room()
        if not self._parameters_are_the_blobs():
            return self._net.run_layers(0, len(self._net.runners) - 1)
        if not self._proved:
            loss = self._net.run_layers(0, len(self._net.runners) - 1)
            self._remember()
            return loss
        self._take_shapes()
        self._remember()
        return self._run()

    def _run(self) -> float:
        net = self._net
        for runner in net.runners:
            if isinstance(runner, DataRunner):
                runner.run()
            elif isinstance(runner, TorchRunner):
                runner.forget()
        if self._brings and not self._is_as_before():  # a batch of another size
            self._take_shapes()
            self._remember()
        with torch.no_grad():
            net.execution.visit(self._batch(), set(self._tops), self._write)
        self.filled = True
        return sum((runner.loss() for runner in self._losses), 0.0)

    def _write(self, slot: int, value: Tensor) -> None:
        self._targets[slot].copy_(value)

    def _batch(self) -> dict[int, Tensor]:
        """What no layer computes: slot -> the memory of its blob."""
        return {
            slot: torch.from_numpy(self._net.blobs[blob].data)
            for (step, ids), runner in zip(self._steps(), self._net.runners, strict=True)
            if type(runner) is Runner or isinstance(runner, DataRunner)
            for slot, blob in zip(step.tops, ids, strict=True)
        }

    def _prove(self) -> float:
        """A pass layer by layer, held against one of the whole."""
        from sdcaffe.net.engine.region import differ  # which brings in onnx

        net = self._net
        states = [
            blob for layer in net.assembled.layers for i, blob in enumerate(layer.blobs) if i in layer.fixed_blobs
        ]
        states += [buffer for layer in net.assembled.layers for buffer in layer.buffers()]
        before, drawn = [state.detach().clone() for state in states], torch.get_rng_state()
        loss = net.run_layers(0, len(net.runners) - 1)
        pure = torch.equal(torch.get_rng_state(), drawn) and all(map(torch.equal, states, before))
        if pure and self._is_as_before():
            found: dict[int, Tensor] = {}
            with torch.no_grad(), suppress(SdcaffeError):
                self._set_up()
                net.execution.visit(self._batch(), set(self._tops), found.__setitem__)
            self._proved = found.keys() == self._tops.keys() and all(
                differ([value], [torch.from_numpy(self._tops[slot].data)]) <= _TOLERANCE * self._growth(slot)
                for slot, value in found.items()
            )
        self.off = not self._proved
        self._remember()
        return loss

    def _growth(self, slot: int) -> float:
        """How many times the error of its bottom a blob may have: a softmax grows it by the size of what it reads."""
        (runner,) = (r for (step, _), r in zip(self._steps(), self._net.runners, strict=True) if slot in step.tops)
        return max(1.0, *(float(np.abs(b.data).max()) for b in runner.bottoms)) if runner.layer.probabilities else 1.0

    def _take_shapes(self) -> None:
        """Bring the shapes of the inputs through all layers, and let blobs share memory where they do."""
        net = self._net
        for runner in net.runners:
            runner.reshape()
            if isinstance(runner, (ViewRunner, SplitRunner)):
                runner.run()
        self._set_up()

    def _set_up(self) -> None:
        made, given = self._net.assembled, {slot: tuple(blob.shape) for slot, blob in self._batch().items()}
        if any(made.shapes[slot] != shape for slot, shape in given.items()):
            made.set_up(0, {**made.shapes, **given})

    def _all_memory(self) -> list[Any]:
        blobs = [*self._net.blobs, *(blob for blobs in self._net.param_blobs for blob in blobs)]
        return [blob._data for blob in blobs]

    def _is_as_before(self) -> bool:
        shapes = [blob.shape for blob in self._net.blobs]
        return shapes == self._shapes and all(map(operator.is_, self._all_memory(), self._memory))

    def _remember(self) -> None:
        self._shapes, self._memory = [blob.shape for blob in self._net.blobs], self._all_memory()
        self._targets = {slot: torch.from_numpy(blob.data) for slot, blob in self._tops.items()}

    def _parameters_are_the_blobs(self) -> bool:
        return all(
            parameter.data_ptr() == blob.data.ctypes.data and tuple(parameter.shape) == blob.shape
            for layer, blobs in zip(self._net.assembled.layers, self._net.param_blobs, strict=True)
            for parameter, blob in zip(layer.blobs, blobs, strict=True)
        )
