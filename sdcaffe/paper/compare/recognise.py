"""Recognises a training run by what its log says: network, data set, mechanism, settings. File names play no part."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sdcaffe.errors import PrototxtError
from sdcaffe.log import Run, TestRow, accuracy
from sdcaffe.paper import published as paper
from sdcaffe.paper.compare.wiring import Wiring, gradient, loss_weight, temperature
from sdcaffe.paper.published import DataSet, Published, Recipe

_DASH = r"[-_ .]*"
_NETWORKS = (
    ("pre-act ResNet-{}", rf"pre{_DASH}act(?:ivation)?{_DASH}(?:res{_DASH}net)?{_DASH}(\d+)"),
    ("pre-act ResNet-{}", rf"res{_DASH}net{_DASH}(\d+){_DASH}\(?pre{_DASH}act(?:ivation)?"),
    ("WRN-{}-{}", rf"(?:wrn|wide{_DASH}res(?:idual)?{_DASH}net(?:work)?){_DASH}(\d+)[-_ x]+(\d+)"),
    ("DenseNet-{}", rf"dense{_DASH}net{_DASH}(\d+)"),
    ("ResNet-{}", rf"res(?:idual)?{_DASH}net{_DASH}(\d+)"),
    ("AlexNet", rf"alex{_DASH}net"),
)
_DATA_SETS = (
    ("CIFAR-100", rf"cifar{_DASH}100(?!\d)"),
    ("CIFAR-10", rf"cifar{_DASH}10(?!\d)"),
    ("ImageNet", r"imagenet|ilsvrc"),
)
_PART = re.compile(r"subset|tiny|mini|small|imagenet[-_ ]?100\b", re.IGNORECASE)
_EVERY_KTH = re.compile(r"cifar\d+:(?:train|test)/0*(?!1(?:$|:))\d+")  # as a source of images names a part
_PAPER_MECHANISMS = {  # a loss on logits (KL), one on features (MMD)
    (False, False): paper.TWO_BRANCHES,
    (False, True): paper.WITH_MMD,
    (True, False): paper.WITH_KL,
    (True, True): paper.SELF_DISTILLED,
}


class Unknown(Exception):
    """Why a log is not a run of the paper's."""


@dataclass
class TrainingRun:
    """A log and what it was recognised as. `reason` says why it stands for no published value, or is empty.

    `settings` are the run's parameters but for its seed: runs that share them differ by chance alone. Of these,
    `departures` names those that are not the paper's. `top1` and `top5` are the test net's outputs.
    A `copy` is a run that another log shows already.
    """

    logs: list[str]
    log: Run
    network: str = ""
    data_set: str = ""
    mechanism: str = ""
    peer: str = ""
    mu: float | None = None
    seed: int | None = None
    settings: dict[str, str] = field(default_factory=dict)
    departures: list[str] = field(default_factory=list)
    reason: str = ""
    max_iter: int = 0
    test_interval: int = 0
    top1: str = ""
    top5: str = ""
    copy: bool = False

    @property
    def comparable(self) -> bool:
        """Whether network, data set and mechanism are known, be they in the paper or not."""
        return bool(self.network and self.data_set and self.mechanism) and not self.copy

    @property
    def iterations(self) -> int:
        """How many were done, as far as the log shows."""
        return max(
            (rows[-1].iteration for rows in (self.log.train, self.log.test, self.log.snapshots) if rows), default=0
        )

    @property
    def finished(self) -> bool:
        """All iterations were done and the last test came with the end."""
        tests = self.errors()
        at_end = bool(tests) and tests[-1][0] + self.test_interval > self.max_iter
        return 0 < self.max_iter <= self.iterations and at_end

    @property
    def starts_at(self) -> int:
        """Where the log begins: 0, or the iteration of a snapshot from a session whose log is missing."""
        if not self.log.resumes:
            return 0
        first = min((rows[0].iteration for rows in (self.log.train, self.log.test) if rows), default=0)
        return self.log.resumes[0] if first >= self.log.resumes[0] else 0

    def errors(self, name: str | None = None) -> list[tuple[int, float]]:
        """Iteration and error in percent of each test of net 0; by `top1`, or the output `name`."""
        found = []
        for row in self.log.test:
            value = self._accuracy(row, name) if row.net == 0 else None
            if value is not None and math.isfinite(value):
                found.append((row.iteration, 100 * (1 - value)))
        return found

    def _accuracy(self, row: TestRow, name: str | None) -> float | None:
        name = name or self.top1
        return row.outputs.get(name) if name else accuracy(row.outputs)

    def last(self, name: str | None = None) -> float | None:
        errors = self.errors(name)
        return errors[-1][1] if errors else None

    def best(self, name: str | None = None) -> float | None:
        return min((error for _, error in self.errors(name)), default=None)

    @property
    def progress(self) -> str:
        if self.finished:
            return f"{self.iterations:,}"
        if 0 < self.max_iter <= self.iterations:
            return f"{self.iterations:,}, but no test error at the end"
        if not self.max_iter:
            return f"{self.iterations:,}"
        return f"cut short at {self.iterations:,} of {self.max_iter:,} ({self.iterations / self.max_iter:.0%})"


