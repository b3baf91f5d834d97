"""The layer contract: all that a net, an exporter, pycaffe or a summary asks of a layer. Registers none."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sdcaffe import proto, reading
from sdcaffe.errors import LayerError, WeightsError
from sdcaffe.layers import fillers
from sdcaffe.layers.affine import Affine
from sdcaffe.layers.places import Places
from sdcaffe.layers.writing import OnnxBuilder, Source, SourceBuilder

Shape = tuple[int, ...]
Tops = Tensor | tuple[Tensor, ...]
# A blob of a weight file: on its way into a layer, or as the file has it; None: it stands where it is shared from.
Stored = TypeVar("Stored", Tensor, NDArray[Any] | None)
Count = int | tuple[int, int | None]  # exactly, or (at least, at most); None: no upper bound


class Blobs(nn.ParameterList):
    """A layer's parameter blobs, by index; read several times a step, for which torch's own list is slow."""

    def __getitem__(self, index: int) -> Tensor:  # type: ignore[override]
        found = self._parameters.get(str(index))
        return super().__getitem__(index) if found is None else found  # a slice, or what torch's pruning renamed

    def __iter__(self) -> Iterator[Tensor]:
        return map(self.__getitem__, range(len(self)))


_COMPUTES = ("forward", "compute", "normalize")


class Layer(nn.Module):
    """One layer of a net: `setup` once the bottom shapes are known, then `forward`.

    Class attributes declare what a net checks before `setup` is called:

    - `bottoms`, `tops`: how many a layer takes; `same_tops`: as many tops as bottoms.
    - `loss`: its first top has loss weight 1 where the prototxt says nothing, and a missing top is added.
    - `in_place`: a top may carry the name of its bottom.
    - `index_bottoms`: bottoms that hold labels or indices; no gradient goes there.
    - `gradient_bottoms`: bottoms by which `forward` itself differentiates, with `torch.autograd.grad`: the net then
      records what that takes from them on, whether or not gradients are asked of it.
    - `stops_gradient`: no gradient goes from its tops to its bottoms.
    - `dynamic`: its tops may take other shapes than `setup` said; what follows is then set up again.
    - `given`: its tops are given by whoever runs the net; nothing is computed.
    - `copies`: each top is its bottom, value for value, and has its memory.
    - `views`: its top is its bottom's memory, gradient's too, in another shape.
    - `keeps_values`: its tops hold values of its bottoms, in other places.
    - `keeps_places`: each number of its tops belongs to the place it has in its bottoms, as an elementwise layer's.
    - `branches`: its tops are several looks at one batch; a deployed net needs the first.
    - `probabilities`: its top is e^x of its bottom over a sum of them, so that its error grows with the size of x.
    - `chooses`: picks by comparing values of its bottoms, so that a rounding of these may change its top altogether.
    - `with_mask`: has a top that tells where the values of another stood, which a rounding may change altogether too.
    - `judges`: compares bottom 0, a net's scores, with labels.
    - `batch_axis`: which axis of its bottoms counts items.
    - `fixes`: "size" where its ONNX holds for images of one height and width alone; "batch" where for one batch alone.
    - `top_is_blob`: its top is its blob 0, memory and gradient.
    - `not_exported`: why an ONNX model cannot have it, nor a module without `to_source`.
    - `torch_names`: what a state_dict of PyTorch calls the blobs, once for each number of blobs that it may have.
    - `blob_axes`: how many axes a blob of such a name always has in torch; files before Caffe's BlobShape store four.
    - `knobs`: short names of fields that `sdcaffe train --set` takes: `{"temperature": "kl_loss_param.temperature"}`.
    - `drawn_as`: the colour of a drawing: convolution, product, pooling, loss, data or plain; "": as its counts say.
    - `origin`: who brought it, where `sdcaffe.plugins.origin` should not look for that itself.
    - `yields`: another plugin that registers the same type takes its place, and may declare its field anew.

    Promises let a net run several layers as one, or in less memory: `lends_top`, `fresh_gradient`, `rectifies`,
    `sums`, `linear`, `normalizes` and `affine`. A class makes one by an attribute (`lends_top = True`) or a property.
    They are about what `forward`, `compute` and `normalize` do, as are `to_onnx` and `to_source`: a class that defines
    one of these three anew inherits neither promises nor ways to be written.

    Attributes of an instance: `name`, `phase` (proto.TRAIN or proto.TEST), `layer_param` (the whole
    LayerParameter), `param` (this type's own message, such as `convolution_param`), `blobs`, and
    `fixed_blobs`, the indices of those that are not learnable.
    """

    type: ClassVar[str] = ""  # type: ignore[assignment]  # nn.Module.type, a cast of old, gives way to Caffe's word
    field: ClassVar[str | None] = None
    bottoms: ClassVar[Count] = 1
    tops: ClassVar[Count] = 1
    same_tops: ClassVar[bool] = False
    loss: ClassVar[bool] = False
    in_place: ClassVar[bool] = False
    index_bottoms: ClassVar[tuple[int, ...]] = ()
    gradient_bottoms: ClassVar[tuple[int, ...]] = ()
    stops_gradient: ClassVar[bool] = False
    dynamic: ClassVar[bool] = False
    given: ClassVar[bool] = False
    copies: ClassVar[bool] = False
    views: ClassVar[bool] = False
    keeps_values: ClassVar[bool] = False
    keeps_places: ClassVar[bool] = False
    branches: ClassVar[bool] = False
    probabilities: ClassVar[bool] = False
    chooses: ClassVar[bool] = False
    with_mask: bool = False
    judges: ClassVar[bool] = False
    batch_axis: ClassVar[int] = 0
    fixes: str = ""
    top_is_blob: ClassVar[bool] = False
    not_exported: ClassVar[str] = ""
    torch_names: ClassVar[tuple[tuple[str, ...], ...]] = ()
    blob_axes: ClassVar[Mapping[str, int]] = {}
    knobs: ClassVar[Mapping[str, str]] = {}
    drawn_as: ClassVar[str] = ""
    origin: ClassVar[str] = ""
    yields: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if any(name in vars(cls) for name in _COMPUTES):
            for name in (*_PROMISES, *_WRITTEN):
                if name not in vars(cls):
                    setattr(cls, name, vars(Layer)[name])

    def __init__(
        self, layer_param: proto.LayerParameter, phase: int, given: Mapping[int, Tensor] | None = None
    ) -> None:
        """`given` maps blob indices to tensors to adopt, not fill: shared, loaded or a train net's."""
        super().__init__()
        self.layer_param = layer_param
        self.name: str = layer_param.name
        self.phase = phase
        self.blobs = Blobs()
        self.fixed_blobs: set[int] = set()
        self._given = self.arranged(given or {})

    @property
    def param(self) -> Any:
        """This type's own parameter message, defaults included."""
        if self.field is None:
            raise LayerError(f'layer type "{self.type}" has no parameter message', layer=self.name)
        return getattr(self.layer_param, self.field)

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        """Check the bottoms, make the parameter blobs in Caffe's order, return the shapes of the tops.

        Called again when the bottoms change shape; blobs that exist are then kept.
        """
        raise LayerError(f'layer type "{self.type}" does not define setup', layer=self.name)

    def shapes_at(self, bottoms: Sequence[Tensor]) -> list[Shape]:
        """The shapes of the tops when a script reshapes its net: those of `setup`, unless they hang on the values."""
        return self.setup([tuple(bottom.shape) for bottom in bottoms])

    @property
    def lends_top(self) -> bool:
        """Its backward does not look at its top, so the layer behind it may write over that."""
        return False

    @property
    def fresh_gradient(self) -> bool:
        """The gradient that it sends to its bottom is a tensor that nobody else has."""
        return False

    @property
    def rectifies(self) -> bool:
        """Its top is max(x, 0) of its one bottom."""
        return False

    @property
    def sums(self) -> bool:
        """Its top is the plain sum of its bottoms."""
        return False

    @property
    def linear(self) -> bool:
        """It has `compute`."""
        return False

    @property
    def normalizes(self) -> bool:
        """It has `normalize`."""
        return False

    def affine(self, blobs: Sequence[Tensor]) -> Affine | None:
        """What the layer does to each channel, where that is an affine map of stored numbers; None where it is more.

        `blobs` are the layer's own, each (c,) or (1,), perhaps in float64, or those of several such layers with the
        same settings one after the other. A net in the test phase makes the map part of the weights of a layer that
        is `linear`, and so does an exporter.
        """
        return None

    def compute(self, bottom: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The top by another weight and bias than blobs 0 and 1. A layer that is `linear` has it.

        The top is linear in both, its channels are axis 1, and the bias is (c,), there or not.
        """
        raise self.error("says that it is linear, and so must define compute(bottom, weight, bias)")

    def times(self, weight: Tensor, factor: Tensor) -> Tensor:
        """The weight by which `compute` gives `factor` (c,) times what it gives by `weight`."""
        return weight * factor.reshape(-1, *[1] * (weight.dim() - 1))

    def normalize(self, bottom: Tensor, weight: Tensor | None, bias: Tensor | None, rectify: bool = False) -> Tensor:
        """The layer's top times `weight` plus `bias`, both (c,). A layer that `normalizes` has it.

        A Scale behind the layer is then run by this one call. With `rectify` ReLU follows, and may write its gradient
        over the one that comes back to it. Its backward does not look at the top.
        """
        raise self.error("says that it normalizes, and so must define normalize(bottom, weight, bias, rectify)")

    def to_onnx(self, builder: OnnxBuilder, *bottoms: Tensor) -> Tops:
        """The tops in an ONNX model, in the test phase: by what torch's exporter can trace, or by ONNX's operators.

        `forward` is traced unless a layer says otherwise: one whose forward looks at values or has a gradient of its
        own, or comes out as more operators than it takes. Sizes of bottoms may be symbols.
        """
        return builder.traced(*bottoms)

    def onnx_blobs(self) -> list[Tensor]:
        """The constants that an ONNX model has of this layer: its blobs, unless it says otherwise."""
        return [blob.detach() for blob in self.blobs]

    def to_source(self, builder: SourceBuilder, *bottoms: Shape) -> Source:
        """The layer in PyTorch source, for bottoms of these shapes. Raises LayerError where it cannot be written."""
        why = f": {self.not_exported}" if self.not_exported else ""
        raise self.error(f"this type of layer cannot be written as a PyTorch module{why}")

    def arranged(self, blobs: Mapping[int, Stored]) -> dict[int, Stored]:
        """The blobs of a weight file, tensors or arrays by index, in the order and the shapes this layer has.

        For a plugin to say otherwise where its forks stored them in other ways. It is called before `setup`
        and again on blobs that are in order, which it gives back as they are.
        """
        return dict(blobs)

    def blob(
        self, index: int, shape: Iterable[int], filler: proto.FillerParameter | None = None, *, learnable: bool = True
    ) -> None:
        """Make parameter blob `index`, filled as the FillerParameter `filler` says (None: zeros).

        Adopts a given blob of the same shape instead, and keeps one that is already there.
        Raises WeightsError where the shapes differ, LayerError where there is no memory for it.
        """
        shape = tuple(int(n) for n in shape)
        check_size(self, f"blob {index}", shape)
        if index < len(self.blobs):
            existing = self.blobs[index]
            if tuple(existing.shape) != shape:
                raise self._misfit(index, tuple(existing.shape), shape)
            return
        if index in self._given:
            tensor = self._adopt(index, self._given.pop(index), shape)
        else:
            _check_memory(self, f"blob {index}", 4 * math.prod(shape))
            tensor = nn.Parameter(torch.zeros(shape))
            if filler is not None:
                fillers.fill(tensor.data, filler)
        if not learnable:
            self.fixed_blobs.add(index)
            tensor.requires_grad_(False)
        self.blobs.append(tensor)

    def _adopt(self, index: int, given: Tensor, shape: Shape) -> nn.Parameter:
        if tuple(given.shape) != shape:
            if not stored_as(tuple(given.shape), shape):
                raise self._misfit(index, tuple(given.shape), shape)
            given = given.detach().reshape(shape)
        return given if isinstance(given, nn.Parameter) else nn.Parameter(given)

    def _misfit(self, index: int, have: Shape, want: Shape) -> WeightsError:
        return WeightsError(
            f'blob {index} of layer "{self.name}" has shape {show_shape(have)} but the layer needs '
            f"{show_shape(want)}; to train this layer afresh, give it another name",
            layer=self.name,
        )

    def error(self, message: str, field: str | None = None) -> LayerError:
        """A LayerError that names this layer; `field` is the prototxt field it is about."""
        return LayerError(f'layer "{self.name}" ({self.type}): {message}', layer=self.name, field=field)

    def unwritten(self, what: str) -> LayerError:
        """The error that says which option of the layer cannot be written in PyTorch source."""
        return self.error(f"{what} cannot be written as a PyTorch module")

    def multiply_adds(self, bottoms: list[Shape], tops: list[Shape]) -> int:
        """Multiply-adds of one forward pass: of convolutions and of products with a weight matrix, as papers count."""
        return 0

    @classmethod
    def deployed(cls, layer_param: proto.LayerParameter) -> proto.LayerParameter | None:
        """The LayerParameter that a deployed net has in a layer's place; None where it goes, as a loss does."""
        return None if cls.loss else layer_param

    @classmethod
    def scaling(cls, layer_param: proto.LayerParameter) -> tuple[list[float], list[float]] | None:
        """Mean and standard deviation where the layer makes a net's input of pixels: (pixel - mean) / deviation."""
        return None

    @classmethod
    def unscaled(cls, layer_param: proto.LayerParameter) -> None:
        """Take out of a LayerParameter what `scaling` tells."""

    @classmethod
    def mixes_items(cls, layer_param: proto.LayerParameter) -> bool:
        """Whether it does more than the same to each item of a batch, the first axis; a norm's statistics do not count.

        The branches of a self-distilled net are one batch to the layers that they share: none of these may mix items.
        """
        return False

    @classmethod
    def places(cls, layer_param: proto.LayerParameter) -> Places | None:
        """Where its tops lie over its bottoms; None where that does not follow from its fields."""
        return Places() if cls.keeps_places else None

    def example(self, index: int, shapes: list[Shape], random: np.random.Generator) -> np.ndarray | None:
        """Values that suit bottom `index`, to try an exported model with; None where any numbers do."""
        return None

    def begin(self, iteration: int) -> None:
        """Told by a solver before each of its iterations, on its train net; a layer without a solver is never told.

        What changes with the iteration is kept in a buffer that is written in place: a GPU replays what `forward` did.
        """

    def forget(self) -> None:
        """Let go of what one pass keeps for the next."""

    @classmethod
    def settings(cls, layer_param: proto.LayerParameter) -> list[str]:
        """What a drawing says of a layer besides its type; "" is left out."""
        return []

    def close(self) -> None:
        """Let go of files and threads; what is still to be written is written."""

    def extra_repr(self) -> str:
        return f'"{self.name}"'


_PROMISES = ("lends_top", "fresh_gradient", "rectifies", "sums", "linear", "normalizes", "affine")
_WRITTEN = ("to_onnx", "onnx_blobs", "to_source")


class DataLayer(Layer):
    """A layer without bottoms that brings batches from outside; runs apart from the computation.

    Batch k is a function of k and the seed alone, so these two numbers are all that a resumed run needs.
    """

    bottoms: ClassVar[Count] = 0
    brings: ClassVar[str] = "arrays"  # images, arrays (of which each item has any axes), or fillings that are made up
    channel_order: ClassVar[str] = "rgb"  # of the images it brings
    cursor: int = 0
    seed: int = 0
    class_names: Sequence[str] = ()  # of the labels it brings, where its source knows them
    item_count: int | None = None  # of its source, once it is set up; None where batches are drawn without end

    @classmethod
    def settings(cls, layer_param: proto.LayerParameter) -> list[str]:
        given = cls.field is not None and layer_param.HasField(cls.field)
        size = getattr(getattr(layer_param, cls.field), "batch_size", None) if given and cls.field else None
        return [] if size is None else [f"batch {size}"]

    def next_batch(self, device: torch.device) -> tuple[Tensor, ...]:
        """The tops of batch `cursor` on `device`; moves the cursor on by one."""
        raise NotImplementedError


def stored_as(stored: Shape, shape: Shape) -> bool:
    """Whether a file has a blob of `shape`: so, or with the four axes of files before BlobShape, or C3D 1.0's five."""
    return stored == shape or any(stored == (1,) * (axes - len(shape)) + shape for axes in (4, 5))


def check_size(layer: Layer, what: str, shape: Sequence[int]) -> None:
    """Raise LayerError for a shape that Caffe cannot hold: a negative size, or 2^31 values and more."""
    if min(shape, default=0) < 0:
        raise layer.error(f"{what} would have the shape {tuple(shape)}; sizes cannot be negative")
    if math.prod(shape) >= 2**31:
        raise layer.error(f"{what} would hold {math.prod(shape)} values; Caffe's limit is 2^31 - 1")


def _check_memory(layer: Layer, what: str, size: int) -> None:
    if (free := reading.lacking(size)) is not None:
        raise layer.error(f"{what} would take {size} bytes, more than the {free} bytes of memory that are free")


def show_shape(shape: Sequence[int]) -> str:
    """A shape as Caffe prints it: `8 3 32 32 (24576)`."""
    return "".join(f"{n} " for n in shape) + f"({math.prod(shape)})"


def canonical_axis(layer: Layer, axis: int, dims: int) -> int:
    """`axis` counted from the end where negative. Raises LayerError where it is out of range."""
    if not -dims <= axis < dims:
        raise layer.error(f"axis {axis} is out of range for a bottom of {dims} dimensions", "axis")
    return axis % dims if dims else 0
