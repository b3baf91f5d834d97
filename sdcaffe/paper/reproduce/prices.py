"""What an iteration of each run takes here: remembered where it was measured, else estimated."""

from __future__ import annotations

import hashlib
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from sdcaffe import proto
from sdcaffe.errors import SdcaffeError
from sdcaffe.log import Tick, no_tick
from sdcaffe.paper.reproduce.counts import counted
from sdcaffe.paper.reproduce.jobs import Job
from sdcaffe.tools.step_times import StepTime, measured, rate
from sdcaffe.writing import make_folders

STORE = Path("runs/step_times.json")
_SMALL = 1 << 20  # bytes of the file of what was measured; more is none of ours


def prices(
    jobs: Sequence[Job],
    device: str | None = None,
    *,
    budget: float = 0.0,
    store: Path = STORE,
    clock: Callable[[], float] = time.monotonic,
    tick: Tick = no_tick,
) -> dict[str, StepTime]:
    """The time of an iteration of each job, by the path of its net; jobs of one net count once.

    With a `budget` in seconds, nets that were not measured on this machine before are, the cheapest first, until the
    next one would exceed it; `store` remembers them. Any other is estimated: its multiply-adds at the rate of what was
    measured, else at that of one convolution.
    """
    distinct = {job.param.net: job for job in jobs}
    here = _machine(device)
    stored, keys = _read(store), dict[str, str]()
    for name, job in distinct.items() if stored or budget else ():
        keys[name] = f"{here}, {job.param.precision}, {_digest(job)}"
    found = {name: stored[key] for name, key in keys.items() if key in stored}
    sizes: dict[str, int] = {}
    for name, job in distinct.items():
        try:
            sizes[name] = _multiply_adds(job)
        except SdcaffeError as error:
            found[name] = StepTime(problem=error.summary)
    end = clock() + budget
    for name in sorted((name for name in sizes if name not in found), key=sizes.__getitem__) if budget else ():
        known = _rates(found, sizes)
        if known and 4 * known[-1] * sizes[name] > end - clock():
            break
        found[name] = measured(distinct[name].param, device, clock)
        if found[name].measured:
            stored[keys[name]] = found[name]
            _write(store, stored)
        tick(len(found), len(distinct))
    left = [name for name in sizes if name not in found]
    if left:
        known = _rates(found, sizes)
        each = statistics.median(known) if known else rate(device)
        found |= {name: StepTime(each * sizes[name]) for name in left}
    return found


def _rates(found: dict[str, StepTime], sizes: dict[str, int]) -> list[float]:
    """Seconds a multiply-add of what was measured, the largest net last."""
    known = [(sizes[name], took.seconds) for name, took in found.items() if took.measured and name in sizes]
    return [seconds / max(size, 1) for size, seconds in sorted(known) if seconds is not None]


def _multiply_adds(job: Job) -> int:
    """Of an iteration. Raises what building its net raises, and SdcaffeError where a database is missing."""
    for source in job.databases:
        if not Path(source).exists():
            raise SdcaffeError(f"there is no LMDB {source} here")
    once = job.multiply_adds
    if once is None:
        once = counted(job.net, job.param.train_state, job.recipe.images)
    return once * job.param.iter_size


def _digest(job: Job) -> str:
    """Of what decides over an iteration: the net and the solver's state."""
    text = proto.text.format(job.net) + proto.text.format(job.param.train_state)
    return hashlib.sha256(f"{text}{job.param.type}{job.param.iter_size}".encode()).hexdigest()[:16]


def _machine(device: str | None) -> str:
    if device == "cpu" or not torch.cuda.is_available():
        return f"cpu, {torch.get_num_threads()} threads"
    return str(torch.cuda.get_device_name(device))


def _read(store: Path) -> dict[str, StepTime]:
    """What was measured; nothing where the file is absent or no such file."""
    try:
        if store.stat().st_size > _SMALL:
            return {}
        content = json.loads(store.read_text(encoding="utf-8"))
        return {
            str(key): StepTime(float(value["seconds"]), measured=True, memory=int(value["memory"]))
            for key, value in content.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _write(store: Path, stored: dict[str, StepTime]) -> None:
    make_folders(store.parent)
    kept = {key: {name: asdict(took)[name] for name in ("seconds", "memory")} for key, took in stored.items()}
    with proto.atomic_write(store) as file:
        file.write((json.dumps(kept, indent=1) + "\n").encode())
