"""The recipes in canonical form, each part once: the networks, and what the mechanisms train with."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

from sdcaffe import proto
from sdcaffe.graph import keep_layers, net_state
from sdcaffe.paper.compare.form import Network, distortion_of, network_of, training_of
from sdcaffe.paper.compare.nodes import Node, Wired
from sdcaffe.paper.datasets import ImageSet
from sdcaffe.paper.mechanisms import Baseline, Mechanism, SeparateBranches, TwoBranches
from sdcaffe.paper.networks import blocks
from sdcaffe.paper.networks.network import Heads
from sdcaffe.paper.recipes import ABLATION, MAIN, RECIPES, Recipe
from sdcaffe.paper.text import Blob, NetText
from sdcaffe.proto.printing import fields


@dataclass(frozen=True)
class Known:
    """A network of the recipes: what the paper's tables call it, its own name, and its form."""

    title: str
    name: str
    form: Network


@functools.cache
def networks() -> tuple[Known, ...]:
    """Every network of the recipes, once for all numbers of classes."""
    found: dict[str, Known] = {}
    for recipe in RECIPES:
        if recipe.network.name not in found:
            net = parsed(Baseline().net(recipe.network, recipe.images, 1).net(), proto.TEST)
            found[recipe.network.name] = Known(recipe.title, recipe.network.name, network_of(net))
    return tuple(found.values())


@functools.cache
def keys() -> dict[str, str]:
    """What a net's networks are told by, and what the paper's tables call them."""
    return {known.form.key: known.title for known in networks()}


@functools.cache
def mechanisms() -> tuple[Mechanism, ...]:
    """Those of the recipes, and Table 6's with statistics for each branch."""
    parts = [m for m in (*ABLATION, *MAIN) if isinstance(m, TwoBranches)]
    separate = [SeparateBranches(m.title, m.file, m.kl_weight, m.mmd_weight) for m in parts]
    return tuple(dict.fromkeys([*(recipe.mechanism for recipe in RECIPES), *separate]))


@dataclass(frozen=True)
class _Smallest:
    """A small network that is read fast. Its convolution is there lest it be taken for the end of a peer's network."""

    classes: int
    name: str = "smallest"

    def build(self, net: NetText, image: Blob) -> Heads:
        """Write it onto `net`."""
        feature = blocks.global_average(net, "pool", blocks.convolution(net, "conv", image, 1, 1))
        return Heads(feature, blocks.inner_product(net, "fc", feature, self.classes))


@functools.cache
def training(mechanism: Mechanism, images: ImageSet) -> tuple[Node, ...]:
    """What a mechanism trains with, the same for every network."""
    net = mechanism.net(_Smallest(images.classes), images, 1).net()
    stages = (mechanism.stage,) if mechanism.stage else ()
    network = network_of(parsed(net, proto.TEST))
    return training_of(parsed(net, proto.TRAIN, stages), network, keys())[0]


@functools.cache
def solver(recipe: Recipe) -> proto.SolverParameter:
    """The recipe's SolverParameter."""
    message = proto.SolverParameter()
    proto.text.parse(recipe.solver(), message, recipe.solver_file)
    return message


@functools.cache
def distortion(images: ImageSet) -> Mapping[str, str]:
    """How training images are distorted."""
    layer = proto.LayerParameter()
    text = " ".join(fields({"type": "Distort", "distort_param": images.distort_param}))
    proto.text.parse(text, layer, images.title)
    return distortion_of(layer)


def parsed(net: proto.NetParameter, phase: int, stages: tuple[str, ...] = ()) -> Wired:
    """A NetParameter as a phase has it."""
    net.state.CopyFrom(net_state(phase, stages=stages))
    return Wired(keep_layers(net))
