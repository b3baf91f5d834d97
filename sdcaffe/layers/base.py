"""What a layer's file imports: the contract of `layer`, the registry, and how a layer is written in other forms."""

from __future__ import annotations

from sdcaffe.layers.affine import Affine
from sdcaffe.layers.blame import blamed, blamed_on
from sdcaffe.layers.layer import (
    Count,
    DataLayer,
    Layer,
    Shape,
    Stored,
    Tops,
    canonical_axis,
    check_size,
    show_shape,
    stored_as,
)
from sdcaffe.layers.registry import class_of, layer_class, makers, register, registered
from sdcaffe.layers.writing import OnnxBuilder, Source, SourceBuilder, call, linear_text, number, pair

__all__ = [
    "Affine",
    "Count",
    "DataLayer",
    "Layer",
    "OnnxBuilder",
    "Shape",
    "Source",
    "SourceBuilder",
    "Stored",
    "Tops",
    "blamed",
    "blamed_on",
    "call",
    "canonical_axis",
    "check_size",
    "class_of",
    "layer_class",
    "linear_text",
    "makers",
    "number",
    "pair",
    "register",
    "registered",
    "show_shape",
    "stored_as",
]
