"""Reads training logs, ours and BVLC Caffe's of any version, into numbers; does not judge or plot them."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

from sdcaffe import reading
from sdcaffe.errors import DataError
from sdcaffe.log.rows import CUT_SHORT, FINISHED, NAN, STOPPED, Run, Snapshot, TestRow, TrainRow

_LARGEST = 1 << 31  # bytes of a log, as of 30 million iterations shown
LONGEST_LINE = 1 << 20  # characters; a longer one is no line of a log


def parse_log(source: str | Path) -> Run:
    """Read a log: a path, or the text itself where `source` is a string of several lines.

    Knows glog's old prefix (`I0423 12:34:56.789012`) and new one (`I20260423 ...`), several sessions in
    one file, and lines that others wrote in between; an unfinished last line is left out. Years that old
    prefixes lack are taken from the file's header or its time stamp. Raises DataError where the file cannot
    be read or holds no line of a log.
    """
    if isinstance(source, str) and "\n" in source:
        return _parse(source.splitlines(keepends=True), datetime.now().year, "log")
    with (
        reading.opened(source, DataError, "the log", _LARGEST) as file,
        TextIOWrapper(file, encoding="utf-8", errors="replace") as lines,
    ):
        return _parse(_lines(lines), _year_of(os.fstat(file.fileno()).st_mtime), str(source))


def _year_of(stamp: float) -> int:
    """The year of a file's time stamp; this year for one that no calendar has, as `touch` writes any."""
    try:
        return datetime.fromtimestamp(stamp).year
    except (ValueError, OverflowError, OSError):
        return datetime.now().year


def _lines(file: TextIO) -> Iterator[str]:
    return iter(lambda: file.readline(LONGEST_LINE), "")


def _parse(lines: Iterable[str], year: int, where: str) -> Run:
    reader = _Reader(year)
    for line in lines:
        reader.read(line)
    if not reader.sessions:
        raise DataError("holds no line of a Caffe log", where=where)
    return _join(reader.sessions)


@dataclass
class _Session:
    """One start of the program: everything between two `Initializing solver from parameters`."""

    begin: datetime
    solving: datetime | None = None
    net: str = ""
    solver_text: list[str] = field(default_factory=list)
    nets: list[list[str]] = field(default_factory=list)
    weights: list[str] = field(default_factory=list)
    train: list[TrainRow] = field(default_factory=list)
    test: list[TestRow] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    resumed: bool = False
    resumed_at: int | None = None
    device: str = ""
    processes: int = 1
    fp32_tests: bool = False
    end: str = CUT_SHORT

    @property
    def origin(self) -> datetime:
        return self.solving or self.begin

    @property
    def did_anything(self) -> bool:
        return bool(self.train or self.test or self.snapshots) or self.end != CUT_SHORT

    @property
    def first_iteration(self) -> int | None:
        rows = [rows[0].iteration for rows in (self.train, self.test) if rows]
        return min(rows, default=None)


def _join(sessions: list[_Session]) -> Run:
    """Put sessions in a row: each begins anew or goes on from where it was taken up.

    One that was ended before it did anything leaves the run as it was, cut short.
    """
    run = Run()
    for session in sessions:
        first = session.first_iteration
        if first is None and not session.resumed and (run.train or run.test or run.snapshots):
            run.end = session.end
            continue
        offset = 0.0
        if session.resumed:
            at = _resumed_at(session, run)
            offset = _cut(run, at) if session.did_anything else 0.0
            run.resumes.append(at)
        else:
            run = Run()
        run.start = run.start or session.origin
        run.net, run.end, run.solver_text = session.net, session.end, "".join(session.solver_text)
        run.nets = ["".join(text) for text in session.nets]
        run.weights += [name for name in session.weights if name not in run.weights]
        run.devices += [device for device in [session.device] if device and device not in run.devices]
        run.processes = max(run.processes, session.processes)
        run.fp32_tests = session.fp32_tests
        for rows in (session.train, session.test, session.snapshots):
            for row in rows:
                row.seconds += offset
        run.train += session.train
        run.test += session.test
        run.snapshots += session.snapshots
    return run


def _resumed_at(session: _Session, run: Run) -> int:
    """As the log says; else at the first row, or where there is none at the end of what came before."""
    known = session.first_iteration if session.resumed_at is None else session.resumed_at
    if known is not None:
        return known
    return max(
        (rows[-1].iteration + (rows is not run.snapshots) for rows in (run.train, run.test, run.snapshots) if rows),
        default=0,
    )


