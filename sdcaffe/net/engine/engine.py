"""Runs a region of a net in ONNX Runtime in torch's place, where that gives the same and is worth it."""

from __future__ import annotations

import ctypes
import gc
import logging
import operator
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
import xxhash
from torch import Tensor

from sdcaffe.log import glog
from sdcaffe.net.assembly import Assembled
from sdcaffe.net.engine.bound import Bound, small
from sdcaffe.net.engine.recorder import Unsupported
from sdcaffe.net.engine.region import Region, differ, region_of
from sdcaffe.net.plan import Op, make_plan

TORCH, ONNXRUNTIME = "torch", "onnxruntime"
ENGINES = (TORCH, ONNXRUNTIME)
TOLERANCE = 1e-5  # of the largest value of a blob, on the first batch
_MOST_SHAPES = 8  # shapes of inputs that a session is kept for
_WARM = 2  # passes in torch, before it is known how long one takes
_START, _EACH = 1.0, 0.01  # seconds that the first session takes, and each of its layers
_GAIN = 0.25  # the part of a pass that is sure to be saved


@dataclass
class Running:
    """What runs for inputs of one shape; `broken` once its session did not give what torch gives.

    It is `alone` where the session is the whole net, and nothing weighs in a loss.
    """

    ops: list[Op]
    native: set[int]  # slots that a session alone reads: they stay as they were given
    alone: bool
    broken: bool = False

    def whole(self, batch: dict[int, Tensor]) -> dict[int, Tensor]:
        """The outputs of a net that runs `alone`."""
        (op,) = self.ops
        return dict(zip(op.tops, op.run(*[batch[slot] for slot in op.bottoms]), strict=True))


class Engine:
    """Of an assembled net in the test phase, on the CPU in float32, without gradients; else torch runs.

    `asked` are further slots to give; a pass that asks for others runs in torch. With `passes`, about how many will
    come, a session is made where it is worth it; without, at the first. With `watched` every change of a weight is
    noticed, also one that leaves no trace in torch: hashes of the weights' bytes are made before each pass. Without,
    nobody may write to the net.
    """

    def __init__(
        self, made: Assembled, *, asked: Iterable[int] = (), passes: int | None = None, watched: bool = True
    ) -> None:
        self._made, self._asked = made, set(asked)
        self._passes, self._watched = passes, watched
        self._running: dict[tuple[Any, ...], Running | None] = {}
        self._weights: _Weights | None = None
        self._unseen: list[Tensor] = []  # what every session reads where it lies: it may change
        self._took: list[float] = []
        self._allowed = self._asked | set(made.graph.outputs.values())
        self._last: tuple[Any, Running | None] = (None, None)  # the shapes of the pass before, and what ran
        self._short: tuple[Any, _Short | None] = (None, None)  # the same, where the pass before was one call
        self.reason = ""  # why torch runs, where it does for good

    def running(self, held: set[int], run_op: RunOp) -> Running | None:
        """What to run a batch of the net's shapes with, where the slots `held` are asked for; None for torch."""
        if self.reason or not held <= self._allowed:
            return None
        if self._passes is not None and not self._running and not self._worth_it():
            return None
        if self._weights is not None and self._weights.changed():
            self._running.clear()
            self._weights = None
            self._last = self._short = (None, None)
        shapes, found = self._last
        if shapes is not self._made.shapes:  # each set-up of the net makes new ones
            found = self._of_these_shapes(run_op)
            self._last = (self._made.shapes, found)
            self._short = (self._made.shapes, self._shortest(found))
        return None if found is None or found.broken else found

    def at_once(self, inputs: Mapping[str, object]) -> dict[str, Tensor] | None:
        """The outputs for inputs as those of the pass before, where that was one call; None: `running` says what runs.

        A small net takes no longer than the way to it, so this one asks for nothing that the pass before has shown.
        """
        shapes, short = self._short
        if short is None or shapes is not self._made.shapes or short.running.broken:
            return None
        given = short.fitting(inputs)
        if given is None or (self._weights is not None and self._weights.changed()):
            return None
        return dict(zip(short.outputs, short.session._run(given), strict=True))

    def _of_these_shapes(self, run_op: RunOp) -> Running | None:
        key = tuple(sorted(self._made.shapes.items()))
        if key not in self._running:
            if len(self._running) >= _MOST_SHAPES:
                return None
            self._running[key] = self._built(run_op)
        return self._running[key]

    def _shortest(self, running: Running | None) -> _Short | None:
        """None where more than one call is needed, or slots that a caller does not give."""
        if running is None or not running.alone:
            return None
        made, (op,) = self._made, running.ops
        names = {slot: name for name, slot in made.inputs.items()}
        outputs = {slot: name for name, slot in made.graph.outputs.items()}
        if set(names) != set(op.bottoms) or list(outputs) != list(op.tops) or made.param.force_backward:
            return None
        places = [(names[slot], made.shapes[slot]) for slot in op.bottoms]
        return _Short(running, op.run, places, list(outputs.values()))

    def took(self, seconds: float) -> None:
        """Told how long a pass took."""
        if self._passes is not None and len(self._took) < _WARM:
            self._took.append(seconds)

    def _worth_it(self) -> bool:
        if len(self._took) < _WARM:
            return False
        assert self._passes is not None
        cost = _START + _EACH * len(self._made.layers)
        if _GAIN * min(self._took) * (self._passes - _WARM) > cost:
            return True
        self.reason = "the work ahead is too short"
        return False

    def _built(self, run_op: RunOp) -> Running | None:
        try:
            region = region_of(self._made, self._asked, watched=self._watched)
            session = Session(region, timed=self._passes is not None)
            ops, native = _plan(self._made, region, self._asked, session, run_op)
            if self._watched:
                self._unseen = region.unseen if self._weights is None else _common(self._unseen, region.unseen)
                self._weights = _Weights(self._made, self._unseen)
        except (Unsupported, ImportError) as error:
            self._leave(str(error))
            return None
        except Exception as error:  # ONNX Runtime's kinds: it is not worth an end
            self._leave(" ".join(str(error).split())[:200])
            return None
        gives = set(ops[0].tops) if len(ops) == 1 and not self._made.loss_weights else set[int]()
        running = Running(ops, native, alone=self._allowed <= gives)
        first, last = (self._made.layers[place].name for place in (region.places[0], region.places[-1]))

        def judge(difference: float, faster: float) -> None:
            if difference > TOLERANCE:
                running.broken = True
                self._leave(f"ONNX Runtime's numbers differ by {difference:.2g}")
            elif self._passes is not None and faster < 1:
                running.broken = True
                self._leave("torch is as fast")
            else:
                glog("net.cpp:270", f'Layers "{first}" to "{last}" run in ONNX Runtime')

        session.judge = judge
        return running

    def _leave(self, reason: str) -> None:
        self.reason = reason
        glog("net.cpp:270", f"The net runs in torch: {reason}", logging.INFO)


