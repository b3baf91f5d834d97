"""Recognises a training run by what its log says: network, image set, mechanism, settings. Names play no part.

The run and the recipes are brought into canonical form (form.py). What is equal to a part of a recipe is that part;
else it is the nearest, and what differs (differences.py) are the run's departures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from sdcaffe import proto
from sdcaffe.errors import DataError, SdcaffeError
from sdcaffe.log import Run
from sdcaffe.paper.compare import differences, known
from sdcaffe.paper.compare.form import Form, Logged, Network, digest, read, shares
from sdcaffe.paper.compare.known import Known
from sdcaffe.paper.compare.runs import TrainingRun
from sdcaffe.paper.datasets import PUBLISHED, ImageSet, is_part, named
from sdcaffe.paper.mechanisms import Mechanism
from sdcaffe.paper.published import Value
from sdcaffe.paper.recipes import RECIPES, Recipe

_DISTINCT = 256  # nets of which what was found out is kept: runs of many seeds share theirs
_NEAR = 0.5  # of a network's layers, how many may differ from the one it is taken for


def recognise(name: str, log: Run, values: Sequence[Value]) -> TrainingRun:
    """What the log `name` shows; where that stands for none of the published `values`, `reason` says why."""
    run = TrainingRun([name], log)
    try:
        if not log.solver_text:
            raise DataError("it shows no solver settings: no log of training, or its beginning is missing")
        nets = [_net(text) for text in log.nets]
        describe(run, Logged(log.net, log.solver(), nets, log.weights, log.processes), values)
    except DataError as why:
        run.reason = str(why)
    except SdcaffeError as error:
        run.reason = f"its solver or its nets cannot be read: {error.summary}"
    return run


@lru_cache(_DISTINCT)
def _net(text: str) -> proto.NetParameter:
    """The net that a log shows, one for all logs that show it: never changed."""
    net = proto.NetParameter()
    proto.text.parse(text, net, "log", ignore_unknown=True)
    return net


def describe(run: TrainingRun, logged: Logged, values: Sequence[Value]) -> None:
    """Fill in what a run is. Raises DataError where it stands for none of the `values`."""
    solver = logged.solver
    run.max_iter = solver.max_iter
    run.seed = solver.random_seed if solver.random_seed >= 0 else None
    run.precision = solver.precision or run.precision
    form = read(logged, known.keys())
    run.top1, run.top5 = form.top1, form.top5
    network, departures = _network(form.network)
    run.departures = list(departures)
    run.network, run.network_key = network.title if network else form.name, form.network.key
    images, elsewhere = _images(form)
    run.data_set = images.title if images and not elsewhere else ", ".join(form.sources)
    mechanism, further = _mechanism(form)
    run.departures += further
    run.mechanism = " + ".join([mechanism.measures, *_further(form)])
    run.peer = next(iter(form.others), run.network) if mechanism.peer else ""
    run.mu = sum(_weights(form, "MMDLoss")) if mechanism.mu is not None else None
    on = {"precision": run.precision, "device": ", ".join(run.log.devices)}
    run.settings = {name: text for name, text in (_settings(form, run.mu) | on).items() if text}
    if run.log.processes > 1:
        run.settings["processes"] = str(run.log.processes)
    if network and images:
        _find_recipe(run, form, network, images, mechanism)
    _place(run, values, network, elsewhere)


@lru_cache(_DISTINCT)
def _network(network: Network) -> tuple[Known | None, tuple[str, ...]]:
    """The network that it is or comes near to, and what differs."""
    best, fewest, said = None, len(network.nodes) * _NEAR, list[str]()
    for candidate in known.networks():
        if candidate.form.key != network.key and _depth(candidate.form.nodes) != _depth(network.nodes):
            continue
        count, found = differences.of_network(network, candidate.form)
        if count < fewest:
            best, fewest, said = candidate, count, found
    return best, tuple(said)


def _depth(nodes: Sequence[Any]) -> int:
    """How many layers have filters; of another number, it is another network."""
    return sum("num_output" in node.settings for node in nodes)


def _images(form: Form) -> tuple[ImageSet | None, str]:
    """The image set it trains on, and why that is none of the paper's, if so. Raises DataError where names disagree."""
    sources = " ".join(form.sources)
    by_source, by_name = named(sources), named(form.name)
    if by_source and by_name and by_source is not by_name:
        raise DataError(f'the net is called "{form.name}", but its data comes from "{sources}"')
    ours = next((recipe.images for recipe in RECIPES if recipe.images.train_source == sources), None)
    if is_part(sources):
        return ours, f"it trains on a part of a data set, {sources}"
    found = by_source or by_name
    titles = [images.title for images in PUBLISHED]
    if found is None or (ours and ours.title not in titles):
        return ours, f"its data comes from {sources or 'nothing'}, which names none of {', '.join(titles)}"
    return found, ""


def _mechanism(form: Form) -> tuple[Mechanism, list[str]]:
    """The mechanism whose nets have the run's shape, or its layers wired in another way, and what differs so."""
    shape = [node.shape for node in form.training]
    types = Counter(node.type for node in form.training)
    near = None
    for mechanism in known.mechanisms():
        nodes = known.training(mechanism, PUBLISHED[0])
        if [node.shape for node in nodes] == shape:
            return mechanism, []
        if near is None and Counter(node.type for node in nodes) == types:
            near = mechanism
    if near is None:
        listed = ", ".join(f"{count} {name}" for name, count in sorted(types.items()))
        raise DataError(f"what its network is trained with is no mechanism known here: {listed}")
    return near, [f"layers wired otherwise than for {near.measures}"]


