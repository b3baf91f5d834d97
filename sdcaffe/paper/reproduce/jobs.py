"""Which training runs the published tables need, in which order, and how far each has come. It trains nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdcaffe import proto
from sdcaffe.errors import DataError, nearest
from sdcaffe.graph import keep_layers
from sdcaffe.log import Run
from sdcaffe.paper import published as paper
from sdcaffe.paper.compare.recognise import TrainingRun, recognise
from sdcaffe.paper.published import Published, Value
from sdcaffe.solver.snapshot import newest
from sdcaffe.tools import zoo

STUDY = "study"
TABLES = (*map(str, paper.TITLES), STUDY)
LOGS = Path("reference_logs/runs")

_FILES = {
    paper.BASELINE: "baseline",
    paper.SELF_DISTILLED: "self_distilled",
    paper.TWO_BRANCHES: "two_branch",
    paper.WITH_MMD: "two_branch_mmd",
    paper.WITH_KL: "two_branch_kl",
    paper.TEACHER: "teacher_{}",
    paper.STUDENT: "peer_{}",
}
_PAPER_MU = 0.0005  # self_distilled's
_STUDY_NET = "resnet8"
_STUDY_ORDER = ("baseline", "two_branch", "two_branch_mmd", "two_branch_kl", "self_distilled")
_WEIGHTS = re.compile(r"runs/(.+)/([^/]+)_iter_\d+\.caffemodel")


@dataclass
class Job:
    """One run: a solver file and a seed. `param` is the solver as it will train, `run` what its log will be taken for.

    `teacher` is the job that makes the weights it starts from, None where it starts from none; `taught` says that
    others wait for its weights. `done` says that a log shows it finished, and nothing else is wanted of it.
    """

    file: Path
    param: Any
    run: TrainingRun
    logs: Path = LOGS
    tables: list[str] = field(default_factory=list)
    teacher: Job | None = None
    taught: bool = False
    done: bool = False

    @property
    def seed(self) -> int:
        return int(self.param.random_seed)

    @property
    def title(self) -> str:
        run = self.run
        mechanism = f"{run.mechanism}, {run.peer}" if run.peer else run.mechanism
        return f"{run.network}, {run.data_set}, {mechanism}" + (f", mu {run.mu:g}" if run.mu else "")

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


def jobs(tables: Sequence[str], nets: Sequence[str], seeds: int, known: Published, logs: Path = LOGS) -> list[Job]:
    """The runs of some tables and networks (none named: of all the published ones), each once for every seed.

    Their logs are to be in the folder `logs`.
    A teacher that has to be trained first stands before the first run that needs it. Networks of which prototxt/ here
    has no solver are written there. Raises DataError for a network that no chosen table has.
    """
    wanted = _solver_files(tables or [str(table) for table in paper.TITLES], known)
    chosen = _of_networks(wanted, nets)
    found: dict[tuple[Path, int], Job] = {}
    for file, named in chosen.items():
        for seed in range(1, seeds + 1):
            job = _job(file, seed, known, found)
            job.tables += named
    for job in found.values():
        job.logs = logs
    return list(found.values())


def solver_file(value: Value) -> Path:
    """The solver in prototxt/ that trains what a published value is of."""
    name = _FILES[value.mechanism].format(_folder(value.peer))
    if value.table == 5 and value.mu == (0, 0):
        name = _FILES[paper.WITH_KL]
    elif value.table == 5 and value.mu and value.mu[0] != _PAPER_MU:
        name = f"mu_{value.mu[0]:g}"
    data_set = value.data_set.lower().replace("-", "")
    return Path("prototxt") / data_set / _folder(value.network) / f"solver_{name}.prototxt"


def _folder(network: str) -> str:
    """pre-act ResNet-18: preact_resnet18; WRN-40-4: wrn40_4."""
    kind, *sizes = network.lower().replace("pre-act ", "preact_").split("-")
    return kind + "_".join(sizes)


def _solver_files(tables: Sequence[str], known: Published) -> dict[Path, list[str]]:
    """Every solver that the tables need, and which of these it is for, in the order of the tables."""
    found: dict[Path, list[str]] = {}
    for value in known.values:
        if str(value.table) in tables:
            named = found.setdefault(solver_file(value), [])
            if str(value.table) not in named:
                named.append(str(value.table))
    if STUDY in tables:
        found |= {Path("prototxt", STUDY, f"solver_{name}.prototxt"): [STUDY] for name in _STUDY_ORDER}
    return found


def _of_networks(files: dict[Path, list[str]], nets: Sequence[str]) -> dict[Path, list[str]]:
    if not nets:
        return files
    there = {_plain(_network(file)): _network(file) for file in files}
    for net in nets:
        if _plain(net) not in there:
            near = nearest(_plain(net), there)
            hint = f'did you mean "{there[near]}"?' if near else f"there are {', '.join(there.values())}"
            raise DataError(f'no chosen table has a network "{net}"; {hint}')
    return {file: named for file, named in files.items() if _plain(_network(file)) in map(_plain, nets)}


def _network(file: Path) -> str:
    """What --net calls the network of a solver file: its folder's name, but for the study's."""
    return _STUDY_NET if file.parent.name == STUDY else file.parent.name


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _job(file: Path, seed: int, known: Published, found: dict[tuple[Path, int], Job]) -> Job:
    """The job of a solver file and a seed, made if it is not in `found`; its teacher's first."""
    if (file, seed) in found:
        return found[file, seed]
    if not file.is_file():
        zoo.write(file.parent.relative_to(zoo.TOP).as_posix(), Path())
    param = proto.read_solver(file)
    param.random_seed = seed
    param.snapshot_prefix += f"_seed{seed}"
    teacher = None
    if len(param.weights) == 1 and (named := _WEIGHTS.fullmatch(param.weights[0])):
        # one teacher for all seeds, as one baseline would have been trained for all of them
        teacher = _job(Path("prototxt", named[1], f"solver_{named[2]}.prototxt"), 1, known, found)
        param.weights[0] = str(teacher.weights)
    job = Job(file, param, planned(str(file), param, known), teacher=teacher)
    return found.setdefault((file, seed), job)


def planned(name: str, param: Any, known: Published) -> TrainingRun:
    """What the log of a solver's run will be recognised as. Raises what reading its net raises."""
    net = proto.read_net(param.net)
    texts = []
    for phase in (proto.TRAIN, proto.TEST):
        state = proto.NetState(phase=phase)
        if phase == proto.TRAIN:
            state.MergeFrom(param.train_state)
        net.state.CopyFrom(state)
        texts.append(proto.text.format(keep_layers(net)))
    return recognise(name, Run(net=net.name, solver_text=proto.text.format(param), nets=texts), known)


def mark_done(every: Iterable[Job], runs: Iterable[TrainingRun]) -> None:
    """Take as done what a log shows finished, with the same settings and seed; and teachers none has to wait for.

    A teacher whose weights are missing while a run needs them is not done, whatever a log says.
    """
    every = list(every)
    finished = [(run.seed, run.settings) for run in runs if run.finished]
    for job in every:
        job.done = bool(job.run.settings) and (job.seed, job.run.settings) in finished
    for job in every:
        if job.teacher and not job.done and not job.ready:
            job.teacher.taught, job.teacher.done = True, False
    for job in every:
        job.done = job.done or not (job.tables or job.taught)
