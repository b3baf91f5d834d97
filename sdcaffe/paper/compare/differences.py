"""What of a run is not as a recipe has it, field by field, in words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

from sdcaffe import proto
from sdcaffe.paper.compare.form import Form, Network
from sdcaffe.paper.compare.nodes import Node, default
from sdcaffe.paper.datasets import ImageSet

# Where a field has other words than `name is, not should`.
_WORDS = {
    "epochs": "{} epochs, not {}",
    "type": "{}, not {}",
    "weight_decay": "weight decay {}, not {}",
    "gamma": "drops to {}, not {}",
    "drops": "drops at epochs {}, not {}",
    "policy": "learning rate {}, not {}",
    "tested": "tested on {} of {} images",
    "mirror": "no mirroring",
    "classes": "{} classes, not {}",
    "weights": "started from trained weights",
}
_WEIGHTS = {"KLLoss": "lambda", "MMDLoss": "mu"}  # what the paper calls a loss's weight
_OPEN = {"gradient", "pad_stage"}  # what the paper leaves open
_PARTS = ("subset", "tiny", "mini", "small", "imagenet100")  # words of a source that may hold a part of a set
_LISTED = 4  # differences of a network that are told one by one
_CLOSE = 1e-5  # 32-bit numbers as logs print them


def of_training(found: Sequence[Node], known: Sequence[Node]) -> list[str]:
    """Between nets of the same shape: in what trains the network. The weight of the MMD is no difference here."""
    said = []
    for node, should in zip(found, known, strict=True):
        for name, value, wanted in _fields(node, should):
            word = _WEIGHTS.get(node.type, name) if name == "loss_weight" else name
            if word != "mu" and name not in _OPEN and not _same(value, wanted):
                said.append(_said(word, value, wanted))
    return said


def of_network(found: Network, known: Network) -> tuple[int, list[str]]:
    """How many layers differ, and how: a layer of its own kind, or a field."""
    changed: dict[str, list[str]] = {}
    extra: Counter[str] = Counter()
    types = [node.type for node in found.nodes], [node.type for node in known.nodes]
    count = 0
    for tag, i, i_end, j, j_end in SequenceMatcher(None, types[0], types[1], autojunk=False).get_opcodes():
        if tag == "equal":
            for node, should in zip(found.nodes[i:i_end], known.nodes[j:j_end], strict=True):
                texts = [f"{node.type} {_said(*field)}" for field in _fields(node, should) if not _same(*field[1:])]
                count += bool(texts)
                for text in texts:
                    changed.setdefault(text, []).append(node.name)
        else:
            count += max(i_end - i, j_end - j)
            extra.update(node.type for node in found.nodes[i:i_end])
            extra.subtract(node.type for node in known.nodes[j:j_end])
    said = [f"{text} in {names[0] if len(names) == 1 else f'{len(names)} layers'}" for text, names in changed.items()]
    said += [f"{abs(n)} {name} {'more' if n > 0 else 'fewer'}" for name, n in sorted(extra.items()) if n]
    if not said and found.key != known.key:
        count, said = 1, ["layers wired otherwise"]
    if len(said) > _LISTED:
        said = [*said[:_LISTED], f"{len(said) - _LISTED} more differences of the network"]
    return count, said


def of_images(form: Form, images: ImageSet, distortion: Mapping[str, str]) -> list[str]:
    """Of what is said of the images: their classes, how they are distorted, how many are tested."""
    said = []
    if form.network.classes and form.network.classes != str(images.classes):
        said.append(_said("classes", form.network.classes, str(images.classes)))
    names = {*distortion, *form.distortion} if form.distorts else {*distortion} & {*form.distortion}
    for name in sorted(names - _OPEN):
        value, wanted = form.distortion.get(name, ""), distortion.get(name, "")
        if not _same(value, wanted):
            said.append(_said(name, value, wanted))
    if part := _part(" ".join(form.sources)):
        said.append(f'data that may be a part of it ("{part}")')
    if form.tested < images.test_images:
        said.append(_said("tested", f"{form.tested:,}", f"{images.test_images:,}"))
    return said


def of_solver(
    form: Form, known: proto.SolverParameter, batch: int, images: ImageSet, ours: frozenset[str]
) -> Iterator[str]:
    """Of how long and how fast it trains; `known` is the recipe's solver, `ours` what the paper leaves open."""
    found, wanted = _schedule(form.solver, form.batch, images), _schedule(known, batch, images)
    if isinstance(found["drops"], str) or not _same_drops(found["drops"], wanted["drops"]):
        del wanted["gamma"]
    for name, should in wanted.items():
        value = found[name]
        if name in ours:
            continue
        if name == "epochs":
            same = abs(value / should - 1) <= 0.01
        elif name == "drops":
            same = _same_drops(value, should)
            name = "policy" if isinstance(value, str) else name
        else:
            same = _same(value, should)
        if not same:
            yield _said(name, value, should)


def _schedule(solver: proto.SolverParameter, batch: int, images: ImageSet) -> dict[str, Any]:
    """A SolverParameter's fields that decide over what is learned, times in epochs of the image set."""
    epoch = images.train_images / max(batch, 1)
    return {
        "batch": batch,
        "epochs": solver.max_iter / epoch,
        "type": solver.type or "SGD",
        "momentum": solver.momentum,
        "weight_decay": solver.weight_decay,
        "regularization": solver.regularization_type,
        "clip_gradients": solver.clip_gradients if solver.clip_gradients > 0 else "",
        "base_lr": solver.base_lr,
        "drops": _drops(solver, epoch),
        "gamma": solver.gamma,
        "warmup_iter": solver.warmup_iter,
        "ema_decay": solver.ema_decay,
    }


def _drops(solver: proto.SolverParameter, epoch: float) -> tuple[float, ...] | str:
    """The epochs after which the learning rate drops; for another policy, its name."""
    if solver.lr_policy == "multistep":
        return tuple(step / epoch for step in solver.stepvalue)
    if solver.lr_policy == "step" and solver.stepsize > 0:
        return tuple(step / epoch for step in range(solver.stepsize, solver.max_iter, solver.stepsize))
    return str(solver.lr_policy)


def _same_drops(value: Any, should: tuple[float, ...]) -> bool:
    """Each to within an epoch."""
    return len(value) == len(should) and all(abs(a - b) <= 1 for a, b in zip(value, should, strict=True))


def _fields(node: Node, should: Node) -> Iterator[tuple[str, str, str]]:
    """Name, value and wanted value of each setting; of a layer in Python, of those that it says."""
    names = node.settings if node.partial else {**should.settings, **node.settings}
    for name in names:
        usual = default(should.type, name)
        yield name, node.settings.get(name, usual), should.settings.get(name, usual)


def _same(value: object, should: object) -> bool:
    """Whether two settings are equal, numbers in words or not to 32-bit precision."""
    if value == should:
        return True
    try:
        pairs = zip(str(value).split(), str(should).split(), strict=True)
        return bool(value) and all(math.isclose(float(a), float(b), rel_tol=_CLOSE) for a, b in pairs)
    except ValueError:
        return False


def _said(name: str, value: object, should: object) -> str:
    return _WORDS.get(name, f"{name} {{}}, not {{}}").format(_shown(value), _shown(should))


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"{step:.3g}" for step in value) if len(value) < 10 else f"{len(value)} times"
    if isinstance(value, float):
        return f"{value:.3g}" if value >= 1 else f"{value:g}"
    return str(value) if value != "" else "none"


def _part(sources: str) -> str:
    plain = sources.lower().replace("-", "").replace("_", "")
    return next((word for word in _PARTS if word in plain), "")