def recognise(name: str, log: Run, known: Published) -> TrainingRun:
    """What the log `name` shows; where that is no run of the paper's, `reason` says why."""
    run = TrainingRun([name], log)
    try:
        _describe(run, known)
    except Unknown as why:
        run.reason = str(why)
    except PrototxtError as error:
        run.reason = f"its solver or its nets cannot be read: {error.summary}"
    return run


def _describe(run: TrainingRun, known: Published) -> None:
    if not run.log.solver_text:
        raise Unknown("it shows no solver settings: no log of training, or its beginning is missing")
    solver = run.log.solver()
    run.max_iter, run.test_interval = solver.max_iter, solver.test_interval
    run.seed = solver.random_seed if solver.random_seed >= 0 else None
    nets = [Wiring(text) for text in run.log.nets]
    train = next((net for net in nets if not net.testing), None)
    test = next((net for net in nets if net.testing), None)
    if train is None:
        raise Unknown("it does not show the training net")
    if test is not None:
        run.top1, run.top5 = _best_named(test.accuracies(1), "accuracy"), _best_named(test.accuracies(5), "")
    networks = list(networks_in(run.log.net))
    run.network = networks[0] if networks else run.log.net
    found = _data_set(train, run.log.net)
    run.data_set = found or ", ".join(train.sources())
    _describe_mechanism(run, train, networks)
    _describe_settings(run, train, solver)
    _place(run, known, networks, found)
    _find_departures(run, known.recipes[run.network], known.data_sets[run.data_set], known, (train, test, solver))


def networks_in(name: str) -> Iterator[str]:
    """The networks that a net's name speaks of, in its order, as the paper's tables write them."""
    found: dict[int, tuple[int, str]] = {}
    for form, pattern in _NETWORKS:
        for match in re.finditer(rf"(?<![a-z]){pattern}(?![\d])", name, re.IGNORECASE):
            if not any(
                begin <= match.start() < end or match.start() <= begin < match.end()
                for begin, (end, _) in found.items()
            ):
                found[match.start()] = match.end(), form.format(*match.groups())
    for _, (_, network) in sorted(found.items()):
        yield network


def _best_named(names: list[str], wanted: str) -> str:
    return wanted if wanted in names else next(iter(names), "")


def _data_set(train: Wiring, name: str) -> str:
    """The data set that the data layers' sources name, else the net's name; empty for a part of one.

    Raises Unknown where they disagree.
    """
    sources = " ".join(train.sources())
    by_source, by_name = (
        next((title for title, pattern in _DATA_SETS if re.search(pattern, text, re.IGNORECASE)), "")
        for text in (sources, name)
    )
    if by_source and by_name and by_source != by_name:
        raise Unknown(f'the net is called "{name}", but its data comes from "{sources}"')
    if sources.startswith("synthetic:") or _EVERY_KTH.match(sources):
        return ""
    return by_source or by_name


