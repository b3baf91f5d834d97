"""What scripts catch: errors of sdcaffe that are Python's own as well, of the kind that Caffe raises there."""

from __future__ import annotations

from sdcaffe.errors import DataError, GraphError, LayerError, PrototxtError, WeightsError


class NoNetFile(PrototxtError, RuntimeError):
    """A net's prototxt that cannot be opened."""


class NoWeightsFile(WeightsError, RuntimeError):
    """Weights, given when a net is made, that cannot be opened."""


class UnknownLayer(GraphError, ValueError):
    """A layer name that the net does not have."""


class UnknownBlob(GraphError, KeyError):
    """A blob name that the net does not have."""


class NoBlob(GraphError, AttributeError, KeyError):
    """A blob name that a NetSpec does not have: Caffe raises the latter, and Python asks for the former."""


class NoInput(GraphError, IndexError):
    """A net without an input, where images are to go."""


class NoTop(GraphError, TypeError, AttributeError):
    """What stands in a NetSpec and is no Top: Caffe raises the latter."""


class WrongArray(LayerError, ValueError):
    """An array that does not fit the blob it is for."""


class NoMemoryData(LayerError, RuntimeError):
    """A net whose first layer takes no arrays."""


class WrongInput(DataError, RuntimeError):
    """Arrays that a MemoryData layer cannot take."""


class WrongDatum(DataError, ValueError):
    """A Datum that is no array."""


class NoImage(DataError, OSError):
    """An image file that cannot be read."""


class UnknownField(LayerError, AttributeError):
    """A field that a message does not have."""


class WrongType(LayerError, TypeError):
    """A value of another type than the field's."""


class WrongValue(LayerError, ValueError):
    """A value that the field cannot hold."""


class BothRules(GraphError, ValueError):
    """A layer with include rules and exclude rules."""


class NoCommonBlob(GraphError, RuntimeError):
    """Two blobs between which no way of known places leads."""


class NoCrop(GraphError, AssertionError):
    """Two blobs that cannot be laid over each other."""


class AxisMismatchException(GraphError):
    """Maps whose spatial axes differ."""


class UndefinedMapException(GraphError):
    """A layer whose top's places do not follow from its bottom's."""
