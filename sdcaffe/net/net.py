"""Net: a graph whose layers exist, and run. Forward in prototxt order; backward is autograd's."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sdcaffe import layers, proto
from sdcaffe.errors import GraphError, LayerError, NetError
from sdcaffe.graph import build_graph, insert_splits, keep_layers, net_state
from sdcaffe.layers.base import DataLayer, Shape, blamed
from sdcaffe.log import glog
from sdcaffe.net.assembly import Assembly, Learnable, complete_tops
from sdcaffe.net.initial_weights import Files, InitialWeights
from sdcaffe.net.plan import Op, gradient_slots, make_plan
from sdcaffe.net.precision import FP32, computing, exactly

Batch = dict[int, Tensor]  # slot -> what a data layer or the caller put there

__all__ = ["Batch", "Learnable", "Net", "Pass"]


class Pass(NamedTuple):
    """What one pass gives: the total weighted loss (0-dim) and the blobs asked for, by name."""

    loss: Tensor
    blobs: dict[str, Tensor]


class Net(nn.Module):
    """A Caffe net in one phase.

    `source` is a prototxt path or a NetParameter; `weights` one or more .caffemodel or .caffemodel.h5
    files (a list, or one string with commas) that fill the layers of the same name; `share` a net whose
    parameters the layers of the same name use (a test net and its train net); `positions` where the
    fields of a NetParameter stand in a file, for error messages.

    - `layers`: layer name -> Layer; `params`: layer name -> its blobs
    - `blob_shapes`: blob name -> shape, Caffe's NCHW
    - `inputs`, `outputs`: names of the blobs to give, and of those that no layer reads
    - `learnable`: what a solver updates, in Caffe's order
    - `precision`: what convolutions and products compute in, see `precision`; losses and outputs are float32

    Raises PrototxtError, GraphError, LayerError, WeightsError or DataError.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | Any,
        phase: int = proto.TEST,
        weights: Files | None = None,
        *,
        level: int = 0,
        stages: Iterable[str] = (),
        device: str | torch.device = "cpu",
        share: Net | None = None,
        positions: Any = None,
    ) -> None:
        super().__init__()
        layers.load_builtin()
        if isinstance(source, (str, os.PathLike)):
            source, positions = proto.read_net_located(source)
        if getattr(getattr(source, "DESCRIPTOR", None), "full_name", None) != "caffe.NetParameter":
            raise GraphError(f"a net is made from a prototxt's path or a NetParameter, not {type(source).__name__}")
        self._positions = positions
        try:
            self._build(proto.schema.current(source), net_state(phase, level, stages), InitialWeights(weights), share)
        except NetError as error:
            self._locate(error)
            raise
        self.phase = phase
        self.precision = FP32
        self.device = torch.device(device)
        self.to(self.device)
        self._lay_out()
        for slot, weight in self._loss_weights.items():
            self._loss_weights[slot] = weight.to(self.device)
        glog("net.cpp:257", "Network initialization done.")

    def _lay_out(self) -> None:
        """Put 4-D parameters in channels_last memory, as blobs are."""
        for blob in self.parameters():
            if blob.dim() == 4:
                blob.data = blob.data.contiguous(memory_format=torch.channels_last)

    def _build(self, source: Any, state: Any, weights: InitialWeights, share: Net | None) -> None:
        net = proto.NetParameter()
        net.CopyFrom(source)
        net.state.phase = state.phase
        if state.level:
            net.state.level = state.level
        net.state.stage.extend(stage for stage in state.stage if stage not in net.state.stage)
        net = keep_layers(net)
        glog("net.cpp:53", lambda: f"Initializing net from parameters: \n{proto.text.format(net)}")
        for layer in net.layer:
            complete_tops(layer)
        self.name = net.name
        self.param = insert_splits(net)
        self.graph = build_graph(self.param)
        shared = share.params if share is not None else {}
        assembly = Assembly(self.graph, state.phase, weights, shared)
        self.layers = assembly.layers
        self.learnable = assembly.learnable
        self._modules_in_order = nn.ModuleList(assembly.layers.values())
        self._shapes = assembly.shapes
        self._loss_weights = {slot: torch.tensor(w) for slot, w in assembly.loss_weights.items() if w}
        self._views = assembly.views
        if share is not None:
            self._views.update((name, views) for name, views in share._views.items() if name in assembly.layers)
        self.outputs = list(self.graph.outputs)
        self._input_slots = {
            name: slot
            for step in self.graph.steps
            if self.layers[step.layer.name].given
            for name, slot in zip(step.layer.top, step.tops, strict=True)
        }
        self.inputs = list(self._input_slots)
        self._plans: dict[frozenset[int], list[Op]] = {frozenset(): self._plan()}
        self._differentiates = bool(gradient_slots(self.graph, self.layers))
        weights.report(self.params)

    # ------------------------------------------------------------ what it holds

    @property
    def data_layers(self) -> list[DataLayer]:
        return [layer for layer in self.layers.values() if isinstance(layer, DataLayer)]

    @property
    def blob_shapes(self) -> dict[str, Shape]:
        return {name: self._shapes[slot] for name, slot in self.graph.latest.items()}

    @property
    def loss_weights(self) -> dict[str, float]:
        """Blob name -> loss weight, of the blobs that have one."""
        slots = self.graph.latest.items()
        return {name: float(self._loss_weights[slot]) for name, slot in slots if slot in self._loss_weights}

    def set_loss_weight(self, name: str, weight: float) -> None:
        """Give the blob `name` another loss weight from the next pass on: a schedule for one part of the loss.

        Raises GraphError for a blob that has no loss weight in the prototxt, where none but 0 can stand.
        """
        slot = self._slot(name)
        if slot not in self._loss_weights:
            raise GraphError(f'blob "{name}" of net "{self.name}" has no loss weight to change; give it one')
        self._loss_weights[slot].fill_(weight)

    @property
    def params(self) -> dict[str, nn.ParameterList]:
        """Layer name -> its blobs, of the layers that have any."""
        return {name: layer.blobs for name, layer in self.layers.items() if len(layer.blobs)}

    def all_trained(self) -> bool:
        """Whether every learnable parameter stands under a loss, so that each backward gives it a gradient."""
        reached: set[int] = set()
        for op in reversed(self._plans[frozenset()]):
            if op.losses or reached.intersection(op.tops):
                reached.update(slot for i, slot in enumerate(op.bottoms) if i not in op.detach)
            elif any(blob.requires_grad for layer in op.layers for blob in layer.blobs):
                return False
        return True

    # ------------------------------------------------------------ running

    def load(self) -> Batch:
        """The next batch of every data layer, on this net's device."""
        batch: Batch = {}
        for step in self.graph.steps:
            layer = self.layers[step.layer.name]
            if isinstance(layer, DataLayer):
                batch.update(zip(step.tops, layer.next_batch(self.device), strict=True))
        shapes = {slot: tuple(tensor.shape) for slot, tensor in batch.items()}
        if any(self._shapes[slot] != shape for slot, shape in shapes.items()):  # images of another size
            self._set_up(0, {**self._shapes, **shapes})
        return batch

    def feed(self, inputs: Mapping[str, Any]) -> Batch:
        """A batch of the input blobs (tensors or arrays, NCHW); reshapes the net where shapes changed.

        Raises LayerError for an input that is missing, or a name that is no input.
        """
        if set(inputs) != set(self.inputs):
            raise LayerError(
                f'net "{self.name}" takes the inputs {", ".join(self.inputs) or "(none)"}; '
                f"given: {', '.join(inputs) or '(none)'}"
            )
        batch: Batch = {}
        for name, value in inputs.items():
            tensor = torch.as_tensor(value, dtype=torch.float32, device=self.device)
            if self.param.force_backward and not tensor.requires_grad:
                tensor = tensor.detach().requires_grad_()
            batch[self._input_slots[name]] = tensor
        if any(tuple(tensor.shape) != self._shapes[slot] for slot, tensor in batch.items()):
            self.reshape({name: tuple(batch[slot].shape) for name, slot in self._input_slots.items()})
        return batch

    def reshape(self, inputs: Mapping[str, Shape]) -> None:
        """Take input blobs of new shapes, through every layer. Raises LayerError where one cannot."""
        shapes = dict(self._shapes)
        for name, shape in inputs.items():
            shapes[self._input_slots[name]] = tuple(shape)
        self._set_up(0, shapes)

    def _set_up(self, first: int, shapes: dict[int, Shape]) -> None:
        for step in self.graph.steps[first:]:
            layer = self.layers[step.layer.name]
            if not layer.given and not isinstance(layer, DataLayer):
                tops = layer.setup([shapes[slot] for slot in step.bottoms])
                shapes.update(zip(step.tops, map(tuple, tops), strict=True))
        self._shapes = shapes

    def _run(self, op: Op, values: Batch) -> None:
        bottoms = [values[slot] for slot in op.bottoms]
        if op.detach:
            bottoms = [bottom.detach() if i in op.detach else bottom for i, bottom in enumerate(bottoms)]
        try:
            tops = self._run_exactly(op, bottoms) if op.exact else op.run(*bottoms)
            tops = (tops,) if isinstance(tops, Tensor) else tops
            if not op.checked:
                self._check(op, tops)
        except Exception as error:
            found = blamed(op.layers[0], error)
            if isinstance(found, NetError):
                self._locate(found)
            if found is error:
                raise
            raise found from error
        values.update(zip(op.tops, tops, strict=True))
        if op.leaves:
            _begin_at(op, values)
        if op.dynamic is not None:
            self._follow(op.dynamic, values)

    def _run_exactly(self, op: Op, bottoms: list[Tensor]) -> Any:
        with exactly(self.precision, self.device):
            return op.run(*_in_float32(bottoms))

    def _check(self, op: Op, tops: Any) -> None:
        """On the first pass: a forward must give what its setup said."""
        op.checked = True
        layer = op.layers[0]
        if not (isinstance(tops, (tuple, list)) and all(isinstance(top, Tensor) for top in tops)):
            raise layer.error(f"forward must return a tensor for each top, not {type(tops).__name__}")
        shapes, said = [tuple(top.shape) for top in tops], [self._shapes[slot] for slot in op.tops]
        if len(shapes) != len(said) or (shapes != said and op.dynamic is None):
            raise layer.error(f"forward gave tops of shapes {shapes}, but setup said {said}")

    def _locate(self, error: NetError) -> None:
        if self._positions is not None and error.where is None:
            error.where = self._positions.find(error.layer, error.field)

    def _follow(self, index: int, values: Batch) -> None:
        """After a dynamic layer: set up those behind it anew where its tops have new shapes."""
        tops = {slot: tuple(values[slot].shape) for slot in self.graph.steps[index].tops}
        if any(self._shapes[slot] != shape for slot, shape in tops.items()):
            self._set_up(index + 1, {**self._shapes, **tops})

    def compute(self, batch: Batch, keep: Iterable[str] = ()) -> Pass:
        """Run every computing layer on a batch: the total loss, the outputs and the blobs named in `keep`."""
        missing = [name for name, slot in self._input_slots.items() if slot not in batch]
        if missing:
            raise LayerError(
                f'net "{self.name}" has inputs that nobody gave: {", ".join(missing)}; '
                "a program may give them, a net that is trained or tested alone has data layers"
            )
        wanted = {**self.graph.outputs, **{name: self._slot(name) for name in keep}}
        held = set(wanted.values())
        values = _inside(batch)
        loss = self._add_losses([slot for slot in batch if slot in self._loss_weights], values, None)
        with self._recording(), computing(self.precision, self.device):
            for op in self._ops_making(held) if keep else self._plans[frozenset()]:
                self._run(op, values)
                if op.losses:
                    loss = self._add_losses(op.losses, values, loss)
                for slot in op.release:
                    if slot not in held:
                        del values[slot]
        if loss is None:
            loss = torch.zeros((), device=self.device)
        blobs = _in_float32([values[slot] for slot in wanted.values()])
        return Pass(loss, dict(zip(wanted, blobs, strict=True)))

    def _add_losses(self, slots: list[int], values: Batch, loss: Tensor | None) -> Tensor | None:
        """`loss` and the weighted sums of some blobs on top.

        A blob with a weight that a later layer reads gets the gradient of both; Caffe's reader writes over that of a
        weight by default.
        """
        for slot in slots:
            term = values[slot].sum() if values[slot].dim() else values[slot]
            term = term * self._loss_weights[slot]
            loss = term if loss is None else loss + term
        return loss

    def forward(self, inputs: Mapping[str, Any] | None = None, keep: Iterable[str] = ()) -> dict[str, Tensor]:
        """One pass: blobs by name, the outputs and those in `keep`. Data layers bring their next batch."""
        return self.compute({**self.load(), **self.feed(inputs or {})}, keep).blobs

    @torch.no_grad()
    def first_not_finite(self, batch: Batch) -> str | None:
        """The name of the first layer whose output on this batch is not finite."""
        for slot, tensor in batch.items():
            if not torch.isfinite(tensor).all():
                return next(step.layer.name for step in self.graph.steps if slot in step.tops)
        values = _inside(batch)
        chained = {slot for step in self.graph.steps for slot in step.tops}
        with self._recording():
            for op in self._ops_making(chained):
                self._run(op, values)
                if any(not torch.isfinite(values[slot]).all() for slot in op.tops):
                    return op.layers[0].name
        return None

    def _recording(self) -> AbstractContextManager[Any]:
        """Where layers differentiate in their forward, a pass is recorded for them even under torch.no_grad."""
        return torch.enable_grad() if self._differentiates else nullcontext()

    def _plan(self, apart: frozenset[int] = frozenset()) -> list[Op]:
        return make_plan(self.graph, self.layers, set(self._loss_weights), self._views, apart)

    def _ops_making(self, slots: set[int]) -> list[Op]:
        """A plan in which none of `slots` vanishes inside a chain; made when first asked for."""
        plain = self._plans[frozenset()]
        made = {slot for op in plain for slot in op.tops} - {op.overwritten for op in plain}
        loaded = {s for step in self.graph.steps if not step.bottoms for s in step.tops}
        apart = frozenset(slots - made - loaded)
        if apart not in self._plans:
            self._plans[apart] = self._plan(apart)
        return self._plans[apart]

    def _slot(self, name: str) -> int:
        if name not in self.graph.latest:
            raise GraphError(f'net "{self.name}" has no blob "{name}"; it has {", ".join(self.graph.latest)}')
        return self.graph.latest[name]

    def close(self) -> None:
        """Let go of the layers' files and threads."""
        for layer in self.layers.values():
            layer.close()

    # ------------------------------------------------------------ weights

    @torch.no_grad()
    def load_weights(self, files: Files | InitialWeights) -> None:
        """Copy weights into the layers of the same name; the others keep theirs. Raises WeightsError."""
        weights = files if isinstance(files, InitialWeights) else InitialWeights(files)
        for layer in self.layers.values():
            weights.check(layer)
        for layer in self.layers.values():
            views = self._views.get(layer.name, {})
            for i, value in layer.arranged(weights.blobs(layer.name) or {}).items():
                blob = views.get(i, layer.blobs[i])
                blob.copy_(value.reshape(blob.shape))
        weights.report(self.params)

    def blob_arrays(self) -> dict[str, list[Any]]:
        """Layer name -> its blobs as float32 numpy arrays in Caffe's axis order."""
        arrays: dict[str, list[Any]] = {}
        for name, blobs in self.params.items():
            views = self._views.get(name, {})
            tensors = [views[i].reshape(blob.shape) if i in views else blob for i, blob in enumerate(blobs)]
            arrays[name] = [tensor.detach().cpu().contiguous().numpy() for tensor in tensors]
        return arrays

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a .caffemodel, or its HDF5 form where the name ends in .h5, whole or not at all."""
        proto.write_weights(path, self.param, self.blob_arrays())


def _in_float32(tensors: list[Tensor]) -> list[Tensor]:
    return [tensor.float() if tensor.dtype == torch.bfloat16 else tensor for tensor in tensors]


def _begin_at(op: Op, values: Batch) -> None:
    """Record from an op's tops on, for a layer that will differentiate by them. Tops that are one tensor stay one."""
    for slot in op.leaves:
        top = values[slot]
        if not top.requires_grad and top.is_floating_point():
            leaf = top.detach().requires_grad_()
            values.update((other, leaf) for other in op.tops if values[other] is top)


def _inside(batch: Batch) -> Batch:
    """The batch with its 4-D blobs in channels_last memory."""
    return {
        slot: tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
        for slot, tensor in batch.items()
    }