def _cut(run: Run, at: int) -> float:
    """Drop what comes at or after iteration `at`, save a snapshot at `at`; the seconds reached there."""
    run.train = [row for row in run.train if row.iteration < at]
    run.test = [row for row in run.test if row.iteration < at]
    run.snapshots = [row for row in run.snapshots if row.iteration <= at]
    seconds = [rows[-1].seconds for rows in (run.train, run.test, run.snapshots) if rows]
    return max(seconds, default=0.0)


_PREFIX = re.compile(
    r"[IWEF](?P<year>\d{4})?(?P<month>\d\d)(?P<day>\d\d) (?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
    r"(?:\.(?P<fraction>\d{1,6}))?\s+\d+ (?P<file>[^\s:\]]+):\d+\] ?(?P<message>.*)"
)
_HEADER = re.compile(r"Log file created at: (\d{4})/")
_TEXT_LINE = re.compile(r"\s*(\w+\s*[:{]|\[|\})")
_NAME = re.compile(r'name: "(.*)"$')
_ITERATION = re.compile(r"Iteration (\d{1,15})\b.*?, (?:(Testing net) \(#(\d{1,9})\)|loss = (\S+)|lr = ([^\s,]+))")
_OUTPUT = re.compile(r"(Train|Test) net output #\d+: (.+?) = (\S+)")
_RESUMING = re.compile(r"Resuming from (.+)")
_PROCESSES = re.compile(r"Training in (\d{1,9}) processes")
_SNAPSHOT = re.compile(r"Snapshotting (solver state )?to (?:binary proto file |HDF5 file )?(.+)")
_NUMBERED = re.compile(r".*_iter_(\d{1,15})\.")
_SCORE = re.compile(r"(.+?) = (\S+)(?: \(\* \S+ = \S+ loss\))?$")