def _further(form: Form) -> list[str]:
    """How images are distorted beyond crop and mirror."""
    return list(dict.fromkeys(n.partition(".")[0].replace("_", " ") for n in form.distortion if "." in n))


def _find_recipe(run: TrainingRun, form: Form, network: Known, images: ImageSet, mechanism: Mechanism) -> None:
    """Note the nearest recipe, and what of the run is not as it has it."""
    every = [recipe for recipe in RECIPES if (recipe.title, recipe.images.title) == (network.title, images.title)]
    if not every:
        return
    wanted = run.mechanism, run.peer
    same = [recipe for recipe in every if (recipe.mechanism.measures, recipe.mechanism.peer) == wanted]
    found = min(same, key=lambda recipe: _distance(run, form, recipe, network), default=None)
    recipe = found or replace(every[0], mechanism=mechanism, teacher=None)
    run.recipe = found
    run.departures += _departures(form, recipe)


def _distance(run: TrainingRun, form: Form, recipe: Recipe, network: Known) -> tuple[object, ...]:
    nodes = known.training(recipe.mechanism, recipe.images)
    distortion = known.distortion(recipe.mechanism.distorted(recipe.images))
    return (
        recipe.network.name != network.name,
        [node.shape for node in nodes] != [node.shape for node in form.training],
        abs((recipe.mechanism.mu or 0) - (run.mu or 0)),
        recipe.schedule.batch_size != form.batch,
        [node.settings.get("gradient") for node in nodes] != [node.settings.get("gradient") for node in form.training],
        distortion.get("pad_stage") != form.distortion.get("pad_stage"),
    )


def _departures(form: Form, recipe: Recipe) -> Iterator[str]:
    nodes = known.training(recipe.mechanism, recipe.images)
    schedule = recipe.schedule
    yield from differences.of_solver(form, known.solver(recipe), schedule.batch_size, recipe.images, schedule.ours)
    if [node.shape for node in nodes] == [node.shape for node in form.training]:
        yield from differences.of_training(form.training, nodes)
    yield from differences.of_images(form, recipe.images, known.distortion(recipe.mechanism.distorted(recipe.images)))
    if form.weights and recipe.teacher is None:
        yield "started from trained weights"


def _settings(form: Form, mu: float | None) -> dict[str, str]:
    """Solver, mechanism, distortion and net as words; what is at its default and says nothing is left out."""
    solver = form.solver
    steps = [solver.stepsize] if solver.lr_policy == "step" else solver.stepvalue
    kl = [node.settings for node in form.training if node.type == "KLLoss"]
    norms = [node.settings for node in form.network.nodes if node.type == "BatchNorm"]
    found = {
        "name": form.name,
        "max_iter": f"{solver.max_iter}",
        "batch": f"{form.batch}",
        "solver": solver.type or "SGD",
        "base_lr": f"{solver.base_lr:g}",
        "lr_policy": solver.lr_policy,
        "gamma": f"{solver.gamma:g}" if solver.HasField("gamma") else "",
        "power": f"{solver.power:g}" if solver.HasField("power") else "",
        "drops at": " ".join(map(str, steps)),
        "momentum": f"{solver.momentum:g}",
        "weight_decay": f"{solver.weight_decay:g}",
        "regularization": solver.regularization_type if solver.regularization_type != "L2" else "",
        "clip_gradients": f"{solver.clip_gradients:g}" if solver.clip_gradients > 0 else "",
        "mu": f"{mu:g}" if mu is not None else "",
        "lambda": " ".join(f"{weight:g}" for weight in _weights(form, "KLLoss")),
        "temperature": " ".join(loss["temperature"] for loss in kl if "temperature" in loss),
        "KL gradient": " ".join(loss["gradient"] for loss in kl if "gradient" in loss),
        "batch statistics": ("separate" if shares(form) else "joint") if mu is not None and norms else "",
        "weights from": " ".join(form.weights),
        "data": " ".join(form.sources),
        "distortion": _distortion(form),
        "moving average": norms[-1].get("moving_average_fraction", "0.999") if norms else "",
        "layers": form.layers,
        "net fingerprint": digest(form),
    }
    return found


def _weights(form: Form, type_name: str) -> list[float]:
    return [float(node.settings["loss_weight"]) for node in form.training if node.type == type_name]


def _distortion(form: Form) -> str:
    said = form.distortion
    if not form.distorts:
        return ""
    mirror = ", mirror" if said["mirror"] == "true" else ""
    further = "".join(f", {name} {text}" for name, text in said.items() if "." in name)
    return f"pad {said['pad']} ({said['pad_stage']}), crop {said['crop_size']}{mirror}{further}"


def _place(run: TrainingRun, values: Sequence[Value], network: Known | None, elsewhere: str) -> None:
    """Raises DataError unless the paper has a value for the run's network, data set and mechanism."""
    if network is None:
        raise DataError("its network is none of the recipes', nor near one")
    if elsewhere:
        raise DataError(elsewhere)
    there = [value for value in values if (value.network, value.data_set) == (run.network, run.data_set)]
    if not there:
        raise DataError(f"the paper has no {run.network} on {run.data_set}")
    if not any(value.matches(run.network, run.data_set, run.mechanism, run.peer, run.mu) for value in there):
        details = f" with {run.peer}" if run.peer else f" at mu {run.mu:g}" if run.mu else ""
        raise DataError(f"the paper has no {run.network} on {run.data_set} trained {run.mechanism}{details}")
