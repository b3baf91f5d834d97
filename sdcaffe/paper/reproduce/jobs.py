"""Which training runs the published tables need, in which order, and how far each has come. It trains nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from sdcaffe import proto
from sdcaffe.errors import DataError, nearest
from sdcaffe.graph import keep_layers
from sdcaffe.paper import published as paper
from sdcaffe.paper.compare.form import Logged
from sdcaffe.paper.compare.recognise import describe
from sdcaffe.paper.compare.runs import TrainingRun
from sdcaffe.paper.datasets import PUBLISHED
from sdcaffe.paper.published import Value
from sdcaffe.paper.recipes import RECIPES, Recipe
from sdcaffe.paper.reproduce import counts
from sdcaffe.solver.snapshot import newest
from sdcaffe.tools import zoo

STUDY = "study"
STUDY_FOLDER = "study2"
TABLES = (*map(str, paper.TITLES), STUDY)
LOGS = Path("reference_logs/runs")
_IMAGES = [images.title for images in PUBLISHED]  # the paper's


@dataclass
class Job:
    """One run: a recipe and a seed. `param` is the solver as it will train.

    `like` is the job of the same recipe and another seed, None for the first. `teacher` is the job that makes the
    weights it starts from, None where it starts from none; `taught` says that others wait for its weights. `done` says
    that a log shows it finished, and nothing else is wanted of it.
    """

    recipe: Recipe
    param: proto.SolverParameter
    values: Sequence[Value]
    logs: Path = LOGS
    tables: list[str] = field(default_factory=list)
    like: Job | None = None
    teacher: Job | None = None
    taught: bool = False
    done: bool = False

    @cached_property
    def as_written(self) -> bool:
        """Whether it trains the recipe's net to the letter, which need not be read then."""
        return self.multiply_adds is not None and list(self.param.train_state.stage) == self.recipe.stages

    @cached_property
    def multiply_adds(self) -> int | None:
        """The multiply-adds of one pass of an iteration, where its net is the recipe's to the letter."""
        return self.like.multiply_adds if self.like else counts.remembered(self.param.net, self.recipe.net_file)

    @cached_property
    def net(self) -> proto.NetParameter:
        return self.like.net if self.like else proto.read_net(self.param.net)

    @cached_property
    def run(self) -> TrainingRun:
        """What its log will be taken for."""
        return replace(self.like.run, seed=self.seed) if self.like else planned(self.param, self.net, self.values)

    @property
    def databases(self) -> list[str]:
        """The LMDBs that it trains on."""
        if self.as_written:
            images = self.recipe.images
            return [images.train_source] if images.database else []
        layers = [layer for layer in self.net.layer if layer.type == "Data"]
        layers = [layer for layer in layers if not layer.include or layer.include[0].phase == proto.TRAIN]
        read = [layer.data_param for layer in layers]
        return [param.source for param in read if param.backend == proto.DataParameter.LMDB]

    @property
    def file(self) -> Path:
        return Path(self.recipe.solver_file)

    @property
    def seed(self) -> int:
        return int(self.param.random_seed)

    @property
    def title(self) -> str:
        mechanism = self.recipe.mechanism
        if self.as_written:
            network, images, mu = self.recipe.title, self.recipe.images, mechanism.mu
            named = any(_measures(self.recipe, value) for value in self.values)
            data = images.title if images.title in _IMAGES else images.train_source
            measures, peer = mechanism.measures, mechanism.peer
        else:
            run = self.run
            network, data, mu, named = run.network, run.data_set, run.mu, not run.reason
            measures, peer = run.mechanism, run.peer
        if not named:  # no published value: its arms differ in more than the paper's words
            return f"{network}, {data}, {mechanism.title}"
        return ", ".join([network, data, measures, *([peer] if peer else []), *([f"mu {mu:g}"] if mu else [])])

    @property
    def log(self) -> Path:
        """In the folder `logs`: cifar100/resnet32/baseline_seed1.log."""
        return self.logs / f"{self.param.snapshot_prefix.removeprefix('runs/')}.log"

    @property
    def weights(self) -> Path:
        """What it ends with."""
        return Path(f"{self.param.snapshot_prefix}_iter_{self.param.max_iter}.caffemodel")

    @property
    def ready(self) -> bool:
        """Whether the weights it starts from are there."""
        return self.teacher is None or self.teacher.weights.exists()

    @property
    def iterations(self) -> int:
        """How many its newest snapshot has behind it."""
        files = newest(self.param.snapshot_prefix)
        return iteration_of(files[0]) if files else 0


def iteration_of(state: Path) -> int:
    """The iteration in the name of a .solverstate."""
    return int(state.name.rpartition("_iter_")[2].partition(".")[0])