def _describe_mechanism(run: TrainingRun, train: Wiring, networks: list[str]) -> None:
    kl, mmd = train.losses("KL"), train.losses("MMD")
    heads = train.classifiers()
    spoken = re.sub(r"[-_ ]+", "-", run.log.net.lower())
    peer = next(iter(networks[1:]), "")
    if "teacher" in spoken or "taught-by" in spoken or (len(heads) > 1 and not all(heads.values())):
        run.mechanism, run.peer = paper.TEACHER, peer
    elif paper.STUDENT in spoken or "with-peer" in spoken or "mutual" in spoken or (len(heads) > 1 and kl):
        run.mechanism, run.peer = paper.STUDENT, peer or run.network
    elif len(heads) > 1:
        raise Unknown(f"it trains {len(heads)} classifiers at once, which no mechanism of the paper does")
    elif not heads:
        raise Unknown("its training net has no SoftmaxWithLoss on the output of a layer with weights")
    elif kl or mmd or train.branches() > 1:
        run.mechanism = _PAPER_MECHANISMS[bool(kl), bool(mmd)]
        run.mu = sum(loss_weight(layer) for layer in mmd)
    else:
        run.mechanism = paper.BASELINE
    run.mechanism = " + ".join([run.mechanism, *train.beyond_paper()])


def _describe_settings(run: TrainingRun, train: Wiring, solver: Any) -> None:
    """Solver, mechanism, distortion and net as words; what is at its default and says nothing is left out."""
    steps = [solver.stepsize] if solver.lr_policy == "step" else solver.stepvalue
    kl = train.losses("KL")
    found = {
        "name": run.log.net,
        "max_iter": f"{solver.max_iter}",
        "batch": f"{train.batch() * solver.iter_size}",
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
        "mu": f"{run.mu:g}" if run.mu is not None else "",
        "lambda": " ".join(f"{loss_weight(layer):g}" for layer in kl),
        "temperature": " ".join(f"{t:g}" for t in map(temperature, kl) if t is not None),
        "KL gradient": " ".join(filter(None, map(gradient, kl))),
        "batch statistics": "",
        "weights from": " ".join([*run.log.weights, *solver.weights]),
        "data": " ".join(train.sources()),
    }
    if run.mu is not None and train.count("BatchNorm"):
        found["batch statistics"] = "separate" if train.separate_statistics() else "joint"
    for layer in train.layers:
        if layer.type == "Distort":
            param = layer.distort_param
            stage = param.DESCRIPTOR.fields_by_name["pad_stage"].enum_type.values_by_number[param.pad_stage].name
            found["distortion"] = (
                f"pad {param.pad} ({stage.lower()}), crop {param.crop_size}{', mirror' if param.mirror else ''}"
            )
        elif layer.type == "BatchNorm":
            found["moving average"] = f"{layer.batch_norm_param.moving_average_fraction:g}"
    found["layers"] = train.types()
    found["net fingerprint"] = train.structure()
    run.settings = {name: text for name, text in found.items() if text}


def _place(run: TrainingRun, known: Published, networks: list[str], data_set: str) -> None:
    """Raises Unknown unless the paper has a value for the run's network, data set and mechanism."""
    if not networks:
        raise Unknown(f'the net\'s name, "{run.log.net}", names no network')
    if not data_set:
        sources = run.data_set or "nothing"
        if _EVERY_KTH.match(sources):
            raise Unknown(f"it trains on a part of a data set, {sources}")
        raise Unknown(f"its data comes from {sources}, which names none of {', '.join(known.data_sets)}")
    values = [v for v in known.values if (v.network, v.data_set) == (run.network, run.data_set)]
    if not values:
        raise Unknown(f"the paper has no {run.network} on {run.data_set}")
    if not any(matches(value, run) for value in values):
        details = f" with {run.peer}" if run.peer else f" at mu {run.mu:g}" if run.mu else ""
        raise Unknown(f"the paper has no {run.network} on {run.data_set} trained {run.mechanism}{details}")


