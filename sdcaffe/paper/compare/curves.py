"""What a picture of runs holds: which runs are one curve, what each is called, and the panels of the paper's losses."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from sdcaffe import proto
from sdcaffe.log import Run
from sdcaffe.log.curves import PANELS, Curve, Panel, Place, outputs, short_names
from sdcaffe.paper.compare.comparison import Group, grouped
from sdcaffe.paper.compare.runs import TrainingRun
from sdcaffe.paper.compare.sets import names, ordered
from sdcaffe.paper.published import BASELINE

_OF_A_RUN = ("random_seed:", "snapshot_prefix:")  # lines of a solver that tell runs apart, not what they train


def _losses_of(kind: str) -> Panel:
    def gather(run: Run, place: Place) -> list[Curve]:
        return outputs(run, place, _tops(run.nets[0], kind) if run.nets else ())

    return Panel(kind.removesuffix("Loss"), gather)


@functools.lru_cache(maxsize=64)
def _tops(text: str, kind: str) -> tuple[str, ...]:
    """What the layers of a type make; a layer of that name that Caffe's Python layer runs is one."""
    net = proto.NetParameter()
    proto.text.parse(text, net, "log", ignore_unknown=True)
    return tuple(top for layer in net.layer if kind in (layer.type, layer.python_param.layer) for top in layer.top[:1])


DIVERGENCES = (_losses_of("KLLoss"), _losses_of("MMDLoss"))
ALL_PANELS = (*PANELS[:-1], *DIVERGENCES, *PANELS[-1:])


def curves_of(runs: Sequence[TrainingRun]) -> tuple[str, list[tuple[str, list[Run]]]]:
    """What is the same of all runs, and the name and logs of each group that differs by its seed alone."""
    runs = [run for run in runs if not run.copy]
    known = ordered(grouped(run for run in runs if run.comparable))
    strangers = _strangers([run for run in runs if not run.comparable])
    named = [(name, [run.log for run in group.runs]) for name, group in zip(_names(known), known, strict=True)]
    wheres = {f"{group.runs[0].network}, {group.runs[0].data_set}" for group in known}
    return (wheres.pop() if len(wheres) == 1 and not strangers else ""), named + strangers


def _names(groups: Sequence[Group]) -> list[str]:
    """Mechanisms and what tells them apart; where all are the baseline, what tells them apart alone, or their files."""
    said = names(groups)
    if {group.title for group in groups} == {BASELINE}:
        files = short_names([group.runs[0].logs[0] for group in groups])
        bare = [", ".join(part for part in name.split(", ") if part != BASELINE) for name in said]
        said = [name or file for name, file in zip(bare, files, strict=True)]
    return said


def each_of(runs: Sequence[TrainingRun]) -> list[tuple[str, list[Run]]]:
    """Every log by itself, called as its net and its file."""
    files = short_names([run.logs[0] for run in runs])
    return [(", ".join(filter(None, (run.log.net, file))), [run.log]) for run, file in zip(runs, files, strict=True)]


def _strangers(runs: Sequence[TrainingRun]) -> list[tuple[str, list[Run]]]:
    """Of logs that are not recognised, those of the same text but for the seed are one curve."""
    found: dict[tuple[str, ...], list[Run]] = {}
    called: dict[tuple[str, ...], str] = {}
    for (name, (log,)), run in zip(each_of(runs), runs, strict=True):
        lines = [line for line in log.solver_text.splitlines() if not line.startswith(_OF_A_RUN)]
        key = (*lines, *log.nets, *log.weights, *log.devices) if log.solver_text else tuple(run.logs)
        found.setdefault(key, []).append(log)
        called.setdefault(key, name)
    return [(called[key], logs) for key, logs in found.items()]
