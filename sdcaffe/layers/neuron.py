"""What elementwise layers share: one bottom, one top of the same shape. Holds no layer type itself."""

from __future__ import annotations

from sdcaffe.layers.base import Layer, Shape


class NeuronLayer(Layer):
    """A layer whose top has its bottom's shape; it may work in place."""

    in_place = True
    keeps_places = True

    def setup(self, bottom_shapes: list[Shape]) -> list[Shape]:
        return [bottom_shapes[0]]