def matches(value: paper.Value, run: TrainingRun) -> bool:
    """Whether a recognised run measures what the value says."""
    if (value.network, value.data_set, value.peer) != (run.network, run.data_set, run.peer):
        return False
    if value.mu == (0, 0):  # Table 5: "without the MMD"
        return run.mechanism == paper.WITH_KL
    if value.mechanism != run.mechanism:
        return False
    low, high = value.mu or (run.mu or 0, run.mu or 0)
    # loss weights are 32-bit numbers
    return low * (1 - 1e-6) <= (run.mu or 0) <= high * (1 + 1e-6)


def _find_departures(
    run: TrainingRun, recipe: Recipe, data: DataSet, known: Published, seen: tuple[Wiring, Wiring | None, Any]
) -> None:
    """What of the run is not as the paper has it."""
    train, test, solver = seen
    say = run.departures.append
    batch = train.batch() * solver.iter_size

    def differs(name: str, is_now: float, should: float | None) -> None:
        if should is not None and not math.isclose(is_now, should, rel_tol=1e-5):
            say(f"{name} {is_now:g}, not {should:g}")

    differs("batch", batch, recipe.batch)
    epochs = solver.max_iter * batch / data.train_images
    if abs(epochs / recipe.epochs - 1) > 0.01:
        say(f"{epochs:.3g} epochs, not {recipe.epochs}")
    if (solver.type or "SGD") != known.type:
        say(f"{solver.type or 'SGD'}, not {known.type}")
    differs("momentum", solver.momentum, known.momentum)
    differs("weight decay", solver.weight_decay, recipe.weight_decay)
    differs("base_lr", solver.base_lr, recipe.base_lr)
    if recipe.drops:
        _compare_drops(run, recipe, solver, data.train_images / max(batch, 1))
    for layer in train.losses("KL"):
        if run.mechanism in (paper.WITH_KL, paper.SELF_DISTILLED):
            differs("lambda", loss_weight(layer), known.kl_weight)
            found = temperature(layer)
            differs("temperature", data.temperature if found is None else found, data.temperature)
    for layer in train.layers:
        if layer.type == "Distort" and data.crop is not None:
            differs("pad", layer.distort_param.pad, data.pad)
            if not layer.distort_param.mirror:
                say("no mirroring")
    if run.mechanism != paper.TEACHER and (run.log.weights or solver.weights):
        say("started from trained weights")
    if part := _PART.search(" ".join(train.sources())):
        say(f'data that may be a part of it ("{part[0]}")')
    tested = solver.test_iter[0] * test.batch() if test is not None and solver.test_iter else 0
    if tested < data.test_images:
        say(f"tested on {tested:,} of {data.test_images:,} images")


def _compare_drops(run: TrainingRun, recipe: Recipe, solver: Any, epoch: float) -> None:
    """Learning-rate drops, each to within an epoch; `epoch` is in iterations."""
    at = [float(step) for step in solver.stepvalue] if solver.lr_policy == "multistep" else []
    if solver.lr_policy == "step" and solver.stepsize > 0:
        at = [float(step) for step in range(solver.stepsize, solver.max_iter, solver.stepsize)]
    same = len(at) == len(recipe.drops) and all(
        abs(step / epoch - drop) <= 1 for step, drop in zip(at, recipe.drops, strict=True)
    )
    if not same:
        drops = ", ".join(f"{step / epoch:.3g}" for step in at) if len(at) < 10 else f"{len(at)} times"
        say = f"drops at epochs {drops}" if at else f"learning rate {solver.lr_policy}"
        run.departures.append(f"{say}, not {', '.join(map(str, recipe.drops))}")
    elif recipe.gamma is not None and not math.isclose(solver.gamma, recipe.gamma, rel_tol=1e-5):
        run.departures.append(f"drops to {solver.gamma:g}, not {recipe.gamma:g}")