RunOp = Callable[[Op, dict[int, Tensor]], None]


@dataclass
class _Short:
    """A pass that is one call of `session`, with the inputs of these names and shapes; the outputs' names."""

    running: Running
    session: Any
    places: list[tuple[str, tuple[int, ...]]]
    outputs: list[str]

    def fitting(self, inputs: Mapping[str, object]) -> list[Tensor] | None:
        """The inputs in the session's order, where they are tensors as it takes them."""
        if self.session.in_torch is not None or len(inputs) != len(self.places):
            return None
        given = []
        for name, shape in self.places:
            value = inputs.get(name)
            if type(value) is not Tensor or value.shape != shape or value.dtype is not torch.float32:
                return None
            if value.requires_grad or not value.is_cpu:
                return None
            given.append(value)
        return given


class Session:
    """A region in ONNX Runtime: called with tensors it gives a tuple of tensors.

    On its first call torch runs too, and `judge` hears of the largest difference and, where it is `timed`, how much
    longer torch takes.
    """

    def __init__(self, region: Region, timed: bool) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        self._timed = timed
        options.log_severity_level = 4
        options.intra_op_num_threads = torch.get_num_threads()
        self._beside = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in region.beside.values()]
        if self._beside:
            options.add_external_initializers(list(region.beside), self._beside)
        self._session = onnxruntime.InferenceSession(region.model, options, providers=["CPUExecutionProvider"])
        self._inputs = [f"in{slot}" for slot in region.inputs]
        self._outputs = [f"out{slot}" for slot in region.outputs]
        self._in_place = {name: tensor.detach().numpy() for name, tensor in region.read_in_place.items()}
        shapes = {value.name: value.shape for value in (*self._session.get_inputs(), *self._session.get_outputs())}
        self._takes, self._gives = ([(n, shapes[n]) for n in names] for names in (self._inputs, self._outputs))
        self._small = small(self._takes, self._gives)
        self._bound: list[Bound] = []  # those that no thread is using
        self.in_torch: Callable[..., tuple[Tensor, ...]] | None = None
        self.judge: Callable[[float, float], None] = lambda difference, faster: None

    def __call__(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        if self.in_torch is None:
            return self._run(bottoms)
        in_torch, self.in_torch = self.in_torch, None
        start = time.perf_counter()
        expected = in_torch(*bottoms)
        slow = time.perf_counter() - start
        got, fast = self._run(bottoms), 0.0
        if self._timed:  # the second, for torch has run before too
            start = time.perf_counter()
            got = self._run(bottoms)
            fast = time.perf_counter() - start
        difference = differ(got, expected)
        self.judge(difference, slow / max(fast, 1e-9))
        return got if difference <= TOLERANCE else expected

    def _run(self, bottoms: Sequence[Tensor]) -> tuple[Tensor, ...]:
        if self._small and all(map(Tensor.is_contiguous, bottoms)) and not any(map(Tensor.is_neg, bottoms)):
            try:
                bound = self._bound.pop()
            except IndexError:
                bound = Bound(self._session, self._takes, self._gives, self._in_place)
            tops = bound(bottoms)
            self._bound.append(bound)
            return tops
        given = {n: bottom.resolve_neg().contiguous().numpy() for n, bottom in zip(self._inputs, bottoms, strict=True)}
        given.update(self._in_place)
        return tuple(map(torch.from_numpy, self._session.run(self._outputs, given)))


def _plan(
    made: Assembled, region: Region, asked: set[int], session: Session, run_op: RunOp
) -> tuple[list[Op], set[int]]:
    """The ops of the net with the region as one, and the slots that only the region reads."""
    chosen = {id(made.layers[place]) for place in region.places}
    after = {id(made.layers[place]) for place in region.after}
    inside, before, behind = list[Op](), list[Op](), list[Op]()
    for op in make_plan(made, frozenset({*region.outputs, *region.inputs, *asked} - _loaded(made))):
        kinds = {(id(layer) in chosen, id(layer) in after) for layer in op.layers}
        if len(kinds) > 1:
            raise Unsupported("its layers run as one across the border")
        where = inside if (True, False) in kinds else behind if (False, True) in kinds else before
        where.append(op)
    one = Op(
        layers=[made.layers[region.places[0]]],
        run=session,
        bottoms=region.inputs,
        tops=region.outputs,
        losses=[slot for slot in region.outputs if slot in made.loss_weights],
        checked=True,
    )

    def in_torch(*bottoms: Tensor) -> tuple[Tensor, ...]:
        values = dict(zip(region.inputs, bottoms, strict=True))
        for op in inside:
            run_op(op, values)
        return tuple(values[slot] for slot in region.outputs)

    session.in_torch = in_torch
    ops = [*before, one, *behind]
    last = {slot: i for i, op in enumerate(ops) for slot in (*op.tops, *op.bottoms)}
    for i, op in enumerate(ops):
        op.release = [slot for slot, at in last.items() if at == i]
    elsewhere = {slot for op in (*before, *behind) for slot in op.bottoms}
    return ops, set(region.inputs) - elsewhere


def _loaded(made: Assembled) -> set[int]:
    return {slot for step in made.graph.steps if not step.bottoms for slot in step.tops}


class _Weights:
    """The parameters and buffers of a net as they were, but for what lies in those that are `unseen`."""

    def __init__(self, made: Assembled, unseen: Iterable[Tensor]) -> None:
        layers = [layer for layer in made.layers if any(True for _ in chain(layer.parameters(), layer.buffers()))]
        modules = [module for layer in layers for module in layer.modules()]
        kinds = [(module._parameters, module._buffers, module._modules) for module in modules]
        self._homes = [home for homes in kinds for home in homes if home]
        self._held = gc.get_referents(*self._homes)
        self._tensors = list({id(entry): entry for entry in self._held if isinstance(entry, Tensor)}.values())
        passed_over = set(map(id, unseen))
        compared = [t for t in self._tensors if id(t) not in passed_over and t.nbytes]
        self._places = list(map(Tensor.data_ptr, self._tensors))
        self._lie = [(ctypes.c_char * _span(t)).from_address(t.data_ptr()) for t in compared]
        self._hashes = self._hashed()

    def _hashed(self) -> list[bytes]:
        """XXH3 of 128 bits reads as fast as a comparison, and needs no copy to read beside."""
        return list(map(xxhash.xxh3_128_digest, self._lie))

    def changed(self) -> bool:
        """The addresses are looked at before the bytes: they may be no longer ours. No loop of it is Python's."""
        held = gc.get_referents(*self._homes)
        if len(held) != len(self._held) or not all(map(operator.is_, held, self._held)):
            return True
        return list(map(Tensor.data_ptr, self._tensors)) != self._places or self._hashed() != self._hashes


def _common(some: Iterable[Tensor], others: Iterable[Tensor]) -> list[Tensor]:
    ids = set(map(id, others))
    return [tensor for tensor in some if id(tensor) in ids]


def _span(tensor: Tensor) -> int:
    """Bytes from the first to the last value."""
    steps = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return (steps + 1) * tensor.element_size()
