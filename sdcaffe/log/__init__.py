"""Logs as BVLC Caffe writes them: writing, reading and showing progress."""

from sdcaffe.log.parser import Run, Snapshot, TestRow, TrainRow, accuracy, parse_log
from sdcaffe.log.progress import LiveProgress, Progress, Tick, bar, no_tick
from sdcaffe.log.writer import GlogFormatter, glog, number, setup, silent

__all__ = [
    "GlogFormatter",
    "LiveProgress",
    "Progress",
    "Run",
    "Snapshot",
    "TestRow",
    "Tick",
    "TrainRow",
    "accuracy",
    "bar",
    "glog",
    "no_tick",
    "number",
    "parse_log",
    "setup",
    "silent",
]
