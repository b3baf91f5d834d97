"""Net: a graph whose layers exist, and run. What each part does stands in assembly, plan, execution and weights."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from sdcaffe import layers, proto
from sdcaffe.errors import GraphError, LayerError, NetError
from sdcaffe.graph import net_state
from sdcaffe.layers.base import DataLayer, Layer, Shape
from sdcaffe.log import glog
from sdcaffe.net.assembly import Assembled, assemble
from sdcaffe.net.execution import Batch, Execution, in_float32
from sdcaffe.net.parameters import Learnable
from sdcaffe.net.precision import FP32
from sdcaffe.net.weights import Files, Weights, fill
from sdcaffe.proto.blobs import Array

__all__ = ["Assembled", "Batch", "Learnable", "Net", "Pass"]


Inputs = Mapping[str, Tensor | Array]  # of the input blobs by name, NCHW


class Pass(NamedTuple):
    """What one pass gives: the total weighted loss (0-dim) and the blobs asked for, by name."""

    loss: Tensor
    blobs: dict[str, Tensor]


class Net(nn.Module):
    """A Caffe net in one phase.

    `source` is a prototxt path or a NetParameter; `weights` one or more .caffemodel or .caffemodel.h5
    files (a list, or one string with commas) that fill the layers of the same name; `share` a net whose
    parameters the layers of the same name use (a test net and its train net); `positions` where the
    fields of a NetParameter stand in a file, for error messages; `ignore_unknown` skips fields of a prototxt that
    neither Caffe nor a known fork has.

    - `layers`: key -> Layer, every layer in order; the key is the name, and for the later ones of several layers
      that share a name `NAME#2`, `NAME#3`...; `params`: key -> its blobs
    - `blob_shapes`: blob name -> shape, Caffe's NCHW
    - `inputs`, `outputs`: names of the blobs to give, and of those that no layer reads
    - `learnable`: what a solver updates, in Caffe's order
    - `precision`: what convolutions and products compute in, see `precision`; losses and outputs are float32
    - `assembled`: the layers by place, with shapes by slot; `graph` their wiring, `param` the NetParameter of both

    Raises PrototxtError, GraphError, LayerError (SharingError where it and `share` do not fit), WeightsError or
    DataError.
    """

    channels_last: ClassVar[bool] = True  # the memory of 4-D parameters, as of blobs

    def __init__(
        self,
        source: str | os.PathLike[str] | proto.NetParameter,
        phase: int = proto.TEST,
        weights: Files | Weights | None = None,
        *,
        level: int = 0,
        stages: Iterable[str] = (),
        device: str | torch.device = "cpu",
        share: Net | None = None,
        positions: proto.Positions | None = None,
        ignore_unknown: bool = False,
        engine: str = "torch",
    ) -> None:
        super().__init__()
        layers.load_builtin()
        if isinstance(source, (str, os.PathLike)):
            source, positions = proto.read_net_located(source, ignore_unknown=ignore_unknown)
        if getattr(getattr(source, "DESCRIPTOR", None), "full_name", None) != "caffe.NetParameter":
            raise GraphError(f"a net is made from a prototxt's path or a NetParameter, not {type(source).__name__}")
        files = weights if isinstance(weights, Weights) else Weights(weights)
        state, others = net_state(phase, level, stages), None if share is None else share.assembled
        try:
            made = assemble(source, state, files, others, positions, take=files is not weights)
        except NetError as error:
            if positions is not None:
                positions.locate(error)
            raise
        del files  # their memory, before parameters take another form
        self.assembled: Assembled = made
        self.graph, self.param, self.name = made.graph, made.param, made.graph.name
        self.layers: dict[str, Layer] = {
            step.key: layer for step, layer in zip(made.graph.steps, made.layers, strict=True)
        }
        self.learnable = made.learnable
        self.inputs, self.outputs = list(made.inputs), list(made.graph.outputs)
        self.phase = phase
        self.precision = FP32
        self.device = torch.device(device)
        self._modules_in_order = nn.ModuleList(made.layers)
        self._loading = [
            (layer, step.tops)
            for step, layer in zip(made.graph.steps, made.layers, strict=True)
            if isinstance(layer, DataLayer)
        ]
        self.execution = Execution(made)
        self.to(self.device)
        for blob in self.parameters() if self.channels_last else ():
            if blob.dim() == 4:
                blob.data = blob.data.contiguous(memory_format=torch.channels_last)
        for slot, weight in made.loss_weights.items():
            made.loss_weights[slot] = weight.to(self.device)
        for slot, diff in made.diffs.items():
            self.register_buffer(f"diff_{slot}", diff.to(self.device))
            made.diffs[slot] = getattr(self, f"diff_{slot}")
        if engine != "torch":
            self.use_engine(engine)
        glog("net.cpp:257", "Network initialization done.")

    # ------------------------------------------------------------ what it holds

    @property
    def data_layers(self) -> list[DataLayer]:
        return [layer for layer, _ in self._loading]

    @property
    def blob_shapes(self) -> dict[str, Shape]:
        return {name: self.assembled.shapes[slot] for name, slot in self.graph.latest.items()}

    @property
    def loss_weights(self) -> dict[str, float]:
        """Blob name -> loss weight, of the blobs that have one."""
        weights = self.assembled.loss_weights
        return {name: float(weights[slot]) for name, slot in self.graph.latest.items() if slot in weights}

    def set_loss_weight(self, name: str, weight: float) -> None:
        """Give the blob `name` another loss weight from the next pass on: a schedule for one part of the loss.

        Raises GraphError for a blob that has no loss weight in the prototxt, where none but 0 can stand.
        """
        slot = self.graph.slot(name)
        if slot not in self.assembled.loss_weights:
            raise GraphError(f'blob "{name}" of net "{self.name}" has no loss weight to change; give it one')
        self.assembled.loss_weights[slot].fill_(weight)

    @property
    def params(self) -> dict[str, nn.ParameterList]:
        """Layer name -> its blobs, of the layers that have any; where layers share a name, by the keys of `layers`."""
        return {key: layer.blobs for key, layer in self.layers.items() if len(layer.blobs)}

    def all_trained(self) -> bool:
        """Whether every learnable parameter stands under a loss, so that each backward gives it a gradient."""
        reached: set[int] = set()
        for op in reversed(self.execution.plain):
            if op.losses or reached.intersection(op.tops):
                reached.update(slot for i, slot in enumerate(op.bottoms) if i not in op.detach)
            elif any(blob.requires_grad for layer in op.layers for blob in layer.blobs):
                return False
        return True

    # ------------------------------------------------------------ running

    def load(self) -> Batch:
        """The next batch of every data layer, on this net's device.

        Raises LayerError where a pass takes more memory than is free, as `compute`; DataError.
        """
        self.execution.check_room(self.precision, self.device)
        batch: Batch = {}
        for layer, tops in self._loading:
            batch.update(zip(tops, layer.next_batch(self.device), strict=True))
        shapes = {slot: tuple(tensor.shape) for slot, tensor in batch.items()}
        if any(self.assembled.shapes[slot] != shape for slot, shape in shapes.items()):  # images of another size
            self.assembled.set_up(0, {**self.assembled.shapes, **shapes})
        return batch

    def feed(self, inputs: Inputs) -> Batch:
        """A batch of the input blobs (tensors or arrays, NCHW); reshapes the net where shapes changed.

        Raises LayerError for an input that is missing, or a name that is no input.
        """
        if set(inputs) != set(self.inputs):
            raise self._other_inputs(inputs)
        batch: Batch = {}
        for name, value in inputs.items():
            tensor = torch.as_tensor(value, dtype=torch.float32, device=self.device)
            if self.param.force_backward and not tensor.requires_grad:
                tensor = tensor.detach().requires_grad_()
            batch[self.assembled.inputs[name]] = tensor
        if any(tuple(tensor.shape) != self.assembled.shapes[slot] for slot, tensor in batch.items()):
            self.reshape({name: tuple(batch[slot].shape) for name, slot in self.assembled.inputs.items()})
        return batch

    def _other_inputs(self, given: Iterable[str]) -> LayerError:
        return LayerError(
            f'net "{self.name}" takes the inputs {", ".join(self.inputs) or "(none)"}; '
            f"given: {', '.join(given) or '(none)'}"
        )

    def reshape(self, inputs: Mapping[str, Shape]) -> None:
        """Take input blobs of new shapes, through every layer. Raises LayerError where one cannot, or is no input."""
        if not set(inputs) <= set(self.inputs):
            raise self._other_inputs(inputs)
        new = {self.assembled.inputs[name]: tuple(shape) for name, shape in inputs.items()}
        self.assembled.set_up(0, {**self.assembled.shapes, **new})

    def compute(self, batch: Batch, keep: Iterable[str] = ()) -> Pass:
        """Run every computing layer on a batch: the total loss, the outputs and the blobs named in `keep`."""
        missing = [name for name, slot in self.assembled.inputs.items() if slot not in batch]
        if missing:
            raise LayerError(
                f'net "{self.name}" has inputs that nobody gave: {", ".join(missing)}; '
                "a program may give them, a net that is trained or tested alone has data layers"
            )
        self.execution.check_room(self.precision, self.device)
        wanted = {**self.graph.outputs, **{name: self.graph.slot(name) for name in keep}}
        loss, values = self.execution.run(batch, set(wanted.values()), bool(keep), self.precision, self.device)
        blobs = in_float32([values[slot] for slot in wanted.values()])
        return Pass(loss, dict(zip(wanted, blobs, strict=True)))

    def forward(self, inputs: Inputs | None = None, keep: Iterable[str] = ()) -> dict[str, Tensor]:
        """One pass: blobs by name, the outputs and those in `keep`. Data layers bring their next batch."""
        if inputs and not keep and not self._loading and self.device.type == "cpu":
            found = self.execution.at_once(inputs, self.precision)
            if found is not None:
                return found
        return self.compute({**self.load(), **self.feed(inputs or {})}, keep).blobs

    def first_not_finite(self, batch: Batch) -> str | None:
        """The name of the first layer whose output on this batch is not finite."""
        return self.execution.first_not_finite(batch)

    def use_engine(
        self, engine: str, *, keep: Iterable[str] = (), passes: int | None = None, watched: bool = True
    ) -> None:
        """Run what can be run so in ONNX Runtime ("onnxruntime") from the next pass on, or all in torch ("torch").

        That is for the TEST phase on a CPU, in float32 and under torch.no_grad(); other passes run in torch, as do
        those that `keep` blobs which are neither outputs nor named here. The first pass is held against torch, within
        1e-5. `passes`, about how many will come, lets it be decided by measurement whether it is worth it. Changed
        weights are noticed; without `watched` nobody may write to the net.

        Raises GraphError for another engine, a net of the TRAIN phase, and a blob that is not there.
        """
        if engine not in ("torch", "onnxruntime"):
            raise GraphError(f'there is no engine "{engine}"; there are torch and onnxruntime')
        if engine == "torch":
            self.execution.engine = None
            return
        if self.phase != proto.TEST:
            raise GraphError("the engine onnxruntime is for nets of the TEST phase")
        from sdcaffe.net.engine.engine import Engine

        asked = [self.graph.slot(name) for name in keep]
        self.execution.engine = Engine(self.assembled, asked=asked, passes=passes, watched=watched)

    def close(self) -> None:
        """Let go of the layers' files and threads."""
        for layer in self.assembled.layers:
            layer.close()

    # ------------------------------------------------------------ weights

    def load_weights(self, files: Files | Weights) -> None:
        """Copy weights into the layers of the same name, as weights.py says; the others keep theirs.

        Raises WeightsError, and changes nothing, where they do not fit.
        """
        weights, made = files if isinstance(files, Weights) else Weights(files), self.assembled
        matched = weights.matched([step.layer.name for step in made.graph.steps])
        for place, entry in matched:
            weights.check(made.layers[place], place, entry, made.learnable)
        fill(made.layers, made.views, matched)
        weights.report(made.graph, [place for place, layer in enumerate(made.layers) if len(layer.blobs)])

    def blob_arrays(self) -> dict[str, list[Array]]:
        """The key of each layer that has blobs -> these as float32 numpy arrays in Caffe's axis order."""
        arrays: dict[str, list[Array]] = {}
        for place, (key, layer) in enumerate(self.layers.items()):
            tensors = [self.assembled.owner(place, i).reshape(blob.shape) for i, blob in enumerate(layer.blobs)]
            if tensors:
                arrays[key] = [tensor.detach().cpu().contiguous().numpy() for tensor in tensors]
        return arrays

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a .caffemodel, or its HDF5 form where the name ends in .h5, whole or not at all."""
        proto.write_weights(path, self.param, self.blob_arrays())
