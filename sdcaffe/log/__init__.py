"""Logs as BVLC Caffe writes them: written, read, and as tables and curves."""

from sdcaffe.log.parser import parse_log
from sdcaffe.log.progress import Progress, Tick, no_tick
from sdcaffe.log.rows import Run, Snapshot, TestRow, TrainRow, accuracy
from sdcaffe.log.writer import Destination, GlogFormatter, destination, glog, number, redirect, setup, silent, started

__all__ = [
    "Destination",
    "GlogFormatter",
    "Progress",
    "Run",
    "Snapshot",
    "TestRow",
    "Tick",
    "TrainRow",
    "accuracy",
    "destination",
    "glog",
    "no_tick",
    "number",
    "parse_log",
    "redirect",
    "setup",
    "silent",
    "started",
]
