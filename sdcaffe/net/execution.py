"""Runs the plans of a net, op after op. Which ops there are is plan.py's; backward is autograd's."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sdcaffe.layers.base import blamed
from sdcaffe.net import room
from sdcaffe.net.assembly import Assembled
from sdcaffe.net.plan import Op, gradient_slots, make_plan
from sdcaffe.net.precision import BF16, FP32, computing, exactly

if TYPE_CHECKING:
    from sdcaffe.net.engine.engine import Engine, Running

Batch = dict[int, Tensor]  # slot -> what a data layer or the caller put there


class Execution:
    """Of an assembled net, on blobs by slot. `plain` is the plan of a pass that keeps no blob but the outputs."""

    def __init__(self, made: Assembled) -> None:
        self._made = made
        self._differentiates = bool(gradient_slots(made))
        self.plain = make_plan(made)
        self.engine: Engine | None = None
        self._plans: dict[frozenset[int], list[Op]] = {frozenset(): self.plain}
        self._loaded = {slot for step in made.graph.steps if not step.bottoms for slot in step.tops}
        self._plainly_made = {slot for op in self.plain for slot in op.tops} - {op.overwritten for op in self.plain}

    def ops_making(self, slots: set[int]) -> list[Op]:
        """A plan in which none of `slots` vanishes inside a chain; made when first asked for."""
        # another plan writes over others
        apart = frozenset() if slots <= self._plainly_made | self._loaded else frozenset(slots - self._loaded)
        if apart not in self._plans:
            self._plans[apart] = make_plan(self._made, apart)
        return self._plans[apart]

    def check_room(self, precision: str, device: torch.device, *, all_kept: bool = False) -> None:
        """Raise LayerError where the free memory cannot hold a pass; with `all_kept` one that lets no blob go.

        Of passes of the same shapes the first alone is looked at. A GPU is not: its own error says as much.
        """
        learns = torch.is_grad_enabled()
        if device.type != "cpu" or self._made.fits > learns:
            return
        room.check(self._made, self.plain, learns=learns, all_kept=all_kept, half=precision == BF16)
        self._made.fits = 1 + learns

    def run(
        self, batch: Batch, held: set[int], keep: bool, precision: str, device: torch.device
    ) -> tuple[Tensor, Batch]:
        """The total loss (0-dim), and the blobs in the slots `held`; with `keep` these may be any."""
        running = self._running(held, precision, device)
        if running is not None and running.alone:
            return torch.zeros(()), running.whole(batch)
        ops = running.ops if running is not None else self.ops_making(held) if keep else self.plain
        values = _inside(batch, running.native if running is not None else ())
        loss = self._add_losses([slot for slot in batch if slot in self._made.loss_weights], values, None)
        started = time.perf_counter()
        with self._recording(), computing(precision, device):
            exact = exactly(precision, device)
            for op in ops:
                self._run(op, values, exact)
                if op.losses:
                    loss = self._add_losses(op.losses, values, loss)
                for slot in op.release:
                    if slot not in held:
                        del values[slot]
        if self.engine is not None:
            self.engine.took(time.perf_counter() - started)
        return torch.zeros((), device=device) if loss is None else loss, values

    def at_once(self, inputs: Mapping[str, object], precision: str) -> dict[str, Tensor] | None:
        """The outputs by name where the engine gives them by one call; None where `run` is to."""
        if self.engine is None or precision != FP32 or torch.is_grad_enabled() or self._differentiates:
            return None
        return self.engine.at_once(inputs)

    def _running(self, held: set[int], precision: str, device: torch.device) -> Running | None:
        """What the engine runs this pass with; None where torch does."""
        if self.engine is None or precision != FP32 or device.type != "cpu" or torch.is_grad_enabled():
            return None
        return None if self._differentiates else self.engine.running(held, self._run_exactly)

    def _run_exactly(self, op: Op, values: Batch) -> None:
        for slot in op.bottoms:
            if values[slot].dim() == 4:
                values[slot] = channels_last(values[slot])
        self._run(op, values, nullcontext())

    def visit(self, batch: Batch, held: set[int], seen: Callable[[int, Tensor], None]) -> None:
        """One pass in float32, in the memory form of the batch: `seen(slot, blob)` for those in `held` once made."""
        values = dict(batch)
        for op in self.ops_making(held):
            self._run(op, values, nullcontext())
            for slot in op.tops:
                if slot in held:
                    seen(slot, values[slot])
            for slot in op.release:
                values.pop(slot, None)

    @torch.no_grad()
    def first_not_finite(self, batch: Batch) -> str | None:
        """The name of the first layer whose output on this batch is not finite."""
        steps = self._made.graph.steps
        for slot, tensor in batch.items():
            if not torch.isfinite(tensor).all():
                return next(step.layer.name for step in steps if slot in step.tops)
        values = _inside(batch)
        chained = {slot for step in steps for slot in step.tops}
        with self._recording():
            for op in self.ops_making(chained):
                self._run(op, values, nullcontext())
                if any(not torch.isfinite(values[slot]).all() for slot in op.tops):
                    return op.layers[0].name
        return None

    def _recording(self) -> AbstractContextManager[Any]:
        """Where layers differentiate in their forward, a pass is recorded for them even under torch.no_grad."""
        return torch.enable_grad() if self._differentiates else nullcontext()

    def _add_losses(self, slots: Iterable[int], values: Batch, loss: Tensor | None) -> Tensor | None:
        """`loss` and the weighted sums of some blobs on top."""
        for slot in slots:
            if slot in self._made.diffs:
                term = self._by_diff(slot, values[slot])
            else:
                term = values[slot].sum() if values[slot].dim() else values[slot]
                term = term * self._made.loss_weights[slot]
            loss = term if loss is None else loss + term
        return loss

    def _by_diff(self, slot: int, blob: Tensor) -> Tensor:
        """What the reported loss has of a blob whose gradient a later layer gives; no gradient comes from it."""
        diff = self._made.diffs[slot]
        if diff.shape != blob.shape:
            diff = self._made.diffs[slot] = self._made.loss_weights[slot].expand(blob.shape).clone()

        def remember(gradient: Tensor) -> None:
            diff.copy_(gradient)

        term = (blob.detach() * diff).sum()
        if blob.requires_grad:
            blob.register_hook(remember)
        return term

    def _run(self, op: Op, values: Batch, exact: AbstractContextManager[Any]) -> None:
        bottoms = [values[slot] for slot in op.bottoms]
        if op.detach:
            bottoms = [bottom.detach() if i in op.detach else bottom for i, bottom in enumerate(bottoms)]
        try:
            if op.exact:
                with exact:
                    tops = op.run(*in_float32(bottoms))
            else:
                tops = op.run(*bottoms)
            tops = (tops,) if isinstance(tops, Tensor) else tops
            if not op.checked:
                self._check(op, tops)
        except Exception as error:
            found = blamed(op.layers[0], error)
            self._made.locate(found, self._made.layers.index(op.layers[0]))
            if found is error:
                raise
            raise found from error
        values.update(zip(op.tops, tops, strict=True))
        if op.leaves:
            _begin_at(op, values)
        if op.dynamic is not None:
            self._follow(op.dynamic, values)

    def _check(self, op: Op, tops: Any) -> None:
        """On the first pass: a forward must give what its setup said."""
        op.checked = True
        layer = op.layers[0]
        if not (isinstance(tops, (tuple, list)) and all(isinstance(top, Tensor) for top in tops)):
            raise layer.error(f"forward must return a tensor for each top, not {type(tops).__name__}")
        shapes, said = [tuple(top.shape) for top in tops], [self._made.shapes[slot] for slot in op.tops]
        if len(shapes) != len(said) or (shapes != said and op.dynamic is None):
            raise layer.error(f"forward gave tops of shapes {shapes}, but setup said {said}")

    def _follow(self, place: int, values: Batch) -> None:
        """After a dynamic layer: set up those behind it anew where its tops have new shapes."""
        made = self._made
        tops = {slot: tuple(values[slot].shape) for slot in made.graph.steps[place].tops}
        if any(made.shapes[slot] != shape for slot, shape in tops.items()):
            made.set_up(place + 1, {**made.shapes, **tops})


def in_float32(tensors: list[Tensor]) -> list[Tensor]:
    """The tensors, those of a shorter format widened."""
    return [tensor.float() if tensor.dtype == torch.bfloat16 else tensor for tensor in tensors]


def _begin_at(op: Op, values: Batch) -> None:
    """Record from an op's tops on, for a layer that will differentiate by them. Tops that are one tensor stay one."""
    for slot in op.leaves:
        top = values[slot]
        if not top.requires_grad and top.is_floating_point():
            leaf = top.detach().requires_grad_()
            values.update((other, leaf) for other in op.tops if values[other] is top)


def _inside(batch: Batch, native: Collection[int] = ()) -> Batch:
    """The batch with its 4-D blobs in channels_last memory, but for those in the slots `native`."""
    return {
        slot: channels_last(tensor) if tensor.dim() == 4 and slot not in native else tensor
        for slot, tensor in batch.items()
    }


def channels_last(blob: Tensor) -> Tensor:
    """A 4-D blob in channels_last memory. One channel lies alike in both forms; its strides tell torch which it is."""
    if blob.shape[1] == 1:
        return blob.contiguous().squeeze(1).unsqueeze(-1).permute(0, 3, 1, 2)
    return blob.contiguous(memory_format=torch.channels_last)
