"""A training run in canonical form: its network, what trains it, its images and its solver, apart and without names.

Logs and recipes are brought into this form by the same reading, and are then alike or differ in fields. It knows no
network and no mechanism.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sdcaffe import proto
from sdcaffe.errors import DataError
from sdcaffe.paper.compare.nodes import Node, Ref, Wired, defaults, flat, in_order, learning, type_of

NETWORK = "network"  # the type of a whole network as one node
SHARING = f"{NETWORK} that shares"  # the parameters of the first
FROZEN = f"{NETWORK} that is frozen"

_SOURCES = ("data_param", "image_data_param", "hdf5_data_param", "window_data_param")
_FEEDS = (*_SOURCES, "memory_data_param")
_SEEN = ("crop_size", "mirror")  # of a distortion, in a data layer's transform_param


@dataclass(frozen=True)
class Network:
    """Layers from the images to the class scores; `classes` is how many these are, and no part of the network.

    `digests` are those of its layers, by which it is found in another net; `key` is that of all but the last, where
    numbers of classes do not count.
    """

    nodes: tuple[Node, ...] = field(compare=False)  # which the digests are of
    classes: str
    digests: frozenset[str]
    key: str


@dataclass
class Form:
    """One run. `training` is the training net with each network as one node: its first top is the class scores, its
    second what their layer reads, and so on.

    `distortion` says how images are distorted, None where only part of it is said; `batch` counts images an iteration.
    """

    name: str
    network: Network
    training: tuple[Node, ...]
    distortion: Mapping[str, str]
    distorts: bool
    sources: list[str]
    batch: int
    tested: int
    solver: proto.SolverParameter
    weights: list[str]
    layers: str
    top1: str = ""
    top5: str = ""
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Logged:
    """What a log says of a run, or will say of one that is planned: the net's name, the SolverParameter, the
    NetParameters as the phases have them, and files of weights that it starts from besides the solver's.

    Each of the `processes` that train as one has a batch of its own.
    """

    name: str
    solver: proto.SolverParameter
    nets: Sequence[proto.NetParameter]
    weights: Sequence[str] = ()
    processes: int = 1


def read(logged: Logged, known: Mapping[str, str]) -> Form:
    """The form of a run.

    `known` are the keys of networks that may stand beside the one that is trained, and their names. Raises DataError
    where there is no training net, or none that a loss trains.
    """
    solver, nets = logged.solver, logged.nets
    train = next((Wired(net) for net in nets if net.state.phase == proto.TRAIN), None)
    test = next((Wired(net) for net in nets if net.state.phase == proto.TEST), None)
    if train is None:
        raise DataError("it does not show the training net")
    network = network_of(test or train)
    training, others = training_of(train, network, known)
    distorts, distortion = _distortion(train)
    return Form(
        name=logged.name,
        network=network,
        training=training,
        distortion=distortion,
        distorts=distorts,
        sources=_sources(train),
        batch=_batch(train) * solver.iter_size * logged.processes,
        tested=(solver.test_iter[0] if solver.test_iter else 0) * (_batch(test) if test else 0),
        solver=solver,
        weights=[*logged.weights, *solver.weights],
        layers=", ".join(f"{n} {t}" for t, n in sorted(Counter(map(type_of, train.layers)).items())),
        top1=_accuracy(test, 1, "accuracy") if test else "",
        top5=_accuracy(test, 5, "") if test else "",
        others=tuple(others.values()),
    )


def network_of(net: Wired) -> Network:
    """What a net makes class scores with: all between its images and what its last accuracy or loss reads."""
    scores = _scores(net)
    if net.outside(scores):
        raise DataError("its class scores are made by no layer with weights")
    layers = net.ancestors(scores)
    places = {index: place for place, index in enumerate(layers)}
    outside: dict[Ref, int] = {}
    nodes = [net.node(index, places, outside) for index in layers]
    last = nodes[-1]
    classes = last.settings.get("num_output", "")
    nodes[-1] = last._replace(settings={k: v for k, v in last.settings.items() if k != "num_output"})
    digests = net.digests()
    return Network(tuple(nodes), classes, frozenset(digests[i] for i in layers), _key(net, digests, scores))


def _key(net: Wired, digests: Sequence[str], scores: int) -> str:
    read = [(digests[maker], top) for maker, top in net.inputs[scores]]
    return repr((type_of(net.layers[scores]), read))


def _scores(net: Wired) -> int:
    """The layer that makes the class scores."""
    for type_name in ("Accuracy", "SoftmaxWithLoss"):
        for i in reversed(range(len(net.layers))):
            if net.layers[i].type == type_name and net.inputs[i]:
                maker = net.inputs[i][0][0]
                while not net.outside(maker) and net.layers[maker].type == "Softmax":
                    maker = net.inputs[maker][0][0]
                return maker
    raise DataError("its nets have neither Accuracy nor SoftmaxWithLoss, whose bottom would be class scores")


def training_of(net: Wired, network: Network, known: Mapping[str, str]) -> tuple[tuple[Node, ...], dict[int, str]]:
    """The training net with networks as nodes, and which of these are known ones beside the one that is trained.

    Raises DataError where no loss reaches the network that is tested.
    """
    digests = net.digests(network.digests)
    inside = [i for i in range(len(net.layers)) if not net.outside(i)]
    heads = [i for i in inside if digests[i] in network.digests and _key(net, digests, i) == network.key]
    plain = net.digests()
    others = {i: known[key] for i in inside if i not in heads and (key := _key(net, plain, i)) in known}
    towers = {head: net.ancestors(head, lambda i: digests[i] in network.digests) for head in heads}
    towers |= {head: net.ancestors(head) for head in others}
    writer = _Training(net, towers, heads[:1])
    nodes = writer.write()
    if not any(node.type == NETWORK for node in nodes):
        raise DataError("no loss of its training net reads the network that is tested")
    return tuple(nodes), {writer.places[head]: name for head, name in others.items() if head in writer.places}


class _Training:
    """Writes the nodes of a training net: from its losses up to networks, which are a node each."""

    def __init__(self, net: Wired, towers: Mapping[int, list[int]], first: list[int]) -> None:
        self.net, self.towers = net, towers
        self.head_of = {index: head for head, tower in towers.items() for index in tower}
        self.names = [self._parameters(head) for head in first]
        self.first = first
        self.nodes: list[Node] = []
        self.places: dict[int, int] = {}
        self.outside: dict[Ref, int] = {}

    def write(self) -> list[Node]:
        """The nodes, makers before readers."""

        def makers(index: int) -> list[int]:
            found = (maker for maker, _ in self._makers(index) if not self.net.outside(maker))
            return [self.head_of.get(maker, maker) for maker in found]

        for index in in_order((self.head_of.get(loss, loss) for loss in self.net.losses()), makers):
            self.places[index] = len(self.nodes)
            self.nodes.append(self._network(index) if index in self.towers else self._layer(index))
        return self.nodes

    def _makers(self, index: int) -> list[Ref]:
        """What a layer reads, or a network from outside of it, each once."""
        if index not in self.towers:
            return self.net.inputs[index]
        inside = set(self.towers[index])
        found = (ref for i in self.towers[index] for ref in self.net.inputs[i] if ref[0] not in inside)
        return list(dict.fromkeys(found))

    def _ref(self, ref: Ref) -> Ref:
        maker, top = ref
        head = self.head_of.get(maker)
        if head is not None:
            tower = self.towers[head]
            return self.places[head], len(tower) - 1 - tower.index(maker)
        if maker in self.places:
            return self.places[maker], top
        return -1, self.outside.setdefault(ref, len(self.outside))

    def _layer(self, index: int) -> Node:
        node = self.net.node(index, {}, {})
        every = defaults(self.net.layers[index]) | dict(node.settings)
        return node._replace(settings=every, inputs=tuple(map(self._ref, self.net.inputs[index])))

    def _network(self, head: int) -> Node:
        names = self._parameters(head)
        kind = NETWORK
        if head not in self.first and names and names in self.names:
            kind = SHARING
        elif set(learning(self.net.layers[head]).get("lr_mult", "1").split()) == {"0"}:
            kind = FROZEN
        return Node(kind, {}, tuple(map(self._ref, self._makers(head))))

    def _parameters(self, head: int) -> list[str]:
        layers = (self.net.layers[index] for index in self.towers[head])
        return sorted(param.name for layer in layers for param in layer.param if param.name)


def shares(form: Form) -> bool:
    """Whether branches go through layers of their own that share weights: so each has its own statistics."""
    return any(node.type == SHARING for node in form.training)


def digest(form: Form) -> str:
    """Eight digits that differ where layers, their settings or their wiring do; names and data do not count."""
    every = [(node.type, sorted(node.settings.items()), node.inputs) for node in (*form.network.nodes, *form.training)]
    return hashlib.sha256(repr((every, form.network.classes)).encode()).hexdigest()[:8]


def _distortion(net: Wired) -> tuple[bool, dict[str, str]]:
    """Whether a layer says all of how images are distorted, and what is said."""
    for layer in net.layers:
        if layer.type == "Distort":
            return True, distortion_of(layer)
    found: dict[str, str] = {}
    for layer in net.layers:
        if not layer.bottom and layer.HasField("transform_param"):
            found |= {name: text for name, text in flat(layer.transform_param).items() if name in _SEEN}
    return False, found


def distortion_of(layer: proto.LayerParameter) -> dict[str, str]:
    """All that a Distort layer does."""
    return defaults(layer) | flat(layer.distort_param)


def _sources(net: Wired) -> list[str]:
    """Where the data comes from, in the data layers' words."""
    found = [getattr(layer, name).source for layer in net.layers for name in _SOURCES if layer.HasField(name)]
    in_python = (layer.python_param.param_str for layer in net.layers if layer.type == "Python" and not layer.bottom)
    return [*found, *in_python]


def _batch(net: Wired) -> int:
    """Images a batch, 0 where no data layer says."""
    sizes = (getattr(layer, name).batch_size for layer in net.layers for name in _FEEDS if layer.HasField(name))
    return next(sizes, 0)


def _accuracy(net: Wired, top_k: int, wanted: str) -> str:
    """The blob that holds the accuracy among the best `top_k`: the one named `wanted`, else the first."""
    found = [layer for layer in net.layers if layer.type == "Accuracy" and layer.accuracy_param.top_k == top_k]
    names = [layer.top[0] for layer in found if layer.top]
    return wanted if wanted in names else next(iter(names), "")
