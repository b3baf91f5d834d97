"""What a pass takes of memory at the least, told before it is taken. Of CPUs: a GPU's own error says as much."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from torch import Tensor

from sdcaffe import reading
from sdcaffe.errors import GraphError, SolverError
from sdcaffe.layers.base import DataLayer, Layer
from sdcaffe.net.assembly import Assembled
from sdcaffe.net.plan import Op

_SMALL = 1 << 26  # bytes that a pass takes without being asked how much memory there is
_FLOAT = 4


def check(made: Assembled, ops: Iterable[Op], *, learns: bool, all_kept: bool = False, half: bool = False) -> None:
    """Raise LayerError, of the layer with the largest tops, for a pass that the free memory cannot hold.

    `learns`: a backward follows; `all_kept`: no blob is let go; `half`: in numbers of two bytes.
    """
    least = _Least(made, learns, all_kept, _FLOAT // 2 if half else _FLOAT)
    size = least.of(ops)
    if size <= _SMALL or size <= (free := reading.free_memory()):
        return
    pairs = zip(made.graph.steps, made.layers, strict=True)
    counts = [0 if layer.copies else sum(math.prod(made.shapes[slot]) for slot in step.tops) for step, layer in pairs]
    place = counts.index(max(counts))
    error = made.layers[place].error(
        f"a pass through the net would take at least {size} bytes, more than the {free} bytes of memory that are free; "
        f"the tops of this layer have {_FLOAT * counts[place]}. Make the batch or the images smaller"
    )
    made.locate(error, place)
    raise error


def check_size(name: str, size: int) -> None:
    """Raise GraphError for blobs of the net `name` that take `size` bytes, more than are free."""
    if size > _SMALL and size > (free := reading.free_memory()):
        raise GraphError(
            f'the blobs of net "{name}" take {size} bytes, more than the {free} bytes of memory that are free. '
            "Make the batch or the images smaller"
        )


def check_learning(learnable: Iterable[Tensor], histories: int) -> None:
    """Raise SolverError for parameters whose gradients and `histories` the free memory cannot hold. CPU only."""
    size = (1 + histories) * sum(_FLOAT * tensor.numel() for tensor in learnable if tensor.device.type == "cpu")
    if size > _SMALL and size > (free := reading.free_memory()):
        raise SolverError(
            f"the gradients and the history of the weights would take {size} bytes, more than the {free} bytes of "
            "memory that are free. Make the net smaller"
        )


class _Least:
    """The least bytes that a pass holds at once: never more than it does, for layers that give their bottoms on."""

    def __init__(self, made: Assembled, learns: bool, all_kept: bool, width: int) -> None:
        self._made, self._learns, self._all_kept, self._width = made, learns, all_kept, width
        self._owner: dict[int, int] = {}  # slot -> the slot whose memory it has
        self._users: Counter[int] = Counter()  # such a slot -> how many live in its memory
        self._sizes: dict[int, int] = {}
        self._now = self._peak = 0

    def of(self, ops: Iterable[Op]) -> int:
        for step, layer in zip(self._made.graph.steps, self._made.layers, strict=True):
            if layer.given or isinstance(layer, DataLayer):
                for slot in step.tops:
                    self._take(slot)
        for op in ops:
            if op.dynamic is not None:  # what follows may be smaller than its setup said
                break
            self._run(op)
        return self._peak

    def _run(self, op: Op) -> None:
        first = op.layers[0]
        bottoms = [slot for slot in op.bottoms if slot in self._owner]
        values = sum(map(self._count, op.bottoms))
        for slot in op.tops:
            if slot not in self._made.shapes:  # parameters made ready for several layers
                continue
            if first.linear or self._count(slot) > values:
                self._take(slot)
            elif bottoms and self._count(slot) == self._count(bottoms[0]):
                self._share(slot, bottoms[0])
        if self._all_kept:
            return
        if self._learns and _keeps_bottom(first) and bottoms:
            self._users[self._owner[bottoms[0]]] += 1
        for slot in op.release:
            if slot in self._owner:
                self._let_go(self._owner[slot])

    def _count(self, slot: int) -> int:
        return math.prod(self._made.shapes.get(slot, (0,)))

    def _take(self, slot: int) -> None:
        self._owner[slot], self._users[slot] = slot, 1
        self._sizes[slot] = self._width * self._count(slot)
        self._now += self._sizes[slot]
        self._peak = max(self._peak, self._now)

    def _share(self, slot: int, other: int) -> None:
        self._owner[slot] = self._owner[other]
        self._users[self._owner[other]] += 1

    def _let_go(self, owner: int) -> None:
        self._users[owner] -= 1
        if not self._users[owner]:
            self._now -= self._sizes[owner]


def _keeps_bottom(layer: Layer) -> bool:
    """Whether the gradient of its weights is computed from its bottom."""
    return layer.linear and len(layer.blobs) > 0 and bool(layer.blobs[0].requires_grad)