class _Reader:
    """Takes lines one by one; what it has understood stands in `sessions`."""

    def __init__(self, year: int) -> None:
        self.sessions: list[_Session] = []
        self._year = year
        self._last: datetime | None = None
        self._row: TrainRow | TestRow | None = None
        self._counts: Counter[str] = Counter()  # how many numbers of each output the row has
        self._text = ""  # which message text the bare lines that follow belong to: "solver", "net" or none
        self._scoring = False
        self._devices = ""  # what the next session trains on, where its line comes before the solver's

    def read(self, line: str) -> None:
        match = _PREFIX.search(line)
        moment = self._moment(match) if match else None
        if match is None or moment is None:
            self._read_bare(line)
            return
        self._text = ""
        message = match["message"].strip()
        if not line.endswith("\n") and message != "Optimization Done.":
            return
        if not self.sessions:
            self.sessions.append(_Session(moment))
        self._read_message(message, match["file"], moment)

    def _read_bare(self, line: str) -> None:
        header = _HEADER.match(line)
        if header:
            self._year = int(header[1])
        elif self._text == "solver" and _TEXT_LINE.match(line):
            self.sessions[-1].solver_text.append(line)
        elif self._text == "net" and _TEXT_LINE.match(line):
            session = self.sessions[-1]
            session.nets[-1].append(line)
            if name := _NAME.match(line):
                session.net = session.net or name[1]

    def _moment(self, match: re.Match[str]) -> datetime | None:
        """The time of a prefix. Old prefixes have no year: it is the last one's, or the next after a turn."""
        if match["year"]:
            self._year = int(match["year"])
        elif (match["month"], match["day"]) == ("02", "29"):
            self._year -= self._year % 4
        parts = ("month", "day", "hour", "minute", "second")
        month, day, hour, minute, second = (int(match[part]) for part in parts)
        fraction = int((match["fraction"] or "").ljust(6, "0"))
        try:
            moment = datetime(self._year, month, day, hour, minute, second, fraction)
            if self._last and moment < self._last - timedelta(days=180) and not match["year"]:
                moment = moment.replace(year=self._year + 1)
        except (ValueError, OverflowError):  # no such day, or a year before the first or behind the last
            return None
        self._year, self._last = moment.year, moment
        return moment

    def _read_message(self, message: str, file: str, moment: datetime) -> None:
        session = self.sessions[-1]
        if message.startswith("Iteration "):
            self._read_iteration(message, moment)
        elif "net output #" in message or message.startswith("Test loss: "):
            self._read_output(message, moment)
        elif message.startswith("Initializing solver from parameters"):
            if session.solver_text or session.train or session.test:
                session = _Session(moment)
                self.sessions.append(session)
            self._read_devices(session, self._devices)
            self._devices = ""
            self._text, self._row, self._scoring = "solver", None, False
        elif message == "Use CPU." or message.startswith("Using GPUs "):
            if session.device or session.train or session.test:
                self._devices = message
            else:
                self._read_devices(session, message)
        elif match := _PROCESSES.match(message):
            session.processes = max(session.processes, int(match[1]))
        elif message.startswith("Initializing net from parameters"):
            self._text = "net"
            session.nets.append([])
        elif message.startswith("Solving ") or message == "Solving":
            session.solving = session.solving or moment
            session.net = message.removeprefix("Solving").strip()
        elif match := _RESUMING.match(message):
            session.resumed = True
            session.resumed_at = _iteration_of(match[1])
        elif message == "Tests are computed in fp32":
            session.fp32_tests = True
        elif message.startswith("Finetuning from "):
            session.weights.append(message.removeprefix("Finetuning from ").strip())
        elif message.endswith("restoring history"):
            session.resumed = True
        elif message.startswith("Snapshotting "):
            self._read_snapshot(message, moment)
        elif message == "Optimization stopped early.":
            session.end = STOPPED
        elif message == "Optimization Done." and session.end == CUT_SHORT:
            session.end = FINISHED
        elif file == "caffe.cpp":
            self._read_scores(message, moment)

    def _read_devices(self, session: _Session, message: str) -> None:
        """Caffe's word on the devices, one process on each."""
        if message:
            session.device = "CPU" if message == "Use CPU." else "GPU"
            session.processes = max(session.processes, message.count(",") + 1)

    def _read_iteration(self, message: str, moment: datetime) -> None:
        match = _ITERATION.match(message)
        if not match:
            return
        session, iteration = self.sessions[-1], int(match[1])
        seconds = (moment - session.origin).total_seconds()
        if match[2]:
            test = TestRow(iteration, seconds, int(match[3]))
            while session.test and (session.test[-1].iteration, session.test[-1].net) >= (iteration, test.net):
                session.test.pop()
            session.test.append(test)
            self._row = test
        elif match[4]:
            while session.train and session.train[-1].iteration >= iteration:
                session.train.pop()
            train = TrainRow(iteration, seconds, loss=_value(match[4]))
            session.train.append(train)
            self._row = train
        elif session.train and session.train[-1].iteration == iteration:
            session.train[-1].lr = _value(match[5])

    def _read_output(self, message: str, moment: datetime) -> None:
        row = self._row
        if message.startswith("Test loss: "):
            if isinstance(row, TestRow):
                row.loss = _value(message.removeprefix("Test loss: "))
            return
        match = _OUTPUT.match(message)
        value = _number(match[3]) if match else None
        wanted = TrainRow if match and match[1] == "Train" else TestRow
        if match is None or value is None or not isinstance(row, wanted):
            return
        if not row.outputs:
            row.seconds = (moment - self.sessions[-1].origin).total_seconds()
        self._add_output(row, match[2], value)

    def _add_output(self, row: TrainRow | TestRow, name: str, value: float) -> None:
        if not row.outputs:
            self._counts.clear()
        index = self._counts[name]
        self._counts[name] += 1
        row.outputs[f"{name}[{index}]" if index else name] = value

    def _read_snapshot(self, message: str, moment: datetime) -> None:
        match = _SNAPSHOT.match(message)
        if not match:
            return
        session = self.sessions[-1]
        done = session.snapshots
        if match[1]:
            if done and done[-1].state is None:
                done[-1].state = match[2]
            return
        at = _iteration_of(match[2])
        if at is None:
            at = max((rows[-1].iteration for rows in (session.train, session.test) if rows), default=0)
        done.append(Snapshot(at, (moment - session.origin).total_seconds(), match[2]))

    def _read_scores(self, message: str, moment: datetime) -> None:
        """The end of `caffe test`: the mean loss, then the mean of each output."""
        session = self.sessions[-1]
        if message.startswith("Running for "):
            self._scoring = True
        elif self._scoring and message.startswith("Loss: "):
            row = TestRow(0, (moment - session.begin).total_seconds(), loss=_value(message[6:]))
            session.test, self._row, session.end = [row], row, FINISHED
        elif self._scoring and isinstance(self._row, TestRow) and (match := _SCORE.match(message)):
            value = _number(match[2])
            if value is not None:
                self._add_output(self._row, match[1], value)


def _iteration_of(file: str) -> int | None:
    match = _NUMBERED.match(file)
    return int(match[1]) if match else None


def _number(text: str) -> float | None:
    """A number as C++ prints it, nan and inf of any platform included; None where it is none."""
    try:
        return float(text)
    except ValueError:
        return NAN if "#" in text or "nan" in text.lower() else None


def _value(text: str) -> float:
    value = _number(text)
    return NAN if value is None else value