def jobs(
    tables: Sequence[str],
    nets: Sequence[str],
    seeds: int | None,
    values: Sequence[Value],
    logs: Path = LOGS,
    *,
    precision: str | None = None,
) -> list[Job]:
    """The runs of some tables and networks (none named: of all the published ones), each once for every seed.

    `seeds` is how many, None: as many as the recipe says; `precision` stands in place of the solver's. Their logs are
    to be in the folder `logs`.
    A teacher that has to be trained first stands before the first run that needs it. Networks of which prototxt/ here
    has no solver are written there. Raises DataError for a network that no chosen table has.
    """
    wanted = _wanted(tables or [str(table) for table in paper.TITLES], values)
    found: dict[tuple[str, int], Job] = {}
    for recipe in _of_networks(list(wanted), nets):
        for seed in range(1, (seeds or recipe.seeds) + 1):
            _job(recipe, seed, values, found, precision).tables += wanted[recipe]
    for job in found.values():
        job.logs = logs
    return list(found.values())


def recipe_of(value: Value) -> Recipe:
    """The first recipe that measures a published value."""
    return next(recipe for recipe in RECIPES if _measures(recipe, value))


def _measures(recipe: Recipe, value: Value) -> bool:
    mechanism = recipe.mechanism
    return value.matches(recipe.title, recipe.images.title, mechanism.measures, mechanism.peer, mechanism.mu)


def _wanted(tables: Sequence[str], values: Sequence[Value]) -> dict[Recipe, list[str]]:
    """Every recipe that the tables need, and which of these it is for, in the order of the tables."""
    found: dict[Recipe, list[str]] = {}
    for value in values:
        if str(value.table) in tables:
            named = found.setdefault(recipe_of(value), [])
            if str(value.table) not in named:
                named.append(str(value.table))
    if STUDY in tables:
        found |= {recipe: [STUDY] for recipe in RECIPES if recipe.folder == STUDY_FOLDER}
    return found


def _of_networks(recipes: Sequence[Recipe], nets: Sequence[str]) -> list[Recipe]:
    if not nets:
        return list(recipes)
    there = {_plain(recipe.title): _short(recipe) for recipe in recipes}
    for net in nets:
        if _plain(net) not in there:
            near = nearest(_plain(net), there)
            hint = f'did you mean "{there[near]}"?' if near else f"there are {', '.join(there.values())}"
            raise DataError(f'no chosen table has a network "{net}"; {hint}')
    return [recipe for recipe in recipes if _plain(recipe.title) in map(_plain, nets)]


def _short(recipe: Recipe) -> str:
    """What --net calls a network: the name of its folder, where that is its own."""
    name = recipe.folder.rpartition("/")[2]
    return name if "/" in recipe.folder else _plain(recipe.title)


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _job(
    recipe: Recipe, seed: int, values: Sequence[Value], found: dict[tuple[str, int], Job], precision: str | None
) -> Job:
    """The job of a recipe and a seed, made if it is not in `found`; its teacher's first."""
    key = recipe.solver_file, seed
    if key in found:
        return found[key]
    if not Path(recipe.solver_file).is_file():
        zoo.write(recipe.folder, Path())
    param = proto.read_solver(recipe.solver_file)
    param.random_seed = seed
    param.snapshot_prefix += f"_seed{seed}"
    if precision is not None and precision != param.precision:
        param.precision = precision
        param.snapshot_prefix += f"_{precision}"
    teacher = None
    if recipe.teacher:
        # one teacher for all seeds, as one baseline would have been trained for all of them
        teacher = _job(recipe.teacher, 1, values, found, precision)
        param.weights[:] = [str(teacher.weights)]
    like = next((job for (file, _), job in found.items() if file == recipe.solver_file), None)
    return found.setdefault(key, Job(recipe, param, values, like=like, teacher=teacher))


def planned(param: proto.SolverParameter, net: proto.NetParameter, values: Sequence[Value]) -> TrainingRun:
    """What the log of a solver's run on a net will be recognised as."""
    net, nets = proto.copied(net), []
    for phase in (proto.TRAIN, proto.TEST):
        net.state.Clear()
        net.state.phase = phase
        if phase == proto.TRAIN:
            net.state.MergeFrom(param.train_state)
        nets.append(keep_layers(net))
    run = TrainingRun()
    try:
        describe(run, Logged(net.name, param, nets), values)
    except DataError as why:
        run.reason = str(why)
    return run


def mark_done(every: Iterable[Job], runs: Iterable[TrainingRun]) -> None:
    """Take as done what a log shows finished, with the same settings and seed; and teachers none has to wait for.

    A teacher whose weights are missing while a run needs them is not done, whatever a log says.
    """
    every = list(every)
    finished = [(run.seed, run.what) for run in runs if run.finished]
    seeds = {seed for seed, _ in finished}
    for job in every:
        job.done = job.seed in seeds and bool(job.run.settings) and (job.seed, job.run.what) in finished
    for job in every:
        if job.teacher and not job.done and not job.ready:
            job.teacher.taught, job.teacher.done = True, False
    for job in every:
        job.done = job.done or not (job.tables or job.taught)
