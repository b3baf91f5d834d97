"""StepwiseNet: a Net that runs a layer at a time over blobs that keep their numbers, as scripts expect of Caffe.

What that costs in speed is paid here only. Parameters live in the blobs' memory, in NCHW order.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from sdcaffe import proto
from sdcaffe.errors import GraphError
from sdcaffe.layers.blob import Blob, BlobVec
from sdcaffe.layers.python import Python
from sdcaffe.net import Net, room
from sdcaffe.net.net import Batch, Pass
from sdcaffe.net.weights import Files, Weights, shared_places
from sdcaffe.proto.blobs import Array
from sdcaffe.pycaffe import mode
from sdcaffe.pycaffe.reach import backward_reach
from sdcaffe.pycaffe.runners import Place, Runner, TorchRunner, as_raised, make_runner
from sdcaffe.pycaffe.whole import WholePass

Callback = Callable[[int], object]


class StepwiseNet(Net):
    """A Net whose blobs are numpy arrays. `load` and `compute` are there for a Solver.

    - `blobs`, `blob_names`, `blob_losses`: by Caffe's blob number; layers in place have one blob
    - `bottom_ids`, `top_ids`: the blob numbers of each layer
    - `param_blobs`: the parameter blobs of each layer
    - `runners`: one for each layer, in order
    """

    channels_last = False  # parameters are views of blobs, in NCHW order

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
    ) -> None:
        mode.note_computing()
        with as_raised():
            super().__init__(
                source, phase, weights, level=level, stages=stages, device=device, share=share, positions=positions
            )
        self.blobs: list[Blob] = []
        self._room = 0  # the bytes that blobs are known to have room for
        self.blob_names: list[str] = []
        self.bottom_ids: list[list[int]] = []
        self.top_ids: list[list[int]] = []
        self._number_blobs()
        self.param_blobs: list[BlobVec] = []
        self._blob_of: dict[int, Blob] = {}  # id of a parameter -> the blob whose memory it has
        self._take_parameters(share._blob_of if isinstance(share, StepwiseNet) else {})
        self.blob_losses = [0.0] * len(self.blobs)
        self.runners = self._make_runners()
        self._whole = WholePass(self)
        self.callbacks: dict[str, list[Callback]] = {
            name: [] for name in ("before_forward", "after_forward", "before_backward", "after_backward")
        }

    def _number_blobs(self) -> None:
        number: dict[int, int] = {}  # slot -> blob
        for step, layer in zip(self.graph.steps, self.assembled.layers, strict=True):
            below = [number[slot] for slot in step.bottoms]
            for j, (slot, same) in enumerate(zip(step.tops, step.in_place, strict=True)):
                number[slot] = below[j] if same else len(self.blobs)
                if same and not isinstance(layer, Python):  # in place, a layer may give a blob further axes
                    self.blobs[below[j]].reshape(*self.assembled.shapes[slot])
                elif not same:
                    self.blobs.append(layer.top[j] if isinstance(layer, Python) else Blob(*self.assembled.shapes[slot]))
                    self.blob_names.append(self.graph.slots[slot])
            self.bottom_ids.append(below)
            self.top_ids.append([number[slot] for slot in step.tops])
            if isinstance(layer, Python):
                layer.bottom[:] = [self.blobs[i] for i in below]
                layer.top[:] = [self.blobs[i] for i in self.top_ids[-1]]

    def _take_parameters(self, shared: dict[int, Blob]) -> None:
        """Blobs for all parameters. `shared`: those of a net whose parameters this one uses, data alone."""
        for place, layer in enumerate(self.assembled.layers):
            made = layer.instance.blobs if isinstance(layer, Python) and layer.instance else BlobVec()
            self.param_blobs.append(made)
            for i, parameter in enumerate(layer.blobs):
                owner = self.assembled.owner(place, i)
                if i == len(made):
                    made.add_blob(*parameter.shape)
                blob, first = made[i], self._blob_of.get(id(owner))
                if first is not None:
                    blob.share_data(first)
                    blob.share_diff(first)
                    continue
                if id(owner) in shared:
                    blob.share_data(shared[id(owner)])
                else:
                    blob.data[...] = owner.detach().cpu().numpy()
                self._blob_of[id(owner)] = blob
                owner.data = torch.from_numpy(blob.data)

    def _make_runners(self) -> list[Runner]:
        given = self.assembled.loss_weights
        losses = [[float(given.get(slot, 0)) for slot in step.tops] for step in self.graph.steps]
        for above, weights in zip(self.top_ids, losses, strict=True):
            for blob, weight in zip(above, weights, strict=True):
                self.blob_losses[blob] = weight
        force = self.param.force_backward
        reaches = backward_reach(self.graph.steps, self.assembled.layers, self.bottom_ids, self.top_ids, losses, force)
        runners = []
        for i, layer in enumerate(self.assembled.layers):
            place = Place(
                bottoms=[self.blobs[blob] for blob in self.bottom_ids[i]],
                tops=[self.blobs[blob] for blob in self.top_ids[i]],
                in_place=[blob in self.top_ids[i] for blob in self.bottom_ids[i]],
                loss_weights=losses[i],
                params=self.param_blobs[i],
                reach=reaches[i],
            )
            runners.append(make_runner(layer, place))
        return runners

    # ------------------------------------------------------------ running

    def forward_from_to(self, start: int, end: int) -> float:
        """Run layers `start` to `end`, both included; returns the sum of their losses."""
        self._check_range(start, end)
        if (start, end) == (0, len(self.runners) - 1) and self._runs_as_one():
            return self._whole.run()
        self.check_room()
        self._run_by_layers_now()
        return self.run_layers(start, end)

    def _runs_as_one(self) -> bool:
        return not self._whole.off and not any(self.callbacks.values()) and mode.device() == torch.device("cpu")

    def run_layers(self, start: int, end: int) -> float:
        """`forward_from_to`, a layer at a time."""
        self._whole.filled = False
        loss = 0.0
        for i in range(start, end + 1):
            self._tell("before_forward", i)
            loss += self.runners[i].forward()
            self._tell("after_forward", i)
        return loss

    def backward_from_to(self, start: int, end: int) -> None:
        """Backward through layers `start` down to `end`, both included, from the diffs of the blobs."""
        self._check_range(end, start)
        self._run_by_layers_now()
        self._whole.off = True  # who asks once for gradients asks again
        for i in range(start, end - 1, -1):
            self._tell("before_backward", i)
            if self.runners[i].reach.layer:
                self.runners[i].backward()
            self._tell("after_backward", i)

    def _run_by_layers_now(self) -> None:
        """Before a part of the net runs, or the way back: after a whole pass layers get the record they would have.

        What layers in place have read is worked out again, from where their blob was first made; the others still have
        what they read.
        """
        self._whole.forget()
        if not self._whole.filled:
            return
        self._whole.filled, self._whole.off = False, True
        chains: dict[int, list[int]] = {}  # blob -> the places of the layers that write it
        for place, ids in enumerate(self.top_ids):
            for blob in ids:
                chains.setdefault(blob, []).append(place)
        for blob, places in chains.items():
            runners = [self.runners[place] for place in places]
            if not any(isinstance(runner, TorchRunner) and runner.lacks_record for runner in runners[1:]):
                continue
            below: Tensor | None = None
            for place, runner in zip(places, runners, strict=True):
                assert isinstance(runner, TorchRunner)  # else the net would have no whole pass
                below = runner.compute(below)[self.top_ids[place].index(blob)]

    def _tell(self, moment: str, layer: int) -> None:
        for callback in self.callbacks[moment]:
            callback(layer)

    def _check_range(self, low: int, high: int) -> None:
        if low < 0 or high >= len(self.runners):
            raise GraphError(
                f'net "{self.name}" has the layers 0 to {len(self.runners) - 1}; there are no layers {low} to {high}'
            )

    def check_room(self) -> None:
        """Raise GraphError where the blobs of the layers, in the shapes they have now, find no room in memory."""
        counts = {id(blob._data): blob.count for blob in self.blobs}
        size = 4 * sum(counts.values())
        if size > self._room:
            room.check_size(self.name, size)
            self._room = size

    def reshape_blobs(self) -> None:
        """Bring new shapes of inputs through all layers."""
        self._whole.forget()
        for runner in self.runners:
            runner.reshape()

    def load(self) -> Batch:
        """Nothing: data layers run where they stand."""
        return {}

    def compute(self, batch: Batch, keep: Iterable[str] = ()) -> Pass:
        """One forward pass over the blobs; the outputs and `keep` as tensors of their memory."""
        loss = self.forward_from_to(0, len(self.runners) - 1)
        wanted = {**self.graph.outputs, **{name: self.graph.slot(name) for name in keep}}
        return Pass(torch.tensor(loss), {name: torch.from_numpy(self.blob(name).data) for name in wanted})

    # ------------------------------------------------------------ what it holds

    def blob(self, name: str) -> Blob:
        """The blob of a name. Raises GraphError where there is none."""
        self.graph.slot(name)
        return self.blobs[len(self.blob_names) - 1 - self.blob_names[::-1].index(name)]

    def learnable_blobs(self) -> Iterable[tuple[Tensor, Blob]]:
        """Each learnable parameter and its blob."""
        return [(item.tensor, self._blob_of[id(item.tensor)]) for item in self.learnable]

    def clear_diffs(self) -> None:
        for blobs in self.param_blobs:
            for blob in blobs:
                blob.diff[...] = 0

    def share_parameters(self, other: StepwiseNet) -> None:
        """Use the data of `other`'s layers of the same names, each in the first one of its name, as Caffe does.

        Raises GraphError where the blobs differ.
        """
        names, others = ([step.layer.name for step in net.graph.steps] for net in (self, other))
        shared = shared_places(names, others)
        for place, there in ((place, there) for place, theirs in shared.items() for there in theirs):
            blobs, sources = self.param_blobs[place], other.param_blobs[there]
            have, want = [blob.shape for blob in sources], [blob.shape for blob in blobs]
            if have != want:
                name = names[place]
                raise GraphError(f'layer "{name}" cannot share weights: {want} here, {have} there', layer=name)
        for place, theirs in shared.items():
            for i, (blob, source) in enumerate(
                zip(self.param_blobs[place], other.param_blobs[theirs[-1]], strict=True)
            ):
                blob.share_data(source)
                owner = self.assembled.owner(place, i)
                owner.data = torch.from_numpy(self._blob_of[id(owner)].data)

    def blob_arrays(self) -> dict[str, list[Array]]:
        return {key: [blob.data for blob in blobs] for key, blobs in self._blobs_by_key()}

    def diff_arrays(self) -> dict[str, list[Array]]:
        """The key of each layer that has blobs -> their diffs."""
        return {key: [blob.diff for blob in blobs] for key, blobs in self._blobs_by_key()}

    def _blobs_by_key(self) -> list[tuple[str, BlobVec]]:
        return [(key, blobs) for key, blobs in zip(self.layers, self.param_blobs, strict=True) if blobs]
