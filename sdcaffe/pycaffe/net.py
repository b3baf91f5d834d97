"""Net as scripts know it: blobs, params and layers by name, forward and backward by name. The work is stepwise.py's."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdcaffe import proto, reading
from sdcaffe.errors import DataError, GraphError, LayerError, WeightsError
from sdcaffe.layers.blob import Blob, BlobVec
from sdcaffe.layers.caffe_layer import CaffeLayer
from sdcaffe.layers.memory_data import MemoryData
from sdcaffe.layers.python import Python
from sdcaffe.net.weights import Weights
from sdcaffe.pycaffe.errors import (
    NoMemoryData,
    NoNetFile,
    NoWeightsFile,
    UnknownBlob,
    UnknownLayer,
    WrongArray,
    WrongInput,
)
from sdcaffe.pycaffe.stepwise import StepwiseNet

Path = str | os.PathLike[str]
Arrays = dict[str, NDArray[Any]]


class Net:
    """A net whose blobs are numpy arrays: `Net(file, phase, level=0, stages=None, weights=None)`.

    The old form `Net(file, weights, phase)` is understood too. Raises what reading and building a net raises,
    GraphError where the old form has no phase, and RuntimeErrors for files that cannot be opened.
    """

    def __init__(
        self,
        network_file: Path,
        phase: int | Path,
        level: int | None = None,
        stages: Iterable[str] | None = None,
        weights: Path | None = None,
    ) -> None:
        if isinstance(phase, (str, os.PathLike)):
            if level is None:
                raise GraphError(f'Net("{network_file}", "{phase}") has no phase; add caffe.TEST or caffe.TRAIN')
            weights, phase, level = phase, level, None
        _check_file(network_file, NoNetFile)
        files = None if weights is None else [os.fspath(weights)]
        if weights is not None:
            _check_file(weights, NoWeightsFile)
        self._net = StepwiseNet(os.fspath(network_file), phase, files, level=level or 0, stages=list(stages or ()))

    @classmethod
    def around(cls, net: StepwiseNet) -> Net:
        """The net of a solver."""
        face = cls.__new__(cls)
        face._net = net
        return face

    # ------------------------------------------------------------ what it holds

    @property
    def name(self) -> str:
        return self._net.name

    @cached_property
    def blobs(self) -> OrderedDict[str, Blob]:
        """Every blob by name, bottom to top."""
        return OrderedDict(zip(self._net.blob_names, self._net.blobs, strict=True))

    @cached_property
    def blob_loss_weights(self) -> OrderedDict[str, float]:
        """The loss weight of every blob by name; mostly 0."""
        return OrderedDict(zip(self._net.blob_names, self._net.blob_losses, strict=True))

    @cached_property
    def params(self) -> OrderedDict[str, BlobVec]:
        """Layer name -> its parameter blobs, of the layers that have any; of several of one name the last."""
        named = zip(self._layer_names, self._net.param_blobs, strict=True)
        return OrderedDict((name, blobs) for name, blobs in named if blobs)

    @cached_property
    def layers(self) -> list[CaffeLayer]:
        """Every layer, splits included, with `type` and `blobs`; a Python layer is the object of its class."""
        return [self._layer(place) for place in range(len(self._layer_names))]

    def _layer(self, place: int) -> CaffeLayer:
        layer = self._net.assembled.layers[place]
        if isinstance(layer, Python) and layer.instance is not None:
            return layer.instance
        view = CaffeLayer(layer.layer_param)
        view.type, view.phase, view.blobs = layer.type, layer.phase, self._net.param_blobs[place]
        return view

    @cached_property
    def layer_dict(self) -> OrderedDict[str, CaffeLayer]:
        """Layer name -> layer, as in `layers`; of several of one name the last, at the place of the first."""
        return OrderedDict(zip(self._layer_names, self.layers, strict=True))

    @property
    def inputs(self) -> list[str]:
        return list(self._net.inputs)

    @property
    def outputs(self) -> list[str]:
        """The blobs that no layer reads, sorted by name."""
        return list(self._net.outputs)

    @cached_property
    def bottom_names(self) -> OrderedDict[str, list[str]]:
        """Layer name -> the names of its bottoms."""
        return self._names(self._net.bottom_ids)

    @cached_property
    def top_names(self) -> OrderedDict[str, list[str]]:
        """Layer name -> the names of its tops."""
        return self._names(self._net.top_ids)

    def _names(self, ids: list[list[int]]) -> OrderedDict[str, list[str]]:
        names = [[self._net.blob_names[blob] for blob in row] for row in ids]
        return OrderedDict(zip(self._layer_names, names, strict=True))

    @property
    def _layer_names(self) -> list[str]:
        return [step.layer.name for step in self._net.graph.steps]

    @property
    def _blob_names(self) -> list[str]:
        return list(self._net.blob_names)

    @property
    def _blobs(self) -> list[Blob]:
        return list(self._net.blobs)

    @property
    def _blob_loss_weights(self) -> list[float]:
        return list(self._net.blob_losses)

    @property
    def _inputs(self) -> list[int]:
        return [self._net.blob_names.index(name) for name in self._net.inputs]

    @property
    def _outputs(self) -> list[int]:
        return [self._net.blob_names.index(name) for name in self._net.outputs]

    def _bottom_ids(self, layer: int) -> list[int]:
        return list(self._net.bottom_ids[layer])

    def _top_ids(self, layer: int) -> list[int]:
        return list(self._net.top_ids[layer])

    # ------------------------------------------------------------ running

    def _forward(self, start: int, end: int) -> float:
        """Run layers by number, `end` included; returns the loss they add up to."""
        return self._net.forward_from_to(start, end)

    def _backward(self, start: int, end: int) -> None:
        self._net.backward_from_to(start, end)

    def forward(
        self, blobs: Iterable[str] | None = None, start: str | None = None, end: str | None = None, **inputs: ArrayLike
    ) -> Arrays:
        """Run from layer `start` to layer `end`, both included, with `inputs` put into the input blobs.

        Returns the arrays, not copies, of the net's outputs (of `end`'s tops) and of `blobs`.
        Raises LayerError for inputs that are not the net's, or not of the size of its batch.
        """
        first = 0 if start is None else self._index(start)
        last = len(self._layer_names) - 1 if end is None else self._index(end)
        wanted = [*(self.outputs if end is None else self.top_names[end]), *(blobs or ())]
        if inputs:
            self._fill(inputs, self.inputs, "data")
        self._forward(first, last)
        return {name: self._blob(name).data for name in wanted}

    def backward(
        self, diffs: Iterable[str] | None = None, start: str | None = None, end: str | None = None, **tops: ArrayLike
    ) -> Arrays:
        """Go back from layer `start` to layer `end`, both included, with `tops` put into the outputs' diffs.

        Returns the arrays, not copies, of the diffs of the net's inputs (of `end`'s bottoms) and of `diffs`.
        """
        first = len(self._layer_names) - 1 if start is None else self._index(start)
        last = 0 if end is None else self._index(end)
        wanted = [*(self.inputs if end is None else self.bottom_names[end]), *(diffs or ())]
        if tops:
            self._fill(tops, self.outputs, "diff")
        self._backward(first, last)
        return {name: self._blob(name).diff for name in wanted}

    def _fill(self, given: Mapping[str, ArrayLike], names: list[str], what: str) -> None:
        if set(given) != set(names):
            kind = "inputs" if what == "data" else "outputs"
            raise LayerError(
                f'net "{self.name}" has the {kind} {", ".join(names) or "(none)"}; given: {", ".join(given)}'
            )
        for name, value in given.items():
            array, shape = np.asarray(value), self._blob(name).shape
            if array.shape[:1] != shape[:1]:
                raise WrongArray(f'"{name}" is not batch sized: its shape is {shape}, given: {array.shape}')
            try:
                getattr(self._blob(name), what)[...] = array
            except ValueError:
                raise WrongArray(f'"{name}" has shape {shape}, given: {array.shape}; reshape the blob first') from None

    def _index(self, layer: str) -> int:
        """The place of the first layer of a name."""
        names = self._layer_names
        if layer not in names:
            raise UnknownLayer(f'net "{self.name}" has no layer "{layer}"; it has {", ".join(names)}')
        return names.index(layer)

    def _blob(self, name: str) -> Blob:
        try:
            return self._net.blob(name)
        except GraphError as error:
            raise UnknownBlob(error.message) from None

    def forward_all(self, blobs: Iterable[str] | None = None, **inputs: ArrayLike) -> Arrays:
        """`forward` over arrays of any length, batch by batch; the last batch is filled up with zeros."""
        blobs = list(blobs or ())
        found: dict[str, list[NDArray[Any]]] = {name: [] for name in [*self.outputs, *blobs]}
        for batch in self._batches(inputs):
            for name, array in self.forward(blobs, **batch).items():
                found[name].extend(np.atleast_1d(array).copy())
        return _joined(found, _length(inputs))

    def forward_backward_all(
        self, blobs: Iterable[str] | None = None, diffs: Iterable[str] | None = None, **given: ArrayLike
    ) -> tuple[Arrays, Arrays]:
        """`forward` and `backward` over inputs (and outputs' diffs) of any length, batch by batch."""
        blobs, diffs = list(blobs or ()), list(diffs or ())
        outs: dict[str, list[NDArray[Any]]] = {name: [] for name in [*self.outputs, *blobs]}
        backs: dict[str, list[NDArray[Any]]] = {name: [] for name in [*self.inputs, *diffs]}
        unknown = set(given) - {*self.inputs, *self.outputs}
        if unknown:
            raise LayerError(f'net "{self.name}" has no input or output {", ".join(sorted(unknown))}')
        forwards = self._batches({name: given[name] for name in self.inputs if name in given})
        backwards = self._batches({name: given[name] for name in self.outputs if name in given})
        none: dict[str, Any] = {}
        for ahead, back in zip_longest(forwards, backwards, fillvalue=none):
            for name, array in self.forward(blobs, **ahead).items():
                outs[name].extend(np.atleast_1d(array).copy())
            for name, array in self.backward(diffs, **back).items():
                backs[name].extend(np.atleast_1d(array).copy())
        length = _length(given)
        return _joined(outs, length), _joined(backs, length)

    def _batches(self, given: Mapping[str, ArrayLike]) -> Iterator[dict[str, Any]]:
        arrays = {name: np.asarray(value) for name, value in given.items()}
        if not arrays:
            return
        size = self._net.blobs[0].shape[0]
        for at in range(0, _length(arrays), size):
            batch = {name: array[at : at + size] for name, array in arrays.items()}
            missing = size - _length(batch)
            if missing:
                batch = {
                    name: np.concatenate([array, np.zeros((missing, *array.shape[1:]), array.dtype)])
                    for name, array in batch.items()
                }
            yield batch

    def reshape(self) -> None:
        """Bring the shapes that input blobs were given through all layers; `forward` does so by itself."""
        self._net.reshape_blobs()

    def clear_param_diffs(self) -> None:
        self._net.clear_diffs()

    def set_input_arrays(self, data: NDArray[np.float32], labels: NDArray[np.float32]) -> None:
        """Give the MemoryData layer, which must be the first one, its images (N, C, H, W) and N labels.

        Raises NoMemoryData or WrongInput, both RuntimeErrors, for another first layer or arrays that do not fit it.
        """
        first = self._net.assembled.layers[0]
        if not isinstance(first, MemoryData):
            raise NoMemoryData("set_input_arrays is for a net whose first layer is MemoryData")
        try:
            first.set_arrays(data, labels)
        except DataError as error:
            raise WrongInput(error.message, error.where) from None

    def before_forward(self, callback: Callable[[int], object]) -> None:
        """Call `callback(layer number)` before each layer runs forward; the next three likewise."""
        self._net.callbacks["before_forward"].append(callback)

    def after_forward(self, callback: Callable[[int], object]) -> None:
        self._net.callbacks["after_forward"].append(callback)

    def before_backward(self, callback: Callable[[int], object]) -> None:
        self._net.callbacks["before_backward"].append(callback)

    def after_backward(self, callback: Callable[[int], object]) -> None:
        self._net.callbacks["after_backward"].append(callback)

    # ------------------------------------------------------------ weights

    def copy_from(self, file: Path) -> None:
        """Copy the weights of the layers of the same names from a .caffemodel or its HDF5 form."""
        self._net.load_weights([os.fspath(file)])

    def share_with(self, other: Net) -> None:
        """Use the memory of the weights of `other`'s layers of the same names."""
        self._net.share_parameters(other._net)

    def save(self, file: Path) -> None:
        """Write a .caffemodel, whatever its name."""
        proto.write_weights(file, self._net.param, self._net.blob_arrays(), hdf5=False)

    def save_hdf5(self, file: Path, write_diff: bool = False) -> None:
        """Write the HDF5 form of a .caffemodel, with the parameters' diffs where asked for."""
        diffs = self._net.diff_arrays() if write_diff else {}
        proto.write_weights(file, self._net.param, self._net.blob_arrays(), diffs, hdf5=True)

    def load_hdf5(self, file: Path) -> None:
        """`copy_from` for the HDF5 form alone, as in Caffe. Raises WeightsError for another."""
        weights = Weights([os.fspath(file)])
        if not all(entry.hdf5 for entry in weights.entries):
            raise WeightsError("is no HDF5 file; copy_from reads a .caffemodel", os.fspath(file))
        self._net.load_weights(weights)


def _check_file(file: Path, kind: type[NoNetFile | NoWeightsFile]) -> None:
    with reading.opened(file, kind):
        pass


def _length(given: Mapping[str, Any]) -> int:
    """How many items the arrays hold. Raises LayerError where they differ."""
    lengths = {name: len(value) for name, value in given.items()}
    if len(set(lengths.values())) > 1:
        raise LayerError(f"arrays of one length are needed, not {lengths}")
    if not lengths:
        raise LayerError("give the net's inputs as name=array")
    return next(iter(lengths.values()))


def _joined(found: Mapping[str, list[NDArray[Any]]], length: int) -> Arrays:
    """Lists of items as arrays, without what filled up the last batch."""
    return {name: np.asarray(items)[:length] for name, items in found.items()}
